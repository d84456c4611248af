"""Where tags are: confirmed zone changes, and how fresh the evidence is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate

from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.places import TagPositioned, TagPresenceChanged, TagZoneChanged

COLUMNS = [
    "log_id", "tag_id", "occurred_at", "position", "zone_id", "site_id", "method", "confidence",
    "event_id", "latest_at",
]  # fmt: skip
SEEN = """
insert into presence as p (log_id, tag_id, last_seen_at, state, changed_at, changed_position)
select $1, * from unnest($2::text[], $3::timestamptz[], $4::text[], $5::timestamptz[], $6::bigint[])
on conflict (log_id, tag_id) do update set
    last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at),
    state = case when excluded.changed_at is not null and (p.changed_at is null
                      or (excluded.changed_at, excluded.changed_position)
                         > (p.changed_at, p.changed_position))
                 then excluded.state else p.state end,
    changed_at = case when excluded.changed_at is not null and (p.changed_at is null
                           or (excluded.changed_at, excluded.changed_position)
                              > (p.changed_at, p.changed_position))
                      then excluded.changed_at else p.changed_at end,
    changed_position = case when excluded.changed_at is not null and (p.changed_at is null
                                 or (excluded.changed_at, excluded.changed_position)
                                    > (p.changed_at, p.changed_position))
                            then excluded.changed_position else p.changed_position end
"""


@dataclass(slots=True)
class _Seen:
    last_seen_at: datetime
    state: str | None = None
    changed: tuple[datetime, int] | None = None


@dataclass(slots=True)
class Placements:
    """Folds one page of places.

    Attributes:
        log_id: The tenant.
        tags: Tags that changed zone.
    """

    log_id: int
    tags: set[str] = field(default_factory=set)
    _seen: dict[str, _Seen] = field(default_factory=dict)

    async def fold(self, tx: Connection, events: Sequence[Recorded]) -> None:
        """Fold and write a page."""
        changes: list[tuple[Recorded, TagZoneChanged]] = []
        for event in events:
            match event.data:
                case TagZoneChanged() as change:
                    changes.append((event, change))
                    self._note(change.tag_id, event.envelope.occurred_at)
                case TagPositioned(tag_id=tag):
                    self._note(tag, event.envelope.occurred_at)
                case TagPresenceChanged() as presence:
                    self._note(presence.tag_id, presence.last_heard_at)
                    self._change(presence, event)
                case _:
                    pass
        if changes:
            await self._write(tx, changes)
        if self._seen:
            await self._write_seen(tx)

    def _note(self, tag: str, at: datetime) -> None:
        seen = self._seen.setdefault(tag, _Seen(at))
        seen.last_seen_at = max(seen.last_seen_at, at)

    def _change(self, presence: TagPresenceChanged, event: Recorded) -> None:
        seen = self._seen[presence.tag_id]
        order = (event.envelope.occurred_at, event.position)
        if seen.changed is None or order > seen.changed:
            seen.changed, seen.state = order, presence.state

    async def _write(
        self, tx: Connection, changes: Sequence[tuple[Recorded, TagZoneChanged]]
    ) -> None:
        before = await tx.fetchval(
            "select latest_at from placement where log_id = $1 order by position desc limit 1",
            self.log_id,
        )
        times = [e.envelope.occurred_at for e, _ in changes]
        latest = list(accumulate([before or times[0], *times], max))[1:]
        await tx.copy_records_to_table(
            "placement",
            records=[
                (
                    self.log_id, c.tag_id, e.envelope.occurred_at, e.position, c.zone_id, c.site_id,
                    c.method, c.confidence, e.id, latest_at,
                )
                for (e, c), latest_at in zip(changes, latest, strict=True)
            ],
            columns=COLUMNS,
        )  # fmt: skip
        self.tags.update(c.tag_id for _, c in changes)

    async def _write_seen(self, tx: Connection) -> None:
        seen = list(self._seen.values())
        await tx.execute(
            SEEN,
            self.log_id,
            list(self._seen),
            [s.last_seen_at for s in seen],
            [s.state for s in seen],
            [s.changed[0] if s.changed else None for s in seen],
            [s.changed[1] if s.changed else None for s in seen],
        )
