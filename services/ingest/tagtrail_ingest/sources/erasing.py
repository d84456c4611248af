"""Carries out orders to erase a class of sources: the bodies of its sightings, and what followed.

An order stands in the log before anything goes, and is carried out by a consumer, so a process that
dies half-way is followed by one that finishes. Every step may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from tagtrail_ingest.adapters import ADAPTERS
from tagtrail_ingest.quarantine import Quarantine
from tagtrail_kernel.consumers import Context, Projection
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.alerts import AlertFired, AlertResolved
from tagtrail_kernel.events.operations import SightingsErased
from tagtrail_kernel.events.registry import Family
from tagtrail_kernel.events.sightings import Radio, SourceClass
from tagtrail_kernel.log import MAX_BATCH, EventLog

log = logging.getLogger(__name__)

NAME: Final = "erasures"

PLACES: Final = "locate"
ALERTS: Final = "alerts"
"""Sources of the facts that are derived; what people or other systems say of places stays."""


Beat = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Consequences:
    """Finds what would not be in the log without some sightings, reading it once from the start.

    Attributes:
        since: Position of the first erased sighting, by tag.
        withdrawn: Ids of the facts that go.
        alerts: Alerts that go.
    """

    since: dict[str, int]
    withdrawn: set[str] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)

    def among(self, events: Iterable[Recorded]) -> list[int]:
        """Return the positions of those facts that go."""
        return [event.position for event in events if self._goes(event)]

    def _goes(self, event: Recorded) -> bool:
        goes = self._place(event) if event.family is Family.PLACE else self._alert(event)
        if goes:
            self.withdrawn.add(str(event.id))
        return goes

    def _place(self, event: Recorded) -> bool:
        since = self.since.get(event.subject)
        return since is not None and event.position > since and event.envelope.source == PLACES

    def _alert(self, event: Recorded) -> bool:
        data, envelope = event.data, event.envelope
        caused = str(envelope.causation_id) in self.withdrawn and envelope.source == ALERTS
        if isinstance(data, AlertFired):
            if caused:
                self.alerts.add(data.alert_id)
            return caused
        if isinstance(data, AlertResolved):
            return caused or (data.alert_id in self.alerts and envelope.source == ALERTS)
        return False


class Eraser:
    """Erases by orders.

    Args:
        event_log: The log.
        quarantine: Unread messages of formats that carry only such a class go too.
        beat: Called after every page: who waits in a transaction keeps it alive by it.
    """

    def __init__(
        self, event_log: EventLog, quarantine: Quarantine, *, beat: Beat | None = None
    ) -> None:
        self._log = event_log
        self._quarantine = quarantine
        self._beat = beat

    async def carry_out(self, log_id: int, order: int, source_class: SourceClass) -> None:
        """Carry out an order; again it changes nothing.

        Raises:
            UnavailableError: the database is out of reach; what is left is done when it is repeated.
        """
        names = [a.name for a in ADAPTERS.values() if a.source_class == source_class]
        await self._quarantine.remove_formats(log_id, names)
        since = await self._sightings(log_id, order, source_class)
        withdrawn = await self._consequences(log_id, order, since)
        extra = {"log_id": log_id, "source_class": source_class, "position": order}
        log.info("sightings.erased", extra=extra | {"tags": len(since), "withdrawn": withdrawn})

    async def _sightings(
        self, log_id: int, order: int, source_class: SourceClass
    ) -> dict[str, int]:
        """Erase the sightings; returns the position of the first one of each tag, over all tries."""
        marker = f'"source_class":"{source_class}"'.encode()
        at = 0
        while at < order:
            page = await self._log.read(log_id, after=at, families=Family.RADIO)
            if page is None:
                break
            at = page.last
            positions = [e.position for e in page.events if _is_of(e, marker, source_class, order)]
            await self._erase(log_id, order, positions, again=False)
            await self._breathe()
        since: dict[str, int] = {}
        for position, tag_id in await self._log.erased(log_id, order=order):
            since.setdefault(tag_id, position)
        return since

    async def _consequences(self, log_id: int, order: int, since: dict[str, int]) -> int:
        found, at, count = Consequences(since), 0, 0
        while at < order and since:
            page = await self._log.read(log_id, after=at, families=Family.PLACE | Family.ALERT)
            if page is None:
                break
            at = page.last
            positions = found.among(e for e in page.events if e.position < order)
            await self._erase(log_id, order, positions, again=True)
            count += len(positions)
            await self._breathe()
        return count

    async def _breathe(self) -> None:
        """Let others have their turn after a page."""
        await asyncio.sleep(0)
        if self._beat is not None:
            await self._beat()

    async def _erase(
        self, log_id: int, order: int, positions: Sequence[int], *, again: bool
    ) -> None:
        for start in range(0, len(positions), MAX_BATCH):
            part = positions[start : start + MAX_BATCH]
            await self._log.erase(log_id, part, order=order, again=again)


def _is_of(event: Recorded, marker: bytes, source_class: SourceClass, order: int) -> bool:
    if event.position >= order or marker not in event.body:
        return False
    data = event.data
    return isinstance(data, Radio) and data.source_class == source_class


class Erasures(Projection):
    """Follows orders to erase. Keeps nothing but its position.

    Args:
        event_log: The log.
        quarantine: See `Eraser`.
    """

    name: ClassVar[str] = NAME
    families: ClassVar[Family] = Family.OPERATION
    version: ClassVar[int] = 1

    def __init__(self, event_log: EventLog, quarantine: Quarantine) -> None:
        self._log = event_log
        self._quarantine = quarantine

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """See `Projection.apply`."""

        async def beat() -> None:
            await tx.execute("select 1")

        eraser = Eraser(self._log, self._quarantine, beat=beat)
        for event in events:
            if context.live and isinstance(event.data, SightingsErased):
                await eraser.carry_out(context.log_id, event.position, event.data.source_class)
        return ()
