"""Reads the tables behind the omlox face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import NotFoundError
from tagtrail_locate.omlox.ids import Kind, as_uuid, normal
from tagtrail_locate.omlox.objects import Plan, Thing, provider_json, trackable_json

_OBJECT: Final = "select kind, own_id, omlox_id, facts, document from omlox_object "
_HISTORY: Final = (
    "select h.tag_id, h.position, h.occurred_at, h.zone_id, h.from_zone_id, h.confidence, h.reason,"
    " h.event_id, (select max(e.occurred_at) from place_history e where e.log_id = h.log_id and "
    "e.tag_id = h.tag_id and e.zone_id = h.from_zone_id and e.position < h.position) as entered_at "
    "from place_history h where h.log_id = $1 and h.position > $2 and h.position <= $3 "
    "order by h.position, h.tag_id"
)


@dataclass(frozen=True, slots=True)
class Bindings:
    """Which tag is on which asset, by our ids, both ways."""

    asset_of: dict[str, str]
    tags_of: dict[str, list[str]]


async def plan_of(connection: Connection, log_id: int) -> Plan:
    """Return all zones and fences of a tenant."""
    zones = await things(connection, log_id, "zone")
    fences = await things(connection, log_id, "fence")
    return Plan({t.own_id: t for t in zones}, {t.own_id: t for t in fences})


async def things(connection: Connection, log_id: int, kind: Kind) -> list[Thing]:
    """Return all things of a kind, by our id."""
    rows = await connection.fetch(
        f"{_OBJECT} where log_id = $1 and kind = $2 order by own_id", log_id, kind
    )
    return [_thing(row) for row in rows]


async def thing(connection: Connection, log_id: int, kind: Kind, omlox_id: str) -> Thing:
    """Return one thing by its id on the omlox side, or by our own id.

    Raises:
        NotFoundError: there is none.
    """
    found = await find(connection, log_id, kind, omlox_id)
    if found is None:
        raise NotFoundError(f"no {kind} {omlox_id[:80]!r}; GET /omlox/v2/{kind}s lists them")
    return found


async def find(connection: Connection, log_id: int, kind: Kind, omlox_id: str) -> Thing | None:
    """Return one thing as `thing` does, or None."""
    compared = normal(omlox_id) if kind == "provider" else as_uuid(omlox_id) or omlox_id
    row = await connection.fetchrow(
        f"{_OBJECT} where log_id = $1 and kind = $2 and (omlox_id = $3 or own_id = $4 or "
        "own_id = any($5)) order by omlox_id = $3 desc limit 1",
        log_id, kind, compared, omlox_id, [f"site:{omlox_id}", f"gateway:{omlox_id}"],
    )  # fmt: skip
    return _thing(row) if row is not None else None


async def bindings_of(connection: Connection, log_id: int) -> Bindings:
    """Return all bindings of a tenant."""
    rows = await connection.fetch(
        "select tag_id, asset_id from omlox_binding where log_id = $1 order by asset_id, tag_id",
        log_id,
    )
    tags: dict[str, list[str]] = {}
    for row in rows:
        tags.setdefault(row["asset_id"], []).append(row["tag_id"])
    return Bindings({row["tag_id"]: row["asset_id"] for row in rows}, tags)


async def changes(
    connection: Connection, log_id: int, after: int, until: int
) -> list[dict[str, Any]]:
    """Return confirmed changes of zone after a position and up to another, oldest first."""
    return [dict(row) for row in await connection.fetch(_HISTORY, log_id, after, until)]


@dataclass(frozen=True, slots=True)
class Names:
    """Providers and trackables with their bindings, for whole lists of locations."""

    providers: dict[str, Thing]
    trackables: dict[str, Thing]
    bindings: Bindings

    def trackables_on(self, tag_id: str) -> list[str]:
        """Return the UUIDs of the assets that a tag is on."""
        asset_id = self.bindings.asset_of.get(tag_id)
        thing = self.trackables.get(asset_id) if asset_id is not None else None
        return [thing.omlox_id] if thing is not None else []

    def trackable(self, asset_id: str) -> dict[str, Any]:
        """Return the omlox Trackable of an asset that is known."""
        tags = self.bindings.tags_of.get(asset_id, [])
        ids = [provider_json(self.providers[t])["id"] for t in tags if t in self.providers]
        return trackable_json(self.trackables[asset_id], ids)


async def names_of(connection: Connection, log_id: int) -> Names:
    """Return all providers, trackables and bindings of a tenant."""
    providers: Sequence[Thing] = await things(connection, log_id, "provider")
    trackables: Sequence[Thing] = await things(connection, log_id, "trackable")
    return Names(
        {t.own_id: t for t in providers},
        {t.own_id: t for t in trackables},
        await bindings_of(connection, log_id),
    )


def _thing(row: Any) -> Thing:
    return Thing(
        row["kind"],
        row["own_id"],
        row["omlox_id"],
        orjson.loads(row["facts"]) if row["facts"] else {},
        orjson.loads(row["document"]) if row["document"] else {},
    )
