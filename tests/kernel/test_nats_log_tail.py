"""The fan-out over NATS wakes readers; without it, or with its mistakes, nothing breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import nats
import pytest

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.log_pages import Committed
from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.adapters.nats_tail import STREAM, SUBJECT, NatsFanout, NatsTail
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.envelope import Sealed
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES, Family
from tagtrail_kernel.log import Page
from tagtrail_kernel.testing.log_contract import sighted, sightings, site

LOG_IDS = itertools.count(1_000)


@pytest.fixture
def log_id() -> int:
    """A log of its own: tests share one NATS server."""
    return next(LOG_IDS)


@pytest.fixture
async def fanout(infra: Embedded) -> AsyncIterator[NatsFanout]:
    fanout = NatsFanout(infra.nats_url)
    await fanout.open()
    await until(lambda: fanout.connected)
    yield fanout
    await fanout.close()


@pytest.fixture
async def tail(infra: Embedded) -> AsyncIterator[NatsTail]:
    tail = NatsTail(infra.nats_url)
    await tail.open()
    await until(lambda: tail.connected)
    yield tail
    await tail.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def batches_of(log_id: int, *parts: list[Sealed]) -> list[Committed]:
    """Append parts to a log in memory and return the batches it would fan out."""
    made: list[Committed] = []
    log = MemoryLog(SystemClock(), on_batch=made.append)
    for part in parts:
        await log.append(log_id, part, writer="w")
    return made


async def test_a_committed_batch_reaches_a_waiting_reader_at_once(
    fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    (batch,) = await batches_of(log_id, sightings(1, 3))
    waiting = asyncio.create_task(tail.next(log_id, after=0, timeout_s=10))
    await asyncio.sleep(0)
    began = time.perf_counter()
    fanout.offer(batch)
    page = await waiting
    took_s = time.perf_counter() - began

    assert page is not None
    assert (page.first, page.last, page.chain) == (1, 3, batch.row.chain)
    assert page.recorded_at == batch.row.recorded_at
    assert [(e.position, e.id, e.subject, e.type, e.body) for e in page.events] == [
        (e.position, e.id, e.subject, e.type, e.body) for e in batch.events()
    ]
    assert took_s < 1


async def test_batches_that_follow_each_other_come_as_one_page(
    fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    made = await batches_of(log_id, sightings(1, 3), sightings(4, 4), sightings(5, 9))
    await tail.next(log_id, after=0, timeout_s=0.001)
    for batch in reversed(made):
        fanout.offer(batch)
    page = await delivered(tail, log_id, after=0, last=9)

    assert [e.position for e in page.events] == list(range(1, 10))
    assert page.chain == made[-1].row.chain


async def delivered(tail: NatsTail, log_id: int, *, after: int, last: int) -> Page:
    """Ask until everything has arrived; what comes is a page or nothing."""
    async with asyncio.timeout(10):
        while True:
            page = await tail.next(log_id, after=after, timeout_s=0.5)
            if page is not None and page.last == last:
                return page


async def test_a_gap_sends_the_reader_to_the_log(
    fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    _, second = await batches_of(log_id, sightings(1, 3), sightings(4, 5))
    waiting = asyncio.create_task(tail.next(log_id, after=0, timeout_s=10))
    await asyncio.sleep(0)
    began = time.perf_counter()
    fanout.offer(second)
    page = await waiting

    assert page is None
    assert time.perf_counter() - began < 2


async def test_unwanted_batches_do_not_wake_a_reader_but_are_covered_in_the_end(
    fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    made = await batches_of(log_id, sightings(1, 3), sightings(4, 5), [sighted(6), site(7)])
    waiting = asyncio.create_task(
        tail.next(log_id, after=0, families=BUSINESS_FAMILIES, timeout_s=0.6)
    )
    await asyncio.sleep(0)
    fanout.offer(made[0])
    fanout.offer(made[1])
    covered = await waiting
    waiting = asyncio.create_task(
        tail.next(log_id, after=5, families=BUSINESS_FAMILIES, timeout_s=10)
    )
    fanout.offer(made[2])
    wanted = await waiting

    assert covered is not None
    assert (covered.first, covered.last, list(covered.events)) == (1, 5, [])
    assert covered.chain == made[1].row.chain
    assert wanted is not None
    assert [e.id for e in wanted.events] == [site(7).id]


async def test_a_batch_too_large_for_a_message_only_wakes_the_reader(
    fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    body = b"x" * 60_000
    facts = [
        Sealed(f.id, f.subject, f.type, Family.RADIO, body + f.id.bytes, f.leaf)
        for f in sightings(1, 20)
    ]
    (batch,) = await batches_of(log_id, facts)
    waiting = asyncio.create_task(tail.next(log_id, after=0, timeout_s=10))
    await asyncio.sleep(0)
    began = time.perf_counter()
    fanout.offer(batch)

    assert await waiting is None
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("spoil", ["body", "missing", "chain"])
async def test_a_message_that_does_not_fit_its_hashes_is_never_passed_on(
    fanout: NatsFanout, tail: NatsTail, log_id: int, spoil: str
) -> None:
    (batch,) = await batches_of(log_id, sightings(1, 3))
    facts = list(batch.facts)
    if spoil == "body":
        f = facts[1]
        facts[1] = Sealed(f.id, f.subject, f.type, f.family, f.body + b" ", f.leaf)
    if spoil == "missing":
        del facts[1]
    row = replace(batch.row, chain=bytes(32)) if spoil == "chain" else batch.row
    waiting = asyncio.create_task(tail.next(log_id, after=0, timeout_s=0.5))
    await asyncio.sleep(0)
    fanout.offer(Committed(log_id, row, facts))

    assert await waiting is None


async def test_what_is_no_batch_is_ignored(
    infra: Embedded, fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    client = await nats.connect(infra.nats_url)
    waiting = asyncio.create_task(tail.next(log_id, after=0, timeout_s=10))
    await asyncio.sleep(0)
    await client.publish(f"{SUBJECT}.{log_id}", b"\xc1nonsense")
    await client.publish(f"{SUBJECT}.nobody", b"")
    await client.drain()
    (batch,) = await batches_of(log_id, sightings(1, 2))
    fanout.offer(batch)
    page = await waiting

    assert page is not None
    assert page.last == 2


async def test_the_stream_keeps_one_message_per_batch_with_its_span_as_id(
    infra: Embedded, fanout: NatsFanout, tail: NatsTail, log_id: int
) -> None:
    made = await batches_of(log_id, sightings(1, 3), sightings(4, 5))
    await tail.next(log_id, after=0, timeout_s=0.001)
    for batch in [*made, made[0]]:
        fanout.offer(batch)
    await delivered(tail, log_id, after=0, last=5)
    client = await nats.connect(infra.nats_url)
    try:
        stream = client.jetstream()
        kept = await stream.stream_info(STREAM, subjects_filter=f"{SUBJECT}.{log_id}")
        message = await stream.get_last_msg(STREAM, f"{SUBJECT}.{log_id}")
    finally:
        await client.close()

    assert kept.state.subjects == {f"{SUBJECT}.{log_id}": 2}
    assert (message.headers or {})["Nats-Msg-Id"] == f"{log_id}:4-5"


@pytest.mark.parametrize("url", ["", "nats://127.0.0.1:1"])
async def test_without_a_server_readers_poll_and_writers_do_not_notice(
    url: str, log_id: int
) -> None:
    fanout, tail = NatsFanout(url), NatsTail(url)
    await fanout.open()
    await tail.open()
    (batch,) = await batches_of(log_id, sightings(1, 2))
    fanout.offer(batch)
    began = time.perf_counter()
    page = await tail.next(log_id, after=0, timeout_s=10)
    took_s = time.perf_counter() - began
    await tail.close()
    await fanout.close()

    assert page is None
    assert not tail.connected
    assert 0.2 < took_s < 2


async def test_closing_leaves_no_task_behind(infra: Embedded) -> None:
    before = asyncio.all_tasks()
    fanout, tail = NatsFanout(infra.nats_url), NatsTail(infra.nats_url)
    await fanout.open()
    await tail.open()
    await until(lambda: tail.connected and fanout.connected)
    await fanout.close()
    await tail.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until(lambda: asyncio.all_tasks() == before), 2)

    assert asyncio.all_tasks() == before
