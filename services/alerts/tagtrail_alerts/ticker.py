"""Fires deadlines that no event carried event time past, because nothing more came.

See `core/clock.py` for what event time is. The ticker only publishes `alert.fired`, with the id
that the rules would give it; whether it becomes an alert is decided where the log takes it. So
several processes may tick at once, and a POD that overtakes the alert wins.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Final

import msgspec

from tagtrail_alerts.core import clock
from tagtrail_alerts.core.memory import EventClock, Expectation
from tagtrail_alerts.core.transitions import fired_envelope
from tagtrail_alerts.projection import NAME, Alerts
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.wiring import Deps

log = logging.getLogger(__name__)

MOST: Final = 500
"""Deadlines fired per tick and tenant: bounds the append; the next tick takes the rest."""


class Ticker:
    """Looks at the deadlines of all tenants.

    A look at `at` considers only what the projection makes of everything that the log held at
    that moment: it notes the end of the log, and decides at the next look, if the projection has
    come that far. While the projection is behind, nothing fires by the wall clock.
    """

    def __init__(self, deps: Deps, *, every_s: float) -> None:
        self._deps = deps
        self._database = deps.database_of(NAME)
        self._every_s = every_s
        self._seen: dict[int, tuple[int, datetime]] = {}

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            for tenant in await self._deps.access.tenants():
                try:
                    await self.tick(tenant.log_id)
                except UnavailableError as error:
                    log.warning(
                        "ticker.waiting", extra={"log_id": tenant.log_id, "cause": error.detail}
                    )
            await asyncio.sleep(self._every_s)

    async def tick(self, log_id: int) -> int:
        """Look at one tenant's deadlines; returns how many alerts were published."""
        before = self._seen.get(log_id)
        head = await self._deps.log.head(log_id)
        self._seen[log_id] = (head.position, self._deps.clock.now())
        if before is None:
            return 0
        due = await self._due(log_id, *before)
        if due:
            await self._deps.sink.publish(log_id, [fired_envelope(e) for e in due])
            log.info("ticker.fired", extra={"log_id": log_id, "alerts": len(due)})
        return len(due)

    async def _due(self, log_id: int, end: int, at: datetime) -> list[Expectation]:
        async with self._database.connection() as connection:
            position = await connection.fetchval(
                "select position from consumer where name = $1 and log_id = $2 and version = $3",
                NAME, log_id, Alerts.version,
            )  # fmt: skip
            if position is None or position < end:
                return []
            body = await connection.fetchval(
                "select body from memory where log_id = $1 and kind = 'clock' and key = $2",
                log_id, clock.KEY,
            )  # fmt: skip
            if body is None:
                return []
            known = msgspec.json.decode(body, type=EventClock)
            rows = await connection.fetch(
                "select body from expectation where log_id = $1 and state = 'waiting' "
                "and decide_at <= $2 order by decide_at, alert_id limit $3",
                log_id, clock.event_time(known, at), MOST,
            )  # fmt: skip
        return [msgspec.json.decode(row["body"], type=Expectation) for row in rows]
