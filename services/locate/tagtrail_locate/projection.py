"""The projection: the engine's memory, its snapshot and its tables move with the position."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from tagtrail_kernel.consumers import Context, Projection
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.registry import Family
from tagtrail_kernel.log import EventLog
from tagtrail_locate import tables
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.state import unpack

log = logging.getLogger(__name__)

NAME = "places"
FAMILIES = Family.RADIO | Family.GATEWAY | Family.REGISTRY


async def stored_engine(connection: Connection, log_id: int) -> Engine:
    """Return an engine with the memory of the stored snapshot; an empty one if there is none."""
    memory = await connection.fetchval("select memory from snapshot where log_id = $1", log_id)
    if memory is None:
        return Engine()
    try:
        return Engine(unpack(memory))
    except msgspec.DecodeError as error:
        log.warning("snapshot.unreadable", extra={"log_id": log_id, "cause": str(error)})
        return Engine()


class Places(Projection):
    """Places, presence and gateway health of one tenant.

    Args:
        event_log: Tells where the batch ends from which memory can be brought forward.
        chunk_events: Events folded before other work of the process gets its turn.
    """

    name: ClassVar[str] = NAME
    families: ClassVar[Family] = FAMILIES
    version: ClassVar[int] = 4
    tables: ClassVar[tuple[str, ...]] = (
        "place", "place_history", "presence", "gateway", "snapshot",
    )  # fmt: skip

    def __init__(self, event_log: EventLog, *, chunk_events: int = 4000) -> None:
        self._log = event_log
        self._chunk = chunk_events
        self.engine = Engine()

    async def restore(self, tx: Connection, context: Context, position: int) -> int:
        """See `Projection.restore`; memory comes from the snapshot and the events after it."""
        self.engine = await stored_engine(tx, context.log_id)
        at = self.engine.state.position
        if at > position:
            self.engine, at = Engine(), 0
        return min(await self._log.floor(context.log_id, at), position) if at else 0

    async def replay(self, context: Context, events: Sequence[Recorded]) -> None:
        """See `Projection.replay`; the tables have these effects already."""
        del context
        await fold(self.engine, events, self._chunk)
        self.engine.taken()

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """See `Projection.apply`."""
        await fold(self.engine, events, self._chunk)
        effects: Effects = self.engine.taken()
        await tables.write(tx, context.log_id, effects)
        return effects.facts


async def fold(engine: Engine, events: Sequence[Recorded], chunk: int) -> None:
    """Fold those events that the memory does not hold yet, giving way between chunks."""
    reached = engine.state.position
    new = (
        events
        if not events or events[0].position > reached
        else [event for event in events if event.position > reached]
    )
    for start in range(0, len(new), chunk):
        engine.apply(new[start : start + chunk])
        await asyncio.sleep(0)
