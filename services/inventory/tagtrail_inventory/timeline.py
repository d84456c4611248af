"""What happened to an asset, from all facts that concern it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import RejectedError

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
), happened as (
    select 'tag_bound' as what, occurred_at, position, event_id, tag_id, null as zone_id,
           null as sku, null as lot, null::bigint as amount, null::bigint as quantity_after,
           null as other_asset_id, null as shipment_id
    from mine
    union all
    select 'tag_unbound', end_at, end_position, end_event_id, tag_id, null, null, null, null, null,
           next_asset_id, null
    from mine where end_at is not null and next_asset_id is distinct from $2
    union all
    select case when p.zone_id is null then 'left_zones' else 'zone_entered' end,
           p.occurred_at, p.position, p.event_id, p.tag_id, p.zone_id, null, null, null, null, null,
           null
    from mine m
    join placement p on p.log_id = $1 and p.tag_id = m.tag_id
     and (p.occurred_at, p.position) >= (m.occurred_at, m.position)
     and (m.end_at is null or (p.occurred_at, p.position) < (m.end_at, m.end_position))
    union all
    (select distinct on (sku, lot, occurred_at, position)
           kind, occurred_at, position, event_id, null, null, sku, nullif(lot, ''), amount,
           quantity, other, null
    from content where log_id = $1 and asset_id = $2
    order by sku, lot, occurred_at, position, known_position desc)
    union all
    select state, occurred_at, position, event_id, null, null, null, null, null, null, null,
           shipment_id
    from custody where log_id = $1 and asset_id = $2
)
select * from happened
where $3::timestamptz is null or (occurred_at, position) < ($3, $4)
order by occurred_at desc, position desc
fetch first $5 rows with ties
"""


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
