"""The newest state, kept beside the facts for speed: it is the as-of query without bounds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tagtrail_inventory.places import PLACE_COLUMNS, PLACES
from tagtrail_kernel.database import Connection

TAGS: Final = """
insert into tag_now (log_id, tag_id, asset_id, bound_at, zone_id, site_id, zone_at, zone_event_id)
select $1, w.tag_id, b.asset_id, b.occurred_at, p.zone_id, p.site_id, p.occurred_at, p.event_id
from unnest($2::text[]) as w (tag_id)
left join lateral (
    select asset_id, occurred_at from binding where log_id = $1 and tag_id = w.tag_id
    order by occurred_at desc, position desc limit 1
) b on true
left join lateral (
    select zone_id, site_id, occurred_at, event_id from placement
    where log_id = $1 and tag_id = w.tag_id order by occurred_at desc, position desc limit 1
) p on true
on conflict (log_id, tag_id) do update set
    asset_id = excluded.asset_id, bound_at = excluded.bound_at, zone_id = excluded.zone_id,
    site_id = excluded.site_id, zone_at = excluded.zone_at, zone_event_id = excluded.zone_event_id
"""

_LIST = ", ".join(PLACE_COLUMNS)
ASSETS: Final = (
    f"with {PLACES} insert into place_now (log_id, {_LIST}) select $1, {_LIST} from place"  # noqa: S608 - constants
)


async def refresh(
    tx: Connection, log_id: int, *, tags: Collection[str], assets: Collection[str]
) -> None:
    """State the newest place of tags, and of the assets that they ever were on.

    Args:
        tx: The transaction of the page.
        log_id: The tenant.
        tags: Tags whose binding or zone changed.
        assets: Assets whose custody changed.
    """
    affected = set(assets)
    if tags:
        await tx.execute(TAGS, log_id, sorted(tags))
        rows = await tx.fetch(
            "select distinct asset_id from binding "
            "where log_id = $1 and tag_id = any($2::text[]) and asset_id is not null",
            log_id, sorted(tags),
        )  # fmt: skip
        affected.update(r["asset_id"] for r in rows)
    if affected:
        await tx.execute(
            "delete from place_now where log_id = $1 and asset_id = any($2::text[])",
            log_id, sorted(affected),
        )  # fmt: skip
        await tx.execute(ASSETS, log_id, None, None, sorted(affected))
