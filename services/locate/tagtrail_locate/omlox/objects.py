"""What our facts read like in omlox's words; pure conversions of rows to JSON values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tagtrail_locate.core.geometry import area_m2
from tagtrail_locate.omlox.frames import LOCAL, WGS84, Frame
from tagtrail_locate.omlox.ids import NAMESPACE, READER, SITE, Kind, provider_id_of, uuid_of

Json = dict[str, Any]

VENDOR: Final = "io.tagtrail"
"""Member of `properties` under which we say what omlox has no word for."""

PROXIMITY_TYPES: Final = frozenset({"rfid", "ibeacon"})

_TECHNOLOGIES: Final = {
    "uwb": "uwb", "gps": "gps", "wifi": "wifi", "ble": "ibeacon", "rfid": "rfid",
    "nfc": "rfid", "optical": "virtual",
}  # fmt: skip
_METHODS: Final = {"ble_zone": "ibeacon", "uwb": "uwb", "gps": "gps", "read_point": "rfid"}


@dataclass(frozen=True, slots=True)
class Thing:
    """One row of `omlox_object`.

    Attributes:
        kind: What it is to omlox.
        own_id: Our id; of zones with "site:" or "gateway:" before it.
        omlox_id: Id on the omlox side; for providers the form that ids are compared in.
        facts: Data of its registration; empty if only a document is known.
        document: As a client gave it; empty if none did.
    """

    kind: Kind
    own_id: str
    omlox_id: str
    facts: Json = field(default_factory=dict)
    document: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Zones and fences of a tenant, by our id, and what follows from them."""

    zones: Mapping[str, Thing]
    fences: Mapping[str, Thing]

    def frame_of(self, site_id: str | None) -> Frame | None:
        """Return where a site lies on the globe; None if it is not known."""
        thing = self.zones.get(SITE + (site_id or ""))
        facts = thing.facts if thing is not None else {}
        if facts.get("latitude_deg") is None or facts.get("longitude_deg") is None:
            return None
        return Frame(facts["latitude_deg"], facts["longitude_deg"], facts.get("bearing_deg") or 0.0)


def zone_json(thing: Thing, plan: Plan) -> Json:
    """Return an omlox Zone: a site's frame, or a reader with its place."""
    own = _reader(thing, plan) if thing.own_id.startswith(READER) else _site(thing)
    return _merged(thing, own)


def _site(thing: Thing) -> Json:
    own: Json = {"id": thing.omlox_id, "type": "uwb", "name": thing.facts.get("name")}
    facts = thing.facts
    if facts.get("latitude_deg") is None or facts.get("longitude_deg") is None:
        return own | {"incomplete_configuration": True}
    frame = Frame(facts["latitude_deg"], facts["longitude_deg"], facts.get("bearing_deg") or 0.0)
    corners = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
    pairs = [pair for at in corners for pair in (list(frame.to_globe(*at)), list(at))]
    return own | {"ground_control_points": pairs}


def _reader(thing: Thing, plan: Plan) -> Json:
    facts = thing.facts
    own: Json = {
        "id": thing.omlox_id,
        "type": "ibeacon",
        "name": facts.get("name") or facts.get("gateway_id"),
        "foreign_id": facts.get("gateway_id"),
        "site": uuid_of("zone", SITE + str(facts.get("site_id"))),
    }
    frame = plan.frame_of(facts.get("site_id"))
    if frame is None or facts.get("x_m") is None or facts.get("y_m") is None:
        return own | {"incomplete_configuration": True}
    at = list(frame.to_globe(facts["x_m"], facts["y_m"]))
    return own | {"position": {"type": "Point", "coordinates": at}}


def fence_json(thing: Thing, plan: Plan, *, crs: str = LOCAL) -> Json:
    """Return an omlox Fence: one of our zones, its outline in the site's frame or on the globe."""
    facts = thing.facts
    own: Json = {
        "id": thing.omlox_id,
        "name": facts.get("name"),
        "floor": facts.get("floor", 0.0),
        "zone_id": uuid_of("zone", SITE + str(facts.get("site_id"))),
        "crs": crs,
        "elevation_ref": "floor",
    }
    region = region_of(facts.get("outline_m"), plan.frame_of(facts.get("site_id")), crs)
    if region is not None:
        own["region"] = region
    merged = _merged(thing, own)
    merged["properties"][VENDOR] |= {"kind": facts.get("kind", "storage")}
    return merged


def region_of(
    outline_m: Sequence[Sequence[float]] | None, frame: Frame | None, crs: str
) -> Json | None:
    """Return an outline as a closed GeoJSON polygon; None without an outline or a frame."""
    if not outline_m or (crs == WGS84 and frame is None):
        return None
    corners = [[float(x), float(y)] for x, y in outline_m]
    if crs == WGS84 and frame is not None:
        corners = [list(frame.to_globe(x, y)) for x, y in corners]
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


def provider_json(thing: Thing) -> Json:
    """Return an omlox LocationProvider: one of our tags."""
    facts = thing.facts
    own: Json = {
        "id": provider_id_of(facts.get("identities") or [], thing.own_id),
        "type": "unknown",
    }
    if facts.get("label"):
        own["name"] = facts["label"]
    return _merged(thing, own)


def trackable_json(thing: Thing, providers: Sequence[str]) -> Json:
    """Return an omlox Trackable: one of our assets with the tags it carries."""
    own: Json = {"id": thing.omlox_id, "type": "virtual", "name": thing.facts.get("name")}
    own["location_providers"] = list(providers)
    return _merged(thing, own)


