"""Fan-out of committed batches over NATS, and the tail that wakes readers with them.

The fan-out is a cache that may be lost: a reader that misses a message reads the log. Readers
subscribe to the subject itself, because history comes from the log; the JetStream stream on that
subject keeps the last hour for integrations outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from tagtrail_kernel.adapters.log_pages import BatchRow, Committed, unwanted_types
from tagtrail_kernel.adapters.nats_link import NatsLink
from tagtrail_kernel.chaining import chain_value, merkle_root
from tagtrail_kernel.envelope import Recorded, leaf_hash
from tagtrail_kernel.events.registry import ALL_FAMILIES, Family
from tagtrail_kernel.log import Page

log = logging.getLogger(__name__)

STREAM: Final = "TAGTRAIL_LOG"
SUBJECT: Final = "$TAGTRAIL.log"
"""Begins with $, so that no MQTT wildcard matches it: ingest would read its own batches again."""

MAX_ROWS_BYTES: Final = 900_000
"""Bodies that go into one message; a server's default limit is 1 MiB."""

QUEUE_BYTES: Final = 16_000_000
"""Bodies that wait for a slow connection before batches are left out."""

RING_BYTES: Final = 8_000_000
"""Messages that a tail keeps per log: about a second at the highest rate."""

FRESH_S: Final = 5.0
"""Age at which a kept batch is forgotten: who was not here by then reads the log."""

PAGE_EVENTS: Final = 2000
"""Most events of a page that merges several batches."""

POLL_S: Final = 0.25
"""How often readers look into the log while there is no connection."""

REORDER_S: Final = 0.02
"""How long to wait for a batch that another replica published a little later."""


class _Row(msgspec.Struct, frozen=True, array_like=True):
    id: UUID
    subject: str
    type: str
    body: bytes


class _Message(msgspec.Struct, frozen=True, array_like=True):
    first: int
    last: int
    recorded_at: datetime
    families: int
    root: bytes
    prev: bytes
    chain: bytes
    rows: Sequence[_Row] | None


_encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decode = msgspec.msgpack.Decoder(_Message).decode


class NatsFanout:
    """Publishes one JetStream message per committed batch; never waits, never fails.

    Args:
        url: nats://user:password@host:port; empty means that nothing is published.
    """

    def __init__(self, url: str) -> None:
        self._link = NatsLink(url, name="tagtrail-fanout", on_connect=_ensure_stream)
        self._queue: deque[tuple[Committed, int]] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._stale: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to connect; returns at once."""
        await self._link.open()
        self._task = asyncio.create_task(self._run(), name="nats-fanout")

    async def close(self) -> None:
        """Stop; what is queued is left to the readers' SQL."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._link.close()

    @property
    def connected(self) -> bool:
        """Whether batches are published; without, they are dropped."""
        return self._link.client is not None

    def offer(self, batch: Committed) -> None:
        """Take a batch after its commit; drops it when there is no connection or no room."""
        size = sum([len(fact.body) for fact in batch.facts])
        if self._link.client is None or self._queued_bytes + size > QUEUE_BYTES:
            return
        self._queue.append((batch, size))
        self._queued_bytes += size
        self._filled.set()

    def forget(self, log_id: int) -> None:
        """Have the stream forget what it keeps of a log, because bodies of it were erased.

        Without a connection its own limit of an hour does so.
        """
        self._stale.add(log_id)
        self._filled.set()

    async def _purge(self, log_id: int) -> None:
        client = self._link.client
        if client is None:
            return
        try:
            await client.jetstream(timeout=2).purge_stream(STREAM, subject=f"{SUBJECT}.{log_id}")
        except (NatsError, OSError) as error:
            log.warning("stream.unpurged", extra={"cause": type(error).__name__})

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._stale:
                await self._purge(self._stale.pop())
            while self._queue:
                batch, size = self._queue.popleft()
                self._queued_bytes -= size
                await self._publish(batch, with_rows=size <= MAX_ROWS_BYTES)

    async def _publish(self, batch: Committed, *, with_rows: bool) -> None:
        client, row = self._link.client, batch.row
        if client is None:
            return
        rows = [(f.id, f.subject, f.type, f.body) for f in batch.facts] if with_rows else None
        payload = _encode(
            (
                row.first,
                row.last,
                row.recorded_at,
                row.families,
                row.root,
                row.prev,
                row.chain,
                rows,
            )
        )
        if len(payload) > client.max_payload - 1024:
            await self._publish(batch, with_rows=False)
            return
        try:
            await client.publish(
                f"{SUBJECT}.{batch.log_id}",
                payload,
                headers={"Nats-Msg-Id": f"{batch.log_id}:{row.first}-{row.last}"},
            )
        except (NatsError, OSError) as error:
            log.info("batch.unpublished", extra={"cause": type(error).__name__})


