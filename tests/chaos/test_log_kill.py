"""kill -9 of PostgreSQL under load: nothing acknowledged is lost, nothing stands twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.migrations import upgrade
from tagtrail_kernel.testing.log_contract import chain_of, sightings

ROUNDS = 5
WRITERS = 3


class Run:
    """Writers that repeat what was left unclear, and a reader that never goes back."""

    def __init__(self, log: PostgresLog) -> None:
        self.log = log
        self.acknowledged: dict[int, int] = {}
        self.unclear = 0
        self.seen: list[int] = []
        self.stopping = False
        self.writing = 0
        self._number = 0

    async def write(self, writer: int, chance: random.Random) -> None:
        self.writing += 1
        while not self.stopping:
            size = chance.randint(1, 200)
            first, self._number = self._number + 1, self._number + size
            facts = sightings(first, first + size - 1)
            while True:
                try:
                    appended = await self.log.append(1, facts, writer=str(writer))
                except UnavailableError:
                    self.unclear += 1
                    await asyncio.sleep(0.05)
                    continue
                break
            self.acknowledged |= {
                fact.id.int: position
                for fact, position in zip(facts, appended.positions, strict=True)
            }
        self.writing -= 1

    async def read(self) -> None:
        after = 0
        while True:
            ended = self.stopping and self.writing == 0
            try:
                page = await self.log.read(1, after=after)
            except UnavailableError:
                await asyncio.sleep(0.05)
                continue
            if page is not None:
                self.seen.extend(event.position for event in page.events)
                after = page.last
            elif ended:
                return
            else:
                await asyncio.sleep(0.005)


async def _killed_again_and_again(servers: Embedded, run: Run, chance: random.Random) -> None:
    for _ in range(ROUNDS):
        before = len(run.acknowledged)
        while len(run.acknowledged) < before + 500:
            await asyncio.sleep(0.01)
        await asyncio.sleep(chance.uniform(0, 0.3))
        os.kill(servers.pids()["postgres"], signal.SIGKILL)
        await asyncio.sleep(0.2)
    before = len(run.acknowledged)
    while len(run.acknowledged) < before + 500:
        await asyncio.sleep(0.01)
    run.stopping = True


@pytest.mark.slow
async def test_every_acknowledged_event_is_in_the_log_exactly_once_after_kill_9(
    short_dir: Path,
) -> None:
    chance = random.Random(20261124)
    async with Embedded(short_dir / "log-kill") as servers:
        await upgrade(servers.database_url, schema="log", package="tagtrail_ingest.migrations")
        pool = LogPool(servers.database_url, max_size=WRITERS + 1)
        await pool.open()
        run = Run(PostgresLog(pool))
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(run.read())
            for writer in range(WRITERS):
                group.create_task(run.write(writer, random.Random(writer)))
            await _killed_again_and_again(servers, run, chance)
        batches = await _batches(run.log)
        head = await run.log.head(1)
        restarts = servers.restart_counts()["postgres"]
        await pool.close()

    events = [event for batch in batches for event in batch]
    assert restarts >= ROUNDS
    assert run.unclear > 0
    assert [position for position, _, _ in events] == list(range(1, len(events) + 1))
    assert {id_: position for position, id_, _ in events} == run.acknowledged
    assert run.seen == list(range(1, len(events) + 1))
    facts = {fact.id.int: fact for fact in sightings(1, len(events))}
    assert all(facts[id_].body == body for _, id_, body in events)
    assert chain_of([[facts[id_] for _, id_, _ in batch] for batch in batches]) == head.chain


async def _batches(log: PostgresLog) -> list[list[tuple[int, int, bytes]]]:
    """Read batch by batch: position, id and body of every event."""
    found: list[list[tuple[int, int, bytes]]] = []
    after = 0
    while page := await log.read(1, after=after, limit=1):
        found.append([(e.position, e.id.int, e.body) for e in page.events])
        after = page.last
    return found
