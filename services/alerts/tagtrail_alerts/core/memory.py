"""What the rules remember. Every change is noted, so that it can be stored with the position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from tagtrail_kernel.events.alerts import AlertFired

T = TypeVar("T", bound=msgspec.Struct)

KEPT: Final = timedelta(days=90)
"""How long finished expectations, shipments and proofs are remembered, in event time: longer
than any delivery takes whose proof could still come."""

MAX_PROOFS: Final = 8
"""Proofs of delivery remembered per asset: one trip needs one, re-sent documents a few."""


class Thing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what is remembered."""


class Site(Thing, frozen=True, kw_only=True):
    """A site, for people."""

    name: str


class Zone(Thing, frozen=True, kw_only=True):
    """A zone: its part in the flow of goods, and its name."""

    name: str
    kind: str
    site_id: str


class Asset(Thing, frozen=True, kw_only=True):
    """An asset: what it is and what people call it."""

    kind: str
    name: str | None = None


class Tag(Thing, frozen=True, kw_only=True):
    """A tag: what is printed on it, and the asset it is on."""

    label: str | None = None
    asset_id: str | None = None


class Place(Thing, frozen=True, kw_only=True):
    """Where a tag was last confirmed to be.

    Attributes:
        zone_id: Zone; None if it left all zones.
        since_at: When it came there.
        last_zone_id: The last zone that was one.
        stay_at: When its unbroken stay in zones of this kind began.
        gone: Whether its silence was already taken for leaving.
    """

    zone_id: str | None
    since_at: datetime
    last_zone_id: str | None = None
    stay_at: datetime | None = None
    gone: bool = False


class Shipment(Thing, frozen=True, kw_only=True):
    """What a shipment carries: as loaded, else as planned; and its PODs that name no assets.

    Attributes:
        at: Latest event about it.
        planned: Assets planned.
        loaded: Assets that departed.
        proofs: Proofs for all of it.
    """

    at: datetime
    planned: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()

    @property
    def asset_ids(self) -> tuple[str, ...]:
        """Assets that a POD of the whole shipment covers."""
        return self.loaded or self.planned


class Proof(Thing, frozen=True, kw_only=True):
    """A proof of delivery."""

    event_id: str
    at: datetime
    document: str | None = None


class Deliveries(Thing, frozen=True, kw_only=True):
    """What is known about an asset's going out.

    Attributes:
        proofs: Its PODs, in the order in which the log learned of them.
        departed_at: Latest departure with a shipment.
    """

    proofs: tuple[Proof, ...] = ()
    departed_at: datetime | None = None


class RuleSetting(Thing, frozen=True, kw_only=True):
    """A rule's parameters as set by events.

    Attributes:
        version: 1 for the defaults, one more with every change.
        values: What was set; empty for the defaults.
        position: Position of the change.
        error: Why the latest change was not taken; the earlier parameters stay in force.
    """

    version: int = 1
    values: dict[str, Any] = {}
    position: int = 0
    error: str | None = None


class EventClock(Thing, frozen=True, kw_only=True):
    """How far event time has come: see `clock.py`."""

    watermark: datetime
    seen_at: datetime


State = Literal["waiting", "met", "cancelled", "fired", "retracted", "closed"]


class Expectation(Thing, frozen=True, kw_only=True):
    """Something must happen before a deadline, or an alert fires.

    Attributes:
        alert_id: Identity of the alert that it would become.
        rule_id: Its rule.
        key: What it is about: tag or asset id. At most one per rule and key is active.
        anchor_event_id: The event that began it.
        began_at: Time of that event.
        from_at: From when on the expected event counts.
        due_at: Until when it counts.
        decide_at: Event time at which the rule decides.
        known_at: When the log learned of it.
        state: waiting; met or cancelled (never an alert); fired; retracted (late proof that it
            was never true); closed (the condition ended, or a person closed it).
        outside: The asset was outside of all inside zones since.
        silent: It began by silence, not by a zone change.
        card: The alert's content, fixed when it began.
        fired_position: Position at which it fired.
        cause: How it ended.
    """

    alert_id: str
    rule_id: str
    key: str
    anchor_event_id: str
    began_at: datetime
    from_at: datetime
    due_at: datetime
    decide_at: datetime
    known_at: datetime
    state: State = "waiting"
    outside: bool = False
    silent: bool = False
    card: AlertFired
    fired_position: int | None = None
    cause: str | None = None

    @property
    def active(self) -> bool:
        """Whether it waits or is an open alert."""
        return self.state in ("waiting", "fired")


