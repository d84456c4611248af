"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import logging

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tagtrail_kernel.errors import DomainError, RateLimitedError, UnauthenticatedError

PROBLEM_BASE = "/problems/"
MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)

_HTTP_CODES = {
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}


def problem(instance: str, code: str, title: str, status: int, **members: object) -> Response:
    """Return one problem as a response."""
    body = {"type": PROBLEM_BASE + code, "title": title, "status": status, "instance": instance}
    return Response(orjson.dumps(body | members, default=str), status, media_type=MEDIA_TYPE)


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
        {"pointer": "#/" + "/".join(str(p) for p in e["loc"][1:]), "detail": e["msg"]}
        for e in exc.errors()
    ]
    detail = "; ".join(f"{e['pointer']}: {e['detail']}" for e in errors[:3])
    return problem(
        request.url.path, "invalid-request", "Invalid request", 422, detail=detail, errors=errors
    )


async def _http_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    code = _HTTP_CODES.get(exc.status_code, "http-error")
    reply = problem(
        request.url.path, code, str(exc.detail), exc.status_code, detail=str(exc.detail)
    )
    reply.headers.update(exc.headers or {})
    return reply


async def _unexpected(request: Request, exc: Exception) -> Response:
    log.error("request.failed", exc_info=exc)
    return problem(
        request.url.path,
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
    app.add_exception_handler(Exception, _unexpected)
