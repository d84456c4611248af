"""Ways for a service to have facts appended by ingest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

import httpx2
import msgspec

from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.log import Appended

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
    """Ingest in another process, by `POST /v1/events` with a service's key."""

    def __init__(self, http: httpx2.AsyncClient, url: str, service_key: str) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/v1/events"
        self._key = service_key

    async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
        """See `EventSink.publish`."""
        body = b'{"events":[' + b",".join(seal(f).body for f in facts) + b"]}"
        try:
            reply = await self._http.post(
                self._url,
                content=body,
                headers={
                    "Authorization": f"Bearer {self._key}",
                    "Tagtrail-Log": str(log_id),
                    "Content-Type": "application/json",
                },
                timeout=15,
            )
        except httpx2.HTTPError as error:
            raise UnavailableError(f"ingest is out of reach: {type(error).__name__}") from error
        if reply.status_code >= 500 or reply.status_code == 429:
            raise UnavailableError(f"ingest answers {reply.status_code}; trying again later")
        if reply.status_code >= 400:
            raise RejectedError(f"ingest refuses the facts: {reply.text[:300]}")
        answer = msgspec.json.decode(reply.content, type=AppendReply)
        return Appended(
            positions=[r.position for r in answer.results],
            duplicates=frozenset(
                i for i, r in enumerate(answer.results) if r.status == "duplicate"
            ),
            last=answer.last,
            recorded_at=answer.recorded_at,
        )
