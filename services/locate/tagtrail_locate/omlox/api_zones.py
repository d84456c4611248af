"""HTTP routes that compute with the frame of an omlox zone; nothing is stored."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from tagtrail_kernel.errors import RejectedError
from tagtrail_locate.omlox.face import BODY, Face, GeoJson, Registrar, ThingId, body_of, json_reply
from tagtrail_locate.omlox.frames import LOCAL, WGS84, Frame, crs_of, frame_of_control_points
from tagtrail_locate.omlox.ids import SITE
from tagtrail_locate.omlox.objects import Plan, Thing, feature_of, region_of


def add_zones(router: APIRouter, face: Face) -> None:
    """Add the routes that compute with a zone's frame."""

    @router.put(
        "/zones/{omlox_id}/transform",
        summary="Turn a point into the other system",
        openapi_extra=BODY,
    )
    async def omlox_transform(
        request: Request, who: Registrar, omlox_id: ThingId, geojson: GeoJson = False
    ) -> Response:
        zone = await face.one(who.log_id, "zone", omlox_id)
        body = await body_of(request)
        point = body.get("position") if isinstance(body, dict) else None
        numbers = point.get("coordinates") if isinstance(point, dict) else None
        if not isinstance(numbers, list) or len(numbers) < 2:
            raise RejectedError("position must be a GeoJSON point", field="position")
        frame = _frame(zone)
        local = crs_of(body.get("crs")) == LOCAL
        x, y = float(numbers[0]), float(numbers[1])
        there = frame.to_globe(x, y) if local else frame.to_local(x, y)
        position = {"type": "Point", "coordinates": list(there)}
        value = {"position": position, "source": zone.omlox_id, "crs": WGS84 if local else LOCAL}
        return json_reply(feature_of(value, position) if geojson else value)

    @router.get("/zones/{omlox_id}/createfence", summary="A fence around a zone, not stored")
    async def omlox_create_fence(who: Registrar, omlox_id: ThingId) -> Response:
        zone = await face.one(who.log_id, "zone", omlox_id)
        points = (await face.written(who.log_id, "zone", [zone]))[0].get("ground_control_points")
        frame = _frame(zone)
        corners = zone.facts.get("outline_m") or (points or [])[1::2]
        region = region_of([(p[0], p[1]) for p in corners], frame, WGS84)
        name = zone.facts.get("name")
        return json_reply({"region": region, "name": name, "crs": WGS84, "zone_id": zone.omlox_id})


def _frame(zone: Thing) -> Frame:
    points = zone.document.get("ground_control_points")
    if points:
        return frame_of_control_points(points)
    site_id = zone.own_id.removeprefix(SITE)
    frame = Plan({zone.own_id: zone}, {}).frame_of(site_id)
    if frame is None:
        raise RejectedError("this zone has no ground_control_points; PUT the zone with them")
    return frame
