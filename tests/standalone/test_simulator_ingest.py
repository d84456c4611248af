"""The simulator against the real ingest, broker and database: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail.embedded import Embedded
from tagtrail.simulator.cli import Targets, run
from tagtrail.simulator.playback import FASTEST, start_for
from tagtrail.simulator.scenario import Scenario, f1, small
from tagtrail.simulator.world import World
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.clock import SystemClock


@dataclass(frozen=True)
class Server:
    """Ingest at its address, with a key that may do everything."""

    url: str
    key: str
    client: httpx2.AsyncClient

    async def log(self) -> list[dict[str, Any]]:
        """Return all events."""
        after, items = 0, []
        while True:
            reply = await self.client.get("/v1/events", params={"after": after, "limit": 1000})
            page = reply.json()
            items += page["items"]
            after = page["next_after"]
            if page["at_end"]:
                return items

    async def grown_to(self, sightings: int, within_s: float = 60.0) -> list[dict[str, Any]]:
        """Wait until the log holds so many radio facts, and a moment more; returns all events."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.log()
                if sum(e["type"].startswith("tag.") for e in found if _radio(e)) >= sightings:
                    await asyncio.sleep(1.0)
                    return await self.log()
                await asyncio.sleep(0.3)


def _radio(event: dict[str, Any]) -> bool:
    return event["type"] in {"tag.sighted", "tag.ranged"}


@contextlib.asynccontextmanager
async def serving(
    database_url: str, nats_url: str = "", mqtt_url: str = ""
) -> AsyncIterator[Server]:
    _, key = await prepared(database_url, retention=False)
    settings = settings_for(database_url, nats_url, mqtt_url)
    app = ingest_app(settings, IngestSettings(mqtt_client_id=f"sim-{secrets.token_hex(4)}"))
    async with served(app) as url:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            yield Server(url, key, client)


def recent(scenario: Scenario) -> World:
    """Return a world that ended just now."""
    start = start_for(SystemClock().now(), scenario.duration_s + 60, FASTEST)
    return World(replace(scenario, start_at=start))


async def test_over_mqtt_the_log_holds_each_unique_sighting_of_f1_exactly_once(
    database_url: str, infra: Embedded
) -> None:
    async with serving(database_url, infra.nats_url, infra.mqtt_url) as server:
        async with asyncio.timeout(20):
            while not (await server.client.get("/v1/ingest/stats")).json()["mqtt_connected"]:
                await asyncio.sleep(0.05)
        world = recent(replace(f1(), duration_s=40.0))
        targets = Targets(mqtt_url=infra.gateway_mqtt_url, api_url=server.url, api_key=server.key)
        await asyncio.to_thread(run, world, targets, speed=FASTEST)
        counts = world.truth.counts()["native"]
        events = await server.grown_to(counts.unique)

    sighted = [e for e in events if e["type"] == "tag.sighted"]
    assert counts.duplicates > 100
    assert len(sighted) == counts.unique
    assert {e["data"]["tag_id"] for e in sighted} <= set(world.truth.tag_ids)
    told = Counter(e["type"] for e in events)
    registered = Counter(e.data.TYPE for e in world.registrations() + world.facts())
    assert {name: told[name] for name in registered} == dict(registered)


@pytest.mark.parametrize("form", ["native", "minew"])
async def test_over_http_the_log_holds_each_unique_sighting_exactly_once(
    database_url: str, form: Any
) -> None:
    world = recent(replace(small(), duration_s=40.0, formats=(form,)))
    async with serving(database_url) as server:
        targets = Targets(api_url=server.url, api_key=server.key)
        await asyncio.to_thread(run, world, targets, speed=FASTEST)
        events = await server.log()

    counts = world.truth.counts()
    told = Counter(e["type"] for e in events)
    ranges = told["tag.ranged"]
    assert told["tag.sighted"] + ranges == sum(c.unique for c in counts.values())
    assert ranges > 500


async def test_playing_the_same_run_again_adds_nothing(database_url: str) -> None:
    scenario = replace(small(), duration_s=15.0)
    first = recent(scenario)
    async with serving(database_url) as server:
        targets = Targets(api_url=server.url, api_key=server.key)
        await asyncio.to_thread(run, first, targets, speed=FASTEST)
        before = len(await server.log())
        await asyncio.to_thread(run, World(first.scenario), targets, speed=FASTEST)
        after = len(await server.log())

    assert before == after > 1000
