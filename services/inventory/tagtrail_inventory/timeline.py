"""What happened to an asset, from all facts that concern it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from tagtrail_inventory.core.returning import is_back_sql
from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import RejectedError

_IS_BACK: Final = is_back_sql(
    "p.occurred_at, p.site_id",
    bound="m.occurred_at, m.position",
    gone="g.occurred_at, g.position",
    left="l.site_id",
)

TIMELINE: Final = """
with mine as (
    select b.tag_id, b.occurred_at, b.position, b.event_id,
           n.occurred_at as end_at, n.position as end_position, n.asset_id as next_asset_id,
           n.event_id as end_event_id
    from binding b
    left join lateral (
        select occurred_at, position, asset_id, event_id from binding
        where log_id = $1 and tag_id = b.tag_id
          and (occurred_at, position) > (b.occurred_at, b.position)
        order by occurred_at, position limit 1
    ) n on true
    where b.log_id = $1 and b.asset_id = $2
), seen as (
    select p.occurred_at, p.position, p.event_id, p.tag_id, p.zone_id, g.position as gone_position,
           {is_back} as back
    from mine m
    join placement p on p.log_id = $1 and p.tag_id = m.tag_id
     and (p.occurred_at, p.position) >= (m.occurred_at, m.position)
     and (m.end_at is null or (p.occurred_at, p.position) < (m.end_at, m.end_position))
    left join lateral (
        select c.occurred_at, c.position, coalesce(d.occurred_at, c.occurred_at) as left_at,
               coalesce(d.position, c.position) as left_position
        from custody c
        left join custody d on c.state = 'delivered' and d.log_id = $1 and d.asset_id = $2
         and d.state = 'in_transit' and d.shipment_id = c.shipment_id
         and (d.occurred_at, d.position) < (c.occurred_at, c.position)
        where c.log_id = $1 and c.asset_id = $2
          and (c.occurred_at, c.position) < (p.occurred_at, p.position)
        order by c.occurred_at desc, c.position desc, d.occurred_at desc, d.position desc limit 1
    ) g on p.zone_id is not null
    left join lateral (
        select site_id from placement
        where log_id = $1 and tag_id = p.tag_id
          and (occurred_at, position) < (g.left_at, g.left_position)
        order by occurred_at desc, position desc limit 1
    ) l on true
), happened as (
    select 'tag_bound' as what, occurred_at, position, event_id, tag_id, null as zone_id,
           null as sku, null as lot, null::bigint as amount, null::bigint as quantity_after,
           null as other_asset_id, null as shipment_id, null as reason
    from mine
    union all
    select 'tag_unbound', end_at, end_position, end_event_id, tag_id, null, null, null, null, null,
           next_asset_id, null, null
    from mine where end_at is not null and next_asset_id is distinct from $2
    union all
    select case when zone_id is null then 'left_zones' else 'zone_entered' end,
           occurred_at, position, event_id, tag_id, zone_id, null, null, null, null, null, null,
           case when gone_position is null then null
                when not back then 'within_return_grace'
                when row_number() over (partition by gone_position, back
                                        order by occurred_at, position) = 1 then 'returned' end
    from seen
    union all
    (select distinct on (sku, lot, occurred_at, position)
           kind, occurred_at, position, event_id, null, null, sku, nullif(lot, ''), amount,
           quantity, other, null, null
    from content where log_id = $1 and asset_id = $2
    order by sku, lot, occurred_at, position, known_position desc)
    union all
    select state, occurred_at, position, event_id, null, null, null, null, null, null, null,
           shipment_id, null
    from custody where log_id = $1 and asset_id = $2
)
select * from happened
where $3::timestamptz is null or (occurred_at, position) < ($3, $4)
order by occurred_at desc, position desc
fetch first $5 rows with ties
""".replace("{is_back}", _IS_BACK)
"""`reason` of a zone that was entered after a departure or delivery: `returned` (the first that brings
the asset back), `within_return_grace` (too soon: nothing changes in stock)."""


async def timeline(
    c: Connection, log_id: int, asset_id: str, after: tuple[str, ...] | None, limit: int
) -> list[dict[str, Any]]:
    """Return what happened to an asset, newest first.

    Args:
        c: Connection.
        log_id: The tenant.
        asset_id: The asset.
        after: Time and position of the last item of the page before.
        limit: Most items; the items of one fact are never parted, so there may be more.
    """
    at, position = None, 0
    if after is not None:
        try:
            at, position = datetime.fromisoformat(after[0]), int(after[1])
        except ValueError as error:
            raise RejectedError("`after` is not a cursor of this list", field="after") from error
    rows = await c.fetch(TIMELINE, log_id, asset_id, at, position, limit)
    return [dict(r) for r in rows]
