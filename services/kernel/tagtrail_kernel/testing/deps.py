"""Ports for tests of a service: a real database, the log in memory, a clock that the test moves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import httpx2
from prometheus_client import CollectorRegistry

from tagtrail_kernel.access import mint
from tagtrail_kernel.access_stores import MemoryAccess
from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.clock import Clock, FakeClock, TimeOrderedIds
from tagtrail_kernel.consumers import Consumer, Projection
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.idempotency import Idempotency
from tagtrail_kernel.log import Appended, EventLog
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.wiring import Deps, Resource

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class LogSink:
    """An `EventSink` that appends to a log at once."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log

    async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
        """See `EventSink.publish`."""
        return await self._log.append(log_id, seal_all(facts), writer="test")


@contextlib.asynccontextmanager
async def service_deps(
    database_url: str, *, clock: Clock | None = None, http: httpx2.AsyncClient | None = None
) -> AsyncIterator[tuple[Deps, str]]:
    """Lend ports on a migrated database; gives them and an admin's key of tenant 1.

    The pools are opened by the app's lifespan, or by the test through `deps.resources`.
    """
    clock = clock or FakeClock(START)
    event_log = MemoryLog(clock)
    access = MemoryAccess()
    tenant = await access.add_tenant("test", "Test")
    text, key = mint(tenant.log_id, name="test", role="admin", at=clock.now())
    await access.add_key(key)
    pools: dict[str, Database] = {}
    resources: list[Resource] = []

    def database_of(schema: str) -> Database:
        if schema not in pools:
            pools[schema] = Database(database_url, schema=schema, max_size=4)
            resources.append(pools[schema])
        return pools[schema]

    async with contextlib.AsyncExitStack() as stack:
        client = http if http is not None else await stack.enter_async_context(httpx2.AsyncClient())
        yield (
            Deps(
                settings=KernelSettings(database_url=database_url, requests_per_s=100_000),
                log=event_log,
                tail=event_log,
                sink=LogSink(event_log),
                clock=clock,
                ids=TimeOrderedIds(clock),
                access=access,
                idempotency=Idempotency(database_of("access")),
                http=client,
                database_of=database_of,
                resources=resources,
                registry=CollectorRegistry(),
            ),
            text,
        )
        for pool in pools.values():
            await pool.close()


async def catch_up(deps: Deps, service: str, projection: Projection, log_id: int = 1) -> Consumer:
    """Run a projection over the log until its end; returns its consumer, ready to go on."""
    database = deps.database_of(service)
    consumer = Consumer(
        projection,
        service=service,
        log_id=log_id,
        database=database,
        event_log=deps.log,
        tail=deps.tail,
        sink=deps.sink,
    )
    await consumer.start()
    while await consumer.step(wait_s=0):
        pass
    return consumer
