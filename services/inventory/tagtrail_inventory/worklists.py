"""Figures of the board, and what people have to settle."""

from __future__ import annotations

from typing import Any, Final

from tagtrail_kernel.database import Connection

UNMAPPED_TAGS: Final = """
select t.tag_id, r.body ->> 'label' as label, t.zone_id, t.last_seen_at, r.id is not null as registered
from (
    select coalesce(n.tag_id, p.tag_id, r.id) as tag_id, n.asset_id, n.zone_id, p.last_seen_at,
           coalesce(r.retired, false) as retired
    from (select id, retired from registration where log_id = $1 and kind = 'tag') r
    full join (select * from tag_now where log_id = $1) n on n.tag_id = r.id
    full join (select * from presence where log_id = $1) p on p.tag_id = coalesce(n.tag_id, r.id)
) t
left join registration r on r.log_id = $1 and r.kind = 'tag' and r.id = t.tag_id
where t.asset_id is null and not t.retired
order by t.last_seen_at desc nulls last, t.tag_id limit $2
"""
UNTAGGED_ASSETS: Final = """
select r.id as asset_id, r.body ->> 'name' as name, p.zone_id, p.custody
from registration r
left join place_now p on p.log_id = r.log_id and p.asset_id = r.id
where r.log_id = $1 and r.kind = 'asset' and not r.retired
  and not exists (select from tag_now n where n.log_id = $1 and n.asset_id = r.id)
order by r.id limit $2
"""
OPEN_CONFLICTS: Final = """
select k.kind, k.subject as tag_id, k.claimed, k.held_by, k.occurred_at, k.event_id, k.position
from conflict k
where k.log_id = $1 and (
    (k.kind = 'identity_taken' and exists (
        select from identity i where i.log_id = $1 and i.identity = k.claimed and i.tag_id = k.subject
     ) and exists (
        select from registration r where r.log_id = $1 and r.kind = 'tag' and r.id = k.held_by
          and not r.retired and r.body -> 'identities' ? k.claimed))
 or (k.kind = 'bound_twice' and k.position = (
        select max(b.position) from binding b where b.log_id = $1 and b.tag_id = k.subject))
 or (k.kind = 'not_bound_there' and k.position > coalesce((
        select max(b.position) from binding b where b.log_id = $1 and b.tag_id = k.subject), 0)))
order by k.position desc limit $2
"""
NEXT_STEPS: Final = {
    "identity_taken": "retire one of the two tags, or register one of them without this identity",
    "bound_twice": 'confirm it with POST /v1/tags/{tag_id}/bind and "move": true, or bind it back so',
    "not_bound_there": "bind the tag where it really is",
}
ZONES: Final = """
select p.zone_id, z.body ->> 'name' as zone_name, coalesce(z.site_id, p.site_id) as site_id,
       count(*) as assets
from place_now p
left join registration z on z.log_id = $1 and z.kind = 'zone' and z.id = p.zone_id
left join registration a on a.log_id = $1 and a.kind = 'asset' and a.id = p.asset_id
where p.log_id = $1 and p.custody = 'here' and not coalesce(a.retired, false)
group by 1, 2, 3 order by 4 desc, 1
"""
FIGURES: Final = """
select
  (select count(*) from registration where log_id = $1 and kind = 'asset' and not retired) as assets,
  (select count(*) from registration where log_id = $1 and kind = 'tag' and not retired) as tags,
  (select count(*) from registration r where r.log_id = $1 and r.kind = 'tag' and not r.retired
     and not exists (select from tag_now n where n.log_id = $1 and n.tag_id = r.id
                      and n.asset_id is not null)) as tags_unbound,
  (select count(*) from registration r where r.log_id = $1 and r.kind = 'asset' and not r.retired
     and not exists (select from tag_now n where n.log_id = $1 and n.asset_id = r.id))
     as assets_without_tag,
  (select count(*) from place_now where log_id = $1 and custody = 'in_transit') as assets_in_transit,
  (select count(*) from place_now where log_id = $1 and custody = 'delivered') as assets_delivered,
  (select count(*) from discrepancy where log_id = $1 and expected <> found) as discrepancies,
  (select coalesce(sum(quantity), 0)::bigint from content_now where log_id = $1) as units,
  (select coalesce(sum(verified), 0)::bigint from content_now where log_id = $1) as units_verified
"""


async def summary(c: Connection, log_id: int) -> dict[str, Any]:
    """Return the figures of the board."""
    figures = await c.fetchrow(FIGURES, log_id)
    zones = await c.fetch(ZONES, log_id)
    conflicts = await c.fetch(OPEN_CONFLICTS, log_id, 1000)
    return {
        **(dict(figures) if figures is not None else {}),
        "conflicts": len(conflicts),
        "assets_by_zone": [dict(z) for z in zones],
    }


async def unmapped(c: Connection, log_id: int, limit: int) -> dict[str, Any]:
    """Return tags that are on no asset, and assets that carry no tag."""
    tags = await c.fetch(UNMAPPED_TAGS, log_id, limit)
    assets = await c.fetch(UNTAGGED_ASSETS, log_id, limit)
    return {"items": [dict(t) for t in tags], "assets_without_tag": [dict(a) for a in assets]}


async def double_mapped(c: Connection, log_id: int, limit: int) -> list[dict[str, Any]]:
    """Return contradictions that still hold, newest first, each with what to do."""
    rows = await c.fetch(OPEN_CONFLICTS, log_id, limit)
    return [
        dict(r) | {"next_step": NEXT_STEPS[r["kind"]].replace("{tag_id}", r["tag_id"])}
        for r in rows
    ]
