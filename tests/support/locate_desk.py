"""Appends facts, follows them with locate's projection, and asks its API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2

from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.consumers import Consumer, state_hash
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.testing.deps import catch_up
from tagtrail_kernel.wiring import Deps
from tagtrail_locate.projection import Places

BATCH = 250


class LocateDesk:
    """One tenant of locate.

    Args:
        deps: Ports; the log is in memory.
        http: Client of the app, with an admin's key.
    """

    def __init__(self, deps: Deps, http: httpx2.AsyncClient) -> None:
        self.deps = deps
        self.http = http
        self.database = deps.database_of("locate")

    @property
    def clock(self) -> FakeClock:
        """The clock that the service reads."""
        assert isinstance(self.deps.clock, FakeClock)
        return self.deps.clock

    async def append(self, facts: Sequence[Envelope], *, batch: int = BATCH) -> None:
        """Append facts to the log, in batches."""
        for start in range(0, len(facts), batch):
            sealed = seal_all(facts[start : start + batch])
            await self.deps.log.append(1, sealed, writer="test")

    async def follow(self) -> Consumer:
        """Bring a fresh consumer to the end of the log, as after a restart."""
        return await catch_up(self.deps, "locate", Places(self.deps.log))

    async def give(self, facts: Sequence[Envelope]) -> Consumer:
        """Append facts and follow them."""
        await self.append(facts)
        return await self.follow()

    async def hash(self, log_id: int = 1) -> str:
        """Return one hash over all tables of the projection."""
        async with self.database.transaction() as tx:
            return await state_hash(tx, Places.tables, log_id)

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *values)]

    async def get(self, path: str, **query: Any) -> Any:
        """Get JSON; the answer must be 200."""
        reply = await self.http.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()
