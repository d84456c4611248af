"""The edge filter: of everything that is heard, what the server needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tagtrail_agent.filtering.counts import Books, Counts
from tagtrail_agent.filtering.links import Link
from tagtrail_agent.filtering.matching import TraitsOf, no_traits
from tagtrail_agent.filtering.profile import Profile
from tagtrail_agent.filtering.rules import Rules
from tagtrail_agent.readings import Reading

MOST_LINKS: Final = 4096
"""Tags times gateways that are followed; at about 3 kB each that is 12 MB of a small machine."""

FORGET_S: Final = 7200.0
"""A link that was silent for this long is forgotten."""

DUE_EVERY_S: Final = 1.0
"""While anything is heard, what is due is looked for this often, whoever else asks for it."""

MOST_NAMED: Final = 20
"""Frozen links that are named in the figures; the others are only counted."""


class EdgeFilter:
    """Folds, drops and passes readings; keeps count of each. Pure: it knows no clock.

    Args:
        rules: What decides.
        traits_of: What the enrolment says about tags: model, mode, interval.
        gateway_id: Name of the agent's own gateway, for rules that name gateways.
        most_links: Links followed at a time; beyond that the longest silent one is sent and
            forgotten.
    """

    def __init__(
        self,
        rules: Rules,
        traits_of: TraitsOf = no_traits,
        gateway_id: str | None = None,
        most_links: int = MOST_LINKS,
    ) -> None:
        self._rules, self._traits_of, self._gateway_id = rules, traits_of, gateway_id
        self._most_links = most_links
        self._links: dict[tuple[str, str | None], Link] = {}
        self._due_s = 0.0
        self.counts = Counts()

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self._rules

    def take(self, readings: Sequence[Reading], now_s: float) -> list[Reading]:
        """Take what was heard; returns what is to be sent, in order.

        Args:
            readings: Of enrolled tags, about in order of `elapsed_s`; not changed.
            now_s: Monotonic clock, seconds; not before the readings.
        """
        books = Books(self.counts)
        for reading in readings:
            key = (reading.tag, reading.gateway_id)
            link = self._links.get(key)
            if link is None:
                self._make_room(books)
                link = self._links[key] = Link(*self._profile_of(key))
            link.hear(reading, books)
        if now_s - self._due_s >= DUE_EVERY_S:
            self._due(now_s, books)
        return books.out

    def due(self, now_s: float) -> list[Reading]:
        """Return what is to be sent because time has passed; call it about once a second.

        Tags that have fallen silent depend on it when nothing else is heard.

        Args:
            now_s: Monotonic clock, seconds.
        """
        books = Books(self.counts)
        self._due(now_s, books)
        return books.out

    def _due(self, now_s: float, books: Books) -> None:
        self._due_s = now_s
        old = []
        for key, link in self._links.items():
            link.due(now_s, books)
            if link.last_s is not None and now_s - link.last_s > FORGET_S:
                old.append(key)
        for key in old:
            self._links.pop(key).flush(books)

    def flush(self) -> list[Reading]:
        """Return everything that is held, as before the agent stops."""
        books = Books(self.counts)
        for link in self._links.values():
            link.flush(books)
        return books.out

    def adopt(self, rules: Rules | None = None) -> None:
        """Go on with other rules, or (None) look up anew what the enrolment says about tags."""
        self._rules = rules if rules is not None else self._rules
        for key, link in self._links.items():
            link.adopt(*self._profile_of(key))

    def figures(self) -> dict[str, Any]:
        """Return what the gateway's status says: `in` = `out` + `folded` + `held` + dropped."""
        frozen = [key for key, link in self._links.items() if link.frozen]
        named = [
            {"tag": tag} if gateway_id is None else {"tag": tag, "gateway_id": gateway_id}
            for tag, gateway_id in frozen[:MOST_NAMED]
        ]
        return {
            **self.counts.figures(), "links": len(self._links), "frozen_now": len(frozen),
            "frozen_links": named, "rules_revision": self._rules.revision,
        }  # fmt: skip

    def _profile_of(self, key: tuple[str, str | None]) -> tuple[Profile, float]:
        tag, gateway_id = key
        traits = self._traits_of(tag)
        profile = self._rules.profile_for(tag, gateway_id or self._gateway_id, traits)
        return profile, profile.heartbeat_for(traits.interval_s)

    def _make_room(self, books: Books) -> None:
        if len(self._links) < self._most_links:
            return
        oldest = min(self._links, key=lambda k: self._links[k].last_s or 0.0)
        self._links.pop(oldest).flush(books)
