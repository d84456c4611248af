"""The projection behind the omlox face: what is registered, under omlox's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import orjson

from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    AssetRetired,
    ConfigChanged,
    GatewayRegistered,
    GatewayRetired,
    SiteRegistered,
    SiteRetired,
    TagBound,
    TagRegistered,
    TagRetired,
    TagUnbound,
    ZoneRegistered,
    ZoneRetired,
)
from tagtrail_kernel.events.registry import Event, Family
from tagtrail_kernel.projections import Context, Projection
from tagtrail_locate.omlox.ids import READER, SITE, Kind, normal, provider_id_of, uuid_of

NAME: Final = "omlox"
SECTION: Final = "omlox."
"""`config.changed` sections `omlox.<kind>.<own id>` keep what our own facts have no member for."""

_TYPES: Final = frozenset(
    {
        "site.registered", "site.retired", "zone.registered", "zone.retired",
        "gateway.registered", "gateway.retired", "tag.registered", "tag.retired",
        "asset.registered", "asset.retired", "tag.bound", "tag.unbound", "config.changed",
    }
)  # fmt: skip

_UPSERT: Final = (
    "insert into omlox_object (log_id, kind, own_id, omlox_id, fact, facts, position) "
    "values ($1, $2, $3, $4, $5, $6::jsonb, $7) on conflict (log_id, kind, own_id) do update set "
    "omlox_id = excluded.omlox_id, fact = excluded.fact, facts = excluded.facts, "
    "position = excluded.position"
)
_DOCUMENT: Final = (
    "insert into omlox_object (log_id, kind, own_id, omlox_id, document, position) "
    "values ($1, $2, $3, $4, $5::jsonb, $6) on conflict (log_id, kind, own_id) do update set "
    "document = excluded.document, position = excluded.position"
)
_BIND: Final = (
    "insert into omlox_binding (log_id, tag_id, asset_id, position) values ($1, $2, $3, $4) "
    "on conflict (log_id, tag_id) do update set asset_id = excluded.asset_id, "
    "position = excluded.position"
)


class OmloxObjects(Projection):
    """Zones, fences, providers, trackables and bindings of one tenant."""

    name: ClassVar[str] = NAME
    families: ClassVar[Family] = Family.REGISTRY
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("omlox_object", "omlox_binding")

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """See `Projection.apply`."""
        for event in events:
            if event.type in _TYPES:
                await _fold(tx, context.log_id, event)
        return ()


async def _fold(tx: Connection, log_id: int, event: Recorded) -> None:
    data: Event = event.data
    if isinstance(data, ConfigChanged):
        await _document(tx, log_id, event.position, data)
    elif isinstance(data, TagBound):
        await tx.execute(_BIND, log_id, data.tag_id, data.asset_id, event.position)
    elif isinstance(data, TagUnbound):
        await tx.execute(
            "delete from omlox_binding where log_id = $1 and tag_id = $2 and asset_id = $3",
            log_id, data.tag_id, data.asset_id,
        )  # fmt: skip
    else:
        await _object(tx, log_id, event.position, data)


async def _object(tx: Connection, log_id: int, position: int, data: Event) -> None:
    gone = _gone(data)
    if gone is not None:
        kind, own_id = gone
        await tx.execute(
            "delete from omlox_object where log_id = $1 and kind = $2 and own_id = $3",
            log_id, kind, own_id,
        )  # fmt: skip
        if kind in ("provider", "trackable"):
            column = "tag_id" if kind == "provider" else "asset_id"
            await tx.execute(
                f"delete from omlox_binding where log_id = $1 and {column} = $2",  # noqa: S608 - constants
                log_id,
                own_id,
            )
        return
    named = _named(data)
    if named is not None:
        kind, own_id, omlox_id = named
        facts = msgspec.json.encode(data).decode()
        await tx.execute(_UPSERT, log_id, kind, own_id, omlox_id, data.TYPE, facts, position)


def _named(data: Event) -> tuple[Kind, str, str] | None:
    if isinstance(data, SiteRegistered):
        own_id = SITE + data.site_id
        return "zone", own_id, uuid_of("zone", own_id)
    if isinstance(data, GatewayRegistered):
        own_id = READER + data.gateway_id
        return "zone", own_id, uuid_of("zone", own_id)
    if isinstance(data, ZoneRegistered):
        return "fence", data.zone_id, uuid_of("fence", data.zone_id)
    if isinstance(data, AssetRegistered):
        return "trackable", data.asset_id, uuid_of("trackable", data.asset_id)
    if isinstance(data, TagRegistered):
        return "provider", data.tag_id, normal(provider_id_of(data.identities, data.tag_id))
    return None


def _gone(data: Event) -> tuple[Kind, str] | None:
    if isinstance(data, SiteRetired):
        return "zone", SITE + data.site_id
    if isinstance(data, GatewayRetired):
        return "zone", READER + data.gateway_id
    if isinstance(data, ZoneRetired):
        return "fence", data.zone_id
    if isinstance(data, AssetRetired):
        return "trackable", data.asset_id
    if isinstance(data, TagRetired):
        return "provider", data.tag_id
    return None


async def _document(tx: Connection, log_id: int, position: int, data: ConfigChanged) -> None:
    if not data.section.startswith(SECTION):
        return
    kind, _, own_id = data.section.removeprefix(SECTION).partition(".")
    values: dict[str, Any] = data.values
    if kind not in ("zone", "fence", "provider", "trackable") or not own_id:
        return
    named: Kind = kind  # type: ignore[assignment]  # checked in the line above
    omlox_id = own_id if named == "provider" else uuid_of(named, own_id)
    text = orjson.dumps(values).decode()
    await tx.execute(_DOCUMENT, log_id, named, own_id, omlox_id, text, position)
