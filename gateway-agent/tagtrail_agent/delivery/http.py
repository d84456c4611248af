"""HTTP: `POST /v1/sightings` answers after the commit, so the answer is the confirmation."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tagtrail_agent.courier import Message
from tagtrail_agent.delivery.link import Answer, answer_of
from tagtrail_agent.delivery.web import Reply, Web
from tagtrail_agent.errors import RefusedError, UnreachableError

_NEVER: Final = {400: "bad_request", 413: "too_large", 415: "bad_request", 422: "rejected"}
"""Statuses after which the same batch will not be taken either."""


class HttpLink:
    """Requests to ingest, in threads.

    Args:
        url: Address of the server.
        key: The gateway's key.
        gateway_id: The agent's own gateway.
        ca_file: Certificates to trust instead of the system's.
        timeout_s: For an answer, seconds.
    """

    at_once = 2

    def __init__(
        self,
        url: str,
        *,
        key: str,
        gateway_id: str,
        ca_file: Path | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._gateway_id = gateway_id
        self._free: queue.SimpleQueue[Web] = queue.SimpleQueue()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._all = [
            Web(url, ca_file=ca_file, headers=headers, timeout_s=timeout_s)
            for _ in range(self.at_once + 1)
        ]
        for web in self._all:
            self._free.put(web)
        self.sent_bytes = 0
        self._connected = True
        self.fault: str | None = None

    @property
    def connected(self) -> bool:
        """Whether the last request was answered."""
        return self._connected

    async def open(self) -> None:
        """Do nothing: every request connects if need be."""

    def _post(self, path: str, body: bytes) -> Reply:
        web = self._free.get()
        try:
            return web.request("POST", path, body)
        finally:
            self._free.put(web)

    async def _posted(self, body: bytes) -> Any:
        try:
            reply = await asyncio.to_thread(self._post, "/v1/sightings?results=faults", body)
        except UnreachableError as error:
            self._connected, self.fault = False, str(error)
            raise
        self.sent_bytes += len(body)
        if reply.status in _NEVER:
            self._connected = True
            raise RefusedError(_NEVER[reply.status], reply.detail)
        if reply.status != 200:
            self._connected, self.fault = False, reply.detail
            raise UnreachableError(reply.detail)
        self._connected, self.fault = True, None
        return reply.json()

    async def deliver(self, gateway_id: str, batch_id: str, body: bytes) -> Answer:
        """See `Link.deliver`."""
        del gateway_id, batch_id  # they stand in the body
        return answer_of(await self._posted(body))

    async def forward(self, messages: Sequence[Message]) -> None:
        """See `Link.forward`: most formats need their topic, and a key speaks for one gateway."""
        raise RefusedError(
            "needs_mqtt", f"{len(messages)} messages of other gateways; set server.mqtt and retry"
        )

    async def report(self, figures: Mapping[str, Any]) -> None:
        """See `Link.report`: an empty batch, whose other members are figures of the gateway."""
        at = figures.get("at")
        members = {k: v for k, v in figures.items() if k != "at"}
        sent_at = {"sent_at": at} if isinstance(at, str) and _is_time(at) else {}
        body = {"gateway_id": self._gateway_id, **sent_at, "sightings": [], **members}
        await self._posted(json.dumps(body, separators=(",", ":")).encode())

    async def close(self) -> None:
        """End the connections."""
        for web in self._all:
            web.end()


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
