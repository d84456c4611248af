"""Which tag is on which asset: one row per statement, with the world's time and the log's position."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tagtrail_inventory.core.contents import Order
from tagtrail_inventory.projections.conflicts import Conflict
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registrations import TagBound, TagRetired, TagUnbound

LOAD = """
select w.tag_id, b.occurred_at, b.position, b.asset_id
from unnest($2::text[], $3::timestamptz[]) as w (tag_id, since)
cross join lateral (
    (select occurred_at, position, asset_id from binding
      where log_id = $1 and tag_id = w.tag_id and occurred_at < w.since
      order by occurred_at desc, position desc limit 1)
    union all
    (select occurred_at, position, asset_id from binding
      where log_id = $1 and tag_id = w.tag_id and occurred_at >= w.since)
) b
order by w.tag_id, b.occurred_at, b.position
"""

_History = list[tuple[Order, str | None]]


@dataclass(slots=True)
class Bindings:
    """Folds one page of statements about tags on assets.

    Attributes:
        log_id: The tenant.
        conflicts: Contradictions that were met.
        tags: Tags whose binding changed.
    """

    log_id: int
    conflicts: list[Conflict] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    _history: dict[str, _History] = field(default_factory=lambda: defaultdict(list))
    _new: list[tuple[str, Order, str | None, UUID]] = field(default_factory=list)

    async def fold(self, tx: Connection, events: Sequence[Recorded]) -> None:
        """Fold and write a page."""
        mine = [e for e in events if isinstance(e.data, TagBound | TagUnbound | TagRetired)]
        if not mine:
            return
        await self._load(tx, mine)
        for event in mine:
            self._take(event)
        await tx.copy_records_to_table(
            "binding",
            records=[
                (self.log_id, tag, order.occurred_at, order.position, asset, event_id)
                for tag, order, asset, event_id in self._new
            ],
            columns=["log_id", "tag_id", "occurred_at", "position", "asset_id", "event_id"],
        )

    async def _load(self, tx: Connection, events: Sequence[Recorded]) -> None:
        since: dict[str, datetime] = {}
        for event in events:
            data, at = event.data, event.envelope.occurred_at
            if isinstance(data, TagBound | TagUnbound | TagRetired):
                since[data.tag_id] = min(at, since.get(data.tag_id, at))
        for row in await tx.fetch(LOAD, self.log_id, list(since), list(since.values())):
            order = Order(row["occurred_at"], row["position"])
            self._history[row["tag_id"]].append((order, row["asset_id"]))

    def _take(self, event: Recorded) -> None:
        order = Order(event.envelope.occurred_at, event.position)
        match event.data:
            case TagBound(tag_id=tag, asset_id=asset):
                held = self._asset_at(tag, order)
                if held not in (None, asset):
                    self.conflicts.append(Conflict.of(event, "bound_twice", tag, asset, held))
                self._add(tag, order, asset, event.id)
            case TagUnbound(tag_id=tag, asset_id=asset):
                held = self._asset_at(tag, order)
                if held != asset:
                    self.conflicts.append(Conflict.of(event, "not_bound_there", tag, asset, held))
                else:
                    self._add(tag, order, None, event.id)
            case TagRetired(tag_id=tag) if self._asset_at(tag, order) is not None:
                self._add(tag, order, None, event.id)
            case _:
                pass

    def _asset_at(self, tag: str, order: Order) -> str | None:
        history = self._history[tag]
        index = bisect.bisect_left(history, order, key=lambda h: h[0])
        return history[index - 1][1] if index else None

    def _add(self, tag: str, order: Order, asset: str | None, event_id: UUID) -> None:
        bisect.insort(self._history[tag], (order, asset), key=lambda h: h[0])
        self._new.append((tag, order, asset, event_id))
        self.tags.add(tag)
