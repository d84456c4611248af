"""To which tags at which gateways a rule applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from tagtrail_agent.filtering import fields
from tagtrail_agent.identity.enrolment import Enrolment


class Traits(NamedTuple):
    """What the enrolment says about a tag.

    Attributes:
        model: Model of the tag; None = not known.
        mode: Cadence mode, "transit" or "storage"; None = not known.
        interval_s: Time between adverts that the server expects in that mode, seconds.
    """

    model: str | None = None
    mode: str | None = None
    interval_s: float | None = None


TraitsOf = Callable[[str], Traits]
"""Returns the traits of a tag by its identity, `kind:value`."""

UNKNOWN: Final = Traits()


def no_traits(tag: str) -> Traits:
    """Return the traits of any tag where no enrolment is known."""
    return UNKNOWN


def enrolled_traits(enrolment: Enrolment) -> TraitsOf:
    """Return what looks up the traits of the tags of an enrolment."""
    known = {t.name: Traits(t.model, t.mode, t.interval_s) for t in enrolment.tags}

    def traits_of(tag: str) -> Traits:
        return known.get(tag, UNKNOWN)

    return traits_of


@dataclass(frozen=True, slots=True)
class Match:
    """Patterns with `*` and `?`; a member that is left out takes anything.

    Attributes:
        tag: Identities, `kind:value`.
        model: Models.
        mode: Cadence modes.
        gateway: Gateways; the agent's own has the name that the agent was given.
    """

    tag: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    mode: tuple[str, ...] = ()
    gateway: tuple[str, ...] = ()

    def takes(self, tag: str, gateway_id: str | None, traits: Traits) -> bool:
        """Tell whether a tag at a gateway is meant."""
        return (
            _fits(self.tag, tag)
            and _fits(self.model, traits.model)
            and _fits(self.mode, traits.mode)
            and _fits(self.gateway, gateway_id)
        )


def _fits(patterns: tuple[str, ...], value: str | None) -> bool:
    if not patterns:
        return True
    return value is not None and any(fnmatchcase(value, pattern) for pattern in patterns)


def match_of(path: str, raw: Any) -> Match:
    """Read a match. Raises RulesDocumentError."""
    given = fields.table(path, raw, ("tag", "model", "mode", "gateway"))
    return Match(**{n: fields.words(fields.below(path, n), v) for n, v in given.items()})
