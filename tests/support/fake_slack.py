"""A Slack that lives on loopback and behaves: limits, errors, silence.

It judges payloads by Slack's documented limits and answers as incoming webhooks do. What it shall
do with the next requests is scripted; after the script it answers `ok`. Also runs by itself:
`python -m tests.support.fake_slack PORT [STEP …]` prints its address, then one JSON line per card.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.loopback_server import LoopbackServer, head_of

SECRET_PATH = "/services/T0FAKE/B0FAKE/sEcReTsEcReTsEcReT"


@dataclass(slots=True)
class FakeSlack(LoopbackServer):
    """The server.

    Attributes:
        script: What to do with the next requests, one step each: "ok", "500", "503", "hang" (take
            the card and never answer), "drop" (take the card and close), "429:<seconds>",
            "200:<text>" (status 200, that text), "<status>:<text>".
        delivered: Payloads that were answered with ok.
        received: All payloads that came in whole, whatever was answered.
        requests: Number of requests.
    """

    script: deque[str] = field(default_factory=deque)
    delivered: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """The webhook's address, with its secret."""
        return f"http://127.0.0.1:{self.port}{SECRET_PATH}"

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, headers = await head_of(reader)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests += 1
        status, text, extra = self._answer(request, body)
        self.arrived.set()
        if status == 0:
            if text == "hang":
                await asyncio.sleep(3600)
            return False
        reason = {200: "OK", 429: "Too Many Requests"}.get(status, "Error")
        writer.write(
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\n{extra}"
            f"Content-Length: {len(text.encode())}\r\n\r\n{text}".encode()
        )
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    def _answer(self, request: str, body: bytes) -> tuple[int, str, str]:
        method, path, _ = request.split(" ")
        if method != "POST" or path != SECRET_PATH:
            return 404, "no_service", ""
        try:
            payload = json.loads(body)
        except ValueError:
            return 400, "invalid_payload", ""
        self.received.append(payload)
        fault = fault_of(payload)
        if fault:
            return 400, fault, ""
        step, _, text = (self.script.popleft() if self.script else "ok").partition(":")
        if step in ("hang", "drop"):
            return 0, step, ""
        if step == "ok":
            self.delivered.append(payload)
            return 200, "ok", ""
        if step == "429":
            answer = {"retry_after": int(text), "ok": False, "error": "rate_limited"}
            return 429, json.dumps(answer), f"Retry-After: {text}\r\n"
        return int(step), text or "internal_error", ""


def fault_of(payload: dict[str, Any]) -> str:
    """Return the word that Slack would refuse a payload with; empty if it would not."""
    blocks = payload.get("blocks", [])
    if not payload.get("text") and not blocks:
        return "no_text"
    if len(blocks) > 50 or any(_bad(block) for block in blocks):
        return "invalid_blocks"
    return "msg_blocks_too_long" if len(json.dumps(blocks, ensure_ascii=False)) > 13_200 else ""


def _bad(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    if kind == "header":
        return not 1 <= len(block["text"]["text"]) <= 150
    if kind == "section":
        text, fields = block.get("text"), block.get("fields", [])
        if text is None and not fields:
            return True
        long = any(not 1 <= len(f["text"]) <= 2000 for f in fields)
        return long or len(fields) > 10 or (text is not None and not 1 <= len(text["text"]) <= 3000)
    if kind == "context":
        return not 1 <= len(block["elements"]) <= 10
    return kind not in ("divider", "actions", "image")


async def _main(port: int, script: list[str]) -> None:
    async with FakeSlack(deque(script)).running(port) as slack:
        sys.stdout.write(slack.url + "\n")
        sys.stdout.flush()
        shown = 0
        while True:
            await slack.arrived.wait()
            slack.arrived.clear()
            for payload in slack.delivered[shown:]:
                sys.stdout.write(json.dumps(payload) + "\n")
            shown = len(slack.delivered)
            sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(int(sys.argv[1]), sys.argv[2:]))
