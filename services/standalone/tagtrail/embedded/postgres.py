"""The embedded PostgreSQL: one cluster, loopback TCP with SCRAM only, durable settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import asyncpg

from tagtrail.embedded.child import Server, identity
from tagtrail.embedded.errors import EmbeddedError
from tagtrail.embedded.home import Home
from tagtrail.embedded.programs import POSTGRES_MAJOR, postgres_programs

ADMIN: Final = "postgres"
"""Superuser; services do not use it."""
ROLE: Final = "tagtrail"
"""Role and database of the services: owns the database, may create roles and databases."""

_ANSWER_WITHIN_S: Final = 5.0
_REMAINS_WITHIN_S: Final = 2.0
_REMAINS_POLL_S: Final = 0.02

_SETTINGS: Final = """\
# Written by Tagtrail at every start; put your own settings into local.conf beside this file.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
superuser_reserved_connections = 3
password_encryption = 'scram-sha-256'

# Durable: an acknowledged event survives a power cut.
fsync = on
synchronous_commit = on
full_page_writes = on

# Small machine, small when idle.
shared_buffers = '64MB'
work_mem = '4MB'
maintenance_work_mem = '32MB'
effective_cache_size = '512MB'
huge_pages = off
io_method = 'sync'
max_worker_processes = 4
max_parallel_workers = 2
max_parallel_workers_per_gather = 1
autovacuum_max_workers = 2
max_wal_senders = 2
wal_level = 'replica'
wal_compression = on
min_wal_size = '80MB'
max_wal_size = '512MB'
checkpoint_timeout = '10min'
jit = off

# The role may use the roles that its migrations create.
createrole_self_grant = 'set, inherit'

timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_destination = 'stderr'
logging_collector = off
log_min_messages = 'warning'
log_line_prefix = '%m [%p] '
log_statement = 'none'
include = 'local.conf'
"""

_ACCESS: Final = """\
# Written by Tagtrail at every start: passwords on loopback, nothing else.
host all all 127.0.0.1/32 scram-sha-256
"""


def postgres_server(home: Home, port: int) -> Server:
    """Prepare a home's cluster, creating it if there is none, and say how to run it.

    Blocks for about a second the first time.

    Raises:
        EmbeddedError: the cluster could not be created, or is of another PostgreSQL version.
    """
    programs = postgres_programs(home)
    data = home.private("postgres") / "data"
    if not data.exists():
        _create(home, programs, data)
    version = (data / "PG_VERSION").read_text().strip()
    if version != POSTGRES_MAJOR:
        raise EmbeddedError(
            f"{data} was written by PostgreSQL {version}, this is {POSTGRES_MAJOR}; export it with "
            "the older Tagtrail first, or set TAGTRAIL_HOME to another folder"
        )
    if not (data / "local.conf").exists():
        home.write_private(data / "local.conf", "# Your own settings; they win.\n")
    home.write_private(data / "postgresql.conf", _SETTINGS)
    home.write_private(data / "pg_hba.conf", _ACCESS)
    return Server(
        name="postgres",
        command=(str(programs / "postgres"), "-D", str(data), "-p", str(port)),
        stop=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        probe=lambda: _probe(home, port),
        before_start=lambda: _clear_remains(data),
    )


def database_url(home: Home, port: int, *, role: str = ROLE, database: str = ROLE) -> str:
    """Return the address of a database, with its role's password."""
    password = home.secrets.postgres_admin if role == ADMIN else home.secrets.postgres
    return f"postgresql://{role}:{password}@127.0.0.1:{port}/{database}"


def _create(home: Home, programs: Path, data: Path) -> None:
    """Run initdb beside the final place, so that a torn attempt is never taken for a cluster."""
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    password = data.with_name("password.new")
    home.write_private(password, home.secrets.postgres_admin + "\n")
    account = home.account
    try:
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            [
                str(programs / "initdb"),
                f"--pgdata={fresh}",
                f"--username={ADMIN}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--data-checksums",
            ],
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        who = account.name if account else "this user"
        raise EmbeddedError(f"initdb could not be started as {who}: {error}") from error
    finally:
        password.unlink(missing_ok=True)
    if done.returncode != 0:
        raise EmbeddedError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
    fresh.rename(data)


async def _probe(home: Home, port: int) -> None:
    """Sign in as the services' role; make role and database the first time.

    Raises:
        OSError: the server cannot be used yet.
    """
    url = database_url(home, port)
    try:
        await _sign_in(url)
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidCatalogNameError):
        await _make_role_and_database(home, port)
        await _sign_in(url)


async def _sign_in(url: str) -> None:
    connection = await _connect(url)
    await connection.close(timeout=_ANSWER_WITHIN_S)


async def _make_role_and_database(home: Home, port: int) -> None:
    """Make what the services sign in to; a torn attempt is completed, a changed password set."""
    try:
        admin = await _connect(database_url(home, port, role=ADMIN, database="postgres"))
    except asyncpg.InvalidPasswordError as error:
        raise EmbeddedError(
            f"PostgreSQL on port {port} refuses the password in {home.path / 'secrets.json'}; "
            "restore that file from the backup that the cluster came from"
        ) from error
    try:
        if not await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", ROLE):
            await admin.execute(f"CREATE ROLE {ROLE}")
        # A token of letters, digits, - and _: it cannot end the literal.
        await admin.execute(
            f"ALTER ROLE {ROLE} LOGIN CREATEDB CREATEROLE PASSWORD '{home.secrets.postgres}'"
        )
        await admin.execute(f"GRANT pg_monitor TO {ROLE}")
        if not await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", ROLE):
            await admin.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
    finally:
        await admin.close(timeout=_ANSWER_WITHIN_S)


async def _connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
    try:
        return await asyncpg.connect(url, timeout=_ANSWER_WITHIN_S, ssl=False)
    except (
        asyncpg.CannotConnectNowError,
        asyncpg.ConnectionDoesNotExistError,
        TimeoutError,
    ) as error:
        raise OSError(str(error)) from error


def _clear_remains(data: Path) -> None:
    """Clear away what a killed postmaster left, so that the next one can start at once.

    Its processes would end by themselves, but a busy one only after its statement. PostgreSQL
    copes with a pid file of a dead process; it cannot tell a stranger with that number from a
    postmaster.

    Raises:
        EmbeddedError: a postmaster that this process did not start uses the cluster.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    servers = _servers_in(data)
    if pid in servers:
        raise EmbeddedError(
            f"a PostgreSQL server that Tagtrail did not start (process {pid}) uses {data}; stop it"
        )
    for number in (signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + _REMAINS_WITHIN_S
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, number)
        while servers and time.monotonic() < deadline:
            time.sleep(_REMAINS_POLL_S)
            servers = _servers_in(data)
    if identity(pid) is not None:
        file.unlink()


def _servers_in(data: Path) -> list[int]:
    """Return the server processes of a cluster; none where there is no /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone
            program = (entry / "exe").readlink().name
            if program.startswith("postgres") and (entry / "cwd").readlink() == data:
                found.append(int(entry.name))
    return found
