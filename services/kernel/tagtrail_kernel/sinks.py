"""Ways for a service to have facts appended by ingest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import httpx2
import msgspec

from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.log import MAX_BATCH, Appended

REQUEST_FACTS: Final = MAX_BATCH
"""Most facts of one request: one batch of the log, so that a request is appended whole."""

REQUEST_BYTES: Final = 4_000_000
"""Most bytes of one request: half of the largest body that ingest accepts by default."""

_REFUSALS: Final = frozenset({400, 413, 422})
"""Answers that are about the facts themselves; all others may pass with time or a mended set-up."""

Append = Callable[[int, Sequence[Envelope]], Awaitable[Appended]]


class AppendReply(msgspec.Struct, frozen=True):
    """What `POST /v1/events` answers.

    Attributes:
        results: One member per fact, in order.
        last: Last position of the log.
        recorded_at: When they were recorded.
    """

    results: list[AppendResult]
    last: int
    recorded_at: datetime


class AppendResult(msgspec.Struct, frozen=True):
    """Fate of one fact.

    Attributes:
        id: Event id.
        position: Its position.
        status: `accepted` or `duplicate`.
    """

    id: UUID
    position: int
    status: str


class DirectSink:
    """Ingest in the same process: the append function it gives is called."""

    def __init__(self) -> None:
        self._append: Append | None = None

    def connect(self, append: Append) -> None:
        """Set the function; ingest does so when it is built."""
        self._append = append

    async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
        """See `EventSink.publish`."""
        if self._append is None:
            raise UnavailableError("ingest has not started yet; try again")
        return await self._append(log_id, facts)


class HttpSink:
    """Ingest in another process, by `POST /v1/events` with a service's key.

    More than `REQUEST_FACTS` facts, or `REQUEST_BYTES` of them, go in several requests; if a later
    one fails, repeat the call.
    """

    def __init__(self, http: httpx2.AsyncClient, url: str, service_key: str) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/v1/events"
        self._key = service_key

    async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
        """See `EventSink.publish`."""
        if not facts:
            raise RejectedError("nothing to append")
        bodies = [seal(f).body for f in facts]
        answers = [await self._send(log_id, part) for part in _requests(bodies)]
        results = [r for answer in answers for r in answer.results]
        return Appended(
            positions=[r.position for r in results],
            duplicates=frozenset(i for i, r in enumerate(results) if r.status == "duplicate"),
            last=answers[-1].last,
            recorded_at=answers[-1].recorded_at,
        )

    async def _send(self, log_id: int, bodies: Sequence[bytes]) -> AppendReply:
        try:
            reply = await self._http.post(
                self._url,
                content=b'{"events":[' + b",".join(bodies) + b"]}",
                headers={
                    "Authorization": f"Bearer {self._key}",
                    "Tagtrail-Log": str(log_id),
                    "Content-Type": "application/json",
                },
                timeout=15,
            )
        except httpx2.HTTPError as error:
            raise UnavailableError(f"ingest is out of reach: {type(error).__name__}") from error
        if reply.status_code in _REFUSALS:
            raise RejectedError(f"ingest refuses the facts: {reply.text[:300]}")
        if reply.status_code in (401, 403):
            raise UnavailableError(
                f"ingest does not accept this service's key ({reply.status_code}); check "
                "TAGTRAIL_SERVICE_KEY"
            )
        if reply.status_code != 200:
            raise UnavailableError(f"ingest answers {reply.status_code}; trying again later")
        return msgspec.json.decode(reply.content, type=AppendReply)


def _requests(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start, size = 0, 0
    for end, body in enumerate(bodies):
        if end > start and (end - start == REQUEST_FACTS or size + len(body) > REQUEST_BYTES):
            yield bodies[start:end]
            start, size = end, 0
        size += len(body) + 1
    yield bodies[start:]