def _merged(thing: Thing, own: Json) -> Json:
    """Lay our facts over the client's document; what the client alone knows is preserved."""
    document = dict(thing.document)
    for kept in ("type", "id", "ground_control_points", "position", "name", "site"):
        if kept in document and (kept != "id" or thing.kind == "provider"):
            own.pop(kept, None)
    if "ground_control_points" in document or "position" in document:
        own.pop("incomplete_configuration", None)
    properties = dict(document.get("properties") or {})
    properties[VENDOR] = {"id": thing.own_id.partition(":")[2] if thing.kind == "zone"
                          else thing.own_id}  # fmt: skip
    merged = document | {k: v for k, v in own.items() if v is not None}
    return merged | {"properties": properties}


def type_of(place: Mapping[str, Any], provider: Thing | None) -> str:
    """Return the provider type of a place: what the client said, else by how it was found."""
    if provider is not None and provider.document.get("type"):
        return str(provider.document["type"])
    return _METHODS.get(str(place["method"]), "unknown")


def technology_of(provider_type: str) -> str:
    """Return our technology for an omlox provider type."""
    found = {theirs: ours for ours, theirs in reversed(_TECHNOLOGIES.items())}
    return found.get(provider_type, "unknown")


def location_json(
    place: Mapping[str, Any],
    provider: Thing,
    trackables: Sequence[str],
    plan: Plan,
    *,
    crs: str,
    now: datetime,
) -> Json | None:
    """Return an omlox Location of a tag; None where it has no coordinates in that system.

    Args:
        place: One item of `GET /v1/places`.
        provider: Its tag.
        trackables: UUIDs of the assets it is on.
        plan: Zones and fences.
        crs: "local" or "EPSG:4326".
        now: Time of sending.
    """
    at = _coordinates(place, plan)
    if at is None:
        return None
    x_m, y_m, accuracy_m = at
    point = [x_m, y_m]
    if crs == WGS84:
        frame = plan.frame_of(place["site_id"])
        if frame is None:
            return None
        point = list(frame.to_globe(x_m, y_m))
    zone_id = place["zone_id"]
    return {
        "position": {"type": "Point", "coordinates": point},
        "source": uuid_of("zone", SITE + str(place["site_id"])),
        "provider_type": type_of(place, provider),
        "provider_id": provider_json(provider)["id"],
        "timestamp_generated": moment(place["last_heard_at"]),
        "timestamp_sent": moment(now),
        "crs": crs,
        "accuracy": accuracy_m,
        "floor": place["floor"] if place["floor"] is not None else 0.0,
        "trackables": list(trackables),
        "properties": {
            VENDOR: {
                "tag_id": place["tag_id"],
                "fence_id": uuid_of("fence", zone_id) if zone_id is not None else None,
                "method": place["method"],
                "confidence": place["confidence"],
                "presence": place["presence"],
                "age_s": place["age_s"],
                "event_id": str(place["event_id"]),
            }
        },
    }


def _coordinates(place: Mapping[str, Any], plan: Plan) -> tuple[float, float, float] | None:
    """Return x, y and accuracy; of a tag that only has a zone, the middle of the zone."""
    if place["x_m"] is not None and place["y_m"] is not None:
        return place["x_m"], place["y_m"], place["accuracy_m"] or 0.0
    fence = plan.fences.get(place["zone_id"] or "")
    outline = fence.facts.get("outline_m") if fence is not None else None
    if not outline:
        return None
    count = len(outline)
    x_m, y_m = sum(p[0] for p in outline) / count, sum(p[1] for p in outline) / count
    return x_m, y_m, round((area_m2(outline) / 3.141592653589793) ** 0.5, 3)


def fence_event_json(
    change: Mapping[str, Any], kind: str, provider_id: str | None, trackables: Sequence[str]
) -> Json:
    """Return an omlox FenceEvent of a confirmed change of zone.

    Args:
        change: Row of `place_history` with `entered_at`, when the zone that was left was entered.
        kind: "region_entry" or "region_exit".
        provider_id: The tag; None if the event is of its asset.
        trackables: UUIDs of the assets it is on; the first is the event's own without a provider.
    """
    entry = kind == "region_entry"
    zone_id = change["zone_id"] if entry else change["from_zone_id"]
    name = f"{change['event_id']}:{kind}:{provider_id or trackables[0]}"
    event: Json = {
        "id": str(uuid.uuid5(NAMESPACE, name)),
        "event_type": kind,
        "fence_id": uuid_of("fence", str(zone_id)),
        "provider_id": provider_id,
        "trackable_id": trackables[0] if trackables and provider_id is None else None,
        "trackables": list(trackables),
        "properties": {
            VENDOR: {
                "event_id": str(change["event_id"]),
                "position": change["position"],
                "confidence": change["confidence"],
                "reason": change["reason"],
            }
        },
    }
    if entry:
        event["entry_time"] = moment(change["occurred_at"])
    else:
        if change["entered_at"] is not None:
            event["entry_time"] = moment(change["entered_at"])
        event["exit_time"] = moment(change["occurred_at"])
    return event


def motion_json(trackable: Json, location: Json) -> Json:
    """Return an omlox TrackableMotion."""
    kept = {k: trackable[k] for k in ("name", "extrusion", "geometry") if trackable.get(k)}
    return {
        "id": trackable["id"],
        **kept,
        "location": location,
        "properties": trackable["properties"],
    }


def feature_of(value: Json, geometry: Json | None) -> Json:
    """Return a value as a GeoJSON feature."""
    return {"type": "Feature", "geometry": geometry, "properties": value}


def moment(at: datetime) -> str:
    """Return a time as omlox writes it: UTC with milliseconds."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
