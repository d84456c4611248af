"""Connections of one service to PostgreSQL, as its own role, in its own schema."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import asyncpg

from tagtrail_kernel.errors import UnavailableError

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

CONNECTION_FAILURES = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.TooManyConnectionsError,
    asyncpg.exceptions.QueryCanceledError,
    TimeoutError,
)
"""What a lost or restarting server raises; measured with kill -9 of the server."""


class Database:
    """A pool of connections that is opened by the process's lifespan.

    Args:
        url: postgresql:// address.
        schema: First schema of the search path: the service's own tables.
        role: Role taken on every connection, so that a service can touch only what it owns;
            None keeps the login's role.
        max_size: Most connections.
    """

    def __init__(
        self, url: str, *, schema: str, role: str | None = None, max_size: int = 6
    ) -> None:
        self.url = url
        self.schema = schema
        self._role = role
        self._max_size = max_size
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Open the pool; waits up to 30 s for the server to come up."""
        for attempt in range(60):
            try:
                self._pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,
                    max_size=self._max_size,
                    command_timeout=60,
                    init=self._prepare,
                    server_settings={
                        "application_name": f"tagtrail-{self.schema}",
                        "search_path": f"{self.schema},public",
                        "idle_in_transaction_session_timeout": "30s",
                    },
                )
                async with self._pool.acquire():
                    return
            except CONNECTION_FAILURES:
                if self._pool is not None:
                    self._pool.terminate()
                    self._pool = None
                if attempt == 59:
                    raise
                await asyncio.sleep(0.5)

    async def _prepare(self, connection: Any) -> None:
        if self._role is not None:
            await connection.execute(f"SET ROLE {self._role}")

    async def close(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()

    @property
    def pool(self) -> Pool:
        """The open pool.

        Raises:
            UnavailableError: it is not open.
        """
        if self._pool is None:
            raise UnavailableError("the database connection is not open yet; try again")
        return self._pool

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            UnavailableError: the server is out of reach, before or during the work.
        """
        try:
            async with self.pool.acquire(timeout=10) as connection:
                yield connection  # type: ignore[misc]
        except CONNECTION_FAILURES as error:
            raise UnavailableError(
                "the database is out of reach; the request changed nothing that was confirmed, "
                "send it again",
                cause=type(error).__name__,
            ) from error

    async def dedicated(self) -> Connection:
        """Return a connection outside the pool, for session locks; the caller closes it."""
        connection = await asyncpg.connect(
            self.url,
            timeout=10,
            command_timeout=60,
            server_settings={
                "application_name": f"tagtrail-{self.schema}-lock",
                "search_path": f"{self.schema},public",
                "tcp_keepalives_idle": "10",
                "tcp_keepalives_interval": "5",
                "tcp_keepalives_count": "3",
            },
        )
        await self._prepare(connection)
        return connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one READ COMMITTED transaction; an exception rolls it back."""
        async with self.connection() as connection, connection.transaction():
            yield connection
