"""What is written down about partners' clouds: where to ask from, and how they are."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from tagtrail_ingest.sources.health import Stored
from tagtrail_kernel.database import Database

_COLUMNS: Final = (
    "name, cursor, last_success_at, failing_since, failures, error, retry_at, pages, sightings"
)


class PartnerStore:
    """Table `partner` of schema `ingest`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, log_id: int) -> dict[str, Stored]:
        """Return what is known of a tenant's partners, by name."""
        async with self._database.connection() as c:
            rows = await c.fetch(
                f"select {_COLUMNS} from partner where log_id = $1 order by name",  # noqa: S608 - constants
                log_id,
            )
        return {row["name"]: Stored(**dict(row)) for row in rows}

    async def position(self, log_id: int, consumer: str) -> int:
        """Return where a consumer of ingest stands; 0 if it has not started."""
        async with self._database.connection() as c:
            found: int | None = await c.fetchval(
                "select position from consumer where log_id = $1 and name = $2", log_id, consumer
            )
        return found or 0

    async def one(self, log_id: int, name: str) -> Stored:
        """Return what is known of one partner."""
        return (await self.all(log_id)).get(name, Stored(name=name))

    async def succeeded(
        self, log_id: int, name: str, at: datetime, *, cursor: str, sightings: int
    ) -> None:
        """Note a page that is in the log, and where the next one begins."""
        async with self._database.connection() as c:
            await c.execute(
                "insert into partner as p (log_id, name, cursor, last_success_at, pages, sightings) "
                "values ($1, $2, $3, $4, 1, $5) on conflict (log_id, name) do update set "
                "cursor = excluded.cursor, last_success_at = excluded.last_success_at, "
                "failing_since = null, failures = 0, error = null, retry_at = null, "
                "pages = p.pages + 1, sightings = p.sightings + excluded.sightings",
                log_id, name, cursor, at, sightings,
            )  # fmt: skip

    async def failed(
        self, log_id: int, name: str, at: datetime, *, error: str, failures: int, retry_at: datetime
    ) -> None:
        """Note a failure."""
        async with self._database.connection() as c:
            await c.execute(
                "insert into partner as p (log_id, name, failing_since, failures, error, retry_at) "
                "values ($1, $2, $3, $4, $5, $6) on conflict (log_id, name) do update set "
                "failing_since = coalesce(p.failing_since, excluded.failing_since), "
                "failures = excluded.failures, error = excluded.error, retry_at = excluded.retry_at",
                log_id, name, at, failures, error[:300], retry_at,
            )  # fmt: skip
