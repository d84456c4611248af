"""The plain definition of stock at (effective time, position): the oracle of the SQL queries.

It folds all facts anew for each question and is meant to be obvious, not quick.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from tagtrail_inventory.core.contents import EMPTY, Balance, Key, Op, step
from tagtrail_inventory.core.returning import News, is_back
from tagtrail_inventory.core.stock_facts import operations
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import TagBound, TagRetired, TagUnbound
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned
from tagtrail_kernel.events.stock import CountRecorded

When = tuple[datetime, int]


class Place(NamedTuple):
    """Where an asset is.

    Attributes:
        zone_id: Its zone, None if not known.
        custody: `here`, `in_transit` or `delivered`.
    """

    zone_id: str | None
    custody: str


NOWHERE = Place(None, "here")


@dataclass(frozen=True, slots=True)
class AsOf:
    """Everything at one pair of clocks.

    Attributes:
        asset_of: Asset by tag.
        places: Place by asset.
        balances: What each line holds.
    """

    asset_of: dict[str, str | None]
    places: dict[str, Place]
    balances: dict[Key, Balance]

    def stock(self) -> dict[tuple[Place, str, str], tuple[int, int]]:
        """Return (quantity, verified) by (place, sku, lot), without empty cells."""
        cells: dict[tuple[Place, str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for key, balance in self.balances.items():
            cell = (self.places.get(key.asset_id, NOWHERE), key.sku, key.lot)
            quantity, verified = cells[cell]
            cells[cell] = (quantity + balance.quantity, verified + balance.verified)
        return {cell: sums for cell, sums in cells.items() if sums[0]}


def as_of(events: Iterable[Recorded], at: datetime | None, position: int | None) -> AsOf:
    """Fold what was recorded up to a position and had happened up to a time.

    Args:
        events: The log, in position order.
        at: Effective time; None = everything.
        position: Last position that is known; None = all.
    """
    known = [e for e in events if position is None or e.position <= position]
    bound = [s for s in _binding_facts(known) if at is None or s[1][0] <= at]
    happened = [e for e in known if at is None or e.envelope.occurred_at <= at]
    spans = _spans(bound)
    zones = _zones(happened)
    gone = [g for g in _handed_over(known) if at is None or g.when[0] <= at]
    assets = {s.asset for s in spans} | {g.asset for g in gone}
    return AsOf(
        asset_of={tag: asset for tag, _, asset in sorted(bound, key=lambda s: s[1])},
        places={a: _place(a, spans, zones, gone) for a in assets},
        balances=_balances(happened),
    )


def _when(event: Recorded) -> When:
    return (event.envelope.occurred_at, event.position)


def _binding_facts(known: Sequence[Recorded]) -> list[tuple[str, When, str | None]]:
    """Accept statements in log order: who says that a tag left an asset must be right then."""
    accepted: list[tuple[str, When, str | None]] = []

    def held(tag: str, when: When) -> str | None:
        before = [(w, a) for t, w, a in accepted if t == tag and w < when]
        return max(before, key=lambda b: b[0])[1] if before else None

    for event in known:
        when = _when(event)
        match event.data:
            case TagBound(tag_id=tag, asset_id=asset):
                accepted.append((tag, when, asset))
            case TagUnbound(tag_id=tag, asset_id=asset) if held(tag, when) == asset:
                accepted.append((tag, when, None))
            case TagRetired(tag_id=tag) if held(tag, when) is not None:
                accepted.append((tag, when, None))
            case _:
                pass
    return accepted


@dataclass(frozen=True, slots=True)
class _Span:
    tag: str
    asset: str
    start: When
    end: When | None


def _spans(bound: Sequence[tuple[str, When, str | None]]) -> list[_Span]:
    """Return, for each tag and asset, the last statement that put them together for a while."""
    last: dict[tuple[str, str], _Span] = {}
    for tag, when, asset in sorted(bound, key=lambda s: s[1]):
        if asset is None:
            continue
        later = [w for t, w, _ in bound if t == tag and w > when]
        if later and min(later)[0] == when[0]:
            continue
        last[tag, asset] = _Span(tag, asset, when, min(later) if later else None)
    return list(last.values())


class _Zone(NamedTuple):
    when: When
    zone_id: str | None
    site_id: str | None


class _Witness(NamedTuple):
    rank: int
    news: When
    span: _Span
    zone: _Zone | None


def _zones(happened: Sequence[Recorded]) -> dict[str, list[_Zone]]:
    zones: dict[str, list[_Zone]] = defaultdict(list)
    for event in happened:
        if isinstance(event.data, TagZoneChanged):
            zone = _Zone(_when(event), event.data.zone_id, event.data.site_id)
            zones[event.data.tag_id].append(zone)
    return zones


class _Gone(NamedTuple):
    asset: str
    when: When
    state: str
    shipment: str | None


def _handed_over(known: Sequence[Recorded]) -> list[_Gone]:
    """Return departures and deliveries by asset; a shipment is resolved in log order."""
    carried: dict[str, tuple[str, ...]] = {}
    found: list[_Gone] = []
    for event in known:
        assets: tuple[str, ...] = ()
        state, moved = "in_transit", getattr(event.data, "shipment_id", None)
        match event.data:
            case ShipmentPlanned(shipment_id=shipment, asset_ids=planned):
                carried[shipment] = planned
            case ShipmentDeparted(shipment_id=shipment, asset_ids=loaded):
                assets = carried[shipment] = loaded or carried.get(shipment, ())
            case PodRecorded(shipment_id=shipment_id, asset_ids=covered):
                assets, state = covered or carried.get(shipment_id or "", ()), "delivered"
            case _:
                pass
        found += [_Gone(asset, _when(event), state, moved) for asset in assets]
    return found


def _place(
    asset: str,
    spans: Sequence[_Span],
    zones: dict[str, list[_Zone]],
    gone: Sequence[_Gone],
) -> Place:
    witnesses: list[_Witness] = []
    for span in (s for s in spans if s.asset == asset):
        seen = [z for z in zones.get(span.tag, []) if span.end is None or z.when < span.end]
        if not seen:
            witnesses.append(_Witness(0, span.start, span, None))
            continue
        zone = max(seen, key=lambda z: z.when)
        rank = 1 if span.end is not None else 2 if zone.zone_id is None else 3
        witnesses.append(_Witness(rank, max(zone.when, span.start), span, zone))
    best = max(witnesses, default=None, key=lambda w: (w.rank, w.news))
    mine = sorted((g for g in gone if g.asset == asset), key=lambda g: g.when)
    if mine and not (best is not None and _came_back(best, mine, zones)):
        return Place(None, mine[-1].state)
    return Place(best.zone.zone_id if best is not None and best.zone is not None else None, "here")


def _came_back(witness: _Witness, gone: Sequence[_Gone], zones: dict[str, list[_Zone]]) -> bool:
    zone, last = witness.zone, gone[-1]
    if zone is None or zone.zone_id is None or last.when > witness.news:
        return False
    departures = [
        g.when for g in gone[:-1]
        if last.state == "delivered" and g.state == "in_transit"
        and g.shipment is not None and g.shipment == last.shipment
    ]  # fmt: skip
    left_at = max(departures, default=last.when)
    before = [z for z in zones[witness.span.tag] if z.when < left_at]
    left = max(before, key=lambda z: z.when).site_id if before else None
    return is_back(last.when, News(witness.span.start, zone.when[0], zone.site_id, left))


def _balances(happened: Sequence[Recorded]) -> dict[Key, Balance]:
    ops: dict[Key, list[Op]] = defaultdict(list)
    for event in happened:
        for key, op in operations(event):
            ops[key].append(op)
    for event in happened:
        if isinstance(event.data, CountRecorded):
            named = {k for k, _ in operations(event)}
            for key, op in operations(event, list(ops)):
                if key not in named:
                    ops[key].append(op)
    balances: dict[Key, Balance] = {}
    for key, changes in ops.items():
        balance = EMPTY
        for op in sorted(changes, key=lambda o: o.order):
            balance = step(balance, op)
        balances[key] = balance
    return balances
