"""Migrations: one schema and one version table per service, safe to start many times at once."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.migrations import Migration, consumer_table_sql, upgrade, upgrade_all
from tagtrail_kernel.testing.log_contract import sighted

LOG = Migration("log", "tagtrail_ingest.migrations")
ACCESS = Migration("access", "tagtrail_kernel.migrations_access")
COLUMN = """
from alembic import op

revision, down_revision = "0001", None


def upgrade():
    op.execute("ALTER TABLE demo.held ADD COLUMN y int")
"""
UPGRADE = """
import asyncio, sys
from tagtrail_kernel.migrations import Migration, upgrade_all
asyncio.run(upgrade_all(sys.argv[1], [Migration("log", "tagtrail_ingest.migrations")]))
"""


@pytest.fixture
async def connection(
    database_url: str,
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_every_service_has_its_own_schema_and_version_table(
    database_url: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    await upgrade_all(database_url, [LOG, ACCESS])
    found = await connection.fetch(
        "SELECT schemaname FROM pg_tables WHERE tablename = 'alembic_version' ORDER BY 1"
    )

    assert [row[0] for row in found] == ["access", "log"]


async def test_a_second_upgrade_changes_nothing(
    database_url: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    await upgrade(database_url, schema="log", package=LOG.package)
    tables = "SELECT oid::int FROM pg_class WHERE relnamespace = 'log'::regnamespace ORDER BY 1"
    before = await connection.fetch(tables)
    await upgrade(database_url, schema="log", package=LOG.package)

    assert await connection.fetch(tables) == before


async def test_processes_that_start_together_upgrade_once(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", UPGRADE, database_url
        )
        for _ in range(3)
    ]
    codes = [await process.wait() for process in processes]

    assert codes == [0, 0, 0]


async def test_databases_of_one_cluster_upgrade_at_the_same_time(infra: Embedded) -> None:
    """Roles belong to the cluster: two databases may want to make them at once."""
    admin = await asyncpg.connect(infra.admin_database_url)
    names = [f"m_{secrets.token_hex(6)}" for _ in range(4)]
    with contextlib.suppress(asyncpg.DependentObjectsStillExistError):
        await admin.execute("DROP ROLE IF EXISTS tagtrail_log_writer, tagtrail_log_reader")
    try:
        for name in names:
            await admin.execute(f"CREATE DATABASE {name} OWNER tagtrail TEMPLATE template0")
        urls = [infra.database_url.rpartition("/")[0] + f"/{name}" for name in names]
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", UPGRADE, url)
            for url in urls
        ]
        codes = [await process.wait() for process in processes]
        pool = LogPool(urls[-1], role="tagtrail_log_writer")
        await pool.open()
        appended = await PostgresLog(pool).append(1, [sighted(1)], writer="w")
        await pool.close()
    finally:
        for name in names:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()

    assert codes == [0] * len(names)
    assert appended.last == 1


async def test_a_revision_gives_up_when_a_table_stays_locked(
    database_url: str,
    connection: asyncpg.Connection[asyncpg.Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A waiting ALTER TABLE would make all later readers wait behind it."""
    package = f"revisions_{secrets.token_hex(4)}"
    versions = tmp_path / package / "versions"
    versions.mkdir(parents=True)
    (tmp_path / package / "__init__.py").touch()
    (versions / "0001_column.py").write_text(COLUMN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    await connection.execute("CREATE SCHEMA demo; CREATE TABLE demo.held (x int)")
    async with connection.transaction():
        await connection.execute("LOCK TABLE demo.held")
        began = asyncio.get_running_loop().time()
        with pytest.raises(DBAPIError, match="lock timeout"):
            await upgrade(database_url, schema="demo", package=package)
        took_s = asyncio.get_running_loop().time() - began
    await upgrade(database_url, schema="demo", package=package)

    assert 4 < took_s < 15
    assert await connection.fetch("SELECT y FROM demo.held") == []


async def test_a_failed_revision_leaves_nothing_behind(
    database_url: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    """DDL is transactional: a revision applies whole or not at all."""
    await connection.execute("CREATE SCHEMA log; CREATE TABLE log.receipt (x int)")
    with pytest.raises(Exception, match="already exists"):
        await upgrade(database_url, schema="log", package=LOG.package)
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'log' ORDER BY 1"
    )
    await connection.execute("DROP TABLE log.receipt")
    await upgrade(database_url, schema="log", package=LOG.package)

    assert "event" not in {row[0] for row in tables}


@pytest.mark.parametrize("name", ["log; DROP TABLE x", "a b", ""])
async def test_a_schema_is_named_by_an_identifier(database_url: str, name: str) -> None:
    with pytest.raises(ValueError, match="name of a schema"):
        await upgrade(database_url, schema=name, package=LOG.package)
    with pytest.raises(ValueError, match="name of a schema"):
        consumer_table_sql(name)


async def test_a_package_that_does_not_exist_is_named(database_url: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"tagtrail_kernel\.nowhere"):
        await upgrade(database_url, schema="log", package="tagtrail_kernel.nowhere")


async def test_a_consumer_is_running_paused_or_rebuilding(
    connection: asyncpg.Connection[asyncpg.Record],
) -> None:
    await connection.execute("CREATE SCHEMA demo;" + consumer_table_sql("demo"))
    insert = "INSERT INTO demo.consumer (name, log_id, version, position, chain) VALUES ($1, 1, 1, 0, '')"
    await connection.execute(insert, "stock")
    state = await connection.fetchval("SELECT state FROM demo.consumer")

    assert state == "running"
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("UPDATE demo.consumer SET state = 'lost'")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(insert, "stock")
