"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tagtrail_kernel.errors import (
    DomainError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    TooLargeError,
    UnauthenticatedError,
)

PROBLEM_BASE = "/problems/"
MEDIA_TYPE = "application/problem+json"
INVALID_REQUEST = "Invalid request"
log = logging.getLogger(__name__)

_HTTP_CODES = {
    404: (NotFoundError.code, NotFoundError.title),
    405: ("method-not-allowed", "Method not allowed"),
    413: (TooLargeError.code, TooLargeError.title),
    415: ("unsupported-media-type", "Unsupported media type"),
}


def problem(instance: str, code: str, title: str, status: int, **members: object) -> Response:
    """Return one problem as a response."""
    body = {"type": PROBLEM_BASE + code, "title": title, "status": status, "instance": instance}
    try:
        content = orjson.dumps(body | members, default=str)
    except TypeError:  # lone surrogates or huge numbers of the request
        content = json.dumps(body | members, default=str).encode()
    return Response(content, status, media_type=MEDIA_TYPE)


def of_domain_error(instance: str, exc: DomainError) -> Response:
    """Return the response for an expected failure."""
    reply = problem(
        instance, exc.code, exc.title, exc.status, **{"detail": exc.detail, **exc.context}
    )
    if isinstance(exc, UnauthenticatedError):
        reply.headers["WWW-Authenticate"] = 'Bearer realm="tagtrail"'
    if isinstance(exc, RateLimitedError):
        reply.headers["Retry-After"] = str(exc.context.get("retry_after_s", 1))
    return reply


async def _domain_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, DomainError):
        raise exc
    log.info("request.rejected", extra={"code": exc.code, "status": exc.status})
    return of_domain_error(request.url.path, exc)


async def _invalid_request(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestValidationError):
        raise exc
    errors = [
        {"pointer": _pointer(e["loc"][1:]), "detail": e["msg"], "in": str(e["loc"][0])}
        for e in exc.errors()
    ]
    detail = "; ".join(f"{e['pointer']}: {e['detail']}" for e in errors[:3])
    return problem(
        request.url.path, "invalid-request", INVALID_REQUEST, 422, detail=detail, errors=errors
    )


def _pointer(parts: Iterable[object]) -> str:
    """Return a JSON pointer as a URI fragment (RFC 6901)."""
    return "#" + "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)


async def _unstorable(request: Request, exc: Exception) -> Response:
    """Answer for a value that no column holds: U+0000 in text, or a number out of its range."""
    log.warning("request.unstorable", exc_info=exc)
    error = RejectedError(f"a value of the request cannot be stored or looked for: {exc}")
    return of_domain_error(request.url.path, error)


async def _http_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    code, title = _HTTP_CODES.get(exc.status_code, ("http-error", "Bad request"))
    reply = problem(request.url.path, code, title, exc.status_code, detail=str(exc.detail))
    reply.headers.update(exc.headers or {})
    return reply


async def _unexpected(request: Request, exc: Exception) -> Response:
    log.error("request.failed", exc_info=exc)
    return internal(request.url.path)


def internal(instance: str) -> Response:
    """Return the response for a fault of the server."""
    return problem(
        instance,
        "internal",
        "Internal error",
        500,
        detail="This is a fault of the server; its log has the trace id of this request.",
    )


def install(app: FastAPI) -> None:
    """Give the app the handlers."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(asyncpg.DataError, _unstorable)
    app.add_exception_handler(Exception, _unexpected)
