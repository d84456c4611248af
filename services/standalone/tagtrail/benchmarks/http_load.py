"""A light HTTP load generator: prepared requests over a few kept connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did.

    Attributes:
        requests: Requests answered with 200.
        seconds: From the first byte to the last answer.
    """

    requests: int
    seconds: float


def post_request(url: str, path: str, key: str, body: bytes) -> bytes:
    """Return the bytes of one POST on a kept connection."""
    host = urlsplit(url).netloc
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def drive(url: str, requests: Sequence[bytes], *, connections: int = 12) -> Load:
    """Send every request once, over some connections, each waiting for its answer.

    Raises:
        RuntimeError: an answer is not 200.
    """
    address = urlsplit(url)
    waiting = iter(requests)
    began = time.perf_counter()
    await asyncio.gather(
        *(
            _connection(address.hostname or "127.0.0.1", address.port or 80, waiting)
            for _ in range(connections)
        )
    )
    return Load(len(requests), time.perf_counter() - began)


async def _connection(host: str, port: int, waiting: Iterator[bytes]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"unexpected answer: {head[:80]!r} {body[:200]!r}")
    finally:
        writer.close()
