"""Work in several threads that keeps the order of what belongs together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from tagtrail_kernel.errors import DomainError

T = TypeVar("T")

MOST_WAITING: Final = 200
"""Items that may wait in a lane before `put` waits too: bounds the memory of a slow target."""


class Lanes(Generic[T]):
    """A few threads; items with the same key are worked on in their order.

    Args:
        work: What is done with each item; a DomainError that it raises ends everything.
        count: Number of threads, >= 1.
    """

    def __init__(self, work: Callable[[T], None], count: int) -> None:
        self._work = work
        self._failure: DomainError | None = None
        self._queues: list[queue.Queue[T | None]] = [
            queue.Queue(MOST_WAITING) for _ in range(count)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(q,), name="simulator-lane", daemon=True)
            for q in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def put(self, key: str, item: T) -> None:
        """Queue an item; waits while its lane is full.

        Raises:
            DomainError: what an earlier item failed with.
        """
        if self._failure is not None:
            raise self._failure
        self._queues[sum(key.encode()) % len(self._queues)].put(item)

    def close(self) -> None:
        """Wait until all items are done. Raises as `put`."""
        for lane in self._queues:
            lane.put(None)
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self, lane: queue.Queue[T | None]) -> None:
        """Work one lane off; after a failure only empty it, so that nobody waits for ever."""
        while (item := lane.get()) is not None:
            if self._failure is None:
                try:
                    self._work(item)
                except DomainError as error:
                    self._failure = error
