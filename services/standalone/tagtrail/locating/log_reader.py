"""Reads the log over the API, as the replay of a walk needs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import httpx2
import msgspec
import orjson

from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.errors import RejectedError, UnavailableError

PAGE: Final = 1000
TIMEOUT_S: Final = 30.0

Progress = Callable[[str], None]


class _Head(msgspec.Struct):
    position: int
    recorded_at: datetime
    id: UUID
    subject: str
    type: str


class Api:
    """A client of one Tagtrail server; a context.

    Args:
        url: Address of the API.
        key: Key with the scopes events:read and events:write.
        progress: Told how far long reading has come.
    """

    def __init__(self, url: str, key: str | None, progress: Progress) -> None:
        if not key:
            raise RejectedError(
                "set TAGTRAIL_API_KEY to a key that may read and write events "
                "(`tagtrail keys create --role integrator`)"
            )
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)
        self._progress = progress

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self._http.close()

    def _asked(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            reply = self._http.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"the server is out of reach ({type(error).__name__}); check --api-url, and that "
                "`tagtrail serve` runs"
            ) from error
        if reply.status_code >= 400:
            try:
                detail = str(orjson.loads(reply.content).get("detail"))
            except (orjson.JSONDecodeError, AttributeError):
                detail = reply.text[:200]
            raise RejectedError(f"the server refuses ({reply.status_code}): {detail}")
        return reply

    def events(self, *, families: str, **query: str) -> Iterator[Recorded]:
        """Yield events of some families, in position order."""
        after = 0
        while True:
            params = {"families": families, "after": after, "limit": PAGE, **query}
            page = orjson.loads(self._asked("GET", "/v1/events", params=params).content)
            for item in page["items"]:
                yield _recorded(item)
            after = page["next_after"]
            self._progress(f"{families}: read up to position {after}")
            if page["at_end"]:
                return

    def post(self, events: Sequence[dict[str, Any]], *, key: str) -> list[int]:
        """Append business events; returns their positions. The key makes a repeat harmless."""
        reply = self._asked(
            "POST",
            "/v1/events",
            content=orjson.dumps({"events": list(events)}),
            headers={"Content-Type": "application/json", "Idempotency-Key": key},
        )
        return [int(r["position"]) for r in orjson.loads(reply.content)["results"]]


def _recorded(item: dict[str, Any]) -> Recorded:
    head = msgspec.convert(item, _Head)
    body = {k: v for k, v in item.items() if k not in ("position", "recorded_at")}
    return Recorded(
        head.position, head.recorded_at, head.id, head.subject, head.type, orjson.dumps(body)
    )


def api_key() -> str | None:
    """Return the key of the environment: keys do not belong on a command line."""
    return os.environ.get("TAGTRAIL_API_KEY")
