"""How facts about contents become operations on lines."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from tagtrail_inventory.core.contents import Key, Op, OpKind, Order
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.stock import (
    ContentsMoved,
    CountedLine,
    CountRecorded,
    CratePacked,
    CrateUnpacked,
    Line,
)

StockFact = CratePacked | CrateUnpacked | ContentsMoved | CountRecorded
MAX_LOT_BYTES: Final = 256
"""Longest lot that is a key as it is: with asset and SKU it must fit an index entry (2.7 kB)."""

STOCK_FACTS = (CratePacked, CrateUnpacked, ContentsMoved, CountRecorded)


def assets_of(fact: StockFact) -> tuple[str, ...]:
    """Return the assets whose lines a fact changes."""
    if isinstance(fact, ContentsMoved):
        return (fact.asset_id, fact.to_asset_id)
    return (fact.asset_id,)


def lot_key(lot: str | None) -> str:
    """Return the lot as a key: "" without one; a very long one is cut and ends with its hash.

    Example:
        >>> lot_key(None), lot_key("L7"), len(lot_key("x" * 500))
        ('', 'L7', 217)
    """
    encoded = (lot or "").encode()
    if len(encoded) <= MAX_LOT_BYTES:
        return lot or ""
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return encoded[:200].decode(errors="ignore") + "#" + digest


def merged(asset_id: str, lines: Iterable[Line | CountedLine]) -> dict[Key, int]:
    """Return the quantity per line of the books; lines of the same SKU and lot are added up."""
    totals: dict[Key, int] = defaultdict(int)
    for line in lines:
        totals[Key(asset_id, line.sku, lot_key(line.lot))] += line.quantity
    return dict(totals)


def operations(event: Recorded, known: Iterable[Key] = ()) -> list[tuple[Key, Op]]:
    """Return what a fact does to which lines.

    Args:
        event: The fact; other facts than those about contents do nothing.
        known: Lines of the asset that the books know: a count sets those it does not name to 0.
    """
    fact: Event = event.data
    match fact:
        case CratePacked(asset_id=asset, lines=lines):
            return [_op(event, key, "added", n) for key, n in merged(asset, lines).items()]
        case CrateUnpacked(asset_id=asset, lines=lines):
            return [_op(event, key, "taken", n) for key, n in merged(asset, lines).items()]
        case ContentsMoved() if fact.asset_id == fact.to_asset_id:
            return []
        case ContentsMoved(asset_id=here, to_asset_id=there, lines=lines):
            taken = [_op(event, k, "taken", n, there) for k, n in merged(here, lines).items()]
            return taken + [
                _op(event, k, "added", n, here) for k, n in merged(there, lines).items()
            ]
        case CountRecorded(asset_id=asset, lines=counted):
            found = dict.fromkeys(sorted(k for k in known if k.asset_id == asset), 0)
            found |= merged(asset, counted)
            return [_op(event, key, "counted", n) for key, n in found.items()]
        case _:
            return []


def _op(
    event: Recorded, key: Key, kind: OpKind, amount: int, other: str | None = None
) -> tuple[Key, Op]:
    order = Order(event.envelope.occurred_at, event.position)
    return key, Op(order, kind, amount, event.id, event.type, other)


def count_of_none(event_id: UUID, order: Order) -> Op:
    """Return what a count says about a line that it does not name: there is none of it."""
    return Op(order, "counted", 0, event_id, CountRecorded.TYPE)
