"""kill -9 of the services, NATS and PostgreSQL under load: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.chaos_load import Ledger, Load, registrations
from tests.support.e2e_scenario import caught_up, eventually
from tests.support.log_audit import audited
from tests.support.processes import Launched, clean_environment, command, free_port, launch, ready

from tagtrail.benchmarks.served import tenant_with_key
from tagtrail.embedded import Embedded
from tagtrail_kernel.settings import KernelSettings

SEED = int(os.environ.get("TAGTRAIL_CHAOS_SEED", "20261124"))
"""Another one finds other instants; failures of a seed come back only roughly."""
KILLS = 5

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="processes")]


class Services:
    """`tagtrail serve`, started again whenever it ends, as a service manager does."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = environment
        self.kills = 0
        self._arguments = ["serve", "--port", str(port)]
        self._now: Launched | None = None
        self._stopping = False

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[Services]:
        """Keep them running while the block lasts."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            self._stopping = True
            if self._now is not None:
                await self._now.end()
            await keeping

    async def _keep(self) -> None:
        while not self._stopping:
            self._now = await launch(self._arguments, self.environment)
            await self._now.process.wait()
            await self._now.end()

    async def kill(self) -> None:
        """Kill the process once it takes load, whatever it does at that moment."""
        await eventually(self._alive, "the services answer", within_s=60)
        assert self._now is not None
        os.kill(self._now.process.pid, signal.SIGKILL)
        self.kills += 1
        await self._now.process.wait()

    async def _alive(self) -> bool:
        async with httpx2.AsyncClient(timeout=5) as client:
            with contextlib.suppress(httpx2.HTTPError):
                return (await client.get(f"{self.url}/healthz")).status_code == 200
        return False


async def kill_all(
    services: Services, servers: Embedded, load: Load, api: httpx2.AsyncClient
) -> None:
    """Kill each of the three `KILLS` times, in a random order at random instants under load."""
    chance = random.Random(SEED)
    victims = ["serve", "nats", "postgres"] * KILLS
    chance.shuffle(victims)
    for victim in victims:
        await asyncio.sleep(chance.uniform(0.1, 2.5))
        if victim == "serve":
            await services.kill()
        else:
            os.kill(servers.pids()[victim], signal.SIGKILL)
        await under_load_again(load, servers, api)


async def under_load_again(load: Load, servers: Embedded, api: httpx2.AsyncClient) -> None:
    """Wait until everything runs, and readings come all the way by the broker and over HTTP."""
    mqtt, http = load.ledger.acknowledged()

    async def flows() -> bool:
        now_mqtt, now_http = load.ledger.acknowledged()
        with contextlib.suppress(httpx2.HTTPError, ValueError, KeyError):
            stats = (await api.get("/v1/ingest/stats")).json()
            running = servers.pids().keys() >= {"nats", "postgres"}
            return bool(running and stats["mqtt_connected"] and now_mqtt > mqtt and now_http > http)
        return False

    await eventually(flows, "load flows by the broker and over HTTP", within_s=60)


def count_readings(bodies: list[Any]) -> Counter[int]:
    """Return how often each numbered reading is in the log."""
    readings = (json.loads(body)["data"] for body in bodies)
    return Counter(round(r["distance_m"] * 100) for r in readings)


@dataclass(frozen=True)
class Outcome:
    """What is left when the smoke has cleared."""

    ledger: Ledger
    kills: dict[str, int]
    events: list[Any]
    units: int
    rebuilt: list[dict[str, Any]]


async def endured(servers: Embedded) -> Outcome:
    """Kill everything again and again under load, let it come to rest, and look."""
    settings = KernelSettings(
        database_url=servers.database_url, nats_url=servers.nats_url, mqtt_url=servers.mqtt_url
    )
    log_id, key = await tenant_with_key(settings)
    environment = clean_environment(
        TAGTRAIL_DATABASE_URL=servers.database_url,
        TAGTRAIL_NATS_URL=servers.nats_url,
        TAGTRAIL_MQTT_URL=servers.mqtt_url,
        TAGTRAIL_REQUESTS_PER_S="10000",
        TAGTRAIL_LOG_LEVEL="ERROR",
    )
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        Services(environment, free_port()).kept() as services,
        httpx2.AsyncClient(base_url=services.url, headers=headers, timeout=20) as api,
    ):
        await ready(services.url)
        reply = await api.post("/v1/events", json={"events": registrations()})
        assert reply.is_success, reply.text
        load = Load(services.url, key, servers.gateway_mqtt_url, SEED)
        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            group.create_task(load.run())
            await kill_all(services, servers, load, api)
            load.stop()
        await ready(services.url)
        await caught_up(api)
        stock = (await api.get("/v1/stock")).json()["items"]
        kills = servers.restart_counts() | {"serve": services.kills}
        _, out, err = await command(["rebuild", "--json"], environment)
        assert out, err
        events = await audited(servers.database_url, log_id)
    units = sum(item["quantity"] for item in stock)
    return Outcome(load.ledger, kills, events, units, json.loads(out))


async def test_kill_9_of_services_nats_and_postgresql_loses_and_doubles_nothing(
    short_dir: Path,
) -> None:
    async with Embedded(short_dir / "chaos") as servers:
        outcome = await endured(servers)

    assert min(outcome.kills.values()) >= KILLS, outcome.kills
    assert outcome.ledger.repeats > 0
    sightings = [e["body"] for e in outcome.events if e["type"] == "tag.sighted"]
    counted = count_readings(sightings)
    ways = outcome.ledger.readings.items()
    lost = {way: sorted(sent - counted.keys()) for way, sent in ways}
    assert len(lost) == 7
    assert not any(lost.values()), lost
    doubled = {n for n, times in counted.items() if times > 1}
    assert not doubled, {way: len(sent & doubled) for way, sent in ways}
    assert outcome.units == outcome.ledger.packed > 0
    assert len(outcome.rebuilt) >= 3
    assert all(r["equal"] for r in outcome.rebuilt), outcome.rebuilt
