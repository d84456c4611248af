"""What happens to every request: trace id, rate limit, metrics. Plain ASGI, no per-request tasks."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Final

from fastapi import FastAPI
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagtrail_kernel import problems
from tagtrail_kernel.errors import DomainError, RateLimitedError, TooLargeError
from tagtrail_kernel.logs import trace_id

log = logging.getLogger(__name__)

WINDOW_S: Final = 10
"""Window of the rate limit: short enough to recover, long enough for bursts."""

MOST_REFUSALS: Final = 300
"""Refused keys from one address within a minute, after which nothing from it is looked at:
each one costs a look into the database, so guessing must not be free."""

CLIENT_LEFT: Final = 499
"""Status in the metrics of a request whose sender went away before its body had come."""

_TRACE: Final = re.compile(r"^[0-9A-Za-z._-]{8,64}$")
_TRACEPARENT: Final = re.compile(r"^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_FREE: Final = frozenset({"/healthz", "/readyz", "/metrics"})


def _trace(headers: dict[bytes, bytes]) -> str:
    parent = _TRACEPARENT.match(headers.get(b"traceparent", b"").decode("latin-1"))
    if parent:
        return parent.group(1)
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _TRACE.match(given) else secrets.token_hex(16)


class _Edge:
    def __init__(
        self, app: ASGIApp, registry: CollectorRegistry, requests_per_s: float, max_body_bytes: int
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerSecond(max(1, int(requests_per_s * WINDOW_S)), WINDOW_S)
        self._strangers = RateLimitItemPerMinute(MOST_REFUSALS)
        self._requests = Counter(
            "tagtrail_http_requests_total",
            "Requests.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "tagtrail_http_request_seconds",
            "Time to the end of the answer.",
            ["route"],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace = _trace(headers)
        token = trace_id.set(trace)
        started = time.perf_counter()
        status = 500
        started_answer = False

        async def send_with_trace(message: Message) -> None:
            nonlocal status, started_answer
            if message["type"] == "http.response.start":
                status, started_answer = message["status"], True
                message["headers"] = [*message["headers"], (b"x-request-id", trace.encode())]
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is None:
                limited = self._limited(receive)
                await self._app(scope, limited, send_with_trace)
            else:
                answer = problems.of_domain_error(scope["path"], refusal)
                await answer(scope, receive, send_with_trace)
        except ClientDisconnect:
            status = CLIENT_LEFT
            log.info("request.abandoned")
        except Exception as error:
            log.exception("request.failed", exc_info=error)
            if started_answer:
                raise
            await problems.internal(scope["path"])(scope, receive, send_with_trace)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._requests.labels(scope["method"], route, str(status)).inc()
            if status == 401:
                self._limiter.hit(self._strangers, _address(scope))
            self._seconds.labels(route).observe(time.perf_counter() - started)
            trace_id.reset(token)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> DomainError | None:
        if self._over_limit(scope, headers):
            return RateLimitedError(
                "this key makes too many requests; wait, and send larger batches",
                retry_after_s=WINDOW_S // 2,
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return TooLargeError(self._too_large())
        return None

    def _too_large(self) -> str:
        return f"a body may have {self._max_body_bytes} bytes; split the request"

    def _limited(self, receive: Receive) -> Receive:
        """Return a receiver that ends a body of unknown length at the limit."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(TooLargeError.status, self._too_large())
            return message

        return limited

    def _over_limit(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        if scope["path"] in _FREE:
            return False
        address = _address(scope)
        if not self._limiter.test(self._strangers, address):
            return True
        who = headers.get(b"authorization", b"")[:24].decode("latin-1") or address
        return not self._limiter.hit(self._limit, who)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return f"from {client[0]}" if client else "from nowhere"


def install(
    app: FastAPI, registry: CollectorRegistry, *, requests_per_s: float, max_body_bytes: int
) -> None:
    """Add the edge to an app."""
    app.add_middleware(
        _Edge, registry=registry, requests_per_s=requests_per_s, max_body_bytes=max_body_bytes
    )
