"""HTTP routes of omlox Hub v2: zones, fences, providers, trackables, locations, motions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tagtrail_kernel.errors import ConflictError, NotFoundError, RejectedError
from tagtrail_locate.omlox import store
from tagtrail_locate.omlox.api_zones import add_zones
from tagtrail_locate.omlox.face import (
    BODY,
    CONFIRM,
    KINDS,
    PREFIX,
    PROBLEMS,
    Confirm,
    Crs,
    Editor,
    Face,
    ForeignId,
    GeoJson,
    GeoRef,
    Reader,
    Registrar,
    Sender,
    ThingId,
    body_of,
    json_reply,
)
from tagtrail_locate.omlox.frames import LOCAL, crs_of
from tagtrail_locate.omlox.ids import Kind
from tagtrail_locate.omlox.objects import Json, feature_of, provider_json
from tagtrail_locate.omlox.views import Views, wanted_crs
from tagtrail_locate.omlox.writer import Writer


def _features(values: Sequence[Json], *, geojson: bool) -> Any:
    if not geojson:
        return list(values)
    features = [feature_of(v, (v.get("location") or v).get("position")) for v in values]
    return {"type": "FeatureCollection", "features": features}


def router_of(views: Views, writer: Writer) -> APIRouter:
    """Return the routes; fixed paths come before those with an id."""
    router = APIRouter(prefix=PREFIX, tags=["omlox"], responses=PROBLEMS)
    face = Face(views, writer)
    _add_lists(router, face)
    _add_places(router, face)
    for kind in KINDS:
        _add_collection(router, face, kind)
    _add_members(router, face)
    add_zones(router, face)
    _add_updates(router, face)
    return router


def _add_lists(router: APIRouter, face: Face) -> None:
    for kind in KINDS:
        router.add_api_route(
            f"/{kind}s/summary",
            _summary(face, kind),
            summary=f"List the {kind}s as objects",
            operation_id=f"omlox_{kind}s_summary",
        )


def _summary(face: Face, kind: Kind) -> Callable[..., Any]:
    async def summary(who: Registrar, foreign_id: ForeignId = None) -> Response:
        things = await face.all(who.log_id, kind, foreign_id if kind == "zone" else None)
        return json_reply(await face.written(who.log_id, kind, things))

    return summary


def _add_places(router: APIRouter, face: Face) -> None:
    @router.get("/providers/locations", summary="Latest location of every provider")
    async def omlox_locations(who: Reader, crs: Crs = None, geojson: GeoJson = False) -> Response:
        found = await face.views.locations(who.log_id, crs=crs_of(crs))
        return json_reply(_features(found, geojson=geojson))

    @router.get("/trackables/motions", summary="Latest motion of every trackable")
    async def omlox_motions(who: Reader, crs: Crs = None, geojson: GeoJson = False) -> Response:
        found = await face.views.motions(who.log_id, crs=crs_of(crs))
        return json_reply(_features(found, geojson=geojson))

    @router.put(
        "/providers/locations",
        status_code=204,
        summary="Send locations, all or none",
        openapi_extra=BODY,
    )
    async def omlox_put_locations(request: Request, who: Sender) -> Response:
        await face.writer.locate(who.log_id, _by_provider(await body_of(request)))
        return Response(status_code=204)

    @router.put(
        "/providers/proximities",
        status_code=204,
        summary="Send proximities, all or none",
        openapi_extra=BODY,
    )
    async def omlox_put_proximities(request: Request, who: Sender) -> Response:
        await face.writer.approach(who.log_id, _by_provider(await body_of(request)))
        return Response(status_code=204)


def _by_provider(body: Any) -> list[tuple[str, Any]]:
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise RejectedError("the body must be a list of objects")
    if len(body) > 500:
        raise RejectedError("send at most 500 objects in one request: they are one batch")
    return [(str(item.get("provider_id")), item) for item in body]


def _add_collection(router: APIRouter, face: Face, kind: Kind) -> None:
    async def ids(who: Registrar, foreign_id: ForeignId = None) -> Response:
        things = await face.all(who.log_id, kind, foreign_id if kind == "zone" else None)
        if kind == "provider":
            return json_reply([provider_json(t)["id"] for t in things])
        return json_reply([t.omlox_id for t in things])

    async def create(request: Request, who: Editor) -> Response:
        new_id = await face.writer.create(who.log_id, kind, await body_of(request))
        thing = await face.one(who.log_id, kind, new_id)
        [body] = await face.written(who.log_id, kind, [thing])
        return json_reply(body, 201, {"Location": f"{PREFIX}/{kind}s/{body['id']}"})

    async def delete_all(who: Editor, confirm: Confirm = None) -> Response:
        if confirm != CONFIRM:
            raise ConflictError(
                f"this would retire every {kind} of the tenant; repeat the request with the header "
                f"Tagtrail-Confirm: {CONFIRM} if that is wanted"
            )
        await face.writer.delete(who.log_id, await face.all(who.log_id, kind))
        return Response(status_code=204)

    async def get(who: Registrar, omlox_id: ThingId) -> Response:
        thing = await face.one(who.log_id, kind, omlox_id)
        return json_reply((await face.written(who.log_id, kind, [thing]))[0])

    async def put(request: Request, who: Editor, omlox_id: ThingId) -> Response:
        await face.writer.replace(who.log_id, kind, omlox_id, await body_of(request))
        return Response(status_code=200 if kind == "trackable" else 204)

    async def delete(who: Editor, omlox_id: ThingId) -> Response:
        await face.writer.delete(who.log_id, [await face.one(who.log_id, kind, omlox_id)])
        return Response(status_code=204)

    many, single = f"/{kind}s", f"/{kind}s/{{omlox_id}}"
    for path, method, action, name, status, text in (
        (many, "GET", ids, "ids", 200, f"List the ids of the {kind}s"),
        (many, "POST", create, "create", 201, f"Create a {kind}"),
        (many, "DELETE", delete_all, "delete_all", 204, f"Retire every {kind}, on confirmation"),
        (single, "GET", get, "get", 200, f"One {kind}"),
        (single, "PUT", put, "put", 200 if kind == "trackable" else 204, f"Change a {kind}"),
        (single, "DELETE", delete, "delete", 204, f"Retire a {kind}; its history stays"),
    ):
        router.add_api_route(
            path, action, methods=[method], status_code=status, summary=text,
            operation_id=f"omlox_{kind}_{name}",
            openapi_extra=BODY if method in ("POST", "PUT") else None,
        )  # fmt: skip


def _add_members(router: APIRouter, face: Face) -> None:
    @router.get("/providers/{omlox_id}/location", summary="Latest location of a provider")
    async def omlox_location(
        who: Reader, omlox_id: ThingId, crs: Crs = None, geojson: GeoJson = False
    ) -> Response:
        tag = await face.one(who.log_id, "provider", omlox_id)
        found = await face.views.locations(who.log_id, crs=crs_of(crs), tag_ids=[tag.own_id])
        if not found:
            raise NotFoundError(f"provider {omlox_id!r} has no location in that reference system")
        value = found[0]
        return json_reply(feature_of(value, value["position"]) if geojson else value)

    @router.get("/providers/{omlox_id}/fences", summary="Fences a provider is in")
    async def omlox_provider_fences(who: Reader, omlox_id: ThingId) -> Response:
        tag = await face.one(who.log_id, "provider", omlox_id)
        return json_reply(await face.fences_of(who.log_id, [tag.own_id]))

    @router.get("/providers/{omlox_id}/trackables", summary="Trackables a provider is on")
    async def omlox_provider_trackables(who: Registrar, omlox_id: ThingId) -> Response:
        tag = await face.one(who.log_id, "provider", omlox_id)
        async with face.views.database.connection() as connection:
            names = await store.names_of(connection, who.log_id)
        asset_id = names.bindings.asset_of.get(tag.own_id)
        known = asset_id is not None and asset_id in names.trackables
        return json_reply([names.trackable(asset_id)] if known and asset_id is not None else [])

    @router.get("/providers/{omlox_id}/sensors", summary="Sensor data of a provider")
    async def omlox_sensors(who: Registrar, omlox_id: ThingId) -> Response:
        tag = await face.one(who.log_id, "provider", omlox_id)
        return json_reply(tag.document.get("sensors"))

    @router.put(
        "/providers/{omlox_id}/sensors",
        status_code=204,
        summary="Keep sensor data",
        openapi_extra=BODY,
    )
    async def omlox_put_sensors(request: Request, who: Editor, omlox_id: ThingId) -> Response:
        tag = await face.one(who.log_id, "provider", omlox_id)
        await face.writer.sense(who.log_id, tag, await body_of(request))
        return Response(status_code=204)

    _add_trackable_members(router, face)
    _add_fence_members(router, face)


def _add_trackable_members(router: APIRouter, face: Face) -> None:
    @router.get("/trackables/{omlox_id}/fences", summary="Fences a trackable is in")
    async def omlox_trackable_fences(who: Reader, omlox_id: ThingId) -> Response:
        asset = await face.one(who.log_id, "trackable", omlox_id)
        return json_reply(await face.fences_of(who.log_id, await face.tags_on(who.log_id, asset)))

    @router.get("/trackables/{omlox_id}/location", summary="Location of a trackable")
    async def omlox_trackable_location(
        who: Reader, omlox_id: ThingId, crs: Crs = None, georef: GeoRef = False
    ) -> Response:
        asset = await face.one(who.log_id, "trackable", omlox_id)
        motions = await face.views.motions(
            who.log_id, crs=crs_of(wanted_crs(crs, georef=georef)), asset_ids=[asset.own_id]
        )
        if not motions:
            raise NotFoundError(f"trackable {omlox_id!r} has no location in that reference system")
        return json_reply(motions[0]["location"])

    @router.get("/trackables/{omlox_id}/locations", summary="Locations of a trackable's providers")
    async def omlox_trackable_locations(
        who: Reader, omlox_id: ThingId, crs: Crs = None
    ) -> Response:
        asset = await face.one(who.log_id, "trackable", omlox_id)
        tags = await face.tags_on(who.log_id, asset)
        return json_reply(await face.views.locations(who.log_id, crs=crs_of(crs), tag_ids=tags))

    @router.get("/trackables/{omlox_id}/motion", summary="Motion of a trackable")
    async def omlox_motion(who: Reader, omlox_id: ThingId, crs: Crs = None) -> Response:
        asset = await face.one(who.log_id, "trackable", omlox_id)
        found = await face.views.motions(who.log_id, crs=crs_of(crs), asset_ids=[asset.own_id])
        if not found:
            raise NotFoundError(f"trackable {omlox_id!r} has no location in that reference system")
        return json_reply(found[0])

    @router.get("/trackables/{omlox_id}/providers", summary="Providers on a trackable")
    async def omlox_trackable_providers(who: Registrar, omlox_id: ThingId) -> Response:
        asset = await face.one(who.log_id, "trackable", omlox_id)
        tags = set(await face.tags_on(who.log_id, asset))
        found = [t for t in await face.all(who.log_id, "provider") if t.own_id in tags]
        return json_reply([provider_json(t) for t in found])

    @router.get("/trackables/{omlox_id}/sensors", summary="Sensor data of a trackable's providers")
    async def omlox_trackable_sensors(who: Registrar, omlox_id: ThingId) -> Response:
        asset = await face.one(who.log_id, "trackable", omlox_id)
        tags = set(await face.tags_on(who.log_id, asset))
        found = [t for t in await face.all(who.log_id, "provider") if t.own_id in tags]
        return json_reply({provider_json(t)["id"]: t.document.get("sensors") for t in found})


def _add_fence_members(router: APIRouter, face: Face) -> None:
    @router.get("/fences/{omlox_id}/providers", summary="Ids of the providers in a fence")
    async def omlox_fence_providers(who: Reader, omlox_id: ThingId) -> Response:
        fence = await face.one(who.log_id, "fence", omlox_id)
        found = await face.views.locations(who.log_id, crs=LOCAL, fence_id=fence.own_id)
        return json_reply([location["provider_id"] for location in found])

    @router.get("/fences/{omlox_id}/trackables", summary="Ids of the trackables in a fence")
    async def omlox_fence_trackables(who: Reader, omlox_id: ThingId) -> Response:
        fence = await face.one(who.log_id, "fence", omlox_id)
        found = await face.views.motions(who.log_id, crs=LOCAL, fence_id=fence.own_id)
        return json_reply([motion["id"] for motion in found])

    @router.get("/fences/{omlox_id}/locations", summary="Locations in a fence")
    async def omlox_fence_locations(
        who: Reader, omlox_id: ThingId, crs: Crs = None, geojson: GeoJson = False
    ) -> Response:
        fence = await face.one(who.log_id, "fence", omlox_id)
        found = await face.views.locations(who.log_id, crs=crs_of(crs), fence_id=fence.own_id)
        return json_reply(_features(found, geojson=geojson))

    @router.get("/fences/{omlox_id}/motions", summary="Motions in a fence")
    async def omlox_fence_motions(
        who: Reader, omlox_id: ThingId, crs: Crs = None, geojson: GeoJson = False
    ) -> Response:
        fence = await face.one(who.log_id, "fence", omlox_id)
        found = await face.views.motions(who.log_id, crs=crs_of(crs), fence_id=fence.own_id)
        return json_reply(_features(found, geojson=geojson))


def _add_updates(router: APIRouter, face: Face) -> None:
    @router.put(
        "/providers/{omlox_id}/location",
        status_code=204,
        summary="Send a location",
        openapi_extra=BODY,
    )
    async def omlox_put_location(request: Request, who: Sender, omlox_id: ThingId) -> Response:
        await face.writer.locate(who.log_id, [(omlox_id, await body_of(request))])
        return Response(status_code=204)

    @router.put(
        "/providers/{omlox_id}/proximity",
        status_code=204,
        summary="Send a proximity",
        openapi_extra=BODY,
    )
    async def omlox_put_proximity(request: Request, who: Sender, omlox_id: ThingId) -> Response:
        await face.writer.approach(who.log_id, [(omlox_id, await body_of(request))])
        return Response(status_code=204)

    @router.delete("/providers/locations", summary="Refused: locations are facts of the log")
    async def omlox_delete_locations(who: Editor) -> Response:
        raise ConflictError(_KEPT)

    @router.delete(
        "/providers/{omlox_id}/location", summary="Refused: locations are facts of the log"
    )
    async def omlox_delete_location(who: Editor, omlox_id: ThingId) -> Response:
        await face.one(who.log_id, "provider", omlox_id)
        raise ConflictError(_KEPT)


_KEPT: Final = (
    "locations are computed from facts in the log and are not deleted; retire the provider, or set "
    "the retention of sightings"
)
