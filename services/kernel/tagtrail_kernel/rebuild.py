"""Rebuilds a projection from the log beside the live one, compares the two, and can swap them.

The same code runs on empty copies of the projection's tables in a schema of its own: projections
use unqualified table names. Equal hashes prove that the live state is what the log says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from tagtrail_kernel.consumers import PAGE_EVENTS, state_hash
from tagtrail_kernel.database import CONNECTION_FAILURES, Connection, Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError, LogDamagedError, UnavailableError
from tagtrail_kernel.leadership import lock_number
from tagtrail_kernel.log import EventLog
from tagtrail_kernel.projections import Context, Projection

Publish = Callable[[Sequence[Envelope], int], Awaitable[None]]
"""Takes derived facts, and the last position of the page that they came from."""

LOCK_KEY: Final = 7010
"""First number of the advisory lock of a rebuild, beside those of the migrations."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """State folded anew from the log.

    Attributes:
        projection: `service.projection`.
        log_id: The tenant's log.
        position: Last position folded.
        hash: Hash of the tables at this position.
        seconds: How long it took.
    """

    projection: str
    log_id: int
    position: int
    hash: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """A rebuilt projection against the live one.

    Attributes:
        projection: `service.projection`.
        log_id: The tenant's log.
        position: Position at which both were hashed.
        hash_live: Hash of the live tables; None when they stand on another history or version.
        hash_rebuilt: Hash of the rebuilt tables.
        seconds: How long the rebuild took.
        swapped: Whether the rebuilt rows were put in place.
    """

    projection: str
    log_id: int
    position: int
    hash_live: str | None
    hash_rebuilt: str
    seconds: float
    swapped: bool = False

    @property
    def equal(self) -> bool:
        """Whether the live state is what the log says."""
        return self.hash_live == self.hash_rebuilt


class _Shadow:
    """Empty copies of a projection's tables, and the projection folding into them."""

    def __init__(
        self,
        connection: Connection,
        event_log: EventLog,
        projection: Projection,
        log_id: int,
        schema: str,
        publish: Publish | None = None,
    ) -> None:
        self._publish = publish
        self.connection = connection
        self.schema = schema
        self._log = event_log
        self._projection = projection
        self._context = Context(log_id, live=False)
        self._parked: frozenset[int] = frozenset()
        self.position = 0

    async def make(self, live_schema: str) -> None:
        """Make the tables and learn which events an operator let the consumer pass over."""
        c, log_id = self.connection, self._context.log_id
        await c.execute(f'drop schema if exists "{self.schema}" cascade')
        await c.execute(f'create schema "{self.schema}"')
        for table in self._projection.tables:
            await c.execute(
                f'create table "{self.schema}".{table} (like "{live_schema}".{table} including all)'
            )
        rows = await c.fetch(
            f'select position from "{live_schema}".parked where name = $1 and log_id = $2',  # noqa: S608 - a schema of the program
            self._projection.name, log_id,
        )  # fmt: skip
        self._parked = frozenset(r["position"] for r in rows)
        async with c.transaction():
            await self._projection.restore(c, self._context, 0)

    async def advance(self, to: int) -> None:
        """Fold up to a position, which is the end of a batch."""
        while self.position < to:
            page = await self._log.read(
                self._context.log_id,
                after=self.position,
                limit=PAGE_EVENTS,
                families=self._projection.families,
            )
            if page is None:
                raise LogDamagedError(f"the log ends at {self.position}, before {to}")
            events = [e for e in page.events if e.position <= to and e.position not in self._parked]
            if events:
                async with self.connection.transaction():
                    derived = await self._projection.apply(self.connection, self._context, events)
                if derived and self._publish is not None:
                    await self._publish(derived, page.last)
            self.position = min(page.last, to)

    async def hash(self) -> str:
        """Return the hash of the tables."""
        async with self.connection.transaction():
            return await state_hash(self.connection, self._projection.tables, self._context.log_id)

    async def drop(self) -> None:
        """Remove the tables."""
        await self.connection.execute(f'drop schema if exists "{self.schema}" cascade')


@contextlib.asynccontextmanager
async def _shadow(
    database: Database,
    event_log: EventLog,
    projection: Projection,
    log_id: int,
    service: str,
    publish: Publish | None = None,
) -> AsyncIterator[_Shadow]:
    """Lend a shadow; one rebuild of a projection at a time.

    The login makes it, not the service's role, which may not create schemas.
    """
    name = f"{service}.{projection.name}"
    schema = f"{database.schema}_rebuild_{projection.name}_{log_id}"
    try:
        connection = await asyncpg.connect(
            database.url,
            timeout=10,
            command_timeout=600,
            server_settings={
                "application_name": f"tagtrail-rebuild-{name}",
                "search_path": f"{schema},public",
            },
        )
        try:
            key = (LOCK_KEY, lock_number(name) ^ log_id)
            if not await connection.fetchval("select pg_try_advisory_lock($1, $2)", *key):
                raise ConflictError(f"{name} is being rebuilt already; wait for it to end")
            shadow = _Shadow(connection, event_log, projection, log_id, schema, publish)
            await shadow.make(database.schema)
            try:
                yield shadow
            finally:
                if not connection.is_closed():
                    await shadow.drop()
        finally:
            await connection.close(timeout=5)
    except CONNECTION_FAILURES as error:
        raise UnavailableError(
            "the database is out of reach; the live projection is unchanged, run it again"
        ) from error


