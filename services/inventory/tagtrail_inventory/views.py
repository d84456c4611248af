"""What the lists and single resources show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tagtrail_inventory.explain import evidence
from tagtrail_inventory.places import PLACES
from tagtrail_inventory.registry import Registration
from tagtrail_inventory.replies import age_s
from tagtrail_inventory.stock import AS_OF, Cell, When, bounded
from tagtrail_kernel.database import Connection

TAG_STATES: Final = """
select t.tag_id, n.asset_id, n.bound_at, n.zone_id, n.site_id, n.zone_at,
       p.last_seen_at, p.state as presence
from unnest($2::text[]) as t (tag_id)
left join tag_now n on n.log_id = $1 and n.tag_id = t.tag_id
left join presence p on p.log_id = $1 and p.tag_id = t.tag_id
"""
ASSET_STATES: Final = """
select a.asset_id, p.zone_id, p.site_id, coalesce(p.custody, 'here') as custody, p.tag_id,
       coalesce(p.on_asset, false) as on_asset, p.since_at, p.shipment_id,
       coalesce(p.returned, false) as returned,
       coalesce(s.last_seen_at, p.zone_at) as last_seen_at,
       (select count(*) from content_now c
         where c.log_id = $1 and c.asset_id = a.asset_id and c.quantity > 0) as lines,
       (select coalesce(sum(quantity), 0)::bigint from content_now c
         where c.log_id = $1 and c.asset_id = a.asset_id) as units
from unnest($2::text[]) as a (asset_id)
left join place_now p on p.log_id = $1 and p.asset_id = a.asset_id
left join presence s on s.log_id = $1 and s.tag_id = p.tag_id
"""
CONTENTS: Final = """
select line.sku, line.lot, line.quantity, line.verified, r.body ->> 'name' as name,
       coalesce(r.body ->> 'unit', 'EA') as unit
