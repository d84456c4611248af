"""The log in memory keeps the contract of the port, and wakes its readers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tagtrail_kernel.adapters.log_pages import Committed
from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.clock import FakeClock, SystemClock
from tagtrail_kernel.testing.log_contract import EventLogContract, sighted, sightings


class TestMemoryLog(EventLogContract):
    @pytest.fixture
    def event_log(self) -> MemoryLog:
        return MemoryLog(SystemClock())


async def test_the_tail_returns_the_page_that_was_appended_meanwhile() -> None:
    log = MemoryLog(SystemClock())
    waiting = asyncio.create_task(log.next(1, after=0, timeout_s=10))
    await asyncio.sleep(0)
    await log.append(1, sightings(1, 3), writer="w")
    page = await waiting

    assert page is not None
    assert (page.first, page.last, len(page.events)) == (1, 3, 3)


async def test_the_tail_returns_nothing_when_the_time_is_over() -> None:
    log = MemoryLog(SystemClock())
    await log.append(1, [sighted(1)], writer="w")

    assert await log.next(1, after=1, timeout_s=0.01) is None


async def test_recording_times_never_decrease_when_the_clock_is_set_back() -> None:
    clock = FakeClock(datetime(2026, 3, 2, tzinfo=UTC))
    log = MemoryLog(clock)
    first = await log.append(1, [sighted(1)], writer="w")
    clock.forward(-60)
    second = await log.append(1, [sighted(2)], writer="w")

    assert second.recorded_at == first.recorded_at


async def test_every_new_batch_is_offered_to_the_fan_out_once() -> None:
    offered: list[Committed] = []
    log = MemoryLog(SystemClock(), on_batch=offered.append)
    await log.append(1, sightings(1, 2), writer="w")
    await log.append(1, sightings(1, 2), writer="w")
    await log.append(1, sightings(2, 3), writer="w")

    assert [(b.row.first, b.row.last) for b in offered] == [(1, 2), (3, 3)]
    assert offered[1].row.prev == offered[0].row.chain