async def replay(
    database: Database,
    event_log: EventLog,
    make: Callable[[], Projection],
    log_id: int,
    *,
    service: str,
    to: int | None = None,
) -> Replayed:
    """Fold the log into fresh tables, hash them, and drop them again.

    Args:
        database: Database of the service; its tables are the pattern.
        event_log: The log.
        make: Makes the projection, empty.
        log_id: The tenant's log.
        service: Name of the service.
        to: Last position; rounded down to the end of a batch. None = the end of the log.

    Raises:
        ConflictError: it is being rebuilt at this moment.
        UnavailableError: the database is out of reach.
    """
    started = asyncio.get_running_loop().time()
    head = (await event_log.head(log_id)).position
    end = head if to is None else await event_log.floor(log_id, min(to, head))
    projection = make()
    async with _shadow(database, event_log, projection, log_id, service) as shadow:
        await shadow.advance(end)
        found = await shadow.hash()
    seconds = asyncio.get_running_loop().time() - started
    return Replayed(f"{service}.{projection.name}", log_id, end, found, round(seconds, 3))


async def rebuild(
    database: Database,
    event_log: EventLog,
    make: Callable[[], Projection],
    log_id: int,
    *,
    service: str,
    swap: bool = False,
    publish: Publish | None = None,
) -> RebuildResult:
    """Rebuild a projection up to the live position and compare the hashes.

    Args:
        database: Database of the service.
        event_log: The log.
        make: Makes the projection, empty.
        log_id: The tenant's log.
        service: Name of the service.
        swap: Put the rebuilt rows in place, in one transaction with the consumer's position. After
            a swap of different hashes, processes that keep memory of it MUST be started again.
        publish: Given the derived facts of each page, with its last position: what was withdrawn
            and still holds is appended anew by it.

    Raises:
        ConflictError: it is being rebuilt at this moment.
        UnavailableError: the database is out of reach.
    """
    started, projection = asyncio.get_running_loop().time(), make()
    async with _shadow(database, event_log, projection, log_id, service, publish) as shadow:
        position, hash_live = await _live(database, event_log, projection, log_id)
        await shadow.advance(position)
        hash_rebuilt = await shadow.hash()
        if swap:
            await _swap(database, event_log, projection, log_id, shadow)
    return RebuildResult(
        projection=f"{service}.{projection.name}",
        log_id=log_id,
        position=position,
        hash_live=hash_live,
        hash_rebuilt=hash_rebuilt,
        seconds=round(asyncio.get_running_loop().time() - started, 3),
        swapped=swap,
    )


async def _live(
    database: Database, event_log: EventLog, projection: Projection, log_id: int
) -> tuple[int, str | None]:
    """Return position and hash of the live tables, from one snapshot.

    When they stand on another history or version there is nothing to compare: the end of the log
    and None.
    """
    async with (
        database.connection() as c,
        c.transaction(isolation="repeatable_read", readonly=True),
    ):
        row = await c.fetchrow(
            "select version, position, chain from consumer where name = $1 and log_id = $2",
            projection.name, log_id,
        )  # fmt: skip
        if row is not None and row["version"] == projection.version:
            position = int(row["position"])
            if position == 0 or await event_log.chain_at(log_id, position) == row["chain"]:
                return position, await state_hash(c, projection.tables, log_id)
    return (await event_log.head(log_id)).position, None


async def _swap(
    database: Database,
    event_log: EventLog,
    projection: Projection,
    log_id: int,
    shadow: _Shadow,
) -> None:
    """Replace the tenant's rows; the consumer's row is locked meanwhile, so it stands still."""
    c, live, tables = shadow.connection, f'"{database.schema}"', projection.tables
    async with c.transaction():
        row = await c.fetchrow(
            f"select version, position, chain from {live}.consumer "  # noqa: S608 - a schema of the program
            "where name = $1 and log_id = $2 for update",
            projection.name, log_id,
        )  # fmt: skip
        if row is not None and row["position"] > shadow.position:
            chain = await event_log.chain_at(log_id, row["position"])
            if chain == row["chain"]:
                await shadow.advance(int(row["position"]))
        await _replace_rows(c, live, f'"{shadow.schema}"', tables, log_id)
        chain = await event_log.chain_at(log_id, shadow.position) or bytes(32)
        await c.execute(
            f"insert into {live}.consumer (name, log_id, version, position, chain) "  # noqa: S608 - a schema of the program
            "values ($1, $2, $3, $4, $5) on conflict (name, log_id) do update set "
            "version = excluded.version, position = excluded.position, chain = excluded.chain, "
            "state = 'running', error = null, error_position = null, updated_at = now()",
            projection.name, log_id, projection.version, shadow.position, chain,
        )  # fmt: skip


async def _replace_rows(
    c: Connection, live: str, shadow: str, tables: Sequence[str], log_id: int
) -> None:
    for table in reversed(tables):
        await c.execute(f"delete from {live}.{table} where log_id = $1", log_id)  # noqa: S608 - names of the program
    for table in tables:
        names = await c.fetch(
            "select quote_ident(attname) as name from pg_attribute "
            "where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum",
            f"{live}.{table}",
        )
        columns = ", ".join(r["name"] for r in names)
        await c.execute(
            f"insert into {live}.{table} ({columns}) select {columns} from {shadow}.{table}"  # noqa: S608 - names of the program
        )
