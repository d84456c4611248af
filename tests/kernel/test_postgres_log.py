"""The log on PostgreSQL: the contract, and what only a database can break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.log_pages import Committed
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.envelope import Sealed
from tagtrail_kernel.errors import LogDamagedError, UnavailableError
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES
from tagtrail_kernel.migrations import upgrade
from tagtrail_kernel.testing.log_contract import (
    EventLogContract,
    chain_of,
    pages,
    sighted,
    sightings,
    site,
)

APPEND = "SELECT * FROM log.append(1, 'w', 1, $1, $2, $3, $4, $5, $6, '{}')"


@pytest.fixture
async def log_url(database_url: str) -> str:
    await upgrade(database_url, schema="log", package="tagtrail_ingest.migrations")
    return database_url


@pytest.fixture
async def event_log(log_url: str) -> AsyncIterator[PostgresLog]:
    async with opened(log_url) as log:
        yield log


@pytest.fixture
async def owner(log_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(log_url)
    yield connection
    await connection.close()


@pytest.fixture
async def intruder(
    log_url: str, infra: Embedded
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser in the test's database for whom triggers do not fire."""
    database = log_url.rpartition("/")[2]
    connection = await asyncpg.connect(infra.admin_database_url, database=database)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresLog]:
    reader = LogPool(url, role="tagtrail_log_reader")
    writer = LogPool(url, role="tagtrail_log_writer")
    await reader.open()
    await writer.open()
    yield PostgresLog(reader, writer, **options)
    await writer.close()
    await reader.close()


def arguments(first: int, last: int) -> list[object]:
    facts = sightings(first, last)
    return [
        [fact.id for fact in facts],
        [fact.subject for fact in facts],
        [fact.type for fact in facts],
        [fact.body for fact in facts],
        b"".join(fact.leaf for fact in facts),
        bytes(32),
    ]


class TestPostgresLog(EventLogContract):
    """The fixture `event_log` above lends the log."""


