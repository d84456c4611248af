"""What ingest's routes share: parameters, declared problems, answers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Query, Response

from tagtrail_kernel.access import Principal, requires

JSON = "application/json"
Reader = Annotated[Principal, Depends(requires("events:read"))]
Operator = Annotated[Principal, Depends(requires("operations"))]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", description="The same key and body again give the same answer."
    ),
]
LAST_POSITION = 2**62
"""Largest number that a position can be given as."""

After = Annotated[int, Query(ge=0, le=LAST_POSITION, description="Position after which to begin.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most events.")]
Families = Annotated[str | None, Query(description="Comma-separated: radio, gateway, registry, …")]
Types = Annotated[
    str | None, Query(description="Comma-separated wire names, e.g. tag.zone_changed.")
]

PROBLEM = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No valid key", **PROBLEM},
    403: {"description": "The key may not do this", **PROBLEM},
    422: {"description": "The body does not fit", **PROBLEM},
    429: {"description": "Too many requests", **PROBLEM},
    503: {"description": "The database is out of reach; send it again", **PROBLEM},
}
ANY_BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}}}


def json_answer(
    value: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a value as JSON; msgspec writes the stored bytes of events unchanged."""
    return Response(msgspec.json.encode(value), status, headers, JSON)