from line left join registration r on r.log_id = $1 and r.kind = 'sku' and r.id = line.sku
order by line.sku, line.lot
"""


def item_of(r: Registration) -> dict[str, Any]:
    """Return a registration as an item of a list."""
    return {
        **r.body,
        "retired": r.retired,
        "position": r.position,
        "event_id": str(r.event_id),
        "changed_at": r.occurred_at,
    }


async def tag_items(
    c: Connection, log_id: int, found: Sequence[Registration], now: datetime
) -> list[dict[str, Any]]:
    """Return tags with their binding, zone and freshness."""
    rows = await c.fetch(TAG_STATES, log_id, [r.id for r in found])
    states = {row["tag_id"]: dict(row) for row in rows}
    return [
        item_of(r) | states[r.id] | {"last_seen_age_s": age_s(states[r.id]["last_seen_at"], now)}
        for r in found
    ]


async def asset_items(
    c: Connection, log_id: int, found: Sequence[Registration], now: datetime
) -> list[dict[str, Any]]:
    """Return assets with their place, witness, freshness and how much they hold."""
    rows = await c.fetch(ASSET_STATES, log_id, [r.id for r in found])
    states = {row["asset_id"]: dict(row) for row in rows}
    return [
        item_of(r) | states[r.id] | {"last_seen_age_s": age_s(states[r.id]["last_seen_at"], now)}
        for r in found
    ]


def cell_item(cell: Cell, now: datetime) -> dict[str, Any]:
    """Return a cell of stock as an item."""
    return {
        "zone_id": cell.zone_id,
        "zone_name": cell.zone_name,
        "site_id": cell.site_id,
        "custody": cell.custody,
        "sku": cell.sku,
        "sku_name": cell.sku_name,
        "lot": cell.lot or None,
        "unit": cell.unit,
        "quantity": cell.quantity,
        "inferred": cell.inferred,
        "verified": cell.verified,
        "assets": cell.assets,
        "asset_ids": cell.asset_ids,
        "last_seen_at": cell.newest_seen_at,
        "last_seen_age_s": age_s(cell.newest_seen_at, now),
        "oldest_seen_age_s": age_s(cell.oldest_seen_at, now),
    }


async def asset_place(c: Connection, when: When, asset_id: str) -> Mapping[str, Any] | None:
    """Return where an asset is, for any pair of clocks; None if nothing is known."""
    bound = await bounded(c, when)
    row = await c.fetchrow(
        f"with {PLACES} select * from place",  # noqa: S608 - constants
        bound.log_id, bound.at, bound.position, [asset_id],
    )  # fmt: skip
    return dict(row) if row is not None else None


async def asset_contents(c: Connection, when: When, asset_id: str) -> list[dict[str, Any]]:
    """Return what an asset holds, with the facts behind each line since it was last empty."""
    bound = await bounded(c, when)
    rows = await c.fetch(
        f"with {AS_OF}{CONTENTS}",
        bound.log_id, bound.at, bound.position, [asset_id],
    )  # fmt: skip
    behind = await evidence(c, bound, [asset_id])
    return [
        {
            "sku": r["sku"],
            "name": r["name"],
            "lot": r["lot"] or None,
            "unit": r["unit"],
            "quantity": r["quantity"],
            "inferred": r["quantity"] - r["verified"],
            "verified": r["verified"],
            "standing": _standing(r["quantity"], r["verified"]),
            "event_ids": [
                str(e.op.event_id) for e in behind.get((asset_id, r["sku"], r["lot"]), ())
            ],
        }
        for r in rows
    ]


def _standing(quantity: int, verified: int) -> str:
    if verified >= quantity:
        return "verified"
    return "partly_verified" if verified else "inferred"


async def assets_at(
    c: Connection, log_id: int, zone_id: str | None, site_id: str | None
) -> list[str]:
    """Return the assets that are in a zone or on a site now."""
    rows = await c.fetch(
        "select p.asset_id from place_now p left join registration z "
        "on z.log_id = p.log_id and z.kind = 'zone' and z.id = p.zone_id "
        "where p.log_id = $1 and ($2::text is null or p.zone_id = $2) "
        "and ($3::text is null or coalesce(z.site_id, p.site_id) = $3) and p.zone_id is not null",
        log_id, zone_id, site_id,
    )  # fmt: skip
    return [r["asset_id"] for r in rows]


async def tags_at(c: Connection, log_id: int, site_id: str | None) -> list[str]:
    """Return the tags whose zone is on a site now."""
    rows = await c.fetch(
        "select n.tag_id from tag_now n left join registration z "
        "on z.log_id = n.log_id and z.kind = 'zone' and z.id = n.zone_id "
        "where n.log_id = $1 and coalesce(z.site_id, n.site_id) = $2 and n.zone_id is not null",
        log_id, site_id,
    )  # fmt: skip
    return [r["tag_id"] for r in rows]


async def tag_state(c: Connection, when: When, tag_id: str) -> dict[str, Any]:
    """Return a tag's binding and zone for any pair of clocks; empty if no fact names it."""
    row = await c.fetchrow(
        """
        select b.asset_id, b.occurred_at as bound_at, b.event_id as binding_event_id,
               p.zone_id, p.site_id, p.occurred_at as zone_at, p.event_id as zone_event_id,
               p.method, p.confidence, s.last_seen_at, s.state as presence,
               b.position is null and p.position is null and s.tag_id is null as blank
        from (select 1) as one
        left join lateral (
            select * from binding where log_id = $1 and tag_id = $4
              and occurred_at <= coalesce($2, 'infinity'::timestamptz)
              and position <= coalesce($3, 9223372036854775807)
            order by occurred_at desc, position desc limit 1
        ) b on true
        left join lateral (
            select * from placement where log_id = $1 and tag_id = $4
              and occurred_at <= coalesce($2, 'infinity'::timestamptz)
              and position <= coalesce($3, 9223372036854775807)
            order by occurred_at desc, position desc limit 1
        ) p on true
        left join presence s on $5 and s.log_id = $1 and s.tag_id = $4
        """,
        when.log_id, when.at, when.position, tag_id, when.is_now,
    )  # fmt: skip
    if row is None or row["blank"]:
        return {}
    return {
        k: str(v) if k.endswith("event_id") and v else v for k, v in row.items() if k != "blank"
    }


async def asset_tags(c: Connection, when: When, asset_id: str) -> list[dict[str, Any]]:
    """Return the tags that are on an asset, for any pair of clocks."""
    rows = await c.fetch(
        """
        select b.tag_id, b.occurred_at as bound_at, b.event_id as binding_event_id
        from (select distinct tag_id from binding where log_id = $1 and asset_id = $4) w
        cross join lateral (
            select * from binding where log_id = $1 and tag_id = w.tag_id
              and occurred_at <= coalesce($2, 'infinity'::timestamptz)
              and position <= coalesce($3, 9223372036854775807)
            order by occurred_at desc, position desc limit 1
        ) b
        where b.asset_id = $4 order by b.tag_id
        """,
        when.log_id, when.at, when.position, asset_id,
    )  # fmt: skip
    return [dict(r) for r in rows]


async def last_seen(c: Connection, log_id: int, place: Mapping[str, Any] | None) -> datetime | None:
    """Return the last evidence of the tag that witnesses an asset's place."""
    if place is None or place["tag_id"] is None:
        return None
    at: datetime | None = await c.fetchval(
        "select last_seen_at from presence where log_id = $1 and tag_id = $2",
        log_id, place["tag_id"],
    )  # fmt: skip
    return at
