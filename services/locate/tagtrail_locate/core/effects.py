"""What a fold of events leads to: rows for the tables, and facts for the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registry import Event

SOURCE: Final = "locate"
"""Who says so, in the envelopes of derived facts."""

Method = Literal["ble_zone", "uwb", "reported", "gps", "read_point", "claimed"]


class PlaceRow(NamedTuple):
    """The latest place of a tag. Times are aware UTC, lengths metres in the site's frame."""

    tag_id: str
    site_id: str | None
    zone_id: str | None
    zone_since_at: datetime | None
    floor: float | None
    x_m: float | None
    y_m: float | None
    accuracy_m: float | None
    radius_95_m: float | None
    method: str | None
    confidence: float | None
    presence: str
    last_heard_at: datetime
    gateway_id: str | None
    configuration: int
    position: int
    event_id: UUID
    source_class: str | None = None
    """Class of the source that decided, if it is not one's own."""


class HistoryRow(NamedTuple):
    """A confirmed change of zone."""

    tag_id: str
    position: int
    occurred_at: datetime
    zone_id: str | None
    from_zone_id: str | None
    site_id: str | None
    method: str
    confidence: float | None
    x_m: float | None
    y_m: float | None
    accuracy_m: float | None
    radius_95_m: float | None
    reason: str
    candidate_since_at: datetime
    configuration: int
    evidence: list[UUID]
    event_id: UUID


class PresenceRow(NamedTuple):
    """The presence of a tag since it last changed."""

    tag_id: str
    state: str
    since_at: datetime
    last_heard_at: datetime
    silent_s: float
    observed_s: float
    expected_interval_s: float
    learned: bool
    zone_id: str | None
    site_id: str | None
    gateway_ids: list[str]
    position: int
    cause: str | None
    gone_probability: float | None
    lost: bool
    look_first: list[str]


class GatewayRow(NamedTuple):
    """How a gateway is; one that was never heard has no times."""

    gateway_id: str
    site_id: str | None
    registered: bool
    zone_id: str | None
    last_heard_at: datetime | None
    alive_since_at: datetime | None
    last_sighting_at: datetime | None
    sightings_per_min: int
    tags_heard: int
    sightings: int
    online: bool | None
    clock_ahead_s: float | None
    position: int


@dataclass(slots=True)
class Effects:
    """Everything that came out since the last `taken`.

    Attributes:
        places: Latest row per tag; None = the tag was retired.
        history: In log order.
        presence: Latest row per tag; None = the tag was retired.
        gateways: Latest row per gateway; None = it was retired.
        facts: Derived facts, in log order.
        snapshot: (position, packed memory) at the last snapshot point passed; None if none was.
        order: Running number of what came out of the log: facts and history stand in its order
            once `arrange` was called.
    """

    places: dict[str, PlaceRow | None] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)
    presence: dict[str, PresenceRow | None] = field(default_factory=dict)
    gateways: dict[str, GatewayRow | None] = field(default_factory=dict)
    facts: list[Envelope] = field(default_factory=list)
    snapshot: tuple[int, bytes] | None = None
    order: int = 0
    _numbers: list[int] = field(default_factory=list)
    _changes: list[int] = field(default_factory=list)

    def tell(self, order: int, fact: Envelope) -> None:
        """Add a derived fact."""
        self.facts.append(fact)
        self._numbers.append(order)

    def record(self, order: int, row: HistoryRow) -> None:
        """Add a confirmed change of zone."""
        self.history.append(row)
        self._changes.append(order)

    def arrange(self) -> None:
        """Put facts and history into the order of the log, whenever they were computed."""
        self.facts = [self.facts[n] for n in _sorted(self._numbers)]
        self.history = [self.history[n] for n in _sorted(self._changes)]


def _sorted(numbers: list[int]) -> list[int]:
    return sorted(range(len(numbers)), key=numbers.__getitem__)


def at(seconds: float) -> datetime:
    """Return an aware time of seconds since 1970; exact to the microsecond both ways."""
    return datetime.fromtimestamp(seconds, UTC)


def derived(cause: UUID, subject: str, at_s: float, data: Event) -> Envelope:
    """Wrap a fact that follows from another one; the same cause always gives the same id."""
    occurred_at = at(at_s)
    return Envelope(
        id=uuid8(occurred_at, f"{cause}/{data.TYPE}/{subject}".encode()),
        subject=subject,
        source=SOURCE,
        occurred_at=occurred_at,
        data=data,
        causation_id=cause,
    )
