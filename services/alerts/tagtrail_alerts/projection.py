"""The projection: folds the log through the rules, keeps alerts, fills the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from tagtrail_alerts import stores
from tagtrail_alerts.core.engine import Engine
from tagtrail_alerts.core.memory import Memory
from tagtrail_alerts.core.transitions import Transition, envelopes_of
from tagtrail_kernel.consumers import Context, Projection
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.alerts import AlertAcknowledged, AlertFired, AlertResolved
from tagtrail_kernel.events.registry import Family

NAME = "alerts"

BREATH: Final = 100
"""Events after which others get their turn: all services may share one event loop."""


class Notices(Protocol):
    """Where the projection says that people should be told; in its own transaction."""

    async def fired(
        self, tx: Connection, log_id: int, event: Recorded, fired: AlertFired, engine: Engine
    ) -> None:
        """Note that an alert fired."""
        ...

    async def resolved(
        self,
        tx: Connection,
        log_id: int,
        event: Recorded,
        fired: AlertFired,
        resolved: AlertResolved,
    ) -> None:
        """Note that an alert is over."""
        ...


class Alerts(Projection):
    """Alerts of one tenant.

    Whether an alert exists is decided by the log: the rules publish `alert.fired`, and the row is
    made when that event comes back. An alert whose expectation was met in between makes no row;
    the rules take it back in the log.

    Args:
        notices: Told about alerts when the projection is live, never in a rebuild.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[int] = 1
    families: ClassVar[Family] = (
        Family.REGISTRY | Family.PLACE | Family.STOCK | Family.SHIPMENT | Family.ALERT
    )
    tables: ClassVar[tuple[str, ...]] = ("memory", "rule_setting", "expectation", "alert")

    def __init__(self, notices: Notices | None = None) -> None:
        self._notices = notices
        self._engine = Engine(Memory())

    async def restore(self, tx: Connection, context: Context, position: int) -> int:
        """See `Projection.restore`."""
        self._engine = Engine(await stores.load(tx, context.log_id))
        return position

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """See `Projection.apply`."""
        transitions: list[Transition] = []
        for number, event in enumerate(events):
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            transitions += self._engine.apply(event)
            if event.family is Family.ALERT:
                await self._on_alert(tx, context, event)
        await stores.save(tx, context.log_id, self._engine.memory)
        return envelopes_of(transitions)

    async def _on_alert(self, tx: Connection, context: Context, event: Recorded) -> None:
        data = event.data
        if isinstance(data, AlertFired):
            await self._fired(tx, context, event, data)
        elif isinstance(data, AlertAcknowledged):
            await _acknowledged(tx, context.log_id, event, data)
        elif isinstance(data, AlertResolved):
            await self._resolved(tx, context, event, data)

    async def _fired(
        self, tx: Connection, context: Context, event: Recorded, data: AlertFired
    ) -> None:
        if self._engine.is_void(data):
            return
        made = await tx.fetchval(
            "insert into alert (log_id, alert_id, rule_id, rule_version, state, severity, title, "
            "site_id, zone_id, asset_id, tag_id, since_at, fired_at, fired_recorded_at, "
            "fired_position, fired_event_id, changed_position, body) values ($1, $2, $3, $4, "
            "'open', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $14, $16::jsonb) "
            "on conflict (log_id, alert_id) do nothing returning alert_id",
            context.log_id, data.alert_id, data.rule_id, data.rule_version, data.severity,
            data.title, data.site_id, data.zone_id, data.asset_id, data.tag_id, data.since_at,
            event.envelope.occurred_at, event.recorded_at, event.position, event.id,
            stores.json_of(data),
        )  # fmt: skip
        if made is not None and context.live and self._notices is not None:
            await self._notices.fired(tx, context.log_id, event, data, self._engine)

    async def _resolved(
        self, tx: Connection, context: Context, event: Recorded, data: AlertResolved
    ) -> None:
        body = await tx.fetchval(
            "update alert set state = 'resolved', resolved_at = $3, resolved_by = $4, cause = $5, "
            "resolved_event_id = $6, changed_position = $7 "
            "where log_id = $1 and alert_id = $2 and state <> 'resolved' returning body",
            context.log_id, data.alert_id, event.envelope.occurred_at, data.by, data.cause,
            event.id, event.position,
        )  # fmt: skip
        if body is not None and context.live and self._notices is not None:
            fired = stores.fired_of(body)
            await self._notices.resolved(tx, context.log_id, event, fired, data)


async def _acknowledged(
    tx: Connection, log_id: int, event: Recorded, data: AlertAcknowledged
) -> None:
    await tx.execute(
        "update alert set state = 'acknowledged', acknowledged_at = $3, acknowledged_by = $4, "
        "note = $5, acknowledged_event_id = $6, changed_position = $7 "
        "where log_id = $1 and alert_id = $2 and state = 'open'",
        log_id, data.alert_id, event.envelope.occurred_at, data.by, data.note, event.id,
        event.position,
    )  # fmt: skip
