"""The error tree.

* TagtrailError             a bug or an outage: 500, logged with its traceback
  - LogDamagedError         the log has a hole, or a consumer stands on another history
  - DomainError             expected; carries `code` and `status`; logged at INFO
    + UnauthenticatedError  401
    + ForbiddenError        403
    + NotFoundError         404
    + ConflictError         409
    + TooLargeError         413
    + RejectedError         422
      . UnknownEventTypeError
    + RateLimitedError      429
    + UnavailableError      503
"""

from __future__ import annotations

from typing import ClassVar

ContextValue = str | int | float | bool | None | list[dict[str, str]]


class TagtrailError(Exception):
    """Base of everything this project raises on purpose."""


class LogDamagedError(TagtrailError):
    """Positions are not dense, a chain value does not fit, or the log was replaced under a consumer."""


class DomainError(TagtrailError):
    """An expected failure; it becomes an RFC 9457 problem.

    Args:
        detail: One sentence for the person who reads the reply; says what to do next.
        context: Extension members of the problem and keys of the log line.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str, **context: ContextValue) -> None:
        super().__init__(detail)
        self.detail = detail
        self.context = context


class UnauthenticatedError(DomainError):
    """No key, or a key that is unknown, expired or revoked."""

    code, status, title = "unauthenticated", 401, "Not signed in"


class ForbiddenError(DomainError):
    """The key is good, but not for this."""

    code, status, title = "forbidden", 403, "Not allowed"


class NotFoundError(DomainError):
    """The thing asked for does not exist."""

    code, status, title = "not-found", 404, "Not found"


class ConflictError(DomainError):
    """The request contradicts the present state."""

    code, status, title = "conflict", 409, "Conflict"


class TooLargeError(DomainError):
    """The body, or one event, is larger than accepted."""

    code, status, title = "too-large", 413, "Too large"


class RejectedError(DomainError):
    """The payload is well-formed JSON but not acceptable."""

    code, status, title = "rejected", 422, "Rejected"


class UnknownEventTypeError(RejectedError):
    """No event type of that name and version is registered."""

    code, title = "unknown-event-type", "Unknown event type"


class RateLimitedError(DomainError):
    """The key has used up its rate; `retry_after_s` says when to come back."""

    code, status, title = "rate-limited", 429, "Too many requests"


class UnavailableError(DomainError):
    """Something this request needs is down; nothing was accepted, so send it again."""

    code, status, title = "unavailable", 503, "Not available now"
