"""Takes batches out of the outbox and does not let go before the server has them."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from tagtrail_agent.clock import EPOCH, Clock, ServerTime
from tagtrail_agent.courier import MESSAGES, message_of
from tagtrail_agent.delivery.link import Answer, Link
from tagtrail_agent.errors import RefusedError, UnreachableError
from tagtrail_agent.inputs.common import Backoff
from tagtrail_agent.items import compact, plausible, text_of, timed
from tagtrail_agent.outbox import Batch, Outbox
from tagtrail_agent.store import Item

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.1
"""How often the queue is looked at, seconds: a tenth of the shortest sensible wait."""

_PACK_FROM_BYTES: Final = 200
"""Smaller bodies do not shrink."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How items become batches.

    Attributes:
        most_items: Most items of a batch.
        wait_s: How long an item waits for others, seconds.
        tolerance_s: The clock may be wrong by this much before times are corrected, seconds.
        retry_s: First wait after a failure, seconds.
        most_retry_s: Longest wait after failures, seconds.
    """

    most_items: int = 200
    wait_s: float = 2.0
    tolerance_s: float = 2.0
    retry_s: float = 1.0
    most_retry_s: float = 120.0


class Sender:
    """Moves batches from the outbox to the server.

    Nothing is sent before the server has answered once: a clock that is wrong is corrected by
    that answer, and a queue on our disk is worth more than one in a broker.

    Args:
        outbox: Where the items wait.
        link: The way to the server.
        clock: Both clocks.
        server_time: Learns from every answer.
        boot: This boot of the machine.
        gateway_id: The agent's own gateway.
        pace: How items become batches.
    """

    def __init__(
        self,
        outbox: Outbox,
        link: Link,
        *,
        clock: Clock,
        server_time: ServerTime,
        boot: str,
        gateway_id: str,
        pace: Pace | None = None,
    ) -> None:
        self._outbox, self._link, self._clock = outbox, link, clock
        self._server_time, self._boot, self._gateway_id = server_time, boot, gateway_id
        self._pace = pace or Pace()
        self._taking = asyncio.Lock()
        self._forwarding = asyncio.Lock()
        self.forwarded_messages = 0
        self.confirmed_items = 0
        self.duplicate_items = 0
        self.confirmed_batches = 0
        self.repeats = 0
        self.last_confirmed_s: float | None = None

    async def run(self) -> None:
        """Send for ever."""
        await self.meet()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._link.at_once):
                group.create_task(self._work())

    async def meet(self) -> None:
        """Ask the server for its time with an empty batch, until it answers."""
        backoff = Backoff(self._pace.retry_s, self._pace.most_retry_s)
        while True:
            name = f"time-{secrets.token_hex(6)}"
            body = {"batch_id": name, "gateway_id": self._gateway_id, "sightings": []}
            try:
                await self._delivered(self._gateway_id, name, compact(body).encode())
            except (UnreachableError, RefusedError) as error:
                log.warning("delivery.waiting", extra={"cause": str(error)})
                await asyncio.sleep(backoff.next_s())
            else:
                return

    async def _work(self) -> None:
        while True:
            async with self._taking:
                batch = await self._next()
            if batch.gateway == MESSAGES:
                async with self._forwarding:  # one after the other: the last state must stay last
                    await self._bring(batch)
            else:
                await self._bring(batch)

    async def _next(self) -> Batch:
        while True:
            pace = self._pace
            if self._outbox.due(pace.most_items, pace.wait_s):
                batch = self._outbox.next_batch(pace.most_items)
                if batch is not None:
                    return batch
            await asyncio.sleep(_LOOK_S)

    async def _bring(self, batch: Batch) -> None:
        """Send a batch until it is confirmed or refused."""
        backoff = Backoff(self._pace.retry_s, self._pace.most_retry_s)
        while True:
            try:
                await self._sent(batch)
            except RefusedError as error:
                log.warning(
                    "delivery.refused", extra={"code": error.reason, "items": len(batch.items)}
                )
                self._outbox.put_aside(batch, error.reason, str(error))
                return
            except UnreachableError as error:
                self.repeats += 1
                wait_s = backoff.next_s()
                log.warning("delivery.again", extra={"cause": str(error), "wait_s": wait_s})
                await asyncio.sleep(wait_s)
            else:
                self._outbox.settle(batch)
                return

    async def _sent(self, batch: Batch) -> None:
        if batch.gateway == MESSAGES:
            await self._link.forward([message_of(item) for item in batch.items])
            self.forwarded_messages += len(batch.items)
            return
        gateway_id = batch.gateway or self._gateway_id
        self._note(batch, await self._delivered(gateway_id, batch.batch_id, self.packed(batch)))

    async def _delivered(self, gateway_id: str, batch_id: str, body: bytes) -> Answer:
        before_s = self._clock.elapsed_s()
        answer = await self._link.deliver(gateway_id, batch_id, body)
        after_s = self._clock.elapsed_s()
        self._server_time.observe(answer.received_at, before_s, after_s)
        self.last_confirmed_s = after_s
        return answer

    def _note(self, batch: Batch, answer: Answer) -> None:
        self.confirmed_batches += 1
        self.confirmed_items += len(batch.items)
        self.duplicate_items += answer.duplicates
        self._outbox.tally.add("unenrolled", answer.unenrolled)
        for reason, count in answer.reasons.items():
            self._outbox.tally.add(f"rejected_{reason}", count)

    def packed(self, batch: Batch) -> bytes:
        """Return the body of a batch as it is sent now."""
        elapsed_s = self._clock.elapsed_s()
        sent_at = self._server_time.at(elapsed_s) or self._clock.now()
        body = {
            "batch_id": batch.batch_id,
            "gateway_id": batch.gateway or self._gateway_id,
            "sent_at": text_of(sent_at),
            "sightings": [self._timed(item) for item in batch.items],
        }
        plain = compact(body).encode()
        return gzip.compress(plain, 6, mtime=0) if len(plain) >= _PACK_FROM_BYTES else plain

    def _timed(self, item: Item) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(item.body)
        at = EPOCH + timedelta(milliseconds=item.at_ms)
        now_s = self._clock.elapsed_s()
        server_at = self._server_time.at(now_s)
        true_at = None
        if item.boot == self._boot:
            true_at = self._server_time.at(item.elapsed_s)
        elif item.ahead_s is not None:
            true_at = at - timedelta(seconds=item.ahead_s)
        if true_at is None and server_at is not None and not plausible(at, server_at):
            return {**members, "clock_said": text_of(at)}
        tolerance_s = max(self._pace.tolerance_s, 2 * self._server_time.error_s(now_s))
        return timed(members, at, true_at, tolerance_s)
