"""Writes facts through ingest and waits until the books hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import Request, Response

from tagtrail_inventory.settings import InventorySettings
from tagtrail_kernel.access import Principal
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.consumers import Consumer
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.logs import trace_id
from tagtrail_kernel.wiring import Deps

CONSUMER: Final = "inventory.books"
POLL_S: Final = 0.025
"""Between looks at the consumer's row when another process folds the books."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to be written.

    Attributes:
        subject: What it is about.
        data: The fact.
        at: When it happened.
    """

    subject: str
    data: Event
    at: datetime


@dataclass(frozen=True, slots=True)
class Seed:
    """Where the ids of a command's facts come from.

    Attributes:
        who: Who commands.
        route: Method and path.
        key: `Idempotency-Key`; None = fresh ids.
        first_at: When the key was first used.
    """

    who: Principal
    route: str
    key: str | None
    first_at: datetime

    @property
    def source(self) -> str:
        """Source of the facts: this service for the key that commanded."""
        return f"inventory/{self.who.key_id}"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of facts.

    Attributes:
        event_ids: Their ids.
        position: Position of the last of them.
        applied: Whether the books hold them already.
    """

    event_ids: tuple[UUID, ...]
    position: int
    applied: bool


class Writer:
    """The one way of inventory to state facts."""

    def __init__(self, deps: Deps, settings: InventorySettings) -> None:
        self._deps = deps
        self._settings = settings
        self.database: Database = deps.database_of("inventory")

    def now(self) -> datetime:
        """Return the time."""
        return self._deps.clock.now()

    def new_id(self) -> UUID:
        """Return a fresh random id."""
        return self._deps.ids.new()

    def time_of(self, stated: datetime | None, first_at: datetime) -> datetime:
        """Return the time of a fact: as stated, else the time of the request.

        Raises:
            RejectedError: it lies in the future.
        """
        if stated is None:
            return first_at
        if stated > self.now() + timedelta(seconds=self._settings.future_tolerance_s):
            raise RejectedError(
                f"`at` ({stated.isoformat()}) lies in the future; state when it happened, or leave "
                "`at` out for now",
                field="at",
            )
        return stated

    def event_id(self, seed: Seed, number: int) -> UUID:
        """Return the id of the n-th fact of a command: the same at every repetition of its key."""
        if seed.key is None:
            return self._deps.ids.new()
        name = f"inventory/{seed.who.log_id}/{seed.route}/{seed.key}/{number}"
        return uuid8(seed.first_at, name.encode())

    async def repeated(self, request: Request, seed: Seed) -> Written | None:
        """Return what a command with this key has written before its answer was lost, if it has."""
        if seed.key is None:
            return None
        found = await self._deps.log.find(seed.who.log_id, self.event_id(seed, 0))
        if found is None:
            return None
        applied = await self.applied(request, seed.who.log_id, found.position)
        return Written((found.id,), found.position, applied)

    async def write(
        self,
        request: Request,
        seed: Seed,
        facts: Sequence[Fact],
        *,
        correlation_id: str | None = None,
        first_number: int = 0,
    ) -> Written:
        """Append facts as one batch and wait, for a bounded time, until the books hold them.

        Args:
            request: Gives the app whose consumers fold the books.
            seed: Where their ids come from.
            facts: 1 to 1000 facts; all are appended or none.
            correlation_id: Ties them together; by default the request's trace id.
            first_number: Number of the first of them among the command's facts.
        """
        envelopes = [
            Envelope(
                id=self.event_id(seed, number),
                subject=fact.subject,
                source=seed.source,
                occurred_at=fact.at,
                data=fact.data,
                correlation_id=correlation_id or trace_id.get(),
            )
            for number, fact in enumerate(facts, first_number)
        ]
        done = await self._deps.sink.publish(seed.who.log_id, envelopes)
        position = max(done.positions)
        applied = await self.applied(request, seed.who.log_id, position)
        return Written(tuple(e.id for e in envelopes), position, applied)

    async def applied(self, request: Request, log_id: int, position: int) -> bool:
        """Wait until the books hold a position; False if they do not in time."""
        consumer = _own_consumer(request, log_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.applied_wait_s
        while True:
            if consumer is not None and consumer.status.position >= position:
                return True
            if await self.position(log_id) >= position:
                return True
            left = deadline - loop.time()
            if left <= 0:
                return False
            await _moved(consumer, min(left, POLL_S if consumer is None else 10 * POLL_S))

    async def position(self, log_id: int) -> int:
        """Return the position up to which the books are kept."""
        async with self.database.connection() as c:
            found = await c.fetchval(
                "select position from consumer where name = 'books' and log_id = $1", log_id
            )
        return int(found or 0)

    async def once(
        self,
        request: Request,
        who: Principal,
        key: str | None,
        act: Callable[[Seed], Awaitable[tuple[int, dict[str, Any]]]],
    ) -> Response:
        """Run a command once for its `Idempotency-Key` and answer in JSON."""
        route = f"{request.method} {request.url.path}?{request.url.query}"

        async def run(first_at: datetime) -> tuple[int, bytes]:
            status, reply = await act(Seed(who, route, key, first_at))
            return status, orjson.dumps(reply)

        status, body = await self._deps.idempotency.once(
            who.log_id, route, key, await request.body(), self.now(), run
        )
        return Response(body, status, media_type="application/json")


def _own_consumer(request: Request, log_id: int) -> Consumer | None:
    for follower in request.app.state.followers:
        for consumer in follower.consumers.values():
            if consumer.status.consumer == CONSUMER and consumer.log_id == log_id:
                found: Consumer = consumer
                return found
    return None


async def _moved(consumer: Consumer | None, wait_s: float) -> None:
    if consumer is None:
        await asyncio.sleep(wait_s)
        return
    try:
        async with asyncio.timeout(wait_s):
            await consumer.moved.wait()
    except TimeoutError:
        return
