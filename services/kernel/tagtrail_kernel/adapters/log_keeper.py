"""The log's housekeeping: partitions ahead of the writers, receipts behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import asyncpg

from tagtrail_kernel.adapters.postgres_log import LogPool
from tagtrail_kernel.errors import UnavailableError

log = logging.getLogger(__name__)

EVERY_S: Final = 600.0
"""Two empty partitions hold 33 million events: 28 minutes at 20,000 a second."""

KEEP_RECEIPTS_S: Final = 3600.0
"""Far beyond the time in which a broker delivers a message again."""


class LogKeeper:
    """Makes partitions and prunes receipts, at start and every ten minutes; any process may.

    Args:
        writer: Connections with the role of a writer.
    """

    def __init__(self, writer: LogPool) -> None:
        self._writer = writer
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start; the first round runs at once, in the background."""
        self._task = asyncio.create_task(self._run(), name="log-keeper")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def keep(self) -> tuple[int, int]:
        """Do one round; returns how many partitions were made and receipts pruned.

        Raises:
            UnavailableError: the database is out of reach.
        """
        async with self._writer.connection() as connection:
            made: int = await connection.fetchval("SELECT log.make_partitions()")
            pruned: int = await connection.fetchval(
                "SELECT log.prune_receipts($1 * interval '1 second')", KEEP_RECEIPTS_S
            )
        return made, pruned

    async def _run(self) -> None:
        while True:
            try:
                made, pruned = await self.keep()
                log.info("log.kept", extra={"partitions": made, "receipts": pruned})
            except (UnavailableError, asyncpg.PostgresError) as error:
                log.warning("log.unkept", extra={"cause": str(error)})
            await asyncio.sleep(EVERY_S)
