"""Batches as the adapters of the log exchange them, and the checks that make a page of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from tagtrail_kernel.chaining import chain_value, merkle_root
from tagtrail_kernel.envelope import Recorded, Sealed
from tagtrail_kernel.errors import LogDamagedError
from tagtrail_kernel.events.registry import ALL_FAMILIES, REGISTRY, Family
from tagtrail_kernel.log import MAX_BATCH, NO_CHAIN, Appended


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One row of the batch table.

    Attributes:
        first: Position of its first event.
        last: Position of its last event.
        recorded_at: When it was recorded; the same for all its events.
        families: Families of its events.
        root: Merkle root over its leaves, 32 bytes.
        prev: Chain value of the batch before it.
        chain: Chain value of this batch.
    """

    first: int
    last: int
    recorded_at: datetime
    families: int
    root: bytes
    prev: bytes
    chain: bytes

    @property
    def count(self) -> int:
        """Number of events."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is durable, for the fan-out.

    Attributes:
        log_id: The tenant's log.
        row: Its batch row.
        facts: Its facts, in position order.
    """

    log_id: int
    row: BatchRow
    facts: Sequence[Sealed]

    def events(self) -> list[Recorded]:
        """Return the facts as readers get them."""
        at = self.row.recorded_at
        return [
            Recorded(position, at, fact.id, fact.subject, fact.type, fact.body)
            for position, fact in enumerate(self.facts, self.row.first)
        ]


OnBatch = Callable[[Committed], None]
"""Called after the commit of a batch, in the event loop; it MUST neither block nor raise."""


def check_links(log_id: int, batches: Sequence[BatchRow], *, after: int, chain: bytes) -> None:
    """Prove that batches follow a position without a hole and that their chain fits.

    Args:
        log_id: For the message.
        batches: In position order.
        after: Position they must follow.
        chain: Chain value at `after`.

    Raises:
        LogDamagedError: a hole, or a chain value that does not fit.
    """
    for batch in batches:
        if batch.first != after + 1 or batch.last < batch.first:
            raise LogDamagedError(
                f"log {log_id} has a hole after position {after}: the next batch covers "
                f"{batch.first} to {batch.last}; stop writing and compare it with a backup"
            )
        fits = chain_value(chain, batch.first, batch.count, batch.root)
        if batch.prev != chain or batch.chain != fits:
            raise LogDamagedError(
                f"log {log_id}: the chain does not fit at the batch {batch.first} to "
                f"{batch.last}; it was edited, or the log was replaced"
            )
        after, chain = batch.last, batch.chain


def start_chain(log_id: int, after: int, batches: Sequence[BatchRow]) -> bytes:
    """Return the chain value at `after`, taken from the batch that must end there.

    Args:
        log_id: For the message.
        after: Position already seen.
        batches: Batches whose last position is at or after `after`.

    Raises:
        LogDamagedError: no batch ends at `after`.
    """
    if after == 0:
        return NO_CHAIN
    if not batches or batches[0].last != after:
        end = f"the next batch ends at {batches[0].last}" if batches else "the log ends before it"
        raise LogDamagedError(
            f"log {log_id}: no batch ends at position {after}, {end}; this reader stands on "
            "another history, so rebuild it from the log"
        )
    return batches[0].chain


def runs(batches: Sequence[BatchRow], families: Family) -> Iterator[tuple[int, int]]:
    """Yield the longest spans of positions whose batches all hold a family asked for."""
    span: tuple[int, int] | None = None
    for batch in batches:
        if not batch.families & families:
            continue
        if span and batch.first == span[1] + 1:
            span = (span[0], batch.last)
            continue
        if span:
            yield span
        span = (batch.first, batch.last)
    if span:
        yield span


def unwanted_types(families: Family) -> list[str]:
    """Return the registered types outside some families.

    A type that this process does not know is never among them: its reader must meet it and stop,
    rather than pass over a fact it cannot judge.
    """
    if families & ALL_FAMILIES == ALL_FAMILIES:
        return []
    return [name for name, cls in REGISTRY.items() if not cls.FAMILY & families]


