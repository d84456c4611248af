"""Appends facts as ingest does and is killed between the commit and the fan-out.

Run as `python append_and_die.py DATABASE_URL LOG_ID` with the body of `POST /v1/events` on standard input.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec

from tagtrail_ingest.bodies import EventsBody, envelope_of
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.clock import SystemClock, TimeOrderedIds
from tagtrail_kernel.envelope import seal_all


async def _append(database_url: str, log_id: int, body: bytes) -> None:
    clock = SystemClock()
    ids = TimeOrderedIds(clock)
    pool = LogPool(database_url)
    await pool.open()
    log = PostgresLog(pool, on_batch=lambda _: os.kill(os.getpid(), signal.SIGKILL))
    events = msgspec.json.decode(body, type=EventsBody).events
    facts = [
        envelope_of(new, i, event_id=ids.new(), at=clock.now(), trace=None)
        for i, new in enumerate(events)
    ]
    await log.append(log_id, seal_all(facts), writer="ingest")


if __name__ == "__main__":
    asyncio.run(_append(sys.argv[1], int(sys.argv[2]), sys.stdin.buffer.read()))
