"""The log on PostgreSQL: the adapter of `EventLog` over schema `log`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from tagtrail_kernel.adapters.log_pages import (
    BatchRow,
    OnBatch,
    appended,
    check_links,
    committed,
    distinct,
    families_of,
    open_rows,
    runs,
    separator_for,
    start_chain,
    unwanted_types,
)
from tagtrail_kernel.chaining import merkle_root
from tagtrail_kernel.database import CONNECTION_FAILURES, Connection, Pool
from tagtrail_kernel.envelope import Recorded, Sealed
from tagtrail_kernel.errors import LogDamagedError, RejectedError, UnavailableError
from tagtrail_kernel.events.registry import ALL_FAMILIES, Family
from tagtrail_kernel.log import MAX_BATCH, NO_CHAIN, Appended, Head, Page

MAX_ROWS: Final = 512
"""Most batch rows behind one page: bounds the work when nearly all batches are skipped."""

_FAILURES: Final = (
    *CONNECTION_FAILURES,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    asyncpg.exceptions.ConnectionRejectionError,
)
"""Lost connections, a busy log, a full disk, or a standby that was not promoted yet."""

_NO_ORDER: Final = (
    asyncpg.exceptions.InvalidParameterValueError,
    asyncpg.exceptions.CheckViolationError,
)

_APPEND: Final = """
SELECT * FROM log.append($1, $2, $3, $4, string_to_array($5, $11), string_to_array($6, $11),
                         $7, $8, $9, $10)
"""
"""Texts travel joined: the driver's encoding of an array costs 0.35 µs per element."""

_BATCHES: Final = """
SELECT first_position, last_position, recorded_at, families, root, prev, chain
FROM (
    SELECT *, coalesce(sum(CASE WHEN last_position > $2 AND families & $4 <> 0
                                THEN last_position - first_position + 1 ELSE 0 END)
              OVER (ORDER BY last_position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
              AS events_before
    FROM (SELECT * FROM log.batch WHERE log_id = $1 AND last_position >= $2
          ORDER BY last_position LIMIT $5) AS next_rows
) AS counted
WHERE events_before < $3 ORDER BY last_position
"""

_EVENTS: Final = """
SELECT position, event_id, subject, type, body, leaf
FROM log.event WHERE log_id = $1 AND position BETWEEN $2 AND $3 ORDER BY position
"""

_SOME_EVENTS: Final = """
SELECT position, event_id, subject, type,
       CASE WHEN type = ANY ($4) THEN NULL ELSE body END, leaf
FROM log.event WHERE log_id = $1 AND position BETWEEN $2 AND $3 ORDER BY position
"""

_ONE_EVENT: Final = """
SELECT position, recorded_at, event_id, subject, type, body
FROM log.event WHERE event_id = $2 AND log_id + 0 = $1 AND octet_length(body) > 0
ORDER BY position LIMIT 1
"""


_ERASED: Final = """
SELECT x.position, e.subject
FROM log.erasure x JOIN log.event e ON e.log_id = x.log_id AND e.position = x.position
WHERE x.log_id = $1 AND ($2::bigint IS NULL OR x.order_position = $2) AND x.again = $3
ORDER BY x.position
"""


class LogPool:
    """Connections for the log's queries only.

    Plans are pinned to index scans, because a prepared plan that was made while a partition was
    small would go on scanning it whole.

    Args:
        url: postgresql:// address.
        role: Role taken on every connection: `tagtrail_log_reader` or `tagtrail_log_writer`;
            None keeps the login's own.
        max_size: Most connections.
    """

    def __init__(self, url: str, *, role: str | None = None, max_size: int = 4) -> None:
        self._url = url
        self._role = role
        self._max_size = max_size
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Open the pool; nothing connects until the first use."""
        settings = {
            "application_name": "tagtrail-log",
            "search_path": "pg_catalog",
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
            "jit": "off",
            "idle_in_transaction_session_timeout": "5s",
        }
        if self._role is not None:
            settings["role"] = self._role
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._max_size,
            command_timeout=30,
            server_settings=settings,
            reset=_keep,
        )

    async def close(self) -> None:
        """Close the pool; connections that hang are dropped after 5 s."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; one that failed is dropped, not returned.

        Raises:
            UnavailableError: the server is out of reach, before or during the work.
        """
        if self._pool is None:
            raise UnavailableError("the log is not open yet; try again")
        try:
            async with self._pool.acquire(timeout=10) as connection:
                try:
                    yield connection  # type: ignore[misc]
                except asyncpg.exceptions.LockNotAvailableError:
                    raise
                except _FAILURES:
                    connection.terminate()
                    raise
        except _FAILURES as error:
            raise UnavailableError(
                "the log is out of reach; whether it took the facts is unknown, so repeat the "
                "call with the same ids",
                cause=type(error).__name__,
            ) from error


async def _keep(_connection: Any) -> None:
    """Skip asyncpg's reset, a round trip per use: no session state is ever set here."""


