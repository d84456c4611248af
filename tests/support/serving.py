"""Runs an app on a real socket of the loopback, inside the test's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import uvicorn
from fastapi import FastAPI

from tagtrail_ingest.service import build as build_ingest
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.access import mint
from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.bootstrap import deps_of
from tagtrail_kernel.clock import SystemClock, uuid8
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.events.registrations import RetentionSet
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.wiring import Deps, Service, app_of

BASE_MIGRATIONS = (
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration("log", "tagtrail_ingest.migrations"),
    Migration("ingest", "tagtrail_ingest.migrations_ingest"),
)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app; gives its address."""
    # named as TCP: asyncio turns Nagle's delay (40 ms for every answer) off only then
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server did not start")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 20)
        bound.close()


async def prepared(
    database_url: str,
    *,
    migrations: Sequence[Migration] = (),
    retention: bool = True,
    facts: Sequence[Event] = (),
    role: str = "admin",
) -> tuple[int, str]:
    """Migrate a database, make a tenant with rules, append facts; gives its log id and a key."""
    await upgrade_all(database_url, (*BASE_MIGRATIONS, *migrations))
    database = Database(database_url, schema="access", max_size=2)
    await database.open()
    pool = LogPool(database_url, max_size=1)
    await pool.open()
    try:
        access = PostgresAccess(database)
        tenant = await access.add_tenant("default", "Default")
        now = SystemClock().now()
        text, key = mint(tenant.log_id, name="test", role=role, at=now)
        await access.add_key(key)
        rules: list[Event] = []
        if retention:
            rules = [RetentionSet(event_class="radio", keep_days=30, basis="test")]
        envelopes = [
            Envelope(
                id=uuid8(now, f"{i}/{fact}".encode()),
                subject="setup",
                source="test",
                occurred_at=now,
                data=fact,
            )
            for i, fact in enumerate([*rules, *facts])
        ]
        if envelopes:
            await PostgresLog(pool).append(tenant.log_id, seal_all(envelopes), writer="test")
    finally:
        await pool.close()
        await database.close()
    return tenant.log_id, text


def settings_for(database_url: str, nats_url: str = "", mqtt_url: str = "") -> KernelSettings:
    """Return settings for given servers."""
    return KernelSettings(
        database_url=database_url,
        nats_url=nats_url,
        mqtt_url=mqtt_url,
        requests_per_s=100_000,
    )


def ingest_app(
    settings: KernelSettings,
    ingest: IngestSettings | None = None,
    others: Sequence[Callable[[Deps], Service]] = (),
) -> FastAPI:
    """Return an app with ingest and possibly other services."""
    deps = deps_of(settings)
    services = [build_ingest(deps, ingest or IngestSettings()), *(o(deps) for o in others)]
    return app_of(deps, *services)
