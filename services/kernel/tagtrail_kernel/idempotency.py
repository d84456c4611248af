"""`Idempotency-Key`: a request that is repeated with the same key has one effect and one answer."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import ConflictError, RejectedError

MAX_KEY: Final = 255
KEPT: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed key.

    Attributes:
        first_at: When the key was first used. Ids derived from it and the key are the same at
            every repetition, also after a crash between the effect and the answer.
        answer: Stored (status, body), if the request was answered before.
    """

    first_at: datetime
    answer: tuple[int, bytes] | None


class Idempotency:
    """Stores answers for 24 h in schema `access`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, log_id: int, route: str, key: str, body: bytes, at: datetime) -> Claim:
        """Claim a key, or find its answer.

        Raises:
            RejectedError: the key is empty or longer than 255 characters.
            ConflictError: the key was used with another body.
        """
        if not 1 <= len(key) <= MAX_KEY:
            raise RejectedError(f"Idempotency-Key must have 1 to {MAX_KEY} characters")
        digest = hashlib.sha256(body).digest()
        async with self._database.transaction() as tx:
            await tx.execute(
                "delete from access.idempotency where created_at < $1 and log_id = $2",
                at - KEPT,
                log_id,
            )
            await tx.execute(
                "insert into access.idempotency (log_id, route, key, request_hash, created_at) "
                "values ($1, $2, $3, $4, $5) on conflict do nothing",
                log_id, route, key, digest, at,
            )  # fmt: skip
            row = await tx.fetchrow(
                "select request_hash, created_at, status, body from access.idempotency "
                "where log_id = $1 and route = $2 and key = $3",
                log_id, route, key,
            )  # fmt: skip
        if row is None:
            raise ConflictError("the Idempotency-Key expired meanwhile; send the request again")
        if row["request_hash"] != digest:
            raise ConflictError(
                "this Idempotency-Key was used with another body; use a new key", key=key
            )
        answered = row["status"] is not None
        return Claim(row["created_at"], (row["status"], row["body"]) if answered else None)

    async def answer(self, log_id: int, route: str, key: str, status: int, body: bytes) -> None:
        """Store the answer of a claimed key."""
        async with self._database.connection() as c:
            await c.execute(
                "update access.idempotency set status = $4, body = $5 "
                "where log_id = $1 and route = $2 and key = $3",
                log_id, route, key, status, body,
            )  # fmt: skip

    async def once(
        self,
        log_id: int,
        route: str,
        key: str | None,
        body: bytes,
        at: datetime,
        act: Callable[[datetime], Awaitable[tuple[int, bytes]]],
    ) -> tuple[int, bytes]:
        """Run an act under a key; `act` gets the time to derive ids from.

        Without a key the act simply runs.
        """
        if key is None:
            return await act(at)
        claim = await self.claim(log_id, route, key, body, at)
        if claim.answer is not None:
            return claim.answer
        status, reply = await act(claim.first_at)
        if status < 500:
            await self.answer(log_id, route, key, status, reply)
        return status, reply
