"""Which facts make a number, and the proof that they suffice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tagtrail_inventory.core.contents import Key, Op, Order, fold
from tagtrail_inventory.places import PLACES
from tagtrail_inventory.stock import When, bounded
from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import TooLargeError

MOST_OPS: Final = 20_000
"""Most ledger rows behind one answer: a cell with more is asked for by lot or earlier time."""

LEDGER: Final = """
select distinct on (asset_id, sku, lot, occurred_at, position)
       asset_id, sku, lot, occurred_at, position, kind, amount, quantity, cause, other, event_id
from content
where log_id = $1 and asset_id = any($4::text[])
  and occurred_at <= coalesce($2, 'infinity'::timestamptz)
  and known_position <= coalesce($3, 9223372036854775807)
  and ($5::text is null or sku = $5) and ($6::text is null or lot = $6)
order by asset_id, sku, lot, occurred_at desc, position desc, known_position desc
limit $7
"""
CARRIERS: Final = (
    "with "
    + PLACES
    + """
select asset_id, zone_id, custody, tag_id, on_asset, since_at, zone_event_id, binding_event_id,
       custody_event_id
from place where ($5::text is null and zone_id is null) or zone_id = $5
"""
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger.

    Attributes:
        op: What it did.
        quantity: What the line held after it.
    """

    op: Op
    quantity: int


async def evidence(
    c: Connection,
    when: When,
    assets: Sequence[str],
    sku: str | None = None,
    lot: str | None = None,
) -> Mapping[tuple[str, str, str], Sequence[Entry]]:
    """Return, by line, the ledger since the line was last empty or counted, oldest first.

    Raises:
        TooLargeError: that is more than `MOST_OPS` rows.
    """
    rows = await c.fetch(
        LEDGER, when.log_id, when.at, when.position, list(assets), sku, lot, MOST_OPS + 1
    )
    if len(rows) > MOST_OPS:
        raise TooLargeError(
            f"more than {MOST_OPS} facts lie behind this; ask for one lot or one asset"
        )
    lines: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    closed: set[tuple[str, str, str]] = set()
    for row in rows:
        key = Key(row["asset_id"], row["sku"], row["lot"])
        if key in closed:
            continue
        op = Op(
            Order(row["occurred_at"], row["position"]), row["kind"], row["amount"],
            row["event_id"], row["cause"], row["other"],
        )  # fmt: skip
        if row["quantity"] == 0:
            closed.add(key)
            continue
        lines[key].append(Entry(op, row["quantity"]))
        if op.kind == "counted":
            closed.add(key)
    return {key: entries[::-1] for key, entries in lines.items()}


async def explain(
    c: Connection, when: When, zone_id: str | None, sku: str, lot: str | None
) -> dict[str, Any]:
    """Return the facts behind the stock of a SKU in a zone (None: without a known place).

    The facts listed are sufficient: `folds_to` is what folding only them gives.
    """
    bound = await bounded(c, when)
    holders = await c.fetch(
        "select distinct asset_id from content_now where log_id = $1 and sku = $2", when.log_id, sku
    )
    ids = [r["asset_id"] for r in holders]
    placed = await c.fetch(CARRIERS, bound.log_id, bound.at, bound.position, ids, zone_id)
    places = {r["asset_id"]: dict(r) for r in placed}
    if zone_id is None:
        anywhere = await c.fetch(
            f"with {PLACES} select asset_id from place",  # noqa: S608 - constant
            bound.log_id, bound.at, bound.position, ids,
        )  # fmt: skip
        known = {r["asset_id"] for r in anywhere}
        places |= {i: {"asset_id": i, "custody": "here"} for i in ids if i not in known}
    behind = await evidence(c, bound, list(places), sku, lot)
    lines = [_line(key, entries, places[key[0]]) for key, entries in sorted(behind.items())]
    return {
        "zone_id": zone_id,
        "sku": sku,
        "lot": lot,
        "quantity": sum(entries[-1].quantity for entries in behind.values()),
        "folds_to": sum(line["folds_to"] for line in lines),
        "lines": lines,
        "event_ids": sorted({i for line in lines for i in line["event_ids"]}),
    }


def _line(
    key: tuple[str, str, str], entries: Sequence[Entry], place: Mapping[str, Any]
) -> dict[str, Any]:
    balance = fold(e.op for e in entries)
    where = [place.get(f"{kind}_event_id") for kind in ("binding", "zone", "custody")]
    return {
        "asset_id": key[0],
        "lot": key[2] or None,
        "custody": place.get("custody"),
        "tag_id": place.get("tag_id"),
        "since_at": place.get("since_at"),
        "quantity": entries[-1].quantity,
        "folds_to": balance.quantity,
        "verified": balance.verified,
        "placed_by": [str(i) for i in where if i is not None],
        "contents": [
            {
                "event_id": str(e.op.event_id),
                "type": e.op.cause,
                "effect": e.op.kind,
                "amount": e.op.amount,
                "other_asset_id": e.op.other,
                "occurred_at": e.op.order.occurred_at,
                "position": e.op.order.position,
                "quantity_after": e.quantity,
            }
            for e in entries
        ],
        "event_ids": [str(e.op.event_id) for e in entries]
        + [str(i) for i in where if i is not None],
    }