async def test_a_reader_never_passes_a_slow_writer(
    event_log: PostgresLog, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Hold one append open inside its insert; a later one must not become visible before it."""
    await owner.execute("""
        create function log.slow() returns trigger language plpgsql as $$
        begin
            perform pg_advisory_xact_lock(4711);
            return new;
        end $$;
        create trigger slow before insert on log.event for each row
            when (new.subject = 's-1') execute function log.slow();
        select pg_advisory_lock(4711);
    """)
    slow = asyncio.create_task(event_log.append(1, [sighted(1)], writer="slow"))
    await asyncio.sleep(0.2)
    quick = asyncio.create_task(event_log.append(1, [sighted(2)], writer="quick"))
    other = await event_log.append(2, [sighted(3)], writer="another tenant")
    await asyncio.sleep(0.2)
    meanwhile = await event_log.read(1, after=0)
    held = (slow.done(), quick.done())
    await owner.execute("select pg_advisory_unlock(4711)")
    first, second = await slow, await quick
    (page,) = await pages(event_log)

    assert (meanwhile, held) == (None, (False, False))
    assert other.last == 1
    assert (first.last, second.last) == (1, 2)
    assert [e.id for e in page.events] == [sighted(1).id, sighted(2).id]


async def test_an_append_gives_up_when_the_log_is_held_for_too_long(
    event_log: PostgresLog, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with owner.transaction():
        await owner.execute("select pg_advisory_xact_lock(7001, 1)")
        with pytest.raises(UnavailableError, match="repeat"):
            await event_log.append(1, [sighted(1)], writer="w")
    appended = await event_log.append(1, [sighted(1)], writer="w")

    assert appended.last == 1


async def test_a_rolled_back_append_burns_no_position(
    event_log: PostgresLog, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with owner.transaction():
            await owner.fetchrow(APPEND, *arguments(1, 3))
            raise ZeroDivisionError
    appended = await event_log.append(1, sightings(1, 3), writer="w")

    assert list(appended.positions) == [1, 2, 3]


async def test_a_snapshot_older_than_the_lock_is_refused(
    owner: asyncpg.Connection[asyncpg.Record],
) -> None:
    with pytest.raises(asyncpg.InvalidTransactionStateError, match="READ COMMITTED"):
        async with owner.transaction(isolation="repeatable_read"):
            await owner.fetchrow(APPEND, *arguments(1, 1))


@pytest.mark.parametrize("spoiled", [0, 1, 2, 3, 4])
async def test_arrays_that_do_not_belong_together_are_refused(
    owner: asyncpg.Connection[asyncpg.Record], spoiled: int
) -> None:
    values: list[Any] = arguments(1, 3)
    values[spoiled] = values[spoiled][:-1]

    with pytest.raises(asyncpg.PostgresError, match="belong together"):
        await owner.fetchrow(APPEND, *values)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET log_id = 9",
        "DELETE FROM {}",
        "TRUNCATE {}",
    ],
)
@pytest.mark.parametrize("table", ["log.event", "log.event_0000000000000001", "log.batch"])
async def test_even_the_owner_cannot_change_what_is_recorded(
    event_log: PostgresLog,
    owner: asyncpg.Connection[asyncpg.Record],
    statement: str,
    table: str,
) -> None:
    await event_log.append(1, sightings(1, 2), writer="w")

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement.format(table))
    assert (await event_log.head(1)).position == 2


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO log.event (log_id, position, recorded_at, event_id, subject, type, body, leaf) "
            "VALUES (1, 1, now(), gen_random_uuid(), 's', 't', '', '')"
        ),
        (
            "INSERT INTO log.event_0000000000000001 (log_id, position, recorded_at, event_id, subject, "
            "type, body, leaf) VALUES (1, 1, now(), gen_random_uuid(), 's', 't', '', '')"
        ),
        "DELETE FROM log.receipt",
        "SELECT * FROM log.event",
    ],
)
async def test_a_writer_may_only_call_the_functions(
    owner: asyncpg.Connection[asyncpg.Record], statement: str
) -> None:
    await owner.execute("SET ROLE tagtrail_log_writer")
    row = await owner.fetchrow(APPEND, *arguments(1, 2))

    assert row is not None
    assert row["last_position"] == 2
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await owner.execute(statement)


async def test_a_reader_may_not_append(owner: asyncpg.Connection[asyncpg.Record]) -> None:
    await owner.execute("SET ROLE tagtrail_log_reader")

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await owner.fetchrow(APPEND, *arguments(1, 1))


async def test_recording_times_never_decrease_when_the_clock_is_set_back(
    event_log: PostgresLog, intruder: asyncpg.Connection[asyncpg.Record]
) -> None:
    await event_log.append(1, [sighted(1)], writer="w")
    await intruder.execute("UPDATE log.batch SET recorded_at = now() + interval '1 hour'")
    first = await event_log.read(1, after=0)
    second = await event_log.append(1, [sighted(2)], writer="w")

    assert first is not None
    assert second.recorded_at == first.recorded_at


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE log.event SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE position = 7",
        "DELETE FROM log.event WHERE position = 7",
        "DELETE FROM log.event WHERE position = 10",
        "DELETE FROM log.event WHERE position BETWEEN 6 AND 10",
        "DELETE FROM log.batch WHERE last_position = 10",
        "DELETE FROM log.batch WHERE last_position = 5",
        "UPDATE log.batch SET root = sha256(root) WHERE last_position = 10",
        "UPDATE log.batch SET prev = sha256(prev) WHERE last_position = 10",
        "UPDATE log.batch SET chain = sha256(chain) WHERE last_position = 10",
        "UPDATE log.event SET position = 700 WHERE position = 7",
    ],
)
@pytest.mark.parametrize("families", [BUSINESS_FAMILIES, None])
async def test_a_changed_byte_or_a_missing_row_is_found_by_reading(
    event_log: PostgresLog,
    intruder: asyncpg.Connection[asyncpg.Record],
    damage: str,
    families: Any,
) -> None:
    options = {} if families is None else {"families": families}
    await event_log.append(1, sightings(1, 5), writer="w")
    await event_log.append(1, [*sightings(6, 8), site(9), sighted(10)], writer="w")
    await event_log.append(1, sightings(11, 15), writer="w")
    intact = await pages(event_log, **options)
    status = await intruder.execute(damage)
    if families is not None and "body" in damage:
        # A reader that does not take sightings does not read their bodies either.
        assert [p.last for p in await pages(event_log, **options)] == [15]
        await intruder.execute("UPDATE log.event SET leaf = sha256(leaf) WHERE position = 7")

    assert intact[-1].last == 15
    assert status[-2:] != " 0"
    with pytest.raises(LogDamagedError):
        await pages(event_log, **options)


async def test_damage_in_skipped_batches_shows_in_the_batch_rows(
    event_log: PostgresLog, intruder: asyncpg.Connection[asyncpg.Record]
) -> None:
    await event_log.append(1, sightings(1, 5), writer="w")
    await event_log.append(1, sightings(6, 9), writer="w")
    await event_log.append(1, [site(10)], writer="w")
    await intruder.execute("UPDATE log.batch SET root = sha256(root) WHERE last_position = 9")

    with pytest.raises(LogDamagedError, match="6 to 9"):
        await event_log.read(1, after=5, families=BUSINESS_FAMILIES)


async def test_many_skipped_batches_still_give_pages_of_bounded_work(
    event_log: PostgresLog,
) -> None:
    for number in range(1, 601):
        await event_log.append(1, [sighted(number)], writer="w")
    found = await pages(event_log, families=BUSINESS_FAMILIES)

    assert [len(page.events) for page in found] == [0] * len(found)
    assert len(found) == 2
    assert found[-1].last == 600
    assert found[-1].chain == chain_of([[sighted(n)] for n in range(1, 601)])


async def test_appends_cross_into_the_next_partition(
    database_url: str, owner: asyncpg.Connection[asyncpg.Record], event_log: PostgresLog
) -> None:
    """Small partitions, made as the real ones are."""
    await owner.execute(
        "do $$ declare p regclass; begin for p in select inhrelid::regclass from pg_inherits "
        "where inhparent = 'log.event'::regclass loop execute format('drop table %s', p); "
        "end loop; end $$"
    )
    made = await owner.fetchval("SELECT log.make_partitions(2, 8)")
    await event_log.append(1, sightings(1, 6), writer="w")
    await event_log.append(1, sightings(7, 18), writer="w")
    again = [await owner.fetchval("SELECT log.make_partitions(2, 8)") for _ in range(2)]
    await event_log.append(1, sightings(17, 38), writer="w")
    (page,) = await pages(event_log)

    assert (made, again) == (3, [2, 0])
    assert [e.position for e in page.events] == list(range(1, 39))
    with pytest.raises(asyncpg.PostgresError, match="no partition"):
        await owner.fetchrow(APPEND, *arguments(50, 80))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute("TRUNCATE log.event_0000000000000019")


async def test_partitions_are_made_while_an_append_is_open(
    owner: asyncpg.Connection[asyncpg.Record], log_url: str, event_log: PostgresLog
) -> None:
    """ATTACH must not wait for writers, nor writers for it."""
    second = await asyncpg.connect(log_url)
    try:
        async with owner.transaction():
            await owner.fetchrow(APPEND, *arguments(1, 2))
            await second.execute("SET lock_timeout = '2s'")
            made = await second.fetchval("SELECT log.make_partitions(5)")
    finally:
        await second.close()
    appended = await event_log.append(1, sightings(3, 4), writer="w")

    assert made == 2
    assert appended.last == 4


async def test_old_receipts_are_pruned_and_young_ones_kept(
    event_log: PostgresLog, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await event_log.append(1, [sighted(1)], writer="w", receipts=[b"a" * 32])
    await owner.execute("SET ROLE tagtrail_log_writer")
    kept = await owner.fetchval("SELECT log.prune_receipts('1 hour')")
    pruned = await owner.fetchval("SELECT log.prune_receipts('0 seconds')")

    assert (kept, pruned) == (0, 1)
    assert await event_log.settled(1, [b"a" * 32], within_s=3600) == set()


async def test_a_batch_is_announced_once_and_only_after_its_commit(log_url: str) -> None:
    offered: list[Committed] = []
    async with opened(log_url, on_batch=offered.append) as log:
        await log.append(1, sightings(1, 3), writer="w")
        await log.append(1, sightings(1, 3), writer="w")
        await log.append(1, [sighted(2), site(4)], writer="w")
        (page,) = await pages(log)

    assert [(b.log_id, b.row.first, b.row.last) for b in offered] == [(1, 1, 3), (1, 4, 4)]
    assert offered[1].row.chain == page.chain
    assert offered[1].row.prev == offered[0].row.chain
    assert offered[1].row.families == 4
    assert [e.id for e in offered[1].events()] == [site(4).id]


async def test_a_lost_connection_is_unavailable_and_the_next_call_works(
    event_log: PostgresLog, intruder: asyncpg.Connection[asyncpg.Record]
) -> None:
    await event_log.append(1, [sighted(1)], writer="w")
    await event_log.head(1)
    await intruder.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'tagtrail-log' AND datname = current_database()"
    )
    outcomes = [
        await asyncio.gather(event_log.head(1), return_exceptions=True),
        await asyncio.gather(event_log.append(1, [sighted(2)], writer="w"), return_exceptions=True),
    ]
    appended = await event_log.append(1, [sighted(2)], writer="w")
    head = await event_log.head(1)

    for (outcome,) in outcomes:
        assert not isinstance(outcome, Exception) or isinstance(outcome, UnavailableError)
    assert list(appended.positions) == [2]
    assert head.position == 2


async def test_a_server_out_of_reach_is_unavailable() -> None:
    pool = LogPool("postgresql://tagtrail@127.0.0.1:1/tagtrail")
    await pool.open()
    with pytest.raises(UnavailableError):
        await PostgresLog(pool).head(1)
    await pool.close()
    with pytest.raises(UnavailableError, match="not open"):
        await PostgresLog(pool).head(1)


async def test_subjects_may_contain_any_character(event_log: PostgresLog) -> None:
    """Texts travel joined by a character that none of them contains."""
    odd = ["\x1f", "\x01\x02\x1f,{}\"'", "\ue000ä\U0001f4e6", "NULL"]
    facts = [
        Sealed(fact.id, subject, fact.type, fact.family, fact.body, fact.leaf)
        for fact, subject in zip(sightings(1, 4), odd, strict=True)
    ]
    await event_log.append(1, facts, writer="w")
    (page,) = await pages(event_log)

    assert [event.subject for event in page.events] == odd
