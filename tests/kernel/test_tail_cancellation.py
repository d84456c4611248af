"""A reader that waits for the log ends when its process ends, also if a batch comes just then."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.clock import FakeClock, uuid7
from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.events.registrations import AssetRegistered

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_reader_ends_even_if_a_batch_arrives_at_that_moment(turns: int) -> None:
    log = MemoryLog(FakeClock(START))

    async def follow() -> None:
        at = 0
        while True:
            page = await log.next(1, after=at, timeout_s=0.2)
            at = page.last if page is not None else at

    reader = asyncio.create_task(follow())
    for _ in range(3):
        await asyncio.sleep(0)
    fact = AssetRegistered(asset_id="a")
    one = Envelope(id=uuid7(1, 1), subject="a", source="test", occurred_at=START, data=fact)
    await log.append(1, [seal(one)], writer="test")
    for _ in range(turns):
        await asyncio.sleep(0)
    reader.cancel()
    done, _ = await asyncio.wait([reader], timeout=1)

    reader.cancel()
    assert done == {reader}