class Shelf(Generic[T]):
    """Things by key, with a note of which changed."""

    def __init__(self) -> None:
        self._things: dict[str, T] = {}
        self._changed: set[str] = set()

    def get(self, key: str | None) -> T | None:
        """Return a thing, or None."""
        return self._things.get(key) if key is not None else None

    def put(self, key: str, thing: T) -> None:
        """Store a thing; an equal one is no change."""
        if self._things.get(key) != thing:
            self._things[key] = thing
            self._changed.add(key)

    def drop(self, key: str) -> None:
        """Forget a thing."""
        if self._things.pop(key, None) is not None:
            self._changed.add(key)

    def load(self, key: str, thing: T) -> None:
        """Store a thing that is stored already."""
        self._things[key] = thing

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield a snapshot of keys and things, ordered by key."""
        return iter(sorted(self._things.items(), key=lambda item: item[0]))

    def take_changes(self) -> Mapping[str, T | None]:
        """Return what changed since the last call; None for what was dropped."""
        changed, self._changed = self._changed, set()
        return {key: self._things.get(key) for key in sorted(changed)}


class Memory:
    """All that the rules know of one tenant, a pure function of the events so far."""

    def __init__(self) -> None:
        self.sites: Shelf[Site] = Shelf()
        self.zones: Shelf[Zone] = Shelf()
        self.assets: Shelf[Asset] = Shelf()
        self.tags: Shelf[Tag] = Shelf()
        self.places: Shelf[Place] = Shelf()
        self.shipments: Shelf[Shipment] = Shelf()
        self.deliveries: Shelf[Deliveries] = Shelf()
        self.rules: Shelf[RuleSetting] = Shelf()
        self.clock: Shelf[EventClock] = Shelf()
        self.expectations: Shelf[Expectation] = Shelf()
        self._active: dict[tuple[str, str], str] = {}
        self._fresh: list[Expectation] = []

    def expect(self, expectation: Expectation) -> None:
        """Store an expectation; it becomes the active one of its rule and key, or stops being so."""
        if expectation.state == "waiting" and self.expectations.get(expectation.alert_id) is None:
            self._fresh.append(expectation)
        self.expectations.put(expectation.alert_id, expectation)
        self._index(expectation)

    def take_fresh(self) -> list[Expectation]:
        """Return the expectations that were made since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def load_expectation(self, expectation: Expectation) -> None:
        """Store an expectation that is stored already."""
        self.expectations.load(expectation.alert_id, expectation)
        self._index(expectation)

    def active(self, rule_id: str, key: str | None) -> Expectation | None:
        """Return the waiting or open expectation about a thing."""
        if key is None:
            return None
        return self.expectations.get(self._active.get((rule_id, key)))

    def active_of(self, rule_id: str) -> list[Expectation]:
        """Return all waiting or open expectations of a rule, ordered by key."""
        keys = sorted(key for rule, key in self._active if rule == rule_id)
        found = (self.active(rule_id, key) for key in keys)
        return [expectation for expectation in found if expectation is not None]

    def _index(self, expectation: Expectation) -> None:
        key = (expectation.rule_id, expectation.key)
        if expectation.active:
            self._active[key] = expectation.alert_id
        elif self._active.get(key) == expectation.alert_id:
            del self._active[key]

    def forget_before(self, at: datetime) -> None:
        """Drop what is finished and older than a time."""
        for alert_id, expectation in self.expectations.items():
            if not expectation.active and expectation.decide_at < at:
                self.expectations.drop(alert_id)
        for shipment_id, shipment in self.shipments.items():
            if shipment.at < at:
                self.shipments.drop(shipment_id)
        for asset_id, known in self.deliveries.items():
            newest = max([p.at for p in known.proofs] + [known.departed_at or at - KEPT])
            if newest < at:
                self.deliveries.drop(asset_id)
