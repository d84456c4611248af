"""Where assets are, as one SQL expression over the facts, for any pair of clocks.

An asset is where its tags are. Of the tags that were ever on it, the best witness is: one that is
on it and in a zone; then one that is on it and has left all zones; then the last zone of a tag
while it was on it (the tag fell off or was moved: the asset is where it was last known). A
departure or a delivery later than the witness's last news takes the asset out of every zone, and
later news brings it back only as `core/returning.py` says: a tag that flaps while the truck drives
off does not. A binding that ended at the instant at which it began was taken back and says nothing.
"""

from __future__ import annotations

from typing import Final

from tagtrail_inventory.core.returning import is_back_sql

_IS_BACK: Final = is_back_sql(
    "b.zone_at, b.site_id",
    bound="b.bound_at, b.bound_position",
    gone="g.occurred_at, g.position",
    left="l.site_id",
)

PLACES: Final = """
wanted as (
    select distinct asset_id, tag_id from binding
    where log_id = $1 and asset_id is not null and ($4::text[] is null or asset_id = any($4))
      and occurred_at <= coalesce($2, 'infinity'::timestamptz)
      and position <= coalesce($3, 9223372036854775807)
), spans as (
    select w.asset_id, w.tag_id, b.occurred_at as bound_at, b.position as bound_position,
           b.event_id as binding_event_id, n.occurred_at as end_at, n.position as end_position
    from wanted w
    cross join lateral (
        select occurred_at, position, event_id from binding m
        where log_id = $1 and tag_id = w.tag_id and asset_id = w.asset_id
          and occurred_at <= coalesce($2, 'infinity'::timestamptz)
          and position <= coalesce($3, 9223372036854775807)
          and not exists (
              select from binding x
              where x.log_id = $1 and x.tag_id = w.tag_id and x.occurred_at = m.occurred_at
                and x.position > m.position
                and x.position <= coalesce($3, 9223372036854775807))
        order by occurred_at desc, position desc limit 1
    ) b
    left join lateral (
        select occurred_at, position from binding
        where log_id = $1 and tag_id = w.tag_id
          and (occurred_at, position) > (b.occurred_at, b.position)
          and occurred_at <= coalesce($2, 'infinity'::timestamptz)
          and position <= coalesce($3, 9223372036854775807)
        order by occurred_at, position limit 1
    ) n on true
), witnesses as (
    select s.*, p.zone_id, p.site_id, p.method, p.confidence, p.event_id as zone_event_id,
           p.occurred_at as zone_at,
           greatest(s.bound_at, p.occurred_at) as news_at,
           case when p.position is null
                     or (s.bound_at, s.bound_position) > (p.occurred_at, p.position)
                then s.bound_position else p.position end as news_position
    from spans s
    left join lateral (
        select zone_id, site_id, method, confidence, event_id, occurred_at, position from placement
        where log_id = $1 and tag_id = s.tag_id
          and occurred_at <= least(coalesce($2, 'infinity'::timestamptz), s.end_at)
          and position <= coalesce($3, 9223372036854775807)
          and (s.end_at is null or (occurred_at, position) < (s.end_at, s.end_position))
        order by occurred_at desc, position desc limit 1
    ) p on true
), best as (
    select distinct on (asset_id) *
    from witnesses
    order by asset_id,
        case when zone_event_id is null then 3
             when end_at is null and zone_id is not null then 0
             when end_at is null then 1 else 2 end,
        news_at desc, news_position desc, tag_id
), last_custody as (
    select distinct on (asset_id) asset_id, occurred_at, position, state, shipment_id, event_id
    from custody
    where log_id = $1 and ($4::text[] is null or asset_id = any($4))
      and occurred_at <= coalesce($2, 'infinity'::timestamptz)
      and position <= coalesce($3, 9223372036854775807)
    order by asset_id, occurred_at desc, position desc
), gone as (
    select c.*, coalesce(d.occurred_at, c.occurred_at) as left_at,
           coalesce(d.position, c.position) as left_position
    from last_custody c
    left join lateral (
        select occurred_at, position from custody
        where c.state = 'delivered' and log_id = $1 and asset_id = c.asset_id
          and state = 'in_transit' and shipment_id = c.shipment_id
          and (occurred_at, position) < (c.occurred_at, c.position)
          and position <= coalesce($3, 9223372036854775807)
        order by occurred_at desc, position desc limit 1
    ) d on true
), place as (
    select coalesce(b.asset_id, g.asset_id) as asset_id,
           case when away.it then null else b.zone_id end as zone_id,
           case when away.it then null else b.site_id end as site_id,
           case when away.it then g.state else 'here' end as custody,
           b.tag_id, b.tag_id is not null and b.end_at is null as on_asset,
           case when away.it then g.occurred_at else b.news_at end as since_at,
           b.method, b.confidence, b.zone_at, b.zone_event_id, b.binding_event_id,
           case when away.it then g.event_id end as custody_event_id,
           case when away.it then g.shipment_id end as shipment_id,
           g.asset_id is not null and not away.it as returned
    from best b
    full join gone g on g.asset_id = b.asset_id
    left join lateral (
        select site_id from placement
        where g.asset_id is not null and log_id = $1 and tag_id = b.tag_id
          and (occurred_at, position) < (g.left_at, g.left_position)
          and position <= coalesce($3, 9223372036854775807)
        order by occurred_at desc, position desc limit 1
    ) l on true
    cross join lateral (
        select g.asset_id is not null and (b.asset_id is null or b.zone_id is null
            or (g.occurred_at, g.position) > (b.news_at, b.news_position)
            or not {is_back}) as it
    ) away
)""".replace("{is_back}", _IS_BACK)
"""Common table expressions, the last one is `place`; after the keyword `with`.

Parameters: $1 log_id, $2 effective time (null: the latest), $3 position (null: all that is known),
$4 assets (null: all).
"""

PLACE_COLUMNS: Final = (
    "asset_id", "zone_id", "site_id", "custody", "tag_id", "on_asset", "since_at", "method",
    "confidence", "zone_at", "zone_event_id", "binding_event_id", "custody_event_id", "shipment_id",
    "returned",
)  # fmt: skip
"""Columns of `place`: custody is `here`, `in_transit` or `delivered`; `on_asset` says that the
witness is still on the asset; `since_at` is when it came there, left, or was bound there;
`zone_at` is the time of the witness's last zone change; `returned` says that it is here although it
departed or was delivered before: it was seen again."""
