"""Which of several processes does a piece of work."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib

from tagtrail_kernel.database import CONNECTION_FAILURES, Connection, Database
from tagtrail_kernel.errors import UnavailableError


def lock_number(name: str) -> int:
    """Return the first number of a consumer's advisory lock, a signed 32-bit hash of its name."""
    return int(struct.unpack(">i", struct.pack(">I", zlib.crc32(name.encode())))[0])


class Leadership:
    """Which of several processes does a piece of work: PostgreSQL advisory locks of one session.

    The locks end with the session, so a process that dies is replaced within seconds. Two leaders
    for a moment do no harm to a consumer: its position is fenced by the row lock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._held: set[tuple[str, int]] = set()
        self._turn = asyncio.Lock()

    async def acquire(self, name: str, log_id: int) -> bool:
        """Try to become the leader of a piece of work.

        Raises:
            UnavailableError: the database is out of reach.
        """
        async with self._turn:
            if self.holds(name, log_id):
                return True
            try:
                if self._connection is None or self._connection.is_closed():
                    self._held.clear()
                    self._connection = await self._database.dedicated()
                got = await self._connection.fetchval(
                    "select pg_try_advisory_lock($1, $2)", lock_number(name), log_id
                )
            except CONNECTION_FAILURES as error:
                raise UnavailableError("the database is out of reach") from error
            if got:
                self._held.add((name, log_id))
            return bool(got)

    def holds(self, name: str, log_id: int) -> bool:
        """Return whether this process still is the leader."""
        alive = self._connection is not None and not self._connection.is_closed()
        return alive and (name, log_id) in self._held

    async def close(self) -> None:
        """Give everything up."""
        self._held.clear()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(*CONNECTION_FAILURES):
                await connection.close(timeout=2)
