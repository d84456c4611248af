"""Finds the memory that an explanation is read from: the live one, or one brought up from the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from tagtrail_kernel.consumers import PAGE_EVENTS, State
from tagtrail_kernel.database import Database
from tagtrail_kernel.log import EventLog
from tagtrail_kernel.wiring import Follower
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.projection import FAMILIES, NAME, Places, fold, stored_engine

MOST_SHADOWS: Final = 4
"""Tenants whose memory is kept beside the live ones, for processes that do not lead."""


class Memories:
    """Memories of tenants by log id.

    Where this process leads the projection, its own memory answers. Elsewhere the stored snapshot
    is brought forward over the log, which gives the same memory, and kept for the next question.

    Args:
        database: Locate's tables.
        event_log: The log.
        chunk_events: Events folded before other work gets its turn.
    """

    def __init__(self, database: Database, event_log: EventLog, *, chunk_events: int) -> None:
        self._database = database
        self._log = event_log
        self._chunk = chunk_events
        self._shadows: dict[int, tuple[Engine, int]] = {}
        self._turns: dict[int, asyncio.Lock] = {}

    async def of(self, log_id: int, followers: Iterable[Follower]) -> Engine:
        """Return a memory to read from; it MUST NOT be changed, nor kept over an await.

        Args:
            log_id: The tenant's log.
            followers: The process's followers; they say whether it leads.
        """
        for follower in followers:
            consumer = follower.consumers.get((NAME, log_id))
            if consumer is None or consumer.status.state is not State.RUNNING:
                continue
            if isinstance(consumer.projection, Places):
                return consumer.projection.engine
        async with self._turns.setdefault(log_id, asyncio.Lock()):
            return await self._shadow(log_id)

    async def _shadow(self, log_id: int) -> Engine:
        async with self._database.connection() as connection:
            end = await connection.fetchval(
                "select position from consumer where name = $1 and log_id = $2", NAME, log_id
            )
            parked = await connection.fetch(
                "select position from parked where name = $1 and log_id = $2", NAME, log_id
            )
            known = self._shadows.get(log_id)
            if known is None:
                engine = await stored_engine(connection, log_id)
                at = await self._log.floor(log_id, engine.state.position)
            else:
                engine, at = known
        passed_over = {row["position"] for row in parked}
        while at < (end or 0):
            page = await self._log.read(log_id, after=at, limit=PAGE_EVENTS, families=FAMILIES)
            if page is None:
                break
            events = [e for e in page.events if e.position not in passed_over]
            await fold(engine, events, self._chunk)
            engine.taken()
            at = page.last
        if len(self._shadows) >= MOST_SHADOWS and log_id not in self._shadows:
            del self._shadows[next(iter(self._shadows))]
        self._shadows[log_id] = (engine, at)
        return engine
