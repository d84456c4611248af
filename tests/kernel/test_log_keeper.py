"""The log's housekeeping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tagtrail_kernel.adapters.log_keeper import KEEP_RECEIPTS_S, LogKeeper
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.migrations import upgrade
from tagtrail_kernel.testing.log_contract import sighted


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[LogPool]:
    await upgrade(database_url, schema="log", package="tagtrail_ingest.migrations")
    pool = LogPool(database_url, role="tagtrail_log_writer")
    await pool.open()
    yield pool
    await pool.close()


async def test_two_empty_partitions_lie_ahead_again_after_a_round(
    writer: LogPool, database_url: str
) -> None:
    keeper = LogKeeper(writer)
    fresh = await keeper.keep()
    owner = await asyncpg.connect(database_url)
    await owner.execute("DROP TABLE log.event_0000000002000001")
    await PostgresLog(writer).append(1, [sighted(1)], writer="w")
    made, _ = await keeper.keep()
    names = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relname LIKE 'event\\_0%' AND relkind = 'r' ORDER BY 1"
    )
    await owner.close()

    assert fresh == (0, 0)
    assert made == 1
    assert [row[0] for row in names] == [
        "event_0000000000000001",
        "event_0000000001000001",
        "event_0000000002000001",
    ]


async def test_receipts_are_pruned_when_no_broker_repeats_their_message_any_more(
    writer: LogPool, database_url: str
) -> None:
    owner = await asyncpg.connect(database_url)
    age = "UPDATE log.receipt SET received_at = received_at - $1 * interval '1 second'"
    await PostgresLog(writer).append(1, [sighted(1)], writer="w", receipts=[b"a" * 32])
    await owner.execute(age, KEEP_RECEIPTS_S - 60)
    young = await LogKeeper(writer).keep()
    await owner.execute(age, 61.0)
    old = await LogKeeper(writer).keep()
    await owner.close()

    assert (young, old) == ((0, 0), (0, 1))


async def test_an_unreachable_database_is_reported_and_tried_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = LogPool("postgresql://tagtrail@127.0.0.1:1/tagtrail")
    await pool.open()
    keeper = LogKeeper(pool)
    with caplog.at_level(logging.WARNING):
        await keeper.open()
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.sleep(0.01)
    await keeper.close()
    await pool.close()

    assert [record.message for record in caplog.records] == ["log.unkept"]