class PostgresLog:
    """`EventLog` over the tables of schema `log`.

    Args:
        reader: Connections that may read.
        writer: Connections that may append; None where a process only reads, or where `reader`
            may do both.
        on_batch: Called after every commit of a new batch, for the fan-out.
        on_erase: Called with the log after bodies were erased: copies elsewhere must go too.
    """

    def __init__(
        self,
        reader: LogPool,
        writer: LogPool | None = None,
        *,
        on_batch: OnBatch | None = None,
        on_erase: Callable[[int], None] | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer or reader
        self._on_batch = on_batch
        self._on_erase = on_erase

    async def append(
        self,
        log_id: int,
        facts: Sequence[Sealed],
        *,
        writer: str,
        receipts: Sequence[bytes] = (),
    ) -> Appended:
        """Append facts as one batch; see `EventLog.append`."""
        new = distinct(facts, receipts)
        known: dict[int, int] = {}
        call = _call(log_id, new, writer, receipts)
        async with self._writer.connection() as connection:
            while True:
                row = await connection.fetchrow(_APPEND, *call)
                assert row is not None  # noqa: S101 - the function returns exactly one row
                if row["known_ids"] is None:
                    break
                for id_, position in zip(row["known_ids"], row["known_positions"], strict=True):
                    known.setdefault(id_.int, position)
                new = [fact for fact in new if fact.id.int not in known]
                call = _call(log_id, new, writer, receipts)
        first, last, at = row["first_position"], row["last_position"], row["recorded_at"]
        if new and self._on_batch is not None:
            self._on_batch(
                committed(log_id, new, first=first, recorded_at=at, root=call[8], prev=row["prev"])
            )
        return appended(facts, known, first=first, last=last, recorded_at=at)

    async def erase(
        self, log_id: int, positions: Sequence[int], *, order: int, again: bool = False
    ) -> int:
        """Take the bodies of some events away for good; see `EventLog.erase`."""
        try:
            async with self._writer.connection() as connection:
                count: int = await connection.fetchval(
                    "SELECT log.erase($1, $2, $3, $4)", log_id, order, again, list(positions)
                )
        except _NO_ORDER as error:
            raise RejectedError(str(error)) from error
        if self._on_erase is not None:
            self._on_erase(log_id)
        return count

    async def erased(
        self, log_id: int, *, order: int | None = None, again: bool = False
    ) -> list[tuple[int, str]]:
        """Return (position, subject) of erased events; see `EventLog.erased`."""
        async with self._reader.connection() as connection:
            rows = await connection.fetch(_ERASED, log_id, order, again)
        return [(row[0], row[1]) for row in rows]

    async def settled(
        self, log_id: int, receipts: Sequence[bytes], *, within_s: float
    ) -> set[bytes]:
        """Return those message hashes that were settled in the last seconds."""
        async with self._reader.connection() as connection:
            rows = await connection.fetch(
                "SELECT hash FROM log.receipt WHERE log_id = $1 AND hash = ANY ($2) "
                "AND received_at >= clock_timestamp() - $3 * interval '1 second'",
                log_id,
                list(receipts),
                within_s,
            )
        return {row[0] for row in rows}

    async def read(
        self, log_id: int, *, after: int, limit: int = MAX_BATCH, families: Family = ALL_FAMILIES
    ) -> Page | None:
        """Return the next whole batches after a position; see `EventLog.read`.

        The events are hashed again: what does not fit its batch's Merkle root is damage.
        """
        async with self._reader.connection() as connection:
            rows = await connection.fetch(_BATCHES, log_id, after, limit, int(families), MAX_ROWS)
            batches = [BatchRow(*row) for row in rows]
            chain = start_chain(log_id, after, batches)
            if after:
                batches = batches[1:]
            if not batches:
                return None
            check_links(log_id, batches, after=after, chain=chain)
            events: list[Recorded] = []
            unwanted = unwanted_types(families)
            for first, last in runs(batches, families):
                span = [b for b in batches if first <= b.first and b.last <= last]
                if unwanted:
                    found = await connection.fetch(_SOME_EVENTS, log_id, first, last, unwanted)
                else:
                    found = await connection.fetch(_EVENTS, log_id, first, last)
                events += open_rows(log_id, span, found)
                await _check_erased(connection, log_id, found)
        end = batches[-1]
        return Page(events, after + 1, end.last, end.chain, end.recorded_at)

    async def head(self, log_id: int) -> Head:
        """Return the end of the log."""
        async with self._reader.connection() as connection:
            row = await connection.fetchrow(
                "SELECT last_position, chain, recorded_at FROM log.batch WHERE log_id = $1 "
                "ORDER BY last_position DESC LIMIT 1",
                log_id,
            )
        return Head(*row) if row else Head(0, NO_CHAIN, None)

    async def chain_at(self, log_id: int, position: int) -> bytes | None:
        """Return the chain value of the batch that ends at a position; None if none does."""
        async with self._reader.connection() as connection:
            chain: bytes | None = await connection.fetchval(
                "SELECT chain FROM log.batch WHERE log_id = $1 AND last_position = $2",
                log_id,
                position,
            )
        return chain

    async def find(self, log_id: int, event_id: UUID) -> Recorded | None:
        """Return one event by its id, or None."""
        async with self._reader.connection() as connection:
            row = await connection.fetchrow(_ONE_EVENT, log_id, event_id)
        return Recorded(*row) if row else None

    async def position_at(self, log_id: int, at: datetime) -> int:
        """Return the last position recorded at or before a time; 0 if none."""
        async with self._reader.connection() as connection:
            position: int | None = await connection.fetchval(
                "SELECT last_position FROM log.batch WHERE log_id = $1 AND recorded_at <= $2 "
                "ORDER BY recorded_at DESC, last_position DESC LIMIT 1",
                log_id,
                at,
            )
        return position or 0

    async def floor(self, log_id: int, position: int) -> int:
        """Return the end of the last batch that ends at or before a position; 0 if none does."""
        async with self._reader.connection() as connection:
            end: int | None = await connection.fetchval(
                "SELECT last_position FROM log.batch WHERE log_id = $1 AND last_position <= $2 "
                "ORDER BY last_position DESC LIMIT 1",
                log_id,
                position,
            )
        return end or 0


def _call(
    log_id: int, facts: Sequence[Sealed], writer: str, receipts: Sequence[bytes]
) -> tuple[Any, ...]:
    """Return the arguments of `_APPEND`; hashing happens here, outside the log's lock."""
    leaves = [fact.leaf for fact in facts]
    subjects, types = [fact.subject for fact in facts], [fact.type for fact in facts]
    separator = separator_for("".join(subjects) + "".join(types))
    return (
        log_id,
        writer,
        families_of(facts),
        [fact.id for fact in facts],
        separator.join(subjects),
        separator.join(types),
        [fact.body for fact in facts],
        b"".join(leaves),
        merkle_root(leaves) if leaves else b"",
        receipts,
        separator,
    )


async def _check_erased(
    connection: Connection, log_id: int, rows: Sequence[asyncpg.Record]
) -> None:
    """Prove that each empty body went by an order.

    Raises:
        LogDamagedError: one did not.
    """
    empty = [row[0] for row in rows if row[4] == b""]
    if not empty:
        return
    ordered = await connection.fetch(
        "SELECT position FROM log.erasure WHERE log_id = $1 AND position = ANY ($2)", log_id, empty
    )
    lost = sorted(set(empty) - {row[0] for row in ordered})
    if lost:
        raise LogDamagedError(
            f"log {log_id}: the body of event {lost[0]} is gone and no order of erasure says so; "
            "compare it with a backup"
        )
