"""Reading the log over HTTP: pages, single events, a live tail, and the feed of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import msgspec

from tagtrail_ingest.relay import cloud_event
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.errors import NotFoundError, RejectedError
from tagtrail_kernel.events.registry import ALL_FAMILIES, Family, type_of
from tagtrail_kernel.log import EventLog, Tail

FAMILIES = {f.name.lower(): f for f in Family if f.name}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a reader wants.

    Attributes:
        families: Families.
        types: Wire names; empty = all of the families.
        subject: Subject, or None.
    """

    families: Family = ALL_FAMILIES
    types: frozenset[str] = frozenset()
    subject: str | None = None

    @classmethod
    def of(cls, families: str | None, types: str | None, subject: str | None) -> Filter:
        """Read the query's comma-separated lists.

        Raises:
            RejectedError: an unknown family or type.
        """
        chosen = Family(0)
        for name in (families or "").replace(" ", "").split(","):
            if name and name not in FAMILIES:
                raise RejectedError(
                    f"no family {name!r}; families are {', '.join(FAMILIES)}", family=name
                )
            chosen |= FAMILIES.get(name, Family(0))
        wanted = frozenset(t for t in (types or "").replace(" ", "").split(",") if t)
        for name in wanted:
            chosen |= type_of(name).FAMILY
        return cls(chosen or ALL_FAMILIES, wanted, subject)

    def takes(self, event: Recorded) -> bool:
        """Return whether an event is wanted."""
        return (not self.types or event.type in self.types) and (
            self.subject is None or event.subject == self.subject
        )


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of the log, as the API gives it.

    Attributes:
        events: Wanted events, in position order.
        next_after: Value of `after` for the next call; nothing wanted lies before it.
        at_end: Whether the log ends there.
    """

    events: list[Recorded]
    next_after: int
    at_end: bool


async def slice_of(
    event_log: EventLog, log_id: int, *, after: int, limit: int, wanted: Filter, pages: int = 20
) -> Slice:
    """Return the next wanted events after any position.

    Args:
        event_log: The log.
        log_id: Tenant.
        after: Position; need not be the end of a batch.
        limit: Most events.
        wanted: Filter.
        pages: Most pages to look through, so that a rare type costs bounded time.
    """
    events: list[Recorded] = []
    at = await event_log.floor(log_id, after)
    for _ in range(pages):
        page = await event_log.read(log_id, after=at, limit=limit, families=wanted.families)
        if page is None:
            return Slice(events, max(at, after), at_end=True)
        for event in page.events:
            if event.position > after and wanted.takes(event):
                if len(events) == limit:
                    return Slice(events, events[-1].position, at_end=False)
                events.append(event)
        at = page.last
        if len(events) == limit:
            break
    return Slice(events, max(at, after), at_end=False)


async def tail_of(
    event_log: EventLog, tail: Tail, log_id: int, *, after: int, wanted: Filter
) -> AsyncIterator[tuple[list[Recorded], int]]:
    """Yield (wanted events, position reached) for ever; an empty list about every second."""
    at = await event_log.floor(log_id, after)
    start = after
    while True:
        page = await tail.next(log_id, after=at, families=wanted.families, timeout_s=1.0)
        if page is None or page.first != at + 1:
            page = await event_log.read(log_id, after=at, families=wanted.families)
        if page is None:
            yield [], max(at, start)
            await asyncio.sleep(0)
            continue
        at = page.last
        yield [e for e in page.events if e.position > start and wanted.takes(e)], max(at, start)


def event_json(log_id: int, event: Recorded, *, cloud: bool = False) -> msgspec.Raw:
    """Return a fact as JSON: its stored bytes with position and time of recording, or a CloudEvent."""
    if cloud:
        return msgspec.Raw(msgspec.json.encode(cloud_event(log_id, event)))
    recorded_at = msgspec.json.encode(event.recorded_at)
    head = b'{"position":%d,"recorded_at":%s,' % (event.position, recorded_at)
    return msgspec.Raw(head + event.body[1:])


async def one_event(event_log: EventLog, log_id: int, event_id: str) -> Recorded:
    """Return an event by id.

    Raises:
        NotFoundError: there is none.
    """
    try:
        found = await event_log.find(log_id, UUID(event_id))
    except ValueError:
        found = None
    if found is None:
        raise NotFoundError(f"no event {event_id} in this log", event_id=event_id)
    return found
