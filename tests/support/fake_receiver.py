"""A program that takes webhooks: checks signatures by itself, does each thing once.

It shares no code with the sender: the signature is computed here from the scheme's own words. What
it shall answer to the next requests is scripted; after the script it answers 204.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.support.loopback_server import LoopbackServer, head_of

PATH = "/hooks/tagtrail-sEcReT"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Attributes:
        headers: Names in lower case.
        body: As it came.
        answered: Status; 0 for none.
    """

    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def webhook_id(self) -> str:
        """Identity of the message."""
        return self.headers.get("webhook-id", "")

    @property
    def event(self) -> dict[str, Any]:
        """The body, read."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(slots=True)
class FakeReceiver(LoopbackServer):
    """The server.

    Attributes:
        now: Its clock.
        secrets: Secrets that it accepts; give them before messages come.
        script: What to answer to the next requests that are well signed, one step each: a status,
            "429:<seconds>", "503:<seconds>" (with Retry-After), "hang" (take it, answer never),
            "lost" (do it, then close without an answer). For one subject only:
            "<subject>=<step>", which waits for that subject.
        requests: All requests, in order.
        effects: What it did, by message id, in order: the body's content.
        refused: Requests that were not signed well.
    """

    now: Callable[[], datetime]
    secrets: list[str] = field(default_factory=list)
    script: deque[str] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    effects: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address, with a secret path."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, headers = await head_of(reader)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        step = self._step(headers, body)
        status, _, wait = step.partition(":")
        number = int(status) if status.isdecimal() else 0
        request = Request(headers, body, number)
        self.requests.append(request)
        if number == 401:
            self.refused.append(request)
        if 200 <= number < 300 or status == "lost":
            self.effects.setdefault(request.webhook_id, request.event)
        if status == "hang":
            await asyncio.sleep(3600)
        if number:
            extra = f"Retry-After: {wait}\r\n" if wait else ""
            writer.write(f"HTTP/1.1 {number} X\r\n{extra}Content-Length: 0\r\n\r\n".encode())
            await writer.drain()
        return False

    def _step(self, headers: dict[str, str], body: bytes) -> str:
        if not self._signed(headers, body):
            return "401"
        subject = json.loads(body).get("subject", "")
        for step in self.script:
            wanted, separator, answer = step.rpartition("=")
            if not separator or wanted == subject:
                self.script.remove(step)
                return answer
        return "204"

    def _signed(self, headers: dict[str, str], body: bytes) -> bool:
        stamp = headers.get("webhook-timestamp", "")
        if not stamp.isdecimal() or abs(self.now().timestamp() - int(stamp)) > 300:
            return False
        signed = b".".join([headers.get("webhook-id", "").encode(), stamp.encode(), body])
        good = {signature_of(secret, signed) for secret in self.secrets}
        return not good.isdisjoint(headers.get("webhook-signature", "").split(" "))


def signature_of(secret: str, signed: bytes) -> str:
    """Return the signature of `id.timestamp.body` with a secret `whsec_…`."""
    key = base64.b64decode(secret[len("whsec_") :])
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
