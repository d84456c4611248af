"""Schema migrations: one schema and one Alembic version table per service.

How a service adds a revision: put `NNNN_title.py` (the next number) into its package's
`migrations/versions/` with `revision`, `down_revision` (the number before it) and `upgrade()`.
`upgrade()` uses `alembic.op`, or `run_script(package, "sql/NNNN_title.sql")` for a whole SQL file.
Revisions never import the service's code, are never edited once released, and change tables of
the log only by adding. Names inside them are qualified with the schema. The composition root
lists `Migration(schema, package)` and calls `upgrade_all` before any service starts.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

LOCK_KEY: Final = 7000
"""First key of the session advisory lock; 7001 and 7002 are used inside the log."""

LOCK_WAIT_S: Final = 60.0
"""How long a starting process waits while another one migrates: longer than any revision takes."""

LOCK_TIMEOUT: Final = "5s"
"""Longest wait of one DDL statement for a table lock: a longer one would queue all readers."""

LOG_SCHEMA: Final = "log"
"""The log's own revision makes its two roles; every other schema gets the same one."""

_ALEMBIC: Final = threading.Lock()
"""Alembic's `op` and `context` are process-wide: one upgrade at a time."""

_ENVIRONMENT: Final = Path(__file__).with_name("alembic_env")


@dataclass(frozen=True, slots=True)
class Migration:
    """Where the revisions of one schema are.

    Attributes:
        schema: PostgreSQL schema; it also holds the version table `alembic_version`.
        package: Dotted name of the package that contains `versions/`, for example
            "tagtrail_ingest.migrations".
    """

    schema: str
    package: str


async def upgrade_all(database_url: str, migrations: Iterable[Migration]) -> None:
    """Bring several schemas to their newest revision, one after the other.

    Args:
        database_url: `postgresql://…`, as asyncpg takes it.
        migrations: In the order of their dependencies: the log first.

    Raises:
        TimeoutError: another process has been migrating for `LOCK_WAIT_S`.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(database_url),
        poolclass=NullPool,
    )
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 - loops of two threads may meet
        await asyncio.sleep(0.02)
    try:
        async with engine.connect() as connection:
            await _lock(connection.exec_driver_sql)
            await connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.commit()
            for migration in migrations:
                await connection.run_sync(_upgrade, migration)
                await connection.commit()
    finally:
        _ALEMBIC.release()
        await engine.dispose()


async def upgrade(database_url: str, *, schema: str, package: str) -> None:
    """Bring one schema to its newest revision; see `upgrade_all`."""
    await upgrade_all(database_url, [Migration(schema, package)])


async def _lock(execute: Any) -> None:
    """Take the session lock; it goes with the connection, also when the process dies."""
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    while True:
        result = await execute(f"SELECT pg_try_advisory_lock({LOCK_KEY}, 0)")
        if result.scalar_one():
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(
                f"another process has been migrating this database for {LOCK_WAIT_S:.0f} s; "
                "look for it in pg_stat_activity"
            )
        await asyncio.sleep(0.1)


def _upgrade(connection: Connection, migration: Migration) -> None:
    schema = migration.schema
    if not schema.isidentifier():
        raise ValueError(f"{schema!r} is not the name of a schema")
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    config = Config()
    config.set_main_option("script_location", str(_ENVIRONMENT))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(_folder(migration.package) / "versions"))
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    command.upgrade(config, "head")
    if schema != LOG_SCHEMA:
        _run_on(connection, _service_role_sql(schema))


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {package} to take revisions from")
    return Path(spec.submodule_search_locations[0])


def run_script(package: str, path: str) -> None:
    """Run a file of SQL statements inside the current revision's transaction.

    Args:
        package: As in `Migration`.
        path: File inside it, for example "sql/0001_log.sql".
    """
    run_sql((_folder(package) / path).read_text(encoding="utf-8"))


def run_sql(script: str) -> None:
    """Run several SQL statements inside the current revision's transaction."""
    _run_on(op.get_bind(), script)


def _run_on(bind: Connection, script: str) -> None:
    bind.execute(text("SELECT 1"))  # the driver opens its transaction with the first statement
    driver: Any = bind.connection.dbapi_connection
    driver.run_async(lambda connection: connection.execute(script))


def _service_role_sql(schema: str) -> str:
    """Return what gives the role `tagtrail_<schema>` its own tables, now and after every upgrade.

    The role cannot log in; the service's login takes it on each connection. Roles belong to the
    cluster, so another database may be making the same one at this moment.
    """
    role = f"tagtrail_{schema}"
    return f"""
do $$
begin
    if not exists (select from pg_roles where rolname = '{role}') then
        create role {role} nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;
end
$$;
grant usage on schema "{schema}" to {role};
grant select, insert, update, delete on all tables in schema "{schema}" to {role};
grant usage, select on all sequences in schema "{schema}" to {role};
"""


def consumer_table_sql(schema: str) -> str:
    """Return the DDL of a service's tables of consumers and parked events, alike in all services.

    Args:
        schema: The service's schema.
    """
    if not schema.isidentifier():
        raise ValueError(f"{schema!r} is not the name of a schema")
    return f"""
create table "{schema}".consumer (
    name           text        not null,
    log_id         integer     not null,
    version        integer     not null,
    position       bigint      not null,
    chain          bytea       not null,
    state          text        not null default 'running'
                   check (state in ('running', 'paused', 'rebuilding')),
    error          text,
    error_position bigint,
    updated_at     timestamptz not null default clock_timestamp(),
    primary key (name, log_id)
);
create table "{schema}".parked (
    name     text    not null,
    log_id   integer not null,
    position bigint  not null,
    reason   text    not null,
    primary key (name, log_id, position)
);
"""
