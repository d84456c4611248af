"""How answers are put together: pages, cursors, clocks, entity tags."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import Request, Response

from tagtrail_kernel.errors import RejectedError

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No valid key"},
    403: {"description": "The key lacks the scope"},
    503: {"description": "The database or ingest is out of reach"},
}
"""Problems that every endpoint may answer."""

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "No such thing"}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Contradicts the present state"}}
REJECTED: dict[int | str, dict[str, Any]] = {422: {"description": "The request does not fit"}}


def cursor_of(*parts: str) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def parts_of(cursor: str | None, count: int) -> tuple[str, ...] | None:
    """Return the parts of a cursor; None without one.

    Raises:
        RejectedError: it is not one of ours.
    """
    if cursor is None:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    if (
        not isinstance(parts, list)
        or len(parts) != count
        or not all(isinstance(p, str) for p in parts)
    ):
        raise RejectedError(
            "`after` is not a cursor of this list; take `next` of the page before", field="after"
        )
    return tuple(parts)


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Add the header `Link` to the next page."""
    if cursor is None:
        return
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "after"]
    address = f"{request.url.path}?{urlencode([*query, ('after', cursor)])}"
    response.headers["Link"] = f'<{address}>; rel="next"'


def page_of(
    items: Sequence[Mapping[str, Any]], *, position: int, cursor: str | None, **more: Any
) -> dict[str, Any]:
    """Return the body of one page of a list."""
    return {"items": items, "next": cursor, "as_of_position": position, **more}


def age_s(at: datetime | None, now: datetime) -> float | None:
    """Return how old something is, seconds; None if its time is not known."""
    return None if at is None else round((now - at).total_seconds(), 3)


def single(request: Request, body: Mapping[str, Any], tag_of: object) -> Response:
    """Return one resource with its `ETag`, or 304 if the reader has it."""
    digest = hashlib.sha256(repr(tag_of).encode()).hexdigest()[:24]
    etag = f'"{digest}"'
    if etag in (t.strip() for t in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(orjson.dumps(body), media_type="application/json", headers={"ETag": etag})
