"""One hash over the present state, without what a way back cannot restore.

Left out on purpose: positions, event ids and times (history differs by nature), retired things,
empty lines, and whether units are verified (only a new count can say that).
"""

from __future__ import annotations

from typing import Final

from tagtrail_kernel.database import Connection

LINES: Final = """
select encode(sha256(convert_to(coalesce(string_agg(line, E'\\n' order by line collate "C"), ''),
                                'UTF8')), 'hex')
from (
    select jsonb_build_array('registration', kind, id, body)::text as line
    from registration where log_id = $1 and not retired
    union all
    select jsonb_build_array('identity', identity, tag_id)::text from identity where log_id = $1
    union all
    select jsonb_build_array('binding', tag_id, asset_id)::text
    from tag_now where log_id = $1 and asset_id is not null
    union all
    select jsonb_build_array('place', asset_id, zone_id, custody)::text
    from place_now where log_id = $1 and (zone_id is not null or custody <> 'here')
    union all
    select jsonb_build_array('content', asset_id, sku, lot, quantity)::text
    from content_now where log_id = $1 and quantity > 0
) l
"""


async def current_state_hash(c: Connection, log_id: int) -> str:
    """Return the hash of what is registered, bound, placed and held now, 64 hexadecimal digits."""
    return str(await c.fetchval(LINES, log_id))
