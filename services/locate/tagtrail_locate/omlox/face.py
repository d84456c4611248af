"""What the omlox routes share: parameters, bodies, and things as omlox objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Header, Path, Query, Request, Response

from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.errors import RejectedError
from tagtrail_locate.omlox import store
from tagtrail_locate.omlox.frames import LOCAL, WGS84
from tagtrail_locate.omlox.ids import Kind
from tagtrail_locate.omlox.objects import (
    Json,
    Plan,
    Thing,
    fence_json,
    provider_json,
    trackable_json,
    zone_json,
)
from tagtrail_locate.omlox.views import Views
from tagtrail_locate.omlox.writer import Writer

PREFIX: Final = "/omlox/v2"
BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}
}
"""Bodies are omlox objects; docs/omlox.md says which, and the answer names what does not fit."""

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    409: {"description": "It contradicts what is there, or needs a confirmation"},
    422: {"description": "The object or a parameter does not fit"},
}

CONFIRM: Final = "delete-all"
"""Value of the header `Tagtrail-Confirm` without which a collection is not deleted."""

Registrar = Annotated[Principal, Depends(requires("registry:read"))]
Editor = Annotated[Principal, Depends(requires("registry:write"))]
Reader = Annotated[Principal, Depends(requires("places:read"))]
Sender = Annotated[Principal, Depends(requires("sightings:write"))]
Crs = Annotated[str | None, Query(description="local (default) or EPSG:4326.")]
GeoJson = Annotated[bool, Query(description="Answer with GeoJSON features.")]
GeoRef = Annotated[bool, Query(description="Answer in EPSG:4326 if crs is not given.")]
Confirm = Annotated[
    str | None, Header(alias="Tagtrail-Confirm", description=f"Must be `{CONFIRM}`.")
]
ForeignId = Annotated[
    str | None, Query(max_length=200, description="Only the zone with this id elsewhere.")
]
ThingId = Annotated[str, Path(max_length=200, description="omlox id, or our own id.")]

KINDS: Final[tuple[Kind, ...]] = ("zone", "fence", "provider", "trackable")


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    body = orjson.dumps(value, default=str)
    return Response(body, status, headers=headers, media_type="application/json")


async def body_of(request: Request) -> Any:
    """Return the JSON of a request.

    Raises:
        RejectedError: it is none.
    """
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise RejectedError(f"the body is not JSON: {error}") from error


class Face:
    """The handlers; `router_of` gives them their routes."""

    def __init__(self, views: Views, writer: Writer) -> None:
        self.views = views
        self.writer = writer

    async def written(self, log_id: int, kind: Kind, things: Sequence[Thing]) -> list[Json]:
        """Return things as omlox objects."""
        async with self.views.database.connection() as connection:
            if kind == "provider":
                return [provider_json(t) for t in things]
            if kind == "trackable":
                names = await store.names_of(connection, log_id)
                known = names.trackables
                return [
                    names.trackable(t.own_id) if t.own_id in known else trackable_json(t, [])
                    for t in things
                ]
            plan = await store.plan_of(connection, log_id)
        if kind == "fence":
            return [fence_json(t, plan, crs=_best_crs(t, plan)) for t in things]
        return [zone_json(t, plan) for t in things]

    async def all(self, log_id: int, kind: Kind, foreign_id: str | None = None) -> list[Thing]:
        """Return the things of a kind, those with a foreign id if one is given."""
        async with self.views.database.connection() as connection:
            found = await store.things(connection, log_id, kind)
        if foreign_id is None:
            return found
        return [
            t
            for t in found
            if foreign_id in (t.document.get("foreign_id"), t.facts.get("gateway_id"))
        ]

    async def one(self, log_id: int, kind: Kind, omlox_id: str) -> Thing:
        """Return one thing."""
        async with self.views.database.connection() as connection:
            return await store.thing(connection, log_id, kind, omlox_id)

    async def fences_of(self, log_id: int, tag_ids: Sequence[str]) -> list[Json]:
        """Return the fences that any of some tags is in now."""
        async with self.views.database.connection() as connection:
            places = await self.views.places(connection, log_id)
            plan = await store.plan_of(connection, log_id)
        inside = {p["zone_id"] for p in places if p["tag_id"] in set(tag_ids)}
        return [
            fence_json(t, plan, crs=_best_crs(t, plan))
            for own_id, t in plan.fences.items()
            if own_id in inside
        ]

    async def tags_on(self, log_id: int, trackable: Thing) -> list[str]:
        """Return the tags that a trackable carries."""
        async with self.views.database.connection() as connection:
            bindings = await store.bindings_of(connection, log_id)
        return bindings.tags_of.get(trackable.own_id, [])


def _best_crs(thing: Thing, plan: Plan) -> str:
    """A fence is told on the globe, omlox's default, wherever its site is georeferenced."""
    return WGS84 if plan.frame_of(thing.facts.get("site_id")) is not None else LOCAL
