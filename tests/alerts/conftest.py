"""A migrated database and ports for the alerts service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
from tests.support.alert_history import T0

from tagtrail_alerts.projection import NAME, Alerts
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.consumers import Consumer, state_hash
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.testing.deps import catch_up, service_deps
from tagtrail_kernel.wiring import Deps

MIGRATIONS = [
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration(NAME, "tagtrail_alerts.migrations"),
]


@dataclass(slots=True)
class World:
    """The alerts service's surroundings.

    Attributes:
        deps: Ports: real database, log in memory.
        clock: The wall clock.
        key: An admin's key of tenant 1.
        url: The database.
    """

    deps: Deps
    clock: FakeClock
    key: str
    url: str

    @property
    def database(self) -> Database:
        """The service's pool."""
        return self.deps.database_of(NAME)

    async def record(self, *envelopes: Envelope, log_id: int = 1) -> None:
        """Append events one by one, each as soon as it happened (wall clock = its time + 1 s)."""
        for envelope in envelopes:
            lag = (envelope.occurred_at - self.clock.at).total_seconds() + 1
            if lag > 0:
                self.clock.forward(lag)
            await self.deps.sink.publish(log_id, [envelope])

    async def follow(self, projection: Alerts | None = None, log_id: int = 1) -> Consumer:
        """Run the projection to the end of the log, with what it publishes itself."""
        return await catch_up(self.deps, NAME, projection or Alerts(), log_id)

    async def hash(self, log_id: int = 1) -> str:
        """Return the hash of the projection's tables."""
        async with self.database.transaction() as tx:
            return await state_hash(tx, Alerts.tables, log_id)

    async def alerts(self, log_id: int = 1) -> list[dict[str, object]]:
        """Return all alerts, oldest first."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "select * from alert where log_id = $1 order by fired_position", log_id
            )
        return [dict(row) for row in rows]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A world on a fresh, migrated database."""
    await upgrade_all(database_url, MIGRATIONS)
    clock = FakeClock(T0)
    async with httpx2.AsyncClient() as http:
        async with service_deps(database_url, clock=clock, http=http) as (deps, key):
            deps.database_of(NAME)
            for resource in deps.resources:
                await resource.open()
            yield World(deps, clock, key, database_url)
