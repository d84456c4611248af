"""What tests of the agent's inputs share: an ear that remembers, clocks, a started input."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

from tagtrail_agent.inputs.common import Clocks
from tagtrail_agent.readings import Advert, Ear, Input, Reading

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Listener:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[Advert | Reading] = []

    def hear(self, heard: Sequence[Advert | Reading]) -> None:
        self.heard.extend(heard)

    @property
    def readings(self) -> list[Reading]:
        return [h for h in self.heard if isinstance(h, Reading)]

    @property
    def adverts(self) -> list[Advert]:
        return [h for h in self.heard if isinstance(h, Advert)]


class Hands:
    """Clocks that tests turn: noon, and 1,000 s since start."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    @property
    def clocks(self) -> Clocks:
        return Clocks(
            utc=lambda: NOON + timedelta(seconds=self.passed_s),
            elapsed_s=lambda: 1000.0 + self.passed_s,
        )


REAL_CLOCKS = Clocks(utc=lambda: datetime.now(UTC), elapsed_s=time.monotonic)


@contextlib.asynccontextmanager
async def hearing(source: Input, ear: Ear | None = None) -> AsyncIterator[Listener]:
    """Run an input; a fault of it fails the test."""
    listener = Listener()
    task = asyncio.create_task(source.run(ear or listener))
    try:
        yield listener
    finally:
        if task.done():
            task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it did not in time.
    """
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
