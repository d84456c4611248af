"""Small projections and a small service on real tables, for tests of the consumers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import ClassVar

import asyncpg

from tagtrail_kernel.clock import uuid7, uuid8
from tagtrail_kernel.consumers import Consumer, Context, Projection, state_hash
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.alerts import AlertFired
from tagtrail_kernel.events.registrations import SiteRegistered
from tagtrail_kernel.events.registry import ALL_FAMILIES, BUSINESS_FAMILIES, Family
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_kernel.leadership import Leadership
from tagtrail_kernel.log import Appended, EventLog, EventSink
from tagtrail_kernel.migrations import consumer_table_sql
from tagtrail_kernel.testing.deps import START
from tagtrail_kernel.wiring import Deps

SCHEMA = "probe"
TABLES = """
create table probe.tally (
    log_id integer not null, name text not null, events integer not null,
    last_position bigint not null, primary key (log_id, name)
);
create table probe.checkpoint (
    log_id integer not null, position bigint not null, names text[] not null, primary key (log_id)
);
create table probe.longest (
    log_id integer not null, position bigint not null, name text not null,
    primary key (log_id, position)
);
"""
POISON = "poison"
ALARM = "alarm"


async def make_tables(url: str) -> None:
    """Make the service's schema as its migrations would."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("drop schema if exists probe cascade; create schema probe")
        await connection.execute(consumer_table_sql(SCHEMA) + TABLES)
    finally:
        await connection.close()


def site(number: int, name: str = "hall") -> Envelope:
    """Return a business fact; the same number gives the same fact."""
    at = START + timedelta(seconds=number)
    return Envelope(
        id=uuid8(at, f"site {number} {name}".encode()),
        subject=f"site-{number}",
        source="test",
        occurred_at=at,
        data=SiteRegistered(site_id=f"site-{number}", name=name),
    )


def sighting(number: int) -> Envelope:
    """Return a radio fact; the same number gives the same fact."""
    at = START + timedelta(seconds=number)
    return Envelope(
        id=uuid7(int(at.timestamp() * 1000), number),
        subject="tag",
        source="test",
        occurred_at=at,
        data=TagSighted(tag_id="tag", gateway_id="g"),
    )


class Tally(Projection):
    """Counts sites by name; raises an alert for each one that is called so; chokes on poison."""

    name = "tally"
    tables = ("tally",)
    antidote: ClassVar[bool] = False

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """Fold the events."""
        derived = []
        for event in events:
            data = event.data
            if not isinstance(data, SiteRegistered):
                continue
            if data.name == POISON and not self.antidote:
                raise ValueError("this site is poison")
            await tx.execute(
                "insert into tally as t values ($1, $2, 1, $3) on conflict (log_id, name) do "
                "update set events = t.events + 1, last_position = excluded.last_position",
                context.log_id, data.name, event.position,
            )  # fmt: skip
            if data.name.startswith(ALARM):
                derived.append(alarm(event, data))
        return derived


def alarm(event: Recorded, data: SiteRegistered) -> Envelope:
    """Return the fact that follows from a site."""
    at = event.envelope.occurred_at
    return Envelope(
        id=uuid8(at, b"alarm" + event.id.bytes),
        subject=data.site_id,
        source="probe",
        occurred_at=at,
        causation_id=event.id,
        data=AlertFired(
            alert_id=f"alarm-{event.id}", rule_id="probe", title="A site", what=data.name[len(ALARM):]
        ),
    )  # fmt: skip


class TallyV2(Tally):
    """The same, after a change of what the tables mean."""

    version = 2


class CuredTally(Tally):
    """The same, after the fault was mended."""

    antidote = True


class Shy(Tally):
    """Another projection of the same service, which never chokes."""

    name = "shy"
    families = Family.REGISTRY
    antidote = True


