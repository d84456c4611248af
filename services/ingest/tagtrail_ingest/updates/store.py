"""What the routes of updates read and keep, in schema `ingest`."""

from __future__ import annotations

from datetime import datetime

from tagtrail_ingest.updates.campaign import Campaign, Fleet
from tagtrail_ingest.updates.fleet import campaigns_of, fleet_of
from tagtrail_kernel.database import Database


class UpdateStore:
    """Wheels, and the tables of the projection `updates`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_wheel(self, log_id: int, sha256: str, wheel: bytes, at: datetime) -> None:
        """Keep a wheel; the same one again is kept from now on."""
        async with self._database.connection() as c:
            await c.execute(
                "insert into artefact (log_id, sha256, content, made_at) values ($1, $2, $3, $4) "
                "on conflict (log_id, sha256) do update set made_at = excluded.made_at",
                log_id, bytes.fromhex(sha256), wheel, at,
            )  # fmt: skip

    async def wheel(self, log_id: int, sha256: str) -> bytes | None:
        """Return a wheel; None if it is not there."""
        async with self._database.connection() as c:
            found: bytes | None = await c.fetchval(
                "select content from artefact where log_id = $1 and sha256 = $2",
                log_id, bytes.fromhex(sha256),
            )  # fmt: skip
        return found

    async def prune_wheels(self, log_id: int, needed: str | None, before: datetime) -> int:
        """Drop wheels that nobody may fetch any more.

        Args:
            log_id: Tenant.
            needed: SHA-256 of the wheel of the update that is open, hexadecimal; None = none is.
            before: Wheels that were put out later stay: their update may not be recorded yet.

        Returns:
            How many went.
        """
        async with self._database.connection() as c:
            gone = await c.fetch(
                "delete from artefact where log_id = $1 and made_at < $2 "
                "and ($3::bytea is null or sha256 <> $3) returning 1",
                log_id, before, bytes.fromhex(needed) if needed is not None else None,
            )  # fmt: skip
        return len(gone)

    async def fleet(self, log_id: int) -> Fleet:
        """Return what each gateway runs, and the last update."""
        async with self._database.connection() as c:
            return await fleet_of(c, log_id)

    async def campaigns(self, log_id: int, *, limit: int) -> list[Campaign]:
        """Return updates, the last one first."""
        async with self._database.connection() as c:
            return await campaigns_of(c, log_id, limit=limit)
