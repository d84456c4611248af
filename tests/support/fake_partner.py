"""A partner's cloud that lives on loopback and behaves badly when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback_server import LoopbackServer, head_of

TOKEN = "partner-token-of-128-random-bits"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        at_s: When it came, by the event loop.
        after: Cursor it asked from; None without one.
        authorization: Header.
    """

    at_s: float
    after: str | None
    authorization: str | None


@dataclass(slots=True)
class FakePartner(LoopbackServer):
    """The server. Its cursor is the number of sightings told.

    Attributes:
        sightings: What it knows, the oldest first.
        page_size: Sightings per page.
        script: What to do with the next requests instead, one step each: "hang", "drop",
            "<status>", "429:<Retry-After>", "200:<body>", "302:<Location>", "half" (the first half of a
            page's bytes, then the end).
        asked: All requests.
    """

    sightings: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100
    script: deque[str] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/v1/feed"

    def see(self, device: str, at: datetime, **place: Any) -> None:
        """Let a stranger's phone see a device."""
        number = len(self.sightings)
        item = {"id": f"seen-{number}", "device": device, "at": at.isoformat(), **place}
        self.sightings.append(item)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, headers = await head_of(reader)
        query = parse_qs(urlsplit(request.split(" ")[1]).query)
        after = query.get("after", [None])[0]
        now_s = asyncio.get_running_loop().time()
        self.asked.append(Asked(now_s, after, headers.get("authorization")))
        step = self.script.popleft() if self.script else "page"
        word, _, rest = step.partition(":")
        if word == "hang":
            await asyncio.sleep(3600)
        if word == "drop":
            return False
        body = self._page(after) if word in ("page", "half") else rest.encode()
        status = int(word) if word.isdigit() else 200
        named = {429: "Retry-After", 503: "Retry-After", 302: "Location"}.get(status)
        extra = f"{named}: {rest}\r\n" if named and rest else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        writer.write(body[: len(body) // 2] if word == "half" else body)
        await writer.drain()
        return word != "half"

    def _page(self, after: str | None) -> bytes:
        start = int(after or 0)
        end = min(start + self.page_size, len(self.sightings))
        more = end < len(self.sightings)
        page = {"sightings": self.sightings[start:end], "next": str(end), "more": more}
        return json.dumps(page).encode()
