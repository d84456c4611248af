"""Answers of the omlox face: lists of locations, motions and events, in one reference system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tagtrail_kernel.clock import Clock
from tagtrail_kernel.database import Connection, Database
from tagtrail_locate.omlox import store
from tagtrail_locate.omlox.frames import WGS84
from tagtrail_locate.omlox.objects import (
    Json,
    Plan,
    fence_event_json,
    location_json,
    motion_json,
    provider_json,
)
from tagtrail_locate.omlox.rules import best_of
from tagtrail_locate.reading import Reading


class Views:
    """Reads one consistent state and says it in omlox's words.

    Args:
        database: Locate's tables.
        reading: Places.
        clock: For `timestamp_sent` and ages.
    """

    def __init__(self, database: Database, reading: Reading, clock: Clock) -> None:
        self.database = database
        self._reading = reading
        self._clock = clock

    async def places(
        self, connection: Connection, log_id: int, *, fence_id: str | None = None
    ) -> list[Json]:
        """Return all latest places, of one of our zones if it is given."""
        found: list[Json] = []
        after = ""
        while True:
            page = await self._reading.places(
                connection, log_id, after=after, limit=1000, zone_id=fence_id
            )
            found += page
            if len(page) < 1000:
                return found
            after = page[-1]["tag_id"]

    async def written_between(self, log_id: int, after: int, until: int) -> list[Json]:
        """Return the places written after a position and up to another, each tag once."""
        found = await self._reading.changed_places(log_id, after)
        return [place for place in found if place["position"] <= until]

    async def position(self, log_id: int) -> int:
        """Return the position that the tables show."""
        return await self._reading.position(log_id)

    async def locations(
        self,
        log_id: int,
        *,
        crs: str,
        tag_ids: Sequence[str] | None = None,
        fence_id: str | None = None,
    ) -> list[Json]:
        """Return locations, of all tags or of some."""
        async with self.database.connection() as connection:
            names = await store.names_of(connection, log_id)
            plan = await store.plan_of(connection, log_id)
            places = await self.places(connection, log_id, fence_id=fence_id)
        if tag_ids is not None:
            wanted = set(tag_ids)
            places = [p for p in places if p["tag_id"] in wanted]
        return self.located(places, names, plan, crs)

    def located(
        self, places: Sequence[Mapping[str, Any]], names: store.Names, plan: Plan, crs: str
    ) -> list[Json]:
        """Return places as locations; those without coordinates in the system are left out."""
        now = self._clock.now()
        found = []
        for place in places:
            provider = names.providers.get(place["tag_id"])
            if provider is None:
                continue
            on = names.trackables_on(place["tag_id"])
            location = location_json(place, provider, on, plan, crs=crs, now=now)
            if location is not None:
                found.append(location)
        return found

    async def motions(
        self,
        log_id: int,
        *,
        crs: str,
        asset_ids: Sequence[str] | None = None,
        fence_id: str | None = None,
    ) -> list[Json]:
        """Return where trackables are, each by the provider its locating rules prefer."""
        async with self.database.connection() as connection:
            names = await store.names_of(connection, log_id)
            plan = await store.plan_of(connection, log_id)
            places = await self.places(connection, log_id)
        return self.moved(places, names, plan, crs, asset_ids=asset_ids, fence_id=fence_id)

    def moved(
        self,
        places: Sequence[Mapping[str, Any]],
        names: store.Names,
        plan: Plan,
        crs: str,
        *,
        asset_ids: Sequence[str] | None = None,
        fence_id: str | None = None,
    ) -> list[Json]:
        """Return the motions of the trackables that the places tell of."""
        now = self._clock.now()
        by_asset: dict[str, list[tuple[Mapping[str, Any], Json]]] = {}
        for place in places:
            asset_id = names.bindings.asset_of.get(place["tag_id"])
            provider = names.providers.get(place["tag_id"])
            if asset_id not in names.trackables or provider is None:
                continue
            if asset_ids is not None and asset_id not in asset_ids:
                continue
            on = names.trackables_on(place["tag_id"])
            location = location_json(place, provider, on, plan, crs=crs, now=now)
            if location is not None:
                by_asset.setdefault(asset_id, []).append((place, location))
        motions = []
        for asset_id, found in sorted(by_asset.items()):
            trackable = names.trackable(asset_id)
            rules = trackable.get("locating_rules") or []
            best = best_of(rules, [_candidate(p, loc, now) for p, loc in found])
            place, location = found[best or 0]
            if fence_id is None or place["zone_id"] == fence_id:
                motions.append(motion_json(trackable, location))
        return motions

    async def fence_events(self, log_id: int, after: int, until: int) -> list[Json]:
        """Return entries and exits after a position and up to another, oldest first.

        One for the provider, and one for the trackable that carries it.
        """
        async with self.database.connection() as connection:
            changes = await store.changes(connection, log_id, after, until)
            if not changes:
                return []
            names = await store.names_of(connection, log_id)
        events: list[Json] = []
        for change in changes:
            provider = names.providers.get(change["tag_id"])
            if provider is None:
                continue
            provider_id = provider_json(provider)["id"]
            on = names.trackables_on(change["tag_id"])
            for kind, zone_id in (
                ("region_exit", change["from_zone_id"]),
                ("region_entry", change["zone_id"]),
            ):
                if zone_id is None:
                    continue
                events.append(fence_event_json(change, kind, provider_id, on))
                if on:
                    events.append(fence_event_json(change, kind, None, on))
        return events


def _candidate(place: Mapping[str, Any], location: Json, now: datetime) -> Json:
    return {
        "accuracy": location["accuracy"],
        "provider_id": location["provider_id"],
        "type": location["provider_type"],
        "source": location["source"],
        "floor": location["floor"],
        "timestamp_diff": (now - place["last_heard_at"]).total_seconds() * 1000.0,
    }


def wanted_crs(crs: str | None, *, georef: bool = False) -> str | None:
    """Return the reference system that a request asks for, before it is checked."""
    return WGS84 if georef and crs is None else crs
