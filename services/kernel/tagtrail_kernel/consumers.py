"""Consumers of the log: a projection's state and its position change in one transaction.

A consumer stores the chain value beside its position and compares it at start, so a restored or
forked log is refused. An event that fails keeps the consumer where it is: it retries with
back-off, then pauses and alarms. Passing over an event is an operator's act, and is recorded.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.errors import ConflictError, DomainError, LogDamagedError, UnavailableError
from tagtrail_kernel.leadership import Leadership
from tagtrail_kernel.log import NO_CHAIN, EventLog, EventSink, Page, Tail
from tagtrail_kernel.projections import Context, Projection

__all__ = ["Consumer", "Context", "Projection", "State", "Status", "state_hash"]

log = logging.getLogger(__name__)

BACKOFF_S: Final = (0.2, 1.0, 5.0)
"""Waits after the failures of one page, seconds; a transient fault of a neighbour is over by then.

After the last one the consumer looks for the event and pauses."""

REFUSED_WAIT_S: Final = 30.0
"""Time between two looks at a log that was refused, seconds: only an operator can mend it."""

PAGE_EVENTS: Final = 2000
"""Events per page when catching up: large enough to amortise a transaction, small enough to yield."""


class State(enum.StrEnum):
    """State of a consumer."""

    STARTING = "starting"
    STANDBY = "standby"
    RUNNING = "running"
    RETRYING = "retrying"
    PAUSED = "paused"
    REFUSED = "refused"


@dataclass(slots=True)
class Status:
    """How a consumer is, for `/readyz`, metrics and the operator.

    Attributes:
        consumer: `service.projection`.
        log_id: Tenant's log.
        state: What it does.
        position: Last position applied.
        behind: Events between it and the end of the log when last looked.
        error: What went wrong last.
        error_position: Event that it cannot apply.
    """

    consumer: str
    log_id: int
    state: State = State.STARTING
    position: int = 0
    behind: int = 0
    error: str | None = None
    error_position: int | None = None


class Consumer:
    """Runs one projection over one log. Several processes may try; one at a time does it."""

    def __init__(
        self,
        projection: Projection,
        *,
        service: str,
        log_id: int,
        database: Database,
        event_log: EventLog,
        tail: Tail,
        sink: EventSink | None,
        leadership: Leadership | None = None,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self._backoff_s = backoff_s
        self._leadership = leadership or Leadership(database)
        self._parked: frozenset[int] = frozenset()
        self.projection = projection
        self.status = Status(f"{service}.{projection.name}", log_id)
        self._context = Context(log_id, live=sink is not None)
        self._database = database
        self._log = event_log
        self._tail = tail
        self._sink = sink
        self._chain = NO_CHAIN
        self._caught_up = False
        self.moved = asyncio.Event()

    @property
    def log_id(self) -> int:
        """The tenant's log."""
        return self.status.log_id

    async def run(self) -> None:
        """Follow for ever, as the one that holds the consumer's advisory lock."""
        while True:
            try:
                await self._follow()
            except (UnavailableError, DomainError) as error:
                self._note(State.RETRYING, error)
            except LogDamagedError as error:
                self._note(State.REFUSED, error)
                log.critical("consumer.refused", extra=self._extra(), exc_info=error)
                await asyncio.sleep(REFUSED_WAIT_S)
            except Exception as error:
                self._note(State.RETRYING, error)
                log.exception("consumer.failed", extra=self._extra())
            await asyncio.sleep(1)

    async def _follow(self) -> None:
        while not await self._leadership.acquire(self.status.consumer, self.log_id):
            self.status.state = State.STANDBY
            await asyncio.sleep(1)
        await self.start()
        while self._leadership.holds(self.status.consumer, self.log_id):
            if self.status.state is State.PAUSED:
                await asyncio.sleep(1)
                await self._reload_state()
                continue
            await self.step()

    async def start(self) -> None:
        """Read the stored position, compare its chain value with the log, restore memory.

        Raises:
            LogDamagedError: the log is not the one that this consumer followed.
        """
        async with self._database.transaction() as tx:
            await tx.execute(
                "insert into consumer (name, log_id, version, position, chain) "
                "values ($1, $2, $3, 0, $4) on conflict do nothing",
                self.projection.name, self.log_id, self.projection.version, NO_CHAIN,
            )  # fmt: skip
            row = await tx.fetchrow(
                "select version, position, chain, state, error, error_position from consumer "
                "where name = $1 and log_id = $2 for update",
                self.projection.name, self.log_id,
            )  # fmt: skip
            if row is None:
                raise LogDamagedError("the consumer's row vanished")
            if row["version"] != self.projection.version:
                raise ConflictError(
                    f"{self.status.consumer} has version {row['version']} tables, the code has "
                    f"{self.projection.version}; run `tagtrail rebuild`"
                )
            await self._check_history(row["position"], row["chain"])
            self.status.position, self._chain = row["position"], row["chain"]
            self._parked = frozenset(
                r["position"]
                for r in await tx.fetch(
                    "select position from parked where name = $1 and log_id = $2",
                    self.projection.name, self.log_id,
                )
            )  # fmt: skip
            memory_at = await self.projection.restore(tx, self._context, row["position"])
        await self._replay(memory_at, row["position"])
        self.status.state = State.PAUSED if row["state"] == "paused" else State.RUNNING
        self.status.error, self.status.error_position = row["error"], row["error_position"]

    async def _check_history(self, position: int, chain: bytes) -> None:
        if position == 0:
            return
        found = await self._log.chain_at(self.log_id, position)
        if found != chain:
            raise LogDamagedError(
                f"{self.status.consumer} stands at position {position} of another history: the log "
                "was restored or forked; check the restore, then run `tagtrail rebuild`"
            )

    async def _replay(self, start: int, end: int) -> None:
        at = start
        while at < end:
            page = await self._log.read(
                self.log_id, after=at, limit=PAGE_EVENTS, families=self.projection.families
            )
            if page is None:
                raise LogDamagedError(f"the log ends at {at}, before the consumer's {end}")
            events = [e for e in self._wanted(page) if e.position <= end]
            await self.projection.replay(replace(self._context, live=False), events)
            at = page.last

    async def step(self, *, wait_s: float = 1.0) -> bool:
        """Apply the next page, or wait for one; returns whether there was one."""
        page = await self._next(wait_s)
        if page is None:
            self.status.behind = 0
            return False
        await self._apply_or_pause(page)
        return True

    async def _next(self, wait_s: float) -> Page | None:
        at, families = self.status.position, self.projection.families
        if self._caught_up and wait_s > 0:
            page = await self._tail.next(self.log_id, after=at, families=families, timeout_s=wait_s)
            if page is not None and page.first == at + 1:
                return page
        page = await self._log.read(self.log_id, after=at, limit=PAGE_EVENTS, families=families)
        self._caught_up = page is None
        if page is not None:
            self.status.behind = (await self._log.head(self.log_id)).position - at
        return page

    async def _apply_or_pause(self, page: Page) -> None:
        for wait_s in self._backoff_s:
            try:
                await self._apply(page)
            except (UnavailableError, OSError, LogDamagedError):
                raise
            except _MovedError as error:
                log.info("consumer.moved", extra=self._extra() | {"cause": error.detail})
                await self.start()
                return
            except Exception as error:
                log.warning("consumer.retrying", extra=self._extra(), exc_info=error)
                self._note(State.RETRYING, error)
                await asyncio.sleep(wait_s)
                await self.start()
                self._note(State.RETRYING, error)
            else:
                return
        await self._pause_at_the_poison(page)

    async def _apply(self, page: Page) -> None:
        if page.first != self.status.position + 1:
            raise LogDamagedError(
                f"a page from {page.first} was given to a consumer at {self.status.position}"
            )
        async with self._database.transaction() as tx:
            await self._fence(tx)
            events = self._wanted(page)
            if events:
                derived = await self.projection.apply(tx, self._context, events)
                if derived and self._sink is not None:
                    await self._sink.publish(self.log_id, derived)
            await tx.execute(
                "update consumer set position = $3, chain = $4, error = null, error_position = null, "
                "updated_at = now() where name = $1 and log_id = $2",
                self.projection.name, self.log_id, page.last, page.chain,
            )  # fmt: skip
        self.status.behind = max(0, self.status.behind - (page.last - self.status.position))
        self.status.position, self._chain = page.last, page.chain
        self.status.state, self.status.error, self.status.error_position = State.RUNNING, None, None
        self.moved.set()
        self.moved = asyncio.Event()

    def _wanted(self, page: Page) -> Sequence[Recorded]:
        if not self._parked:
            return page.events
        return [e for e in page.events if e.position not in self._parked]

    async def _fence(self, tx: Connection) -> None:
        stored = await tx.fetchval(
            "select position from consumer where name = $1 and log_id = $2 for update",
            self.projection.name, self.log_id,
        )  # fmt: skip
        if stored != self.status.position:
            raise _MovedError(
                f"{self.status.consumer} was moved to {stored} by somebody else; starting again"
            )

    async def _pause_at_the_poison(self, page: Page) -> None:
        position, error = await self._find_poison(page)
        await self.start()
        if position is None:
            return
        await self._apply_before(position, page)
        async with self._database.transaction() as tx:
            await tx.execute(
                "update consumer set state = 'paused', error = $3, error_position = $4, "
                "updated_at = now() where name = $1 and log_id = $2",
                self.projection.name, self.log_id, error, position,
            )  # fmt: skip
        await self.start()
        log.error("consumer.paused", extra=self._extra())

    async def _apply_before(self, position: int, page: Page) -> None:
        """Apply the page's batches that end before an event."""
        end = await self._log.floor(self.log_id, position - 1)
        chain = await self._log.chain_at(self.log_id, end)
        if end > self.status.position and chain is not None:
            events = [e for e in page.events if e.position <= end]
            await self._apply(replace(page, events=events, last=end, chain=chain))

    async def _find_poison(self, page: Page) -> tuple[int | None, str]:
        """Find the first event that cannot be applied, by halving the page.

        Trials are rolled back. What they publish is what the same events publish when they are
        applied, so it does no harm.

        Returns:
            Position of the event, None if every one can be applied now; and what went wrong.
        """
        events, error = self._wanted(page), self.status.error or ""
        good, bad = 0, len(events) + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            found = await self._trial(events[:middle])
            if found is None:
                good = middle
            else:
                bad, error = middle, found
        return (events[bad - 1].position if bad <= len(events) else None), error

    async def _trial(self, events: Sequence[Recorded]) -> str | None:
        """Apply events in a transaction that is rolled back; returns what went wrong."""
        await self.start()
        try:
            async with self._database.transaction() as tx:
                derived = await self.projection.apply(tx, self._context, events)
                if derived and self._sink is not None:
                    await self._sink.publish(self.log_id, derived)
                raise _Rollback
        except _Rollback:
            return None
        except (UnavailableError, OSError, LogDamagedError):
            raise
        except Exception as error:  # noqa: BLE001 - this is the fault that is looked for
            return f"{type(error).__name__}: {error}"

    async def _reload_state(self) -> None:
        async with self._database.connection() as connection:
            state = await connection.fetchval(
                "select state from consumer where name = $1 and log_id = $2",
                self.projection.name, self.log_id,
            )  # fmt: skip
        if state == "running":
            await self.start()

    def _note(self, state: State, error: BaseException) -> None:
        self.status.state = state
        self.status.error = f"{type(error).__name__}: {error}"

    def _extra(self) -> dict[str, object]:
        return {
            "follower": self.status.consumer,
            "log_id": self.log_id,
            "position": self.status.error_position or self.status.position,
            "cause": self.status.error,
        }


class _MovedError(ConflictError):
    """Another process applied the page meanwhile."""


class _Rollback(Exception):  # noqa: N818 - never seen outside this module
    """Ends a trial transaction."""


async def state_hash(tx: Connection, tables: Sequence[str], log_id: int) -> str:
    """Return one hash over the rows of a projection's tables, independent of their physical order."""
    total = hashlib.sha256()
    for table in tables:
        total.update(table.encode() + b"\x00")
        query = f'select t::text as line from {table} t where t.log_id = $1 order by t::text collate "C"'  # noqa: S608 - table names are class constants
        async for row in tx.cursor(query, log_id, prefetch=5000):
            total.update(row["line"].encode() + b"\n")
    return total.hexdigest()
