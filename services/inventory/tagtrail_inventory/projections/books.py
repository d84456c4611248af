"""The one projection of inventory: one position for everything, so that answers fit together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final

from tagtrail_inventory.projections.bindings import Bindings
from tagtrail_inventory.projections.conflicts import write_conflicts
from tagtrail_inventory.projections.contents import Contents
from tagtrail_inventory.projections.current import refresh
from tagtrail_inventory.projections.custody import Custody
from tagtrail_inventory.projections.placements import Placements
from tagtrail_inventory.projections.registrations import Registrations
from tagtrail_kernel.consumers import Context, Projection
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.registry import Family

FAMILIES: Final = Family.REGISTRY | Family.PLACE | Family.STOCK | Family.SHIPMENT


YIELD_EVENTS: Final = 200
"""Events between two turns of other work in the process: some milliseconds."""


class Books(Projection):
    """Registry, bindings, places, contents, shipments.

    Every fact becomes rows with the world's time and the log's position, never changed later;
    beside them the newest state. Nothing here depends on how the log is cut into pages.
    """

    name: ClassVar[str] = "books"
    families: ClassVar[Family] = FAMILIES
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[str, ...]] = (
        "registration", "identity", "conflict", "binding", "placement", "custody", "shipment",
        "content", "counting", "discrepancy", "content_now", "place_now", "tag_now", "presence",
    )  # fmt: skip

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """See `Projection.apply`; brings no facts of its own."""
        log_id = context.log_id
        await _decode(events)
        registrations = Registrations(log_id)
        await registrations.fold(tx, events)
        bindings = Bindings(log_id)
        await bindings.fold(tx, events)
        placements = Placements(log_id)
        await placements.fold(tx, events)
        await Contents(log_id).fold(tx, events)
        custody = Custody(log_id)
        await custody.fold(tx, events)
        await write_conflicts(tx, log_id, registrations.conflicts + bindings.conflicts)
        await refresh(tx, log_id, tags=bindings.tags | placements.tags, assets=custody.assets)
        return ()


async def _decode(events: Sequence[Recorded]) -> None:
    """Decode a page in pieces, so that nothing else of the process waits for it."""
    for start in range(0, len(events), YIELD_EVENTS):
        for event in events[start : start + YIELD_EVENTS]:
            _ = event.data
        await asyncio.sleep(0)
