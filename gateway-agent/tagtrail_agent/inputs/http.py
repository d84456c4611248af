"""A very small HTTP/1.1 server: one request a connection, bounded in bytes, time and number.

It takes what phones' browsers send to one endpoint, and no more: no pipelining, no chunked bodies,
no files. Any bytes get an answer or a closed connection; a client that sends slowly is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MOST_HEAD_BYTES: Final = 8_192
MOST_HEADERS: Final = 64
MOST_BODY_BYTES: Final = 262_144
"""More than 500 scans; a phone sends larger queues in parts."""
REQUEST_S: Final = 15.0
"""Time for the whole request, however slowly its bytes come, seconds."""
MOST_CONNECTIONS: Final = 64
MOST_PER_ADDRESS: Final = 16

_REQUEST: Final = re.compile(
    rb"(GET|POST|PUT|DELETE|OPTIONS|HEAD|PATCH) (/[!-~]{0,2000}) HTTP/1\.[01]"
)
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t\x80-\xff]*?)[ \t]*")
_TITLES: Final = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 411: "Length Required",
    413: "Content Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Content",
    429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_REASONS: Final = {200: "OK", 201: "Created", 204: "No Content", **_TITLES}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: In capitals.
        path: Without its query.
        headers: By lower-case name; of equal ones the last.
        body: Its bytes.
        address: Where it came from.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    address: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: Of HTTP.
        members: JSON body; None = no body.
        headers: Further headers.
    """

    status: int
    members: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return its bytes; the connection closes after it."""
        kind = "application/problem+json" if self.status >= 400 else "application/json"
        body = b"" if self.members is None else json.dumps(self.members).encode()
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}"]
        if self.members is not None:
            lines.append(f"Content-Type: {kind}")
        lines += [f"Content-Length: {len(body)}", "Connection: close", "Cache-Control: no-store"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class ProblemError(Exception):
    """A request that gets no good answer.

    Args:
        status: Of HTTP, >= 400.
        code: End of the problem's type; never renamed.
        detail: What is wrong, and what to do.
        headers: Further headers.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}

    def answer(self) -> Answer:
        """Return it as the server does (RFC 9457)."""
        members = {
            "type": f"/problems/{self.code}",
            "title": _TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
        }
        return Answer(self.status, members, self.headers)


Handler = Callable[[Request], Answer]
"""Answers a request; may raise ProblemError, MUST NOT block."""


class SmallServer:
    """Serves one handler.

    Attributes:
        counts: Requests by status, and `crowded` for connections turned away.
        port: Where it listens, once it does.

    Args:
        handler: Answers requests.
        request_s: Time for one request, seconds.
    """

    def __init__(self, handler: Handler, request_s: float = REQUEST_S) -> None:
        self.counts: Counter[str] = Counter()
        self.port = 0
        self._handler, self._request_s = handler, request_s
        self._open: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def listening(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[None]:
        """Listen; ends all connections afterwards.

        Raises:
            OSError: the place is taken, or there is no such address.
        """
        serving: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                serving.add(task)
                task.add_done_callback(serving.discard)
            with contextlib.suppress(asyncio.CancelledError):
                await self._serve(reader, writer)

        handshake_s = None if tls is None else self._request_s
        server = await asyncio.start_server(
            connected, host, port, limit=MOST_HEAD_BYTES, ssl=tls, ssl_handshake_timeout=handshake_s
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in serving:
                task.cancel()
            if serving:
                await asyncio.wait(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = (writer.get_extra_info("peername") or ("",))[0]
        crowded = self._open.total() >= MOST_CONNECTIONS or self._open[address] >= MOST_PER_ADDRESS
        self._open[address] += 1
        try:
            async with asyncio.timeout(self._request_s):
                if crowded:
                    self.counts["crowded"] += 1
                else:
                    answer = await self._answer(reader, address)
                    self.counts[str(answer.status)] += 1
                    writer.write(answer.encode())
                    await writer.drain()
        except (OSError, EOFError):
            self.counts["cut"] += 1
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
            await _close(writer)

    async def _answer(self, reader: asyncio.StreamReader, address: str) -> Answer:
        try:
            request = await _read_request(reader, address)
        except ProblemError as problem:
            return problem.answer()
        try:
            return self._handler(request)
        except ProblemError as problem:
            return problem.answer()
        except Exception:
            log.exception("http.failed")
            return ProblemError(500, "internal", "A fault of the agent; see its log.").answer()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
            return
    writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader, address: str) -> Request:
    """Read one request.

    Raises:
        ProblemError: it is none, or too large.
        EOFError: the client went away.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        detail = f"The head is longer than {MOST_HEAD_BYTES} bytes."
        raise ProblemError(431, "head-too-large", detail) from error
    first, *lines = head[:-4].split(b"\r\n")
    begun = _REQUEST.fullmatch(first)
    headers = _headers(lines)
    if begun is None or headers is None:
        raise ProblemError(400, "bad-request", "This is no HTTP/1.1 request.")
    size = _body_bytes(headers)
    body = await reader.readexactly(size)
    path = begun[2].decode("ascii").partition("?")[0]
    return Request(begun[1].decode("ascii"), path, headers, body, address)


def _headers(lines: list[bytes]) -> dict[str, str] | None:
    if len(lines) > MOST_HEADERS:
        return None
    found = [_HEADER.fullmatch(line) for line in lines]
    if None in found:
        return None
    return {m[1].decode("ascii").lower(): m[2].decode("latin-1") for m in found if m is not None}


def _body_bytes(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise ProblemError(411, "length-required", "Send Content-Length, not chunks.")
    written = headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,12}", written):
        raise ProblemError(400, "bad-request", "Content-Length is no number.")
    size = int(written)
    if size > MOST_BODY_BYTES:
        raise ProblemError(
            413, "too-large", f"At most {MOST_BODY_BYTES} bytes; send the queue in parts."
        )
    return size
