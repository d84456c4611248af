"""The plan of a run: assets with their tracks, business facts, and what really happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tagtrail.simulator.goods import Contents
from tagtrail.simulator.layout import Point, Site
from tagtrail.simulator.tracks import Track
from tagtrail_kernel.events.registry import Event

State = Literal["away", "inbound", "stored", "parked", "busy", "staged", "stolen"]
Pod = Literal["on_time", "late", "none"]
MoveKind = Literal["arrival", "put_away", "relocation", "pick", "load", "departure", "theft"]


@dataclass(slots=True)
class Asset:
    """A crate or pallet with its tag.

    Attributes:
        index: Number on its site, from 0; row of the radio's arrays.
        asset_id: Id in the tenant.
        kind: "pallet" or "crate".
        tag_id: Id of its tag.
        mac: Radio address, 12 lower-case hex digits.
        height_m: Height of the tag above the floor, metres.
        track: Where it is over time.
        contents: What lies on it at the planner's present moment.
        state: What may be done with it.
        slot: The storage place it takes, as (zone index, slot number).
        dies_at_s: When its battery is empty, seconds since the start.
        still: Whether it rests for the whole run.
        away_since_s: When it left the site the last time, seconds.
    """

    index: int
    asset_id: str
    kind: str
    tag_id: str
    mac: str
    height_m: float
    track: Track = field(default_factory=Track)
    contents: Contents = field(default_factory=dict)
    state: State = "stored"
    slot: tuple[int, int] | None = None
    dies_at_s: float | None = None
    still: bool = True
    away_since_s: float = 0.0

    @property
    def place(self) -> Point:
        """Where it is when its last planned move is done, metres."""
        return self.track.place


@dataclass(frozen=True, slots=True)
class Fact:
    """A business fact that somebody tells the system.

    Attributes:
        at_s: When it happened, seconds since the start.
        subject: What it is about.
        data: The fact.
    """

    at_s: float
    subject: str
    data: Event


@dataclass(frozen=True, slots=True)
class Movement:
    """One asset went from one place to another.

    Attributes:
        asset: Which.
        kind: Why.
        start_s: When it set off, seconds.
        end_s: When it arrived, seconds.
        from_zone: Zone it left; None outside.
        to_zone: Zone it reached; None outside.
    """

    asset: Asset
    kind: MoveKind
    start_s: int
    end_s: int
    from_zone: str | None
    to_zone: str | None


@dataclass(frozen=True, slots=True)
class Shipment:
    """A truck that left, as planned and as it was.

    Attributes:
        shipment_id: Id in the tenant.
        planned: What the document says.
        loaded: What was on the truck.
        departed_s: When it drove off, seconds.
        pod: Whether and when delivery is proven.
        pod_s: When the proof is recorded; None if never.
    """

    shipment_id: str
    planned: tuple[str, ...]
    loaded: tuple[str, ...]
    departed_s: int
    pod: Pod
    pod_s: float | None

    @property
    def wrong(self) -> tuple[str, ...]:
        """Assets on the truck that the document does not name."""
        return tuple(a for a in self.loaded if a not in self.planned)

    @property
    def missing(self) -> tuple[str, ...]:
        """Assets in the document that stayed behind."""
        return tuple(a for a in self.planned if a not in self.loaded)


@dataclass(frozen=True, slots=True)
class StockChange:
    """Contents of an asset changed.

    Attributes:
        at_s: When, seconds.
        asset_id: Where.
        contents: What lies on it from then on.
    """

    at_s: float
    asset_id: str
    contents: Contents


@dataclass(slots=True)
class Plan:
    """All that happens on one site.

    Attributes:
        site: The ground plan.
        assets: All assets, by index.
        facts: Business facts, in time order, without registrations.
        movements: All moves, in order of their start.
        shipments: Trucks that left within the run.
        thefts: (asset, seconds when it was gone).
        stock: Changes of contents in time order, the first ones at 0.
    """

    site: Site
    assets: list[Asset] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    shipments: list[Shipment] = field(default_factory=list)
    thefts: list[tuple[Asset, int]] = field(default_factory=list)
    stock: list[StockChange] = field(default_factory=list)