async def _ensure_stream(client: Client) -> None:
    """Create or adjust the stream; without JetStream, live readers are served all the same."""
    config = StreamConfig(
        name=STREAM,
        subjects=[f"{SUBJECT}.*"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=3600,
        max_bytes=256 * 1024 * 1024,
    )
    stream: JetStreamContext = client.jetstream(timeout=2)
    try:
        try:
            await stream.add_stream(config)
        except BadRequestError:
            await stream.update_stream(config)
    except NatsError as error:
        log.warning("stream.unavailable", extra={"cause": type(error).__name__})


class _Kept:
    """A received batch: its message, its events once decoded, and when it came."""

    __slots__ = ("at_s", "events", "message", "size")

    def __init__(self, message: _Message, size: int, at_s: float) -> None:
        self.message = message
        self.size = size
        self.at_s = at_s
        self.events: list[Recorded] | None = None

    def open(self) -> list[Recorded] | None:
        """Return the events; None if the message has none or does not fit its own hashes."""
        message = self.message
        if self.events is None and message.rows is not None:
            count = message.last - message.first + 1
            leaves = [leaf_hash(row.body) for row in message.rows]
            if len(leaves) == count and merkle_root(leaves) == message.root:
                self.events = [
                    Recorded(position, message.recorded_at, row.id, row.subject, row.type, row.body)
                    for position, row in enumerate(message.rows, message.first)
                ]
        return self.events


class _Ring:
    """The recent batches of one log, by first position."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._bytes = 0
        self.last = 0
        self.newest_s = 0.0
        self.arrived = asyncio.Event()

    def add(self, message: _Message, size: int, now_s: float) -> None:
        """Keep a batch, forget old ones, wake the readers."""
        row = BatchRow(
            message.first,
            message.last,
            message.recorded_at,
            message.families,
            message.root,
            message.prev,
            message.chain,
        )
        if chain_value(row.prev, row.first, row.count, row.root) != row.chain:
            return
        older = self._kept.pop(message.first, None)
        self._bytes += size - (older.size if older else 0)
        self._kept[message.first] = _Kept(message, size, now_s)
        self.last, self.newest_s = message.last, now_s
        while self._kept:
            first, oldest = next(iter(self._kept.items()))
            if self._bytes <= RING_BYTES and now_s - oldest.at_s <= FRESH_S:
                break
            del self._kept[first]
            self._bytes -= oldest.size
        self.arrived.set()
        self.arrived = asyncio.Event()

    def has_news(self, after: int, now_s: float) -> bool:
        """Return whether a fresh batch lies beyond a position."""
        return self.last > after and now_s - self.newest_s <= FRESH_S

    def page(self, after: int, families: Family, now_s: float) -> tuple[Page | None, bool]:
        """Merge the batches that follow a position; also say whether one was asked for."""
        unwanted = set(unwanted_types(families))
        events: list[Recorded] = []
        end: _Message | None = None
        wanted = False
        at = after
        while (kept := self._kept.get(at + 1)) and now_s - kept.at_s <= FRESH_S:
            message = kept.message
            if end is not None and message.prev != end.chain:
                break
            if message.families & families:
                opened = kept.open()
                if opened is None:
                    break
                wanted = True
                events += [event for event in opened if event.type not in unwanted]
            end, at = message, message.last
            if len(events) >= PAGE_EVENTS:
                break
        if end is None:
            return None, False
        return Page(events, after + 1, end.last, end.chain, end.recorded_at), wanted


class NatsTail:
    """`Tail` over the fan-out: wakes readers within milliseconds, and polls without a server.

    A page from here has passed the same hash checks as one from the log.

    Args:
        url: nats://user:password@host:port; empty means polling only.
    """

    def __init__(self, url: str) -> None:
        self._link = NatsLink(url, name="tagtrail-tail", on_connect=self._subscribe)
        self._rings: dict[int, _Ring] = {}

    async def open(self) -> None:
        """Begin to connect; returns at once."""
        await self._link.open()

    async def close(self) -> None:
        """Disconnect."""
        await self._link.close()

    @property
    def connected(self) -> bool:
        """Whether batches arrive; without, readers poll."""
        return self._link.client is not None

    async def next(
        self, log_id: int, *, after: int, families: Family = ALL_FAMILIES, timeout_s: float = 1.0
    ) -> Page | None:
        """Wait for something after a position; see `Tail.next`.

        Batches without a family asked for do not wake the reader; they are returned as one
        covered page when the time is over.
        """
        if not self.connected:
            await asyncio.sleep(min(timeout_s, POLL_S))
            return None
        loop = asyncio.get_running_loop()
        ring = self._rings.setdefault(log_id, _Ring())
        deadline = loop.time() + timeout_s
        while True:
            arrived = ring.arrived
            page, wanted = ring.page(after, families, loop.time())
            left = deadline - loop.time()
            if wanted or left <= 0 or not self.connected:
                return page
            if page is None and ring.has_news(after, loop.time()):
                await asyncio.sleep(min(left, REORDER_S))
                return ring.page(after, families, loop.time())[0]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await arrived.wait()

    async def _subscribe(self, client: Client) -> None:
        self._rings.clear()
        await client.subscribe(f"{SUBJECT}.*", cb=self._receive)
        await client.flush(timeout=2)

    async def _receive(self, message: Msg) -> None:
        try:
            log_id = int(message.subject.rpartition(".")[2])
            batch = _decode(message.data)
        except (ValueError, msgspec.DecodeError):
            log.warning("batch.unreadable")
            return
        ring = self._rings.get(log_id)
        if ring is not None:
            ring.add(batch, len(message.data), asyncio.get_running_loop().time())
