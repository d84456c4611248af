"""The services' public API under the console's own address, with the session's key.

The browser thus talks to one origin, and the key stays in a cookie that no script can read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import httpx2
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from tagtrail_kernel.errors import ForbiddenError, NotFoundError, UnavailableError
from tagtrail_kernel.settings import KernelSettings

log = logging.getLogger(__name__)

PREFIX: Final = "/console/api"
EVENT_STREAM: Final = "text/event-stream"

POSTS: Final = re.compile(r"/v1/alerts/[^/]+/(acknowledge|resolve)")
"""What a page may change: what its buttons do, and nothing else."""

MAX_POST_BYTES: Final = 65_536

_TO_SERVICE: Final = ("accept", "content-type", "idempotency-key", "if-none-match", "last-event-id")
_TO_BROWSER: Final = ("content-type", "etag", "link", "location", "retry-after")

_OWNERS: Final = (
    (
        re.compile(
            r"/v1/(log|events|sightings|messages|quarantine|changes|unenrolled|ingest)(/|$)"
        ),
        "ingest",
    ),
    (re.compile(r"/v1/places(/|$)"), "locate"),
    (re.compile(r"/v1/tags/[^/]+/(explain|history|place)(/|$)"), "locate"),
    (re.compile(r"/v1/gateways/health(/|$)"), "locate"),
    (re.compile(r"/v1/sites/[^/]+/coverage(/|$)"), "locate"),
    (re.compile(r"/v1/(alerts|rules|channels|outbox)(/|$)"), "alerts"),
)
"""Which service answers a path; every other path is inventory's."""


def owner_of(path: str) -> str:
    """Return the name of the service that answers a path."""
    return next((name for pattern, name in _OWNERS if pattern.match(path)), "inventory")


class Upstream:
    """The client for services that run elsewhere. Streams stay open, so it has no small limit."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        """Make the client."""
        self._client = httpx2.AsyncClient(
            timeout=self._timeout_s,
            limits=httpx2.Limits(max_connections=2_000, max_keepalive_connections=20),
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> httpx2.Response:
        """Send a request; the caller streams and closes the answer.

        Raises:
            UnavailableError: there is no answer.
        """
        if self._client is None:
            raise UnavailableError("the console is starting; try again")
        request = self._client.build_request(method, url, headers=dict(headers), content=body)
        if EVENT_STREAM in headers.get("accept", ""):
            request.extensions["timeout"] = httpx2.Timeout(self._timeout_s, read=None).as_dict()
        try:
            return await self._client.send(request, stream=True)
        except httpx2.TransportError as error:
            log.warning("upstream.unreachable", extra={"cause": str(error)})
            raise UnavailableError(
                "a service does not answer; see the console's log and the service's /readyz"
            ) from error


class InProcess(Response):
    """The answer of this very application to another request, passed on as it comes.

    Calling the application needs neither a socket nor a port, and a stream stays a stream.
    """

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__()
        self._path = path
        self._sent_headers = headers
        self._content = body
        self._sent = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for the inner request."""
        inner: dict[str, Any] = {
            key: scope[key]
            for key in (
                "type", "asgi", "http_version", "method", "scheme", "server", "client", "app",
                "state", "query_string", "root_path",
            )
            if key in scope
        }  # fmt: skip
        encoded = {**self._sent_headers, "content-length": str(len(self._content))}
        inner |= {
            "path": unquote(self._path),
            "raw_path": self._path.encode(),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in encoded.items()],
        }

        async def receive_inner() -> Message:
            if not self._sent:
                self._sent = True
                return {"type": "http.request", "body": self._content, "more_body": False}
            return await receive()

        async def send_inner(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [
                    (k, v)
                    for k, v in message["headers"]
                    if k.decode("latin-1").lower() in (*_TO_BROWSER, "content-length")
                ]
                outer = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
                message = {**message, "headers": [*kept, *outer]}
            await send(message)

        await scope["app"](inner, receive_inner, send_inner)


class Proxy:
    """Passes requests of pages to the services."""

    def __init__(self, settings: KernelSettings, upstream: Upstream) -> None:
        self._upstream = upstream
        self._addresses = {
            "ingest": settings.ingest_url.rstrip("/"),
            "locate": settings.locate_url.rstrip("/"),
            "inventory": settings.inventory_url.rstrip("/"),
            "alerts": settings.alerts_url.rstrip("/"),
        }

    async def answer(self, request: Request, token: str) -> Response:
        """Return the answer of the service that owns the path.

        Args:
            request: The page's request, under `PREFIX`.
            token: The session's key.

        Raises:
            NotFoundError: the path is not one of the public API.
            ForbiddenError: a page may not change this.
            UnavailableError: the service does not answer.
        """
        path = _inner_path(request)
        body = b""
        if request.method == "POST":
            if not POSTS.fullmatch(path):
                raise ForbiddenError(
                    "the console does not offer this change; use the API with a key of your own",
                    path=path,
                )
            body = await _body(request)
        headers = {k: request.headers[k] for k in _TO_SERVICE if k in request.headers}
        headers["authorization"] = f"Bearer {token}"
        headers["host"] = request.headers.get("host", "localhost")
        base = self._addresses[owner_of(path)]
        if base:
            return await self._remote(request, base + path, headers, body)
        response = InProcess(path, headers, body)
        response.headers.update(_fresh(headers.get("accept", "")))
        return response

    async def _remote(
        self, request: Request, url: str, headers: dict[str, str], body: bytes
    ) -> Response:
        del headers["host"]
        query = request.scope["query_string"].decode("latin-1")
        answer = await self._upstream.send(
            request.method, f"{url}?{query}" if query else url, headers, body
        )
        kept = {k: answer.headers[k] for k in _TO_BROWSER if k in answer.headers}
        kept |= _fresh(answer.headers.get("content-type", ""))
        return StreamingResponse(_chunks(answer), answer.status_code, headers=kept)


async def _chunks(answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_bytes():
            yield chunk
    except httpx2.TransportError as error:
        log.info("upstream.cut", extra={"cause": str(error)})
    finally:
        await answer.aclose()


def _fresh(kind: str) -> dict[str, str]:
    """Return headers that keep an answer out of caches, and a stream out of a proxy's buffer."""
    headers = {"Cache-Control": "no-store"}
    if EVENT_STREAM in kind:
        headers["X-Accel-Buffering"] = "no"
    return headers


def _inner_path(request: Request) -> str:
    """Return the path behind `PREFIX`, percent-encoded as it came."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0].removeprefix(PREFIX)
    decoded = unquote(path)
    dotted = any(part in ("", ".", "..") for part in decoded.split("/")[1:])
    if not path.startswith("/v1/") or dotted or "\\" in decoded:
        raise NotFoundError("the console passes on paths of the public API, /v1/…, only", path=path)
    return path


async def _body(request: Request) -> bytes:
    body = await request.body()
    if len(body) > MAX_POST_BYTES:
        raise ForbiddenError(f"a page sends at most {MAX_POST_BYTES} bytes")
    return body