def distinct(facts: Sequence[Sealed], receipts: Sequence[bytes]) -> Sequence[Sealed]:
    """Check the size of an append and drop later copies of an id within it.

    Raises:
        ValueError: there are more than `MAX_BATCH` facts, or none and no receipts either.
    """
    if not facts and receipts:
        return facts
    if not 1 <= len(facts) <= MAX_BATCH:
        raise ValueError(f"an append takes 1 to {MAX_BATCH} facts, not {len(facts)}")
    if len({fact.id.int for fact in facts}) == len(facts):
        return facts
    first_copies: dict[int, Sealed] = {}
    for fact in facts:
        first_copies.setdefault(fact.id.int, fact)
    return list(first_copies.values())


def families_of(facts: Sequence[Sealed]) -> int:
    """Return the union of the facts' families, as stored."""
    families = 0
    for family in {fact.family for fact in facts}:  # `|` of flags is slow: once per family
        families |= family
    return int(families)


def committed(
    log_id: int,
    facts: Sequence[Sealed],
    *,
    first: int,
    recorded_at: datetime,
    root: bytes,
    prev: bytes,
) -> Committed:
    """Return the batch that an append of new facts made."""
    last = first + len(facts) - 1
    chain = chain_value(prev, first, len(facts), root)
    return Committed(
        log_id,
        BatchRow(first, last, recorded_at, families_of(facts), root, prev, chain),
        facts,
    )


def appended(
    facts: Sequence[Sealed],
    known: Mapping[int, int],
    *,
    first: int,
    last: int,
    recorded_at: datetime,
) -> Appended:
    """Return what became of the facts of one append.

    Args:
        facts: As the caller gave them.
        known: Positions of the ids that were in the log before, by `UUID.int`.
        first: Position of the first new fact.
        last: End of the log.
        recorded_at: When the new ones were recorded.
    """
    if len(facts) == last - first + 1:
        return Appended(range(first, last + 1), frozenset(), last, recorded_at)
    place = dict(known)
    positions: list[int] = []
    duplicates: list[int] = []
    for index, fact in enumerate(facts):
        position = place.get(fact.id.int)
        if position is None:
            position = place[fact.id.int] = first
            first += 1
        else:
            duplicates.append(index)
        positions.append(position)
    return Appended(positions, frozenset(duplicates), last, recorded_at)


def separator_for(text: str) -> str:
    """Return a character that does not occur in a text."""
    if "\x1f" not in text:
        return "\x1f"
    used = set(text)
    not_surrogates = itertools.chain(range(1, 0xD800), range(0xE000, 0x110000))
    return next(char for char in map(chr, not_surrogates) if char not in used)


def open_rows(log_id: int, batches: Sequence[BatchRow], rows: Sequence[Any]) -> list[Recorded]:
    """Turn the rows of some adjacent batches into events, proving each batch by its root.

    Args:
        log_id: For the message.
        batches: In position order, without a hole.
        rows: (position, id, subject, type, body, leaf) of every event. A body that was not asked
            for is None, an erased one empty: both are proved by the leaf, and left out.

    Raises:
        LogDamagedError: events are missing, or do not fit the root of their batch.
    """
    if len(rows) != batches[-1].last - batches[0].first + 1:
        raise LogDamagedError(
            f"log {log_id}: {len(rows)} events where the batches count "
            f"{batches[-1].last - batches[0].first + 1} from position {batches[0].first} on; "
            "events are missing, compare with a backup"
        )
    events: list[Recorded] = []
    start = 0
    for batch in batches:
        part = rows[start : start + batch.count]
        start += batch.count
        leaves = [sha256(b"\x00" + row[4]).digest() if row[4] else row[5] for row in part]
        if part[0][0] != batch.first or merkle_root(leaves) != batch.root:
            raise LogDamagedError(
                f"log {log_id}: events {batch.first} to {batch.last} do not fit the root of "
                "their batch; a byte was changed, compare them with a backup"
            )
        at = batch.recorded_at
        events += [Recorded(row[0], at, row[1], row[2], row[3], row[4]) for row in part if row[4]]
    return events
