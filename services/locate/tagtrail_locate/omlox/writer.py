"""Writes what a client of the omlox face asks for: facts through ingest, then reads them back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from tagtrail_kernel.clock import Clock, Ids
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError, NotFoundError
from tagtrail_kernel.events.registrations import TagUnbound
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.log import EventSink
from tagtrail_locate.omlox import commands, store
from tagtrail_locate.omlox.ids import READER, SITE, Kind, as_uuid
from tagtrail_locate.omlox.objects import PROXIMITY_TYPES, Json, Thing
from tagtrail_locate.omlox.projection import NAME

LONGEST_WAIT_S: Final = 3.0
"""A reader that stays behind for longer is shown what it has: the write stands in the log."""

_LOOK_S: Final = 0.02


class Writer:
    """Turns omlox requests into facts.

    Args:
        database: Locate's tables.
        sink: The way to ingest.
        clock: For event times of requests that state none.
        ids: For new things and events.
    """

    def __init__(self, database: Database, sink: EventSink, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._sink = sink
        self._clock = clock
        self._ids = ids

    async def create(self, log_id: int, kind: Kind, body: Any) -> str:
        """Register a thing; returns its id on the omlox side.

        Raises:
            ConflictError: the id is taken.
            RejectedError: the object does not fit.
        """
        document = commands.checked(kind, body)
        wanted = document.get("id")
        async with self._database.connection() as connection:
            if isinstance(wanted, str) and await store.find(connection, log_id, kind, wanted):
                raise ConflictError(f"there is a {kind} {wanted[:80]!r}; PUT changes it")
            if kind == "zone" and document.get("foreign_id"):
                other = await store.find(connection, log_id, kind, str(document["foreign_id"]))
                if other is not None:
                    raise ConflictError("foreign_id is taken; PUT changes that zone")
        own_id = self._new_id(kind, document)
        return await self._write(log_id, kind, own_id, document, None)

    async def replace(self, log_id: int, kind: Kind, omlox_id: str, body: Any) -> str:
        """Change a thing; what omlox has no member for stays. Returns its id."""
        document = commands.checked(kind, body)
        async with self._database.connection() as connection:
            old = await store.thing(connection, log_id, kind, omlox_id)
        if kind == "provider":
            document = document | {"id": document.get("id") or omlox_id}
        return await self._write(log_id, kind, old.own_id, document, old)

    async def delete(self, log_id: int, things: Sequence[Thing]) -> None:
        """Retire things; their history stays in the log."""
        facts = [commands.retired(t) for t in things]
        if facts:
            await self._publish(log_id, facts)

    async def locate(self, log_id: int, bodies: Sequence[tuple[str, Any]]) -> None:
        """Take in locations by provider id, all or none."""
        facts: list[Event] = []
        async with self._database.connection() as connection:
            for provider_id, body in bodies:
                provider = await store.thing(connection, log_id, "provider", provider_id)
                source = await self._source(log_id, body)
                facts.append(commands.location_fact(body, provider, source))
        await self._publish(log_id, facts, wait=False)

    async def approach(self, log_id: int, bodies: Sequence[tuple[str, Any]]) -> None:
        """Take in proximities by provider id, all or none."""
        facts: list[Event] = []
        async with self._database.connection() as connection:
            for provider_id, body in bodies:
                provider = await store.thing(connection, log_id, "provider", provider_id)
                source = await self._source(log_id, body)
                facts.append(commands.proximity_fact(body, provider, source))
        await self._publish(log_id, facts, wait=False)

    async def sense(self, log_id: int, provider: Thing, sensors: Any) -> None:
        """Keep a provider's sensor data beside its registration."""
        document = dict(provider.document) | {"sensors": sensors}
        await self._publish(log_id, [commands.kept("provider", provider.own_id, document)])

    async def _source(self, log_id: int, body: Any) -> Thing | None:
        name = body.get("source") if isinstance(body, dict) else None
        if not isinstance(name, str):
            return None
        async with self._database.connection() as connection:
            return await store.find(connection, log_id, "zone", name)

    def _new_id(self, kind: Kind, document: Json) -> str:
        new = as_uuid(document.get("id")) or str(self._ids.new())
        if kind != "zone":
            return str(self._ids.new()) if kind == "provider" else new
        if document.get("type") in PROXIMITY_TYPES:
            return READER + str(document.get("foreign_id") or new)
        return SITE + new

    async def _write(
        self, log_id: int, kind: Kind, own_id: str, document: Json, old: Thing | None
    ) -> str:
        async with self._database.connection() as connection:
            plan = await store.plan_of(connection, log_id)
            if kind == "zone":
                facts = commands.zone_facts(own_id, document, old, plan)
            elif kind == "fence":
                facts = commands.fence_facts(own_id, document, old, plan)
            elif kind == "provider":
                facts = commands.provider_facts(own_id, document, old)
            else:
                held, wanted, freed = await self._carried(log_id, own_id, document)
                facts = [*freed, *commands.trackable_facts(own_id, document, old, held, wanted)]
        await self._publish(log_id, facts)
        async with self._database.connection() as connection:
            found = await store.find(connection, log_id, kind, own_id)
        if found is None:
            raise NotFoundError(f"the {kind} was written; it can be read in a moment")
        return found.omlox_id

    async def _carried(
        self, log_id: int, own_id: str, document: Json
    ) -> tuple[list[str], list[str], list[Event]]:
        """Return tags that an asset carries, that it shall carry, and what takes them off others."""
        async with self._database.connection() as connection:
            bindings = await store.bindings_of(connection, log_id)
            held = bindings.tags_of.get(own_id, [])
            listed = document.get("location_providers")
            if listed is None:
                return held, held, []
            wanted = []
            for provider_id in listed:
                tag = await store.thing(connection, log_id, "provider", str(provider_id))
                wanted.append(tag.own_id)
        others = {
            t: bindings.asset_of[t] for t in wanted if bindings.asset_of.get(t, own_id) != own_id
        }
        freed: list[Event] = [
            TagUnbound(tag_id=t, asset_id=asset_id) for t, asset_id in others.items()
        ]
        return held, wanted, freed

    async def _publish(self, log_id: int, facts: Sequence[Event], *, wait: bool = True) -> None:
        now = self._clock.now()
        envelopes = [
            Envelope(
                id=self._ids.new(),
                subject=_subject(fact),
                source="locate/omlox",
                occurred_at=_time(fact) or now,
                time_quality="gateway_receive" if _time(fact) is not None else "server_receive",
                data=fact,
            )
            for fact in facts
        ]
        appended = await self._sink.publish(log_id, envelopes)
        if wait and appended.positions:
            await self._until(log_id, max(appended.positions))

    async def _until(self, log_id: int, position: int) -> None:
        """Wait until the tables show a position, so that a client reads what it wrote."""
        for _ in range(int(LONGEST_WAIT_S / _LOOK_S)):
            async with self._database.connection() as connection:
                at = await connection.fetchval(
                    "select position from consumer where name = $1 and log_id = $2", NAME, log_id
                )
            if at is not None and at >= position:
                return
            await asyncio.sleep(_LOOK_S)


def _time(fact: Event) -> datetime | None:
    at = getattr(fact, "gateway_received_at", None)
    return at if isinstance(at, datetime) else None


def _subject(fact: Event) -> str:
    for name in ("asset_id", "tag_id", "gateway_id", "zone_id", "site_id", "section"):
        value = getattr(fact, name, None)
        if isinstance(value, str):
            return value
    raise TypeError(f"{type(fact).__name__} has no subject")
