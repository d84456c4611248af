"""What an omlox object means in our facts: registrations, bindings, and what is kept beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    AssetRetired,
    ConfigChanged,
    GatewayRegistered,
    GatewayRetired,
    SiteRegistered,
    SiteRetired,
    TagBound,
    TagRegistered,
    TagRetired,
    TagUnbound,
    ZoneRegistered,
    ZoneRetired,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.sightings import TagPositionReported, TagSighted
from tagtrail_locate.omlox.frames import LOCAL, crs_of, frame_of_control_points
from tagtrail_locate.omlox.ids import READER, SITE, Kind, identities_of
from tagtrail_locate.omlox.objects import PROXIMITY_TYPES, VENDOR, Json, Plan, Thing, technology_of
from tagtrail_locate.omlox.projection import SECTION
from tagtrail_locate.omlox.rules import compile_rule

_FACTS: dict[str, type[Event]] = {
    "site": SiteRegistered,
    "gateway": GatewayRegistered,
    "fence": ZoneRegistered,
    "provider": TagRegistered,
    "trackable": AssetRegistered,
}
PROVIDER_TYPES = frozenset({"uwb", "gps", "wifi", "rfid", "ibeacon", "virtual", "unknown"})
Sighting = TypeVar("Sighting", TagPositionReported, TagSighted)
_PARAMETERS = ("timeout", "fence_timeout", "exit_tolerance", "tolerance_timeout", "exit_delay")


def kept(kind: Kind, own_id: str, document: Json) -> ConfigChanged:
    """Return the fact that keeps a client's document."""
    properties = {k: v for k, v in (document.get("properties") or {}).items() if k != VENDOR}
    values = {k: v for k, v in document.items() if v is not None and k != "properties"}
    if properties:
        values["properties"] = properties
    return ConfigChanged(section=f"{SECTION}{kind}.{own_id}", values=values)


def checked(kind: Kind, body: Any) -> Json:
    """Return a body that is an object whose common members fit.

    Raises:
        RejectedError: it is not, or a member does not fit; the detail names it.
    """
    if not isinstance(body, dict):
        raise RejectedError(f"the body must be one {kind} object")
    for name in _PARAMETERS:
        value = body.get(name)
        if value is not None and not _is_number(value, least=-1.0):
            raise RejectedError(f"{name} must be a number >= 0, or -1 for infinite", field=name)
    if not isinstance(body.get("properties", {}) or {}, dict):
        raise RejectedError("properties must be an object", field="properties")
    title = body.get("name")
    if title is not None and not (isinstance(title, str) and 1 <= len(title) <= 200):
        raise RejectedError("name must be a text of 1 to 200 characters", field="name")
    return body


def zone_facts(own_id: str, body: Json, old: Thing | None, plan: Plan) -> list[Event]:
    """Return the facts of an omlox Zone: a site's frame, or a reader at a place.

    Raises:
        RejectedError: the type is missing, or the place fits no site.
    """
    kind = body.get("type")
    if kind not in ("uwb", "wifi", "rfid", "ibeacon"):
        raise RejectedError("type must be uwb, wifi, rfid or ibeacon", field="type")
    if own_id.startswith(READER):
        return [_reader(own_id.removeprefix(READER), body, old, plan), kept("zone", own_id, body)]
    changes: Json = {"name": body.get("name") or own_id.removeprefix(SITE)}
    points = body.get("ground_control_points")
    if points is not None:
        if not _are_points(points):
            raise RejectedError("ground_control_points must be a list of [number, number]")
        frame = frame_of_control_points(points)
        changes |= {
            "latitude_deg": frame.latitude_deg,
            "longitude_deg": frame.longitude_deg,
            "bearing_deg": frame.bearing_deg,
        }
    fact = _fact("site", {"site_id": own_id.removeprefix(SITE)}, old, changes)
    return [fact, kept("zone", own_id, body)]


