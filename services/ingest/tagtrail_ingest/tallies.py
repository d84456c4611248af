"""Counts of what came in and what became of it, by hour and format: in = out + dropped."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Metric

from tagtrail_ingest.quarantine import add_tallies
from tagtrail_kernel.database import Database


class Tallies:
    """Counts in memory, written every second; a crash loses at most that second's counts."""

    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        self._pending: Counter[tuple[int, datetime, str, str]] = Counter()
        self._metric = Metric(
            "tagtrail_ingest_total",
            "What came in and what became of it.",
            ["adapter", "outcome"],
            registry=registry,
        )

    def add(self, log_id: int, at: datetime, adapter: str, outcome: str, count: int = 1) -> None:
        """Count something.

        Args:
            log_id: Tenant.
            at: When.
            adapter: Format.
            outcome: For messages `message.accepted` or `message.quarantined`; for their items
                `event.appended`, `event.duplicate`, `dropped.<reason>`.
            count: How many.
        """
        if count:
            hour = at.replace(minute=0, second=0, microsecond=0)
            self._pending[(log_id, hour, adapter, outcome)] += count
            self._metric.labels(adapter, outcome).inc(count)

    async def flush(self) -> None:
        """Write what was counted since the last time."""
        if not self._pending:
            return
        pending, self._pending = self._pending, Counter()
        try:
            async with self._database.transaction() as tx:
                await add_tallies(tx, [(*key, n) for key, n in pending.items()])
        except BaseException:
            self._pending.update(pending)
            raise

    async def write_tallies(self) -> None:
        """Flush for ever."""
        try:
            while True:
                await asyncio.sleep(1)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    async def totals(self, log_id: int, since: datetime) -> dict[str, dict[str, int]]:
        """Return counts by format and outcome since an hour."""
        await self.flush()
        async with self._database.connection() as c:
            rows = await c.fetch(
                "select adapter, outcome, sum(count)::bigint as n from tally "
                "where log_id = $1 and hour >= $2 group by adapter, outcome order by 1, 2",
                log_id, since,
            )  # fmt: skip
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            found.setdefault(row["adapter"], {})[row["outcome"]] = row["n"]
        return found
