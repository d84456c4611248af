"""The OpenAPI document. What all operations share is added here, so that no route can forget it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from tagtrail_kernel.errors import (
    ConflictError,
    DomainError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from tagtrail_kernel.problems import INVALID_REQUEST, MEDIA_TYPE

Json = dict[str, Any]
METHODS: Final = ("get", "put", "post", "delete", "patch")

PROBLEM: Final[Json] = {
    "title": "Problem",
    "description": "An error as RFC 9457 says; docs/problems.md has a page for every type. "
    "Members beyond these depend on the type.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "examples": ["/problems/not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong, and what to do next."},
        "instance": {"type": "string", "description": "Path of the request."},
        "errors": {
            "type": "array",
            "description": "Places in the request that do not fit.",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer, RFC 6901."},
                    "detail": {"type": "string"},
                    "in": {
                        "type": "string",
                        "description": "Where: body, query, path, header or cookie.",
                    },
                },
            },
        },
    },
}
TAGS: Final = (
    ("ingest", "Sightings and messages of gateways."),
    ("log", "The immutable log: append, read, follow."),
    ("quarantine", "Messages that could not be read."),
    ("places", "Where tags are, and why."),
    ("omlox", "The same as an omlox Hub v2."),
    ("registry", "Sites, zones, gateways, tags, assets, SKUs, bindings."),
    ("imports", "Tables of goods and tags, with a dry run and an undo."),
    ("stock", "What is where, now and at any moment of the past."),
    ("alerts", "What somebody should look at."),
    ("rules", "When an alert is raised."),
    ("delivery", "Channels, and the messages to them."),
    ("keys", "Who may use the interface."),
    ("operations", "Consumers of the log."),
    ("health", "Whether the process works. Without a key."),
)


def operation_id(route: APIRoute) -> str:
    """Return an operation's id: the name of its function."""
    return route.name


class App(FastAPI):
    """A FastAPI app whose document tells the whole truth about problems and keys."""

    def openapi(self) -> Json:
        """Return the document; it is made once."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema


def completed(document: Json) -> Json:
    """Add what every operation has: problems, and the tags' descriptions.

    FastAPI's own shape of validation errors goes: it is never sent.
    """
    used: set[str] = set()
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                _complete(path, operations[method])
                used |= set(operations[method].get("tags", ()))
    document["tags"] = [{"name": n, "description": d} for n, d in TAGS if n in used]
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = PROBLEM
    components["schemas"] = dict(sorted(schemas.items()))
    return document


def _complete(path: str, operation: Json) -> None:
    answers: Json = operation["responses"]
    if operation.get("security"):
        for error in (UnauthenticatedError, ForbiddenError, RateLimitedError, UnavailableError):
            _declare(answers, error.status, error.title)
    if "requestBody" in operation:
        _declare(answers, TooLargeError.status, TooLargeError.title)
    if "{" in path:
        _declare(answers, NotFoundError.status, NotFoundError.title)
    if any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", ())):
        _declare(answers, ConflictError.status, ConflictError.title)
    if "requestBody" in operation or operation.get("parameters"):
        if "HTTPValidationError" in str(answers.get("422")):
            del answers["422"]
        _declare(answers, 422, INVALID_REQUEST)
    for status, answer in answers.items():
        if status >= "400" and operation.get("security"):
            answer["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"] = dict(sorted(answers.items()))


def _declare(answers: Json, status: int, title: str) -> None:
    answers.setdefault(str(status), {"description": title})


def problem_codes() -> dict[str, type[DomainError]]:
    """Return every expected problem's code and its error."""
    found: dict[str, type[DomainError]] = {}
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if "code" in vars(error):
            found.setdefault(error.code, error)
    return dict(sorted(found.items()))
