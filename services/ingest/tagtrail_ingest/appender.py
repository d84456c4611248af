"""Group commit: facts of many requests go into the log as few, large batches.

While one append is under way the facts of other requests collect; the next append takes them
all. So a lone request is not delayed, and under load batches grow by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tagtrail_kernel.envelope import Sealed
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.log import MAX_BATCH, Appended, EventLog

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Request:
    facts: Sequence[Sealed]
    receipts: Sequence[bytes]
    done: asyncio.Future[Appended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Appender:
    """Appends for one process.

    Args:
        event_log: The log.
        writer: Name for the batch rows.
        inflight: Appends under way at once per log; the log's lock orders them, the second
            overlaps its encoding with the first one's commit.
    """

    def __init__(self, event_log: EventLog, *, writer: str, inflight: int = 2) -> None:
        self._log = event_log
        self._writer = writer
        self._inflight = inflight
        self._waiting: dict[int, deque[_Request]] = {}
        self._running: dict[int, set[asyncio.Task[None]]] = {}

    async def append(
        self, log_id: int, facts: Sequence[Sealed], receipts: Sequence[bytes] = ()
    ) -> Appended:
        """Append facts and return when they are durable.

        More than `MAX_BATCH` facts become several batches; if a later one fails, repeat the call.

        Raises:
            UnavailableError: see `EventLog.append`.
            RejectedError: no facts at all, or the log refuses their content.
        """
        if not facts and not receipts:
            raise RejectedError("nothing to append")
        if len(facts) <= MAX_BATCH:
            return await self._enqueue(log_id, facts, receipts)
        parts = [facts[i : i + MAX_BATCH] for i in range(0, len(facts), MAX_BATCH)]
        results = []
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            results.append(await self._enqueue(log_id, part, receipts if last else ()))
        duplicates = frozenset(
            i * MAX_BATCH + d for i, r in enumerate(results) for d in r.duplicates
        )
        positions = [p for r in results for p in r.positions]
        return Appended(positions, duplicates, results[-1].last, results[-1].recorded_at)

    async def _enqueue(
        self, log_id: int, facts: Sequence[Sealed], receipts: Sequence[bytes]
    ) -> Appended:
        request = _Request(facts, receipts)
        self._waiting.setdefault(log_id, deque()).append(request)
        running = self._running.setdefault(log_id, set())
        if len(running) < self._inflight:
            task = asyncio.create_task(self._drain(log_id))
            running.add(task)
            task.add_done_callback(running.discard)
        return await request.done

    async def _drain(self, log_id: int) -> None:
        waiting = self._waiting[log_id]
        while waiting:
            await asyncio.sleep(0)  # requests that arrived in the same turn of the loop join
            group = self._take(waiting)
            if group:
                await self._commit(log_id, group)

    @staticmethod
    def _take(waiting: deque[_Request]) -> list[_Request]:
        group: list[_Request] = []
        size = 0
        while waiting and (not group or size + len(waiting[0].facts) <= MAX_BATCH):
            group.append(waiting.popleft())
            size += len(group[-1].facts)
        return group

    async def _commit(self, log_id: int, group: list[_Request]) -> None:
        facts = [f for r in group for f in r.facts]
        receipts = list(dict.fromkeys(h for r in group for h in r.receipts))
        try:
            appended = await self._log.append(log_id, facts, writer=self._writer, receipts=receipts)
        except UnavailableError as error:
            _fail(group, error)
        except Exception as error:
            if len(group) == 1:
                log.exception("append.failed", extra={"log_id": log_id})
                _fail(group, RejectedError(f"the log refuses these facts: {error}"))
                return
            for request in group:
                await self._commit(log_id, [request])
        else:
            _answer(group, appended)


def _fail(group: Sequence[_Request], error: Exception) -> None:
    for request in group:
        if not request.done.done():
            request.done.set_exception(error)


def _answer(group: Sequence[_Request], appended: Appended) -> None:
    start = 0
    for request in group:
        end = start + len(request.facts)
        if not request.done.done():
            request.done.set_result(
                Appended(
                    appended.positions[start:end],
                    frozenset(d - start for d in appended.duplicates if start <= d < end),
                    appended.last,
                    appended.recorded_at,
                )
            )
        start = end
