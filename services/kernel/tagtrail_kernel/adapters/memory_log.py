"""The log in memory, with the contract of `PostgresLog`: for tests of services."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tagtrail_kernel.adapters.log_pages import (
    Committed,
    OnBatch,
    appended,
    committed,
    distinct,
    start_chain,
    unwanted_types,
)
from tagtrail_kernel.chaining import merkle_root
from tagtrail_kernel.clock import Clock
from tagtrail_kernel.envelope import Recorded, Sealed
from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.registry import ALL_FAMILIES, Family
from tagtrail_kernel.log import MAX_BATCH, NO_CHAIN, Appended, Head, Page


@dataclass(slots=True)
class _Tenant:
    batches: list[Committed] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    events: list[Recorded] = field(default_factory=list)
    receipts: dict[bytes, datetime] = field(default_factory=dict)
    erased: dict[int, tuple[int, bool]] = field(default_factory=dict)


class MemoryLog:
    """`EventLog` and `Tail` in one; lives as long as the object.

    Args:
        clock: Gives `recorded_at`.
        on_batch: Called after every new batch, for the fan-out.
    """

    def __init__(self, clock: Clock, *, on_batch: OnBatch | None = None) -> None:
        self._clock = clock
        self._on_batch = on_batch
        self._tenants: dict[int, _Tenant] = {}
        self._grown = asyncio.Condition()

    def _tenant(self, log_id: int) -> _Tenant:
        return self._tenants.setdefault(log_id, _Tenant())

    async def append(
        self,
        log_id: int,
        facts: Sequence[Sealed],
        *,
        writer: str,
        receipts: Sequence[bytes] = (),
    ) -> Appended:
        """Append facts as one batch; see `EventLog.append`."""
        tenant, now = self._tenant(log_id), self._clock.now()
        copies = distinct(facts, receipts)
        known = {
            fact.id.int: tenant.positions[fact.id.int]
            for fact in copies
            if fact.id.int in tenant.positions
        }
        new = [fact for fact in copies if fact.id.int not in known]
        first = len(tenant.events) + 1
        if tenant.batches:
            now = max(now, tenant.batches[-1].row.recorded_at)
        tenant.receipts |= dict.fromkeys(receipts, now)
        if new:
            self._add(log_id, new, first, now)
            async with self._grown:
                self._grown.notify_all()
        return appended(facts, known, first=first, last=len(tenant.events), recorded_at=now)

    def _add(self, log_id: int, new: Sequence[Sealed], first: int, at: datetime) -> None:
        tenant = self._tenant(log_id)
        prev = tenant.batches[-1].row.chain if tenant.batches else NO_CHAIN
        root = merkle_root([fact.leaf for fact in new])
        batch = committed(log_id, new, first=first, recorded_at=at, root=root, prev=prev)
        tenant.batches.append(batch)
        tenant.ends.append(batch.row.last)
        tenant.events += batch.events()
        tenant.positions |= {fact.id.int: first + i for i, fact in enumerate(new)}
        if self._on_batch is not None:
            self._on_batch(batch)

    async def erase(
        self, log_id: int, positions: Sequence[int], *, order: int, again: bool = False
    ) -> int:
        """Take the bodies of some events away for good; see `EventLog.erase`."""
        tenant = self._tenant(log_id)
        ordering = tenant.events[order - 1].type if 0 < order <= len(tenant.events) else None
        if ordering != "sightings.erased" or any(p >= order for p in positions):
            raise RejectedError(f"no order of erasure stands at position {order}")
        found = [tenant.events[p - 1] for p in positions]
        if any(not event.type.startswith(("tag.", "alert.")) for event in found):
            raise RejectedError("only sightings and what was derived from them can be erased")
        new = [event for event in found if event.position not in tenant.erased]
        tenant.erased |= {event.position: (order, again) for event in new}
        for event in new:
            tenant.events[event.position - 1] = Recorded(
                event.position, event.recorded_at, event.id, event.subject, event.type, b""
            )
            if again and tenant.positions.get(event.id.int) == event.position:
                del tenant.positions[event.id.int]
        return len(new)

    async def erased(
        self, log_id: int, *, order: int | None = None, again: bool = False
    ) -> list[tuple[int, str]]:
        """Return (position, subject) of erased events; see `EventLog.erased`."""
        tenant = self._tenant(log_id)
        return [
            (position, tenant.events[position - 1].subject)
            for position, (by, derived) in sorted(tenant.erased.items())
            if order in (None, by) and derived == again
        ]

    async def settled(
        self, log_id: int, receipts: Sequence[bytes], *, within_s: float
    ) -> set[bytes]:
        """Return those message hashes that were settled in the last seconds."""
        known = self._tenant(log_id).receipts
        since = self._clock.now() - timedelta(seconds=within_s)
        return {hash_ for hash_ in receipts if hash_ in known and known[hash_] >= since}

    async def read(
        self, log_id: int, *, after: int, limit: int = MAX_BATCH, families: Family = ALL_FAMILIES
    ) -> Page | None:
        """Return the next whole batches after a position; see `EventLog.read`."""
        tenant = self._tenant(log_id)
        index = bisect.bisect_left(tenant.ends, after)
        start_chain(log_id, after, [batch.row for batch in tenant.batches[index : index + 1]])
        index += 1 if after else 0
        if index == len(tenant.batches):
            return None
        unwanted = set(unwanted_types(families))
        events: list[Recorded] = []
        held = 0
        end = tenant.batches[index].row
        for batch in tenant.batches[index:]:
            end = batch.row
            if end.families & families:
                held += end.count
                whole = tenant.events[end.first - 1 : end.last]
                events += [e for e in whole if e.type not in unwanted and e.body]
            if held >= limit:
                break
        return Page(events, after + 1, end.last, end.chain, end.recorded_at)

    async def head(self, log_id: int) -> Head:
        """Return the end of the log."""
        batches = self._tenant(log_id).batches
        if not batches:
            return Head(0, NO_CHAIN, None)
        row = batches[-1].row
        return Head(row.last, row.chain, row.recorded_at)

    async def chain_at(self, log_id: int, position: int) -> bytes | None:
        """Return the chain value of the batch that ends at a position; None if none does."""
        tenant = self._tenant(log_id)
        index = bisect.bisect_left(tenant.ends, position)
        if index == len(tenant.ends) or tenant.ends[index] != position:
            return None
        return tenant.batches[index].row.chain

    async def find(self, log_id: int, event_id: UUID) -> Recorded | None:
        """Return one event by its id, or None."""
        tenant = self._tenant(log_id)
        position = tenant.positions.get(event_id.int)
        if position is None or position in tenant.erased:
            return None
        return tenant.events[position - 1]

    async def position_at(self, log_id: int, at: datetime) -> int:
        """Return the last position recorded at or before a time; 0 if none."""
        tenant = self._tenant(log_id)
        index = bisect.bisect_right(tenant.batches, at, key=lambda batch: batch.row.recorded_at)
        return tenant.ends[index - 1] if index else 0

    async def floor(self, log_id: int, position: int) -> int:
        """Return the end of the last batch that ends at or before a position; 0 if none does."""
        ends = self._tenant(log_id).ends
        index = bisect.bisect_right(ends, position)
        return ends[index - 1] if index else 0

    async def next(
        self, log_id: int, *, after: int, families: Family = ALL_FAMILIES, timeout_s: float = 1.0
    ) -> Page | None:
        """Wait for something after a position; see `Tail.next`."""
        tenant = self._tenant(log_id)
        async with self._grown:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._grown.wait_for(lambda: len(tenant.events) > after)
            except TimeoutError:
                return None
        return await self.read(log_id, after=after, families=families)