def _reader(gateway_id: str, body: Json, old: Thing | None, plan: Plan) -> Event:
    changes: Json = {"name": body.get("name")}
    site_id = _site_of(body, plan) or (old.facts.get("site_id") if old is not None else None)
    position = body.get("position")
    if position is not None:
        longitude, latitude = _point(position)[:2]
        near = _nearest_site(longitude, latitude, site_id, plan)
        if near is None:
            raise RejectedError(
                "position lies on no site; create a uwb or wifi zone with ground_control_points first",
                field="position",
            )
        site_id, changes["x_m"], changes["y_m"] = near
    if site_id is None:
        raise RejectedError("name the site (the id of its zone), or give a position", field="site")
    return _fact("gateway", {"gateway_id": gateway_id, "site_id": site_id}, old, changes)


def _site_of(body: Json, plan: Plan) -> str | None:
    named = body.get("site")
    sites = [z for z in plan.zones.values() if z.own_id.startswith(SITE)]
    for zone in sites:
        if named in (zone.omlox_id, zone.own_id.removeprefix(SITE)):
            return zone.own_id.removeprefix(SITE)
    return sites[0].own_id.removeprefix(SITE) if named is None and len(sites) == 1 else None


def _nearest_site(
    longitude: float, latitude: float, wanted: str | None, plan: Plan
) -> tuple[str, float, float] | None:
    best: tuple[float, str, float, float] | None = None
    for zone in plan.zones.values():
        site_id = zone.own_id.removeprefix(SITE)
        frame = plan.frame_of(site_id) if zone.own_id.startswith(SITE) else None
        if frame is None or (wanted is not None and site_id != wanted):
            continue
        x_m, y_m = frame.to_local(longitude, latitude)
        away = x_m * x_m + y_m * y_m
        if away < 20_000.0**2 and (best is None or away < best[0]):
            best = (away, site_id, x_m, y_m)
    return best[1:] if best is not None else None


def fence_facts(own_id: str, body: Json, old: Thing | None, plan: Plan) -> list[Event]:
    """Return the facts of an omlox Fence: one of our zones.

    Raises:
        RejectedError: the region is no polygon, or fits no site.
    """
    region, radius = body.get("region"), body.get("radius")
    if not isinstance(region, dict):
        raise RejectedError("region must be a GeoJSON polygon, or a point with radius")
    site_id = _site_of({"site": body.get("zone_id")}, plan)
    if site_id is None and old is not None and body.get("zone_id") is None:
        site_id = old.facts.get("site_id")
    corners = _ring(region, radius)
    if crs_of(body.get("crs") or "EPSG:4326") != LOCAL:
        near = _nearest_site(corners[0][0], corners[0][1], site_id, plan)
        if near is None:
            raise RejectedError(
                "the region lies on no site; create a zone with ground_control_points first, or "
                "give crs local and zone_id",
                field="region",
            )
        site_id = near[0]
        frame = plan.frame_of(site_id)
        if frame is not None:
            corners = [frame.to_local(x, y) for x, y in corners]
    if radius is not None and region.get("type") == "Point":
        corners = _circle(corners[0], float(radius))
    if site_id is None:
        raise RejectedError("zone_id must name the zone whose frame the region is in")
    changes: Json = {
        "name": body.get("name") or own_id,
        "outline_m": [[round(x, 4), round(y, 4)] for x, y in corners],
        "floor": float(body.get("floor") or 0.0),
    }
    fact = _fact("fence", {"zone_id": own_id, "site_id": site_id}, old, changes)
    return [fact, kept("fence", own_id, {k: v for k, v in body.items() if k != "region"})]


