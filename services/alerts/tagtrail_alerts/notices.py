"""Turns what the projection finds into rows of the outbox, in the projection's transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

from tagtrail_alerts import letters, outbox
from tagtrail_alerts.channels.directory import Channels
from tagtrail_alerts.core.card import card_of
from tagtrail_alerts.core.describe import duration
from tagtrail_alerts.core.engine import Engine
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.clock import Clock
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.alerts import AlertFired, AlertResolved


class OutboxNotices:
    """Queues cards. The outbox is no projection: it may look at the wall clock."""

    def __init__(self, channels: Channels, settings: AlertsSettings, clock: Clock) -> None:
        self._channels = channels
        self._settings = settings
        self._clock = clock
        self._wait = timedelta(seconds=settings.group_wait_s)

    async def fired(
        self, tx: Connection, log_id: int, event: Recorded, fired: AlertFired, engine: Engine
    ) -> None:
        """See `Notices.fired`."""
        now = self._clock.now()
        stale = self._stale(event, fired, engine, now)
        card = card_of(fired, console_url=self._settings.console_url)
        enabled = await self._channels.enabled(tx, log_id)
        await outbox.enqueue_fired(
            tx,
            log_id,
            card,
            channels=[channel_id for channel_id, kind in enabled if kind == "slack"],
            site_id=fired.site_id,
            at=now,
            wait=self._wait,
            stale=stale,
        )
        webhooks = [channel_id for channel_id, kind in enabled if kind == "webhook"]
        await letters.enqueue(tx, log_id, event, card, channels=webhooks, at=now, stale=stale)

    async def resolved(
        self,
        tx: Connection,
        log_id: int,
        event: Recorded,
        fired: AlertFired,
        resolved: AlertResolved,
    ) -> None:
        """See `Notices.resolved`."""
        now = self._clock.now()
        card = card_of(fired, console_url=self._settings.console_url, cause=resolved.cause)
        await outbox.enqueue_resolved(
            tx, log_id, card, site_id=fired.site_id, at=now, wait=self._wait
        )
        webhooks = await letters.told(tx, log_id, fired.alert_id)
        await letters.enqueue(tx, log_id, event, card, channels=webhooks, at=now)

    def _stale(
        self, event: Recorded, fired: AlertFired, engine: Engine, now: datetime
    ) -> str | None:
        """Say why nobody shall be told: the alert would have fired long ago, had we looked."""
        expectation = engine.memory.expectations.get(fired.alert_id)
        if expectation is None:
            known_at = event.recorded_at
        else:
            known_at = expectation.known_at + (expectation.decide_at - expectation.began_at)
        age_s = (now - known_at).total_seconds()
        if age_s <= self._settings.notify_max_age_s:
            return None
        return f"it would have fired {duration(age_s)} ago"
