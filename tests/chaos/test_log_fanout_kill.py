"""kill -9 of NATS under load: the fan-out is lost for a while, the readers are not."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.nats_tail import NatsFanout, NatsTail
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.migrations import upgrade
from tagtrail_kernel.testing.log_contract import sightings

ROUNDS = 5
SIZE = 20


class Follower:
    """Follows the log as consumers do: the tail if contiguous, else SQL."""

    def __init__(self, log: PostgresLog, tail: NatsTail) -> None:
        self._log = log
        self._tail = tail
        self.seen: list[int] = []
        self.from_tail = 0

    async def run(self) -> None:
        after = 0
        while True:
            page = await self._tail.next(1, after=after, timeout_s=0.5)
            if page is not None:
                self.from_tail += 1
            else:
                page = await self._log.read(1, after=after)
            if page is not None:
                assert page.first == after + 1
                self.seen.extend(event.position for event in page.events)
                after = page.last


@pytest.mark.slow
async def test_readers_miss_nothing_while_nats_is_killed_again_and_again(short_dir: Path) -> None:
    async with Embedded(short_dir / "fanout-kill") as servers:
        await upgrade(servers.database_url, schema="log", package="tagtrail_ingest.migrations")
        pool = LogPool(servers.database_url)
        fanout, tail = NatsFanout(servers.nats_url), NatsTail(servers.nats_url)
        for resource in (pool, fanout, tail):
            await resource.open()
        log = PostgresLog(pool, on_batch=fanout.offer)
        follower = Follower(log, tail)
        following = asyncio.create_task(follower.run())
        fed: list[int] = []
        async with asyncio.timeout(90):
            for turn in range(ROUNDS + 1):
                fed.append(await _until_the_tail_feeds(log, follower, first=turn * 100_000 + 1))
                if turn < ROUNDS:
                    os.kill(servers.pids()["nats"], signal.SIGKILL)
                    await log.append(
                        1, sightings(turn * 100_000 + 99_001, turn * 100_000 + 99_020), writer="w"
                    )
            head = await log.head(1)
            while len(follower.seen) < head.position:
                await asyncio.sleep(0.01)
        following.cancel()
        restarts = servers.restart_counts()["nats"]
        for resource in (tail, fanout, pool):
            await resource.close()

    assert restarts >= ROUNDS
    assert follower.seen == list(range(1, head.position + 1))
    assert all(count > 0 for count in fed)


async def _until_the_tail_feeds(log: PostgresLog, follower: Follower, *, first: int) -> int:
    """Append until pages come by the tail again; returns how many came."""
    before = follower.from_tail
    number = first
    while follower.from_tail < before + 5:
        await log.append(1, sightings(number, number + SIZE - 1), writer="w")
        number += SIZE
        await asyncio.sleep(0.01)
    return follower.from_tail - before
