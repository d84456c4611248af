"""Erasure in the database itself: what the trigger and the function let pass, and what is damage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.errors import LogDamagedError
from tagtrail_kernel.migrations import upgrade
from tagtrail_kernel.testing.log_contract import order, pages, sightings


@pytest.fixture
async def log_url(database_url: str) -> str:
    await upgrade(database_url, schema="log", package="tagtrail_ingest.migrations")
    return database_url


@pytest.fixture
async def event_log(log_url: str) -> AsyncIterator[PostgresLog]:
    """A log of four sightings and an order."""
    pool = LogPool(log_url, max_size=2)
    await pool.open()
    log = PostgresLog(pool)
    await log.append(1, [*sightings(1, 4), order(5)], writer="w")
    yield log
    await pool.close()


@pytest.fixture
async def owner(log_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(log_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "change",
    [
        "body = ''",
        "body = '', leaf = ''",
        "body = '{}'",
        "subject = 'other'",
    ],
)
@pytest.mark.parametrize("position", [1, 2], ids=["erased", "not erased"])
async def test_even_the_owner_only_empties_bodies_whose_erasure_is_on_record(
    event_log: PostgresLog, owner: Any, change: str, position: int
) -> None:
    await event_log.erase(1, [1], order=5)
    statement = f"update log.event set {change} where log_id = 1 and position = {position}"

    if (change, position) == ("body = ''", 1):
        await owner.execute(statement)
    else:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await owner.execute(statement)


@pytest.mark.parametrize(
    "statement",
    ["update log.erasure set position = 2", "delete from log.erasure", "truncate log.erasure"],
)
async def test_even_the_owner_cannot_change_the_record_of_erasures(
    event_log: PostgresLog, owner: Any, statement: str
) -> None:
    await event_log.erase(1, [1], order=5)

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement)


async def test_a_body_that_is_gone_without_an_order_is_damage(
    event_log: PostgresLog, infra: Embedded, log_url: str
) -> None:
    name = log_url.rpartition("/")[2]
    admin: Any = await asyncpg.connect(infra.admin_database_url.rpartition("/")[0] + f"/{name}")
    try:
        async with admin.transaction():
            await admin.execute("set local session_replication_role = replica")
            await admin.execute("update log.event set body = '' where position = 2")
    finally:
        await admin.close()

    with pytest.raises(LogDamagedError, match="event 2 is gone and no order"):
        await pages(event_log)


async def test_a_reader_may_not_erase(event_log: PostgresLog, owner: Any) -> None:
    await owner.execute("set role tagtrail_log_reader")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.fetchval("select log.erase(1, 5, false, array[1]::bigint[])")
    assert await event_log.erased(1) == []