def _ring(region: Json, radius: Any) -> list[tuple[float, float]]:
    if region.get("type") == "Point":
        if not _is_number(radius, least=0.01):
            raise RejectedError("a fence around a point needs a radius in metres", field="radius")
        longitude, latitude = _point(region)[:2]
        return [(longitude, latitude)]
    rings = region.get("coordinates")
    outer = rings[0] if isinstance(rings, list) and rings else None
    if region.get("type") != "Polygon" or not _are_points(outer) or len(outer or []) < 4:
        raise RejectedError("region must be a GeoJSON polygon of 4 points or more", field="region")
    ring = [(float(p[0]), float(p[1])) for p in outer or []]
    return ring[:-1] if ring[0] == ring[-1] else ring


def _circle(centre: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    """Return a regular 16-gon of the same area as the circle."""
    reach = radius * math.sqrt(2.0 * math.pi / (16.0 * math.sin(math.pi / 8.0)))
    turns = [math.pi * n / 8.0 for n in range(16)]
    return [(centre[0] + reach * math.cos(a), centre[1] + reach * math.sin(a)) for a in turns]


def provider_facts(own_id: str, body: Json, old: Thing | None) -> list[Event]:
    """Return the facts of an omlox LocationProvider: one of our tags.

    Raises:
        RejectedError: id or type are missing.
    """
    written, kind = body.get("id"), body.get("type")
    if not isinstance(written, str) or not 1 <= len(written) <= 128:
        raise RejectedError("id must be a text of 1 to 128 characters", field="id")
    if kind not in PROVIDER_TYPES:
        raise RejectedError(f"type must be one of {', '.join(sorted(PROVIDER_TYPES))}")
    before = list(old.facts.get("identities") or []) if old is not None else []
    identities = list(dict.fromkeys([*before, *identities_of(written)]))
    changes: Json = {"identities": identities, "label": body.get("name")}
    return [
        _fact("provider", {"tag_id": own_id}, old, changes),
        kept("provider", own_id, body),
    ]


def trackable_facts(
    own_id: str, body: Json, old: Thing | None, held: Sequence[str], wanted: Sequence[str]
) -> list[Event]:
    """Return the facts of an omlox Trackable: one of our assets, and what it carries from now on.

    Args:
        own_id: The asset.
        body: As the client gave it.
        old: The asset, if it is known.
        held: Tags that it carries.
        wanted: Tags that it shall carry.

    Raises:
        RejectedError: the type or a locating rule does not fit.
    """
    if body.get("type") not in ("omlox", "virtual"):
        raise RejectedError("type must be omlox or virtual", field="type")
    rules = body.get("locating_rules") or []
    if not isinstance(rules, list):
        raise RejectedError("locating_rules must be a list", field="locating_rules")
    for rule in rules:
        if not isinstance(rule, dict) or not _is_number(rule.get("priority", 0), least=-1e9):
            raise RejectedError("a locating rule has an expression and a priority")
        compile_rule(str(rule.get("expression")))
    facts: list[Event] = [
        _fact("trackable", {"asset_id": own_id}, old, {"name": body.get("name")}),
        kept("trackable", own_id, {k: v for k, v in body.items() if k != "location_providers"}),
    ]
    facts += [TagUnbound(tag_id=t, asset_id=own_id) for t in held if t not in wanted]
    facts += [TagBound(tag_id=t, asset_id=own_id) for t in wanted if t not in held]
    return facts


def retired(thing: Thing) -> Event:
    """Return the fact that takes a thing out of use."""
    reason = "deleted through the omlox interface"
    if thing.kind == "provider":
        return TagRetired(tag_id=thing.own_id, reason=reason)
    if thing.kind == "trackable":
        return AssetRetired(asset_id=thing.own_id, reason=reason)
    if thing.kind == "fence":
        return ZoneRetired(zone_id=thing.own_id)
    if thing.own_id.startswith(READER):
        return GatewayRetired(gateway_id=thing.own_id.removeprefix(READER))
    return SiteRetired(site_id=thing.own_id.removeprefix(SITE))


def location_fact(body: Any, provider: Thing, source: Thing | None) -> TagPositionReported:
    """Return the sighting of an omlox Location.

    Raises:
        RejectedError: it has no position, or its source is not known although it is local.
    """
    if not isinstance(body, dict):
        raise RejectedError("the body must be one location object")
    numbers = _point(body.get("position"))
    members: Json = {
        "floor": body.get("floor"),
        "accuracy_m": body.get("accuracy"),
        "speed_mps": body.get("speed"),
        "technology": technology_of(str(body.get("provider_type"))),
        "gateway_received_at": body.get("timestamp_generated"),
        "gateway_sent_at": body.get("timestamp_sent"),
    }
    height = numbers[2] if len(numbers) == 3 else None
    if crs_of(body.get("crs")) == LOCAL:
        if source is None or not source.own_id.startswith(SITE):
            raise RejectedError(
                "source must be the id of a zone with ground control points for crs local",
                field="source",
            )
        members |= {"x_m": numbers[0], "y_m": numbers[1], "z_m": height}
        members |= {"frame_id": source.omlox_id, "site_id": source.own_id.removeprefix(SITE)}
    else:
        members |= {"longitude_deg": numbers[0], "latitude_deg": numbers[1], "altitude_m": height}
    return _sighting(TagPositionReported, provider, "omlox", members, body.get("properties"))


def proximity_fact(body: Any, provider: Thing, source: Thing | None) -> TagSighted:
    """Return the sighting of an omlox Proximity: a reader was close to the tag.

    Raises:
        RejectedError: the source is no reader that is known.
    """
    if not isinstance(body, dict):
        raise RejectedError("the body must be one proximity object")
    kind = str(body.get("provider_type"))
    if source is None or not source.own_id.startswith(READER):
        raise RejectedError(
            "source must be the id or foreign_id of an rfid or ibeacon zone (a gateway)",
            field="source",
        )
    members: Json = {
        "technology": "rfid" if kind == "rfid" else "ble",
        "distance_m": body.get("accuracy"),
        "gateway_received_at": body.get("timestamp_generated"),
        "gateway_sent_at": body.get("timestamp_sent"),
        "source_class": "reader" if kind in PROXIMITY_TYPES - {"ibeacon"} else "own_gateway",
    }
    gateway_id = source.own_id.removeprefix(READER)
    return _sighting(TagSighted, provider, gateway_id, members, body.get("properties"))


def _sighting(
    cls: type[Sighting], provider: Thing, gateway_id: str, members: Json, properties: Any
) -> Sighting:
    values = {k: v for k, v in members.items() if v is not None}
    values |= {"tag_id": provider.own_id, "gateway_id": gateway_id, "adapter": "omlox"}
    if properties:
        values["extra"] = {"properties": properties}
    try:
        return msgspec.convert(values, cls)
    except msgspec.ValidationError as error:
        raise RejectedError(f"the object does not fit: {error}") from error


def _fact(name: str, ids: Mapping[str, str], old: Thing | None, changes: Json) -> Event:
    """Return a registration: what was registered before, with the changes laid over it."""
    before = old.facts if old is not None else {}
    values = before | {k: v for k, v in changes.items() if v is not None} | dict(ids)
    try:
        return msgspec.convert(values, _FACTS[name])
    except msgspec.ValidationError as error:
        raise RejectedError(f"the object does not fit: {error}") from error


def _point(value: Any) -> tuple[float, ...]:
    numbers = value.get("coordinates") if isinstance(value, dict) else None
    if not isinstance(numbers, list) or len(numbers) not in (2, 3) or not all(
        _is_number(n, least=-1e9) for n in numbers
    ):  # fmt: skip
        raise RejectedError("position must be a GeoJSON point of 2 or 3 numbers", field="position")
    return tuple(float(n) for n in numbers)


def _are_points(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(p, list) and len(p) in (2, 3) and all(_is_number(n, least=-1e9) for n in p)
        for p in value
    )


def _is_number(value: Any, *, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= 1e12
