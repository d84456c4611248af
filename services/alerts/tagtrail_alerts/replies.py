"""How answers are put together."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import Depends, Header, Path, Query, Request, Response

from tagtrail_kernel.access import Principal, requires

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No valid key"},
    403: {"description": "The key lacks the scope"},
    422: {"description": "The request does not fit"},
    503: {"description": "The database or ingest is out of reach; send it again"},
}
"""Problems that every endpoint may answer."""

NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such thing"}}
CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {"description": "Contradicts the present state"}
}
Reading = Annotated[Principal, Depends(requires("alerts:read"))]
Writing = Annotated[Principal, Depends(requires("alerts:write"))]
Operating = Annotated[Principal, Depends(requires("operations"))]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Repeating a request with it has one effect."),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of a page.")]
Cursor = Annotated[
    int | None, Query(ge=0, le=2**62, description="`next` of the page before; none at first.")
]
RuleId = Annotated[str, Path(max_length=200, examples=["left_outbound_without_pod"])]
AlertId = Annotated[str, Path(max_length=200, description="Id of the alert.")]
ChannelId = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", examples=["dock"])]


def answer(body: object, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer; times as RFC 3339 UTC."""
    content = orjson.dumps(body, default=str, option=orjson.OPT_UTC_Z)
    return Response(content, headers=headers, media_type="application/json")


def page_answer(
    request: Request, items: list[dict[str, Any]], following: int | None, **more: object
) -> Response:
    """Return one page of a list, with the header `Link` to the next."""
    headers = {}
    if following is not None:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "after"]
        address = f"{request.url.path}?{urlencode([*query, ('after', str(following))])}"
        headers["Link"] = f'<{address}>; rel="next"'
    return answer({"items": items, "next": following, **more}, headers)


def tagged_answer(request: Request, body: object, version: object) -> Response:
    """Return one resource with its `ETag`, or 304 if the reader has it."""
    etag = f'"{version}"'
    known = request.headers.get("if-none-match", "")
    if etag in (t.strip() for t in known.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return answer(body, {"ETag": etag})