class Longest(Projection):
    """Names in a memory; its tables hold a checkpoint every third event, and when a name was the longest.

    `tables` leaves the checkpoint out: how often one is made depends on the pages.
    """

    name = "longest"
    families = BUSINESS_FAMILIES
    tables = ("longest",)
    EVERY: ClassVar[int] = 3

    def __init__(self) -> None:
        self.names: list[str] = []
        self.replayed: list[int] = []

    async def restore(self, tx: Connection, context: Context, position: int) -> int:
        """Take the checkpoint."""
        row = await tx.fetchrow(
            "select position, names from probe.checkpoint where log_id = $1 and position <= $2",
            context.log_id, position,
        )  # fmt: skip
        self.names = list(row["names"]) if row else []
        return int(row["position"]) if row else 0

    async def replay(self, context: Context, events: Sequence[Recorded]) -> None:
        """Remember the names; the tables know them already."""
        for event in events:
            self.replayed.append(event.position)
            if isinstance(event.data, SiteRegistered):
                self.names.append(event.data.name)

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """Fold the events."""
        for event in events:
            if not isinstance(event.data, SiteRegistered):
                continue
            if len(event.data.name) > max(map(len, self.names), default=0):
                await tx.execute(
                    "insert into longest values ($1, $2, $3)",
                    context.log_id, event.position, event.data.name,
                )  # fmt: skip
            self.names.append(event.data.name)
        if context.live and len(self.names) % self.EVERY == 0:
            await tx.execute(
                "insert into probe.checkpoint values ($1, $2, $3) on conflict (log_id) do update "
                "set position = excluded.position, names = excluded.names",
                context.log_id, events[-1].position, self.names,
            )  # fmt: skip
        return ()


class Watcher(Projection):
    """Remembers what it was given."""

    name = "watcher"
    families = ALL_FAMILIES

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """Remember the events."""
        self.seen += [e.position for e in events]
        return ()


class Forgetful(Watcher):
    """Cannot restore its memory the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    async def restore(self, tx: Connection, context: Context, position: int) -> int:
        """Fail once."""
        self.tries += 1
        if self.tries == 1:
            raise KeyError("memory")
        return position


class Bench:
    """A consumer's surroundings: real tables, and a log that the test fills."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.database: Database = deps.database_of(SCHEMA)

    async def say(self, *facts: Envelope) -> Appended:
        """Append facts as one batch."""
        return await self.deps.sink.publish(1, facts)

    def consumer(
        self,
        projection: Projection,
        *,
        event_log: EventLog | None = None,
        sink: EventSink | None = None,
        database: Database | None = None,
        leadership: Leadership | None = None,
    ) -> Consumer:
        """Return a consumer that does not wait between its attempts."""
        return Consumer(
            projection,
            service=SCHEMA,
            log_id=1,
            database=database or self.database,
            event_log=event_log or self.deps.log,
            tail=self.deps.tail,
            sink=sink or self.deps.sink,
            leadership=leadership,
            backoff_s=(0.0, 0.0, 0.0),
        )

    async def caught_up(self, consumer: Consumer) -> Consumer:
        """Start a consumer and run it to the end of the log, or to its pause."""
        await consumer.start()
        while consumer.status.state != "paused" and await consumer.step(wait_s=0):
            pass
        return consumer

    async def stored(self, name: str = "tally") -> asyncpg.Record:
        """Return a consumer's row."""
        async with self.database.connection() as c:
            row = await c.fetchrow("select * from consumer where name = $1 and log_id = 1", name)
        assert row is not None
        return row

    async def tally(self) -> dict[str, int]:
        """Return the sites by name."""
        async with self.database.connection() as c:
            rows = await c.fetch("select name, events from tally where log_id = 1 order by name")
        return {r["name"]: r["events"] for r in rows}

    async def hash(self, projection: type[Projection] = Tally) -> str:
        """Return the hash of a projection's tables."""
        async with self.database.transaction() as tx:
            return await state_hash(tx, projection.tables, 1)

    async def types(self) -> list[str]:
        """Return the types of all facts of the log, in order."""
        page = await self.deps.log.read(1, after=0, limit=100_000)
        return [e.type for e in page.events] if page else []


@contextlib.asynccontextmanager
async def running(*consumers: Consumer) -> AsyncIterator[None]:
    """Let consumers follow for ever, until the end of the block."""
    tasks = [asyncio.create_task(c.run()) for c in consumers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for consumer in consumers:
            await consumer._leadership.close()


async def until(condition: Callable[[], bool], *, within_s: float = 15.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)
