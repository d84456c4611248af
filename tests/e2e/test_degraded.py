"""The services on real servers when a part is gone: the fan-out, the broker, a piece of the log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from tests.support.e2e_scenario import caught_up, eventually
from tests.support.log_audit import audited
from tests.support.processes import clean_environment
from tests.support.serving import prepared, served, settings_for

from tagtrail.composition import MIGRATIONS, app_for
from tagtrail.embedded import Embedded

PACKED = [
    {"type": "sku.registered", "data": {"sku": "BOLT", "name": "Bolt"}},
    {"type": "asset.registered", "data": {"asset_id": "crate", "kind": "crate"}},
]
OWN_SCHEMAS = {"access", "log", "ingest"}


def pack(quantity: int) -> dict[str, Any]:
    """Return the fact that some bolts were put into the crate."""
    lines = [{"sku": "BOLT", "quantity": quantity}]
    return {"type": "crate.packed", "data": {"asset_id": "crate", "lines": lines}}


async def units(api: httpx2.AsyncClient) -> int:
    items: list[dict[str, int]] = (await api.get("/v1/stock")).json()["items"]
    return sum(item["quantity"] for item in items)


async def units_become(api: httpx2.AsyncClient, wanted: int, within_s: float = 15) -> None:
    async def so() -> bool:
        return await units(api) == wanted

    await eventually(so, f"{wanted} units in stock", within_s)


async def post(api: httpx2.AsyncClient, *events: dict[str, Any]) -> None:
    reply = await api.post("/v1/events", json={"events": list(events)})
    assert reply.is_success, reply.text


@pytest.fixture
async def tenant(database_url: str) -> tuple[int, str]:
    """Log id and key of a tenant in a database with all schemas."""
    return await prepared(
        database_url, migrations=[m for m in MIGRATIONS if m.schema not in OWN_SCHEMAS]
    )


def client(url: str, key: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=20)


async def append_and_die(database_url: str, log_id: int, *events: dict[str, Any]) -> int:
    """Append in a process that is killed before it publishes; returns its exit code."""
    script = Path(__file__).parents[1] / "support" / "append_and_die.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), database_url, str(log_id),
        env=clean_environment(), stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await process.communicate(json.dumps({"events": events}).encode())
    assert process.returncode is not None
    return process.returncode


async def test_s24_what_was_appended_before_a_kill_reaches_each_projection_once(
    database_url: str, tenant: tuple[int, str], infra: Embedded
) -> None:
    log_id, key = tenant
    settings = settings_for(database_url, infra.nats_url)
    async with served(app_for(settings, [])) as url, client(url, key) as api:
        await post(api, *PACKED, pack(1))
        await units_become(api, 1)
        codes = [await append_and_die(database_url, log_id, pack(10 * n)) for n in (1, 2, 3)]
        await units_become(api, 61)
        await post(api, pack(100))
        await units_become(api, 161)
        await caught_up(api)
        events = await audited(database_url, log_id)
        counts = await api.get("/v1/events", params={"types": "crate.packed"})

    assert codes == [-signal.SIGKILL] * 3
    packed = [json.loads(e["body"])["data"] for e in events if e["type"] == "crate.packed"]
    assert [p["lines"][0]["quantity"] for p in packed] == [1, 10, 20, 30, 100]
    assert len(counts.json()["items"]) == 5


@pytest.mark.slow
@pytest.mark.xdist_group(name="playback")
async def test_s20_ingest_and_projections_go_on_while_nats_hangs_and_after_it_is_back(
    short_dir: Path,
) -> None:
    async with Embedded(short_dir / "degraded") as servers:
        own = [m for m in MIGRATIONS if m.schema not in OWN_SCHEMAS]
        _, key = await prepared(servers.database_url, migrations=own)
        settings = settings_for(servers.database_url, servers.nats_url, servers.mqtt_url)
        async with served(app_for(settings, [])) as url, client(url, key) as api:
            await post(api, *PACKED, pack(1))
            await units_become(api, 1)
            nats = servers.pids()["nats"]
            os.kill(nats, signal.SIGSTOP)
            try:
                for n in range(20):
                    await post(api, pack(1))
                    await units_become(api, 2 + n)
            finally:
                os.kill(nats, signal.SIGCONT)
            os.kill(nats, signal.SIGKILL)
            await post(api, pack(1))
            await units_become(api, 22)
            await eventually(lambda: _connected(api), "the MQTT session is back", within_s=40)
            await post(api, pack(1))
            await units_become(api, 23)


async def _connected(api: httpx2.AsyncClient) -> bool:
    return bool((await api.get("/v1/ingest/stats")).json()["mqtt_connected"])


@pytest.fixture
async def operator(infra: Embedded, database_url: str) -> AsyncIterator[Any]:
    """A superuser's connection to the test's database: what a restore is made with."""
    name = database_url.rpartition("/")[2]
    connection = await asyncpg.connect(infra.admin_database_url.rpartition("/")[0] + f"/{name}")
    yield connection
    await connection.close()


async def cut_off(operator: Any, log_id: int, position: int) -> None:
    """Bring the log back to an earlier end, as a restore from an old backup does."""
    async with operator.transaction():
        await operator.execute("set local session_replication_role = replica")
        for table, column in (("event", "position"), ("batch", "last_position")):
            await operator.execute(
                f"delete from log.{table} where log_id = $1 and {column} > $2", log_id, position
            )


async def readiness(url: str) -> tuple[int, dict[str, Any]]:
    async with httpx2.AsyncClient(timeout=20) as anyone:
        reply = await anyone.get(f"{url}/readyz")
        return reply.status_code, reply.json()["failing"]


@pytest.mark.parametrize("grown", [False, True], ids=["shorter", "another future"])
async def test_consumers_refuse_a_log_that_was_restored_from_an_older_copy(
    database_url: str, tenant: tuple[int, str], operator: Any, grown: bool
) -> None:
    log_id, key = tenant
    settings = settings_for(database_url)
    async with served(app_for(settings, [])) as url, client(url, key) as api:
        await post(api, *PACKED)
        kept = await caught_up(api)
        for _ in range(3):
            await post(api, pack(1))
        await caught_up(api)
        assert (await readiness(url))[0] == 200
    await cut_off(operator, log_id, kept)

    async with served(app_for(settings, [])) as url, client(url, key) as api:
        if grown:
            for _ in range(5):
                await post(api, pack(7))

        async def refused() -> bool:
            failing = (await readiness(url))[1]
            states = [f["state"] for f in failing.values()]
            return states.count("refused") >= 3

        await eventually(refused, "all consumers refuse", within_s=20)
        status, failing = await readiness(url)
        still = await units(api)

    assert status == 503
    books = failing[f"inventory.books/{log_id}"]
    assert books["state"] == "refused"
    assert "restored or forked" in books["error"]
    assert "tagtrail rebuild" in books["error"]
    assert still == 3, "nothing of the other history was applied"
