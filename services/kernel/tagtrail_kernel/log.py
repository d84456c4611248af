"""Ports of the immutable event log: append, read, tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from tagtrail_kernel.envelope import Envelope, Recorded, Sealed
from tagtrail_kernel.events.registry import ALL_FAMILIES, Family

MAX_BATCH: Final = 1000
"""Most events of one batch: bounds the lock's hold time and a reader's page."""

NO_CHAIN: Final = bytes(32)
"""Chain value before the first batch."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the facts of one append, in their order.

    Attributes:
        positions: Position of each fact; of the first copy where it was known already.
        duplicates: Indexes of the facts whose id was in the log before, or earlier in the call.
        last: Last position of the log after the append.
        recorded_at: When they were recorded.
    """

    positions: Sequence[int]
    duplicates: frozenset[int]
    last: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log.

    Attributes:
        position: Last position, 0 for an empty log.
        chain: Chain value of its last batch, 32 bytes.
        recorded_at: When it was recorded; None for an empty log.
    """

    position: int
    chain: bytes
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """One or more whole batches, contiguous with what was read before.

    Attributes:
        events: Events of the families asked for, in position order; may be empty.
        first: First position that the page covers.
        last: Last position that the page covers; it is the end of a batch.
        chain: Chain value at `last`, 32 bytes.
        recorded_at: Time of its last batch.
    """

    events: Sequence[Recorded]
    first: int
    last: int
    chain: bytes
    recorded_at: datetime


class EventLog(Protocol):
    """Append-only sequences of facts, one per tenant, numbered from 1 without gaps."""

    async def append(
        self,
        log_id: int,
        facts: Sequence[Sealed],
        *,
        writer: str,
        receipts: Sequence[bytes] = (),
    ) -> Appended:
        """Append facts as one batch and return when they are durable.

        All new facts are appended, or none. A fact whose id is in the log is skipped, so a
        producer may repeat an append whose reply it did not see.

        Args:
            log_id: The tenant's log, >= 1.
            facts: At most `MAX_BATCH` facts; none if only receipts are to be settled.
            writer: Who appends, for the batch row.
            receipts: 32-byte hashes of broker messages that this append settles; kept for the
                re-delivery window, see `settled`.

        Raises:
            UnavailableError: the database is out of reach; whether the facts were appended is
                unknown, so repeat the call with the same ids.
        """
        ...

    async def erase(
        self, log_id: int, positions: Sequence[int], *, order: int, again: bool = False
    ) -> int:
        """Take the bodies of some events away for good; their leaves stay, so every proof verifies.

        Readers pass over such events from then on. Repeating it is harmless.

        Args:
            log_id: The tenant's log.
            positions: Events `tag.…` or `alert.…`, before `order`; at most `MAX_BATCH`.
            order: Position of the `sightings.erased` that orders it.
            again: The same facts may be appended again: they are derived, and may be derived anew.

        Returns:
            How many bodies went now.

        Raises:
            RejectedError: there is no such order, or an event is of another kind.
            UnavailableError: the database is out of reach; repeat the call.
        """
        ...

    async def erased(
        self, log_id: int, *, order: int | None = None, again: bool = False
    ) -> list[tuple[int, str]]:
        """Return (position, subject) of erased events, ascending.

        Args:
            log_id: The tenant's log.
            order: Only those that went by this order.
            again: Those that were derived, instead of those that are gone for good.
        """
        ...

    async def settled(
        self, log_id: int, receipts: Sequence[bytes], *, within_s: float
    ) -> set[bytes]:
        """Return those message hashes that were settled in the last seconds."""
        ...

    async def read(
        self, log_id: int, *, after: int, limit: int = MAX_BATCH, families: Family = ALL_FAMILIES
    ) -> Page | None:
        """Return the next whole batches after a position, or None at the end of the log.

        Args:
            log_id: The tenant's log.
            after: Last position already seen; 0, or the end of a batch (`Page.last`).
            limit: The page ends with the batch that reaches this many events.
            families: Batches that hold none of these are covered without reading their events.

        Raises:
            LogDamagedError: positions are not dense, or `after` is not the end of a batch.
        """
        ...

    async def head(self, log_id: int) -> Head:
        """Return the end of the log."""
        ...

    async def chain_at(self, log_id: int, position: int) -> bytes | None:
        """Return the chain value of the batch that ends at a position; None if none does."""
        ...

    async def find(self, log_id: int, event_id: UUID) -> Recorded | None:
        """Return one event by its id, or None."""
        ...

    async def position_at(self, log_id: int, at: datetime) -> int:
        """Return the last position recorded at or before a time; 0 if none."""
        ...

    async def floor(self, log_id: int, position: int) -> int:
        """Return the end of the last batch that ends at or before a position; 0 if none does."""
        ...


class Tail(Protocol):
    """Tells readers quickly that there is more. It may lose messages, never invent them."""

    async def next(
        self, log_id: int, *, after: int, families: Family = ALL_FAMILIES, timeout_s: float = 1.0
    ) -> Page | None:
        """Wait for something after a position.

        Returns:
            The page that begins at `after + 1`, if the fan-out delivered it whole; None when it
            is time to look into the log itself (woken, gap, or timed out).
        """
        ...


class EventSink(Protocol):
    """Where services that do not own the log put facts: ingest, directly or over HTTP."""

    async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
        """Have facts appended; returns when they are durable. Repeating it is harmless.

        Raises:
            UnavailableError: ingest is out of reach; repeat with the same ids.
            RejectedError: ingest refuses a fact.
        """
        ...
