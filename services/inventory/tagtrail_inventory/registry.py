"""Reads the registry: what exists, what it refers to, what is on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import orjson

from tagtrail_inventory.core.checks import Known
from tagtrail_inventory.core.kinds import KINDS
from tagtrail_kernel.database import Connection
from tagtrail_kernel.events.registry import Event

_COLUMNS: Final = (
    "kind, id, site_id, retired, body, event_id, occurred_at, position, first_position"
)


@dataclass(frozen=True, slots=True)
class Registration:
    """The last registration of one thing.

    Attributes:
        kind: Kind of thing.
        id: Its id.
        site_id: Its site, for zones and gateways.
        retired: Whether it is out of use.
        body: Its description, the fields of the event.
        event_id: The last event about it.
        occurred_at: Its time.
        position: Its position.
        first_position: Where it was registered first.
    """

    kind: str
    id: str
    site_id: str | None
    retired: bool
    body: dict[str, Any]
    event_id: UUID
    occurred_at: datetime
    position: int
    first_position: int

    @property
    def fact(self) -> Event:
        """The registration as an event."""
        return msgspec.convert(self.body, KINDS[self.kind].registered)


def _registration(row: Any) -> Registration:
    return Registration(**{**row, "body": orjson.loads(row["body"])})


async def get(c: Connection, log_id: int, kind: str, id_: str) -> Registration | None:
    """Return one registration, also of something retired."""
    row = await c.fetchrow(
        f"select {_COLUMNS} from registration where log_id = $1 and kind = $2 and id = $3",  # noqa: S608 - constant
        log_id, kind, id_,
    )  # fmt: skip
    return _registration(row) if row is not None else None


async def page(
    c: Connection,
    log_id: int,
    kind: str,
    *,
    after: str,
    limit: int,
    site_id: str | None = None,
    retired: bool = False,
    ids: Sequence[str] | None = None,
) -> list[Registration]:
    """Return registrations in the order of their ids.

    Args:
        c: Connection.
        log_id: The tenant.
        kind: Kind of thing.
        after: Last id of the page before; "" at first.
        limit: Most rows.
        site_id: Only those of this site.
        retired: Whether retired ones are among them.
        ids: Only these.
    """
    rows = await c.fetch(
        f"select {_COLUMNS} from registration where log_id = $1 and kind = $2 and id > $3 "  # noqa: S608 - constant
        "and ($5::text is null or site_id = $5) and ($6 or not retired) "
        "and ($7::text[] is null or id = any($7)) order by id limit $4",
        log_id, kind, after, limit, site_id, retired, ids,
    )  # fmt: skip
    return [_registration(r) for r in rows]


async def known_of(c: Connection, log_id: int, wanted: Known) -> Known:
    """Return which of the wanted things are registered and in use.

    A tag of open enrolment, seen but never registered, counts as a tag in use.

    Args:
        c: Connection.
        log_id: The tenant.
        wanted: Ids to look for; the values of its mappings do not matter.
    """
    by_kind = {
        "site": wanted.sites, "zone": wanted.zones, "tag": wanted.tags, "asset": wanted.assets,
        "sku": wanted.skus,
    }  # fmt: skip
    pairs = [(kind, id_) for kind, ids in by_kind.items() for id_ in ids]
    rows = await c.fetch(
        "select r.kind, r.id, r.site_id from registration r "
        "join unnest($2::text[], $3::text[]) as w (kind, id) on r.kind = w.kind and r.id = w.id "
        "where r.log_id = $1 and not r.retired",
        log_id, [p[0] for p in pairs], [p[1] for p in pairs],
    )  # fmt: skip
    found = [(r["kind"], r["id"], r["site_id"]) for r in rows]
    owners = await c.fetch(
        "select identity, tag_id from identity where log_id = $1 and identity = any($2::text[])",
        log_id, list(wanted.owners),
    )  # fmt: skip
    seen = await c.fetch(
        "select p.tag_id from presence p left join registration r "
        "on r.log_id = p.log_id and r.kind = 'tag' and r.id = p.tag_id "
        "where p.log_id = $1 and p.tag_id = any($2::text[]) and r.id is null",
        log_id, list(wanted.tags),
    )  # fmt: skip
    return Known(
        sites={i for k, i, _ in found if k == "site"},
        zones={i: s for k, i, s in found if k == "zone"},
        tags={i for k, i, _ in found if k == "tag"} | {r["tag_id"] for r in seen},
        assets={i for k, i, _ in found if k == "asset"},
        skus={i for k, i, _ in found if k == "sku"},
        owners={r["identity"]: r["tag_id"] for r in owners},
    )


async def binding_at(
    c: Connection, log_id: int, tag_id: str, at: datetime | None = None, position: int | None = None
) -> tuple[str | None, tuple[UUID, int] | None]:
    """Return the asset that a tag is on, for any pair of clocks, and who says so (event, position)."""
    row = await c.fetchrow(
        "select asset_id, event_id, position from binding where log_id = $1 and tag_id = $2 "
        "and occurred_at <= coalesce($3, 'infinity'::timestamptz) "
        "and position <= coalesce($4, 9223372036854775807) "
        "order by occurred_at desc, position desc limit 1",
        log_id, tag_id, at, position,
    )  # fmt: skip
    if row is None:
        return None, None
    return row["asset_id"], (row["event_id"], row["position"])


async def bound_at(
    c: Connection, log_id: int, tag_id: str, at: datetime | None = None, position: int | None = None
) -> str | None:
    """Return the asset that a tag is on, for any pair of clocks."""
    return (await binding_at(c, log_id, tag_id, at, position))[0]


async def tags_on(c: Connection, log_id: int, asset_id: str) -> list[str]:
    """Return the tags that are on an asset now."""
    rows = await c.fetch(
        "select tag_id from tag_now where log_id = $1 and asset_id = $2 order by tag_id",
        log_id, asset_id,
    )  # fmt: skip
    return [r["tag_id"] for r in rows]
