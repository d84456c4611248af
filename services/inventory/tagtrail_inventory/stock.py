"""Stock by zone, now or at any pair of clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tagtrail_inventory.places import PLACES
from tagtrail_kernel.database import Connection

REACH: Final = """
select greatest(
    (select latest_at from placement where log_id = $1 and position <= $2
      order by position desc limit 1),
    (select max(latest_at) from content where log_id = $1 and known_position =
      (select max(known_position) from content where log_id = $1 and known_position <= $2)),
    (select max(occurred_at) from binding where log_id = $1 and position <= $2),
    (select max(occurred_at) from custody where log_id = $1 and position <= $2))
"""

NOW: Final = """
place as (
    select p.*, s.last_seen_at as seen_at from place_now p
    left join presence s on s.log_id = p.log_id and s.tag_id = p.tag_id
    where p.log_id = $1 and ($4::text[] is null or p.asset_id = any($4))
      and $2::timestamptz is null and $3::bigint is null
), line as (
    select asset_id, sku, lot, quantity, verified from content_now
    where log_id = $1 and quantity > 0 and ($4::text[] is null or asset_id = any($4))
)
"""

_LINES_AS_OF: Final = """, place as (select *, zone_at as seen_at from placed), line as (
    select n.asset_id, n.sku, n.lot, c.quantity, c.verified from content_now n
    cross join lateral (
        select quantity, verified from content c
        where c.log_id = $1 and c.asset_id = n.asset_id and c.sku = n.sku and c.lot = n.lot
          and c.occurred_at <= coalesce($2, 'infinity'::timestamptz)
          and c.known_position <= coalesce($3, 9223372036854775807)
        order by c.occurred_at desc, c.position desc, c.known_position desc limit 1
    ) c
    where n.log_id = $1 and c.quantity > 0 and ($4::text[] is null or n.asset_id = any($4))
)
"""

AS_OF: Final = PLACES.replace("), place as (", "), placed as (") + _LINES_AS_OF

CELLS: Final = """, cell as (
    select p.zone_id, max(coalesce(z.site_id, p.site_id)) as site_id, coalesce(p.custody, 'here') as custody,
           l.sku, l.lot, sum(l.quantity)::bigint as quantity, sum(l.verified)::bigint as verified,
           count(distinct l.asset_id) as assets,
           array_agg(distinct l.asset_id) as asset_ids, max(p.seen_at) as newest_seen_at, min(p.seen_at) as oldest_seen_at,
           max(z.body ->> 'name') as zone_name
    from line l
    left join place p on p.asset_id = l.asset_id
    left join registration z on z.log_id = $1 and z.kind = 'zone' and z.id = p.zone_id
    group by p.zone_id, case when p.zone_id is null then p.site_id end, 3, 4, 5
)
select c.*, s.body ->> 'name' as sku_name, coalesce(s.body ->> 'unit', 'EA') as unit
from cell c
left join registration s on s.log_id = $1 and s.kind = 'sku' and s.id = c.sku
where ($5::text is null or c.zone_id = $5) and ($6::text is null or c.site_id = $6)
  and ($7::text is null or c.sku = $7) and ($8 or c.custody <> 'delivered')
  and ($9::text[] is null
       or (coalesce(c.zone_id, ''), c.custody, c.sku, c.lot) > ($9[1], $9[2], $9[3], $9[4]))
  and ($11::bool is null or (c.zone_id is not null) = $11)
order by coalesce(c.zone_id, ''), c.custody, c.sku, c.lot
limit $10
"""


@dataclass(frozen=True, slots=True)
class When:
    """A pair of clocks.

    Attributes:
        log_id: The tenant.
        at: Effective time; None = the latest.
        position: What was known; None = everything.
    """

    log_id: int
    at: datetime | None = None
    position: int | None = None

    @property
    def is_now(self) -> bool:
        """Whether the newest state answers."""
        return self.at is None and self.position is None

    @property
    def tables(self) -> str:
        """The common table expressions `place` and `line` for these clocks."""
        return NOW if self.is_now else AS_OF


@dataclass(frozen=True, slots=True)
class Filters:
    """Which cells of the stock are asked for.

    Attributes:
        zone_id: Only this zone.
        site_id: Only this site.
        sku: Only this SKU.
        placed: True: only cells with a zone; False: only those without.
        delivered: Whether assets that were delivered count.
        after: Last cell of the page before: zone or "", custody, SKU, lot or "".
        limit: Most cells.
    """

    zone_id: str | None = None
    site_id: str | None = None
    sku: str | None = None
    placed: bool | None = None
    delivered: bool = False
    after: tuple[str, str, str, str] | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """Stock of one SKU and lot in one zone.

    Attributes:
        zone_id: The zone; None = no known place.
        site_id: Its site.
        custody: `here`, `in_transit` or `delivered`.
        sku: The SKU.
        lot: Lot, "" if none.
        quantity: Units.
        verified: Of these, counted.
        assets: On how many assets.
        asset_ids: On which.
        newest_seen_at: Last evidence of the asset seen last.
        oldest_seen_at: Last evidence of the asset that has been silent longest.
        zone_name: The zone's name.
        sku_name: The SKU's name.
        unit: Unit of measure.
    """

    zone_id: str | None
    site_id: str | None
    custody: str
    sku: str
    lot: str
    quantity: int
    verified: int
    assets: int
    asset_ids: list[str]
    newest_seen_at: datetime | None
    oldest_seen_at: datetime | None
    zone_name: str | None
    sku_name: str | None
    unit: str

    @property
    def inferred(self) -> int:
        """Units that nobody has counted."""
        return self.quantity - self.verified

    @property
    def cursor(self) -> tuple[str, str, str, str]:
        """Place of the cell in the order of pages."""
        return (self.zone_id or "", self.custody, self.sku, self.lot)


async def bounded(c: Connection, when: When) -> When:
    """Lower the effective time to the latest that was known at the position.

    Without it a question about an old position with a late time would have to pass over all
    facts that came since.
    """
    if when.position is None:
        return when
    reach: datetime | None = await c.fetchval(REACH, when.log_id, when.position)
    if reach is None:
        return when
    return When(when.log_id, min(when.at or reach, reach), when.position)


async def cells(c: Connection, when: When, filters: Filters) -> list[Cell]:
    """Return the cells of stock in the order of pages."""
    bound = await bounded(c, when)
    rows = await c.fetch(
        f"with {bound.tables}{CELLS}",
        bound.log_id, bound.at, bound.position, None, filters.zone_id, filters.site_id,
        filters.sku, filters.delivered, filters.after, filters.limit, filters.placed,
    )  # fmt: skip
    return [Cell(**row) for row in rows]
