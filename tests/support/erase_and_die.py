"""Begins to carry out an order to erase, and is killed in the middle.

`python erase_and_die.py DATABASE_URL LOG_ID ORDER SOURCE_CLASS CALLS`: dies after so many calls.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from tagtrail_ingest.quarantine import Quarantine
from tagtrail_ingest.sources.erasing import Eraser
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.database import Database


class DyingLog(PostgresLog):
    """The log of a process that dies after some calls."""

    calls = 0

    async def erase(
        self, log_id: int, positions: Sequence[int], *, order: int, again: bool = False
    ) -> int:
        """Erase, and perhaps die."""
        count = await super().erase(log_id, positions, order=order, again=again)
        self.calls -= 1
        if self.calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return count


async def main(url: str, log_id: int, order: int, source_class: str, calls: int) -> None:
    """Carry out the order until death."""
    database = Database(url, schema="ingest", max_size=1)
    await database.open()
    pool = LogPool(url, max_size=2)
    await pool.open()
    log = DyingLog(pool)
    log.calls = calls
    assert source_class == "partner_network"
    await Eraser(log, Quarantine(database)).carry_out(log_id, order, "partner_network")


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    )
