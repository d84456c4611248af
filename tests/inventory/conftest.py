"""A migrated database with the books of one tenant, fed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tagtrail_inventory.projections.books import Books
from tagtrail_inventory.service import build
from tagtrail_inventory.settings import InventorySettings
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.consumers import Consumer
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.log import Appended
from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.testing.deps import START, catch_up, service_deps
from tagtrail_kernel.wiring import Deps, app_of

MIGRATIONS = (
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration("inventory", "tagtrail_inventory.migrations"),
)


@pytest.fixture
async def migrated(database_url: str) -> str:
    """Address of a database with the tables of inventory."""
    await upgrade_all(database_url, MIGRATIONS)
    return database_url


@pytest.fixture
async def ports(migrated: str) -> AsyncIterator[tuple[Deps, str]]:
    """Ports of a service, and an admin's key."""
    async with service_deps(migrated) as lent:
        yield lent


def minute(n: float) -> datetime:
    """A time of the test day: START is minute 0."""
    return START + timedelta(minutes=n)


class Desk:
    """Appends facts and folds them into the books."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.database: Database = deps.database_of("inventory")
        self._count = 0
        self._logs = 1

    def next_log(self) -> int:
        """Number of a log that nobody has used."""
        self._logs += 1
        return self._logs

    async def say(
        self, *facts: tuple[float, Event], together: bool = True, log_id: int = 1
    ) -> Appended:
        """Append facts, each with its minute; in one batch, or in a batch for each."""
        sealed = [self._wrap(at, fact) for at, fact in facts]
        if together:
            return await self.deps.sink.publish(log_id, sealed)
        for one in sealed:
            done = await self.deps.sink.publish(log_id, [one])
        return done

    def _wrap(self, at: float, fact: Event) -> Envelope:
        self._count += 1
        return Envelope(
            id=self.event_id(self._count),
            subject="test",
            source="test",
            occurred_at=minute(at),
            data=fact,
        )

    @staticmethod
    def event_id(number: int) -> UUID:
        """Id of the n-th fact, n >= 1."""
        return uuid8(START, str(number).encode())

    async def fold(self, log_id: int = 1) -> Consumer:
        """Bring the books to the end of the log."""
        return await catch_up(self.deps, "inventory", Books(), log_id)


@pytest.fixture
async def desk(ports: tuple[Deps, str]) -> Desk:
    """The books of tenant 1, empty."""
    deps, _ = ports
    desk = Desk(deps)
    await desk.database.open()
    return desk


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """Times of the test day by minute."""
    return minute


class Client:
    """Talks to the running service as one key."""

    def __init__(self, http: httpx2.AsyncClient, desk: Desk) -> None:
        self.http = http
        self.desk = desk

    async def say(self, *facts: tuple[float, Event]) -> int:
        """Append facts of other services and wait until the books hold them."""
        done = await self.desk.say(*facts)
        for _ in range(200):
            body = await self.get("/v1/summary")
            if body["as_of_position"] >= done.last:
                return done.last
            await asyncio.sleep(0.02)
        raise AssertionError("the books do not move")

    async def post(
        self, path: str, body: Any = None, *, expect: int | tuple[int, ...] = (200, 201), **kw: Any
    ) -> Any:
        """POST and return the answer's body; checks the status."""
        wanted = (expect,) if isinstance(expect, int) else expect
        answer = await self.http.post(path, json=body, **kw)
        assert answer.status_code in wanted, answer.text
        return answer.json()

    async def get(self, path: str, *, expect: int = 200, **params: Any) -> Any:
        """GET and return the answer's body; checks the status."""
        answer = await self.http.get(path, params=params)
        assert answer.status_code == expect, answer.text
        return answer.json()


@pytest.fixture
async def client(ports: tuple[Deps, str]) -> AsyncIterator[Client]:
    """The service, running, with an admin's key."""
    deps, key = ports
    app = app_of(deps, build(deps, InventorySettings()))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://test", headers=headers
        ) as http:
            yield Client(http, Desk(deps))
