"""How answers are put together: pages, cursors, ages, entity tags."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import Request, Response

from tagtrail_kernel.errors import RejectedError

Problems = dict[int | str, dict[str, Any]]

PROBLEMS: Final[Problems] = {
    401: {"description": "No valid key"},
    403: {"description": "The key lacks the scope"},
    422: {"description": "A parameter does not fit"},
    503: {"description": "The database is out of reach"},
}
"""Problems that every endpoint may answer."""

NOT_FOUND: Final[Problems] = {404: {"description": "No such tag was ever heard"}}


def json_of(value: Any) -> bytes:
    """Return JSON; the driver's own UUID type is written as text."""
    return orjson.dumps(value, default=str)


def cursor_of(text: str) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def text_of(cursor: str | None) -> str | None:
    """Return what `cursor_of` was given; None without a cursor.

    Raises:
        RejectedError: it is not one of ours.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise RejectedError(
            "`after` is not a cursor of this list; take `next` of the page before", field="after"
        ) from error


def page_of(
    request: Request, items: Sequence[Mapping[str, Any]], *, position: int, cursor: str | None
) -> Response:
    """Return one page of a list, with the header `Link` to the next one."""
    headers = {}
    if cursor is not None:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "after"]
        address = f"{request.url.path}?{urlencode([*query, ('after', cursor)])}"
        headers["Link"] = f'<{address}>; rel="next"'
    body = {"items": items, "next": cursor, "as_of_position": position}
    return Response(json_of(body), media_type="application/json", headers=headers)


def single(request: Request, body: Mapping[str, Any], version: object) -> Response:
    """Return one resource with its `ETag`, or 304 if the reader has it."""
    digest = hashlib.sha256(repr(version).encode()).hexdigest()[:24]
    etag = f'"{digest}"'
    if etag in (t.strip() for t in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(json_of(body), media_type="application/json", headers={"ETag": etag})


def age_s(at: datetime | None, now: datetime) -> float | None:
    """Return how old something is, seconds; None if its time is not known."""
    return None if at is None else round((now - at).total_seconds(), 3)
