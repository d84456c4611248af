"""omlox Hub v2 objects: Location, Proximity, FenceEvent, TrackableMotion, and WebSocket frames.

Providers, trackables, zones, fences and locating rules are configuration: they are unreadable here
on purpose, and belong to the API of registrations.
"""

from __future__ import annotations

from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.identities import best_first
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagPositionReported, TagZoneReported

FORMAT: Final = "omlox"
_TECHNOLOGIES: Final = {
    "ibeacon": "ble",
    "uwb": "uwb",
    "gps": "gps",
    "wifi": "wifi",
    "rfid": "rfid",
}
_CLAIMS: Final = {"region_entry": "entered", "region_exit": "left"}


def read(message: Message) -> Decoded:
    """Read one object, an array of them, or a WebSocket frame.

    Raises:
        UnreadableError: it is configuration, a client's request, or not of omlox.
    """
    out = Outcome(message, FORMAT, technology="unknown", source_class="reader")
    elements = values.parse_objects(message.payload)
    if len(elements) == 1 and values.is_object(elements[0]) and "event" in elements[0]:
        elements = _frame(out, Members(elements[0]))
    for index, element in enumerate(elements):
        with out.item(index, among=len(elements)):
            if not values.is_object(element):
                raise ItemRefusedError("bad_value", "an element must be an object")
            _object(out, Members(element))
    return out.done()


def _frame(out: Outcome, frame: Members) -> list[Any]:
    """Open a WebSocket frame and return the objects in it."""
    event = frame.text("event")
    if event == "message":
        return frame.items("payload")
    if event not in ("subscribed", "unsubscribed", "error"):
        raise UnreadableError("a client's request, not a message of the hub")
    with out.item(0):
        figures = {"event": event, **frame.rest}
        out.gateway("status", FORMAT, figures=figures)
    return []


def _object(out: Outcome, members: Members) -> None:
    if "position" in members:
        _location(out, members)
    elif "event_type" in members:
        _fence_event(out, members)
    elif values.is_object(members.peek("location")):
        trackable_id = members.text("id")
        _location(out, members.nested("location"), trackable_id)
    elif "provider_id" in members and "source" in members:
        _proximity(out, members)
    else:
        raise UnreadableError(
            "a configuration object or nothing of omlox; register zones, fences and tags by the API"
        )


def _identities(*ids: str | None) -> tuple[str, ...]:
    found: list[str | None] = []
    for written in ids:
        if written and len(written) <= 128:
            address = values.mac(written)
            found += [f"omlox:{values.hex_id(written)}", f"mac:{address}" if address else None]
    return best_first(*found)


def _times(members: Members) -> Times:
    return Times(
        gateway_received_at=members.moment("timestamp_generated"),
        gateway_sent_at=members.moment("timestamp_sent"),
    )


def _common(members: Members) -> dict[str, Any]:
    return {
        "technology": _TECHNOLOGIES.get(str(members.peek("provider_type"))),
    }


def _location(out: Outcome, members: Members, trackable_id: str | None = None) -> None:
    fields = {
        **_common(members),
        **_coordinates(members),
        "floor": members.number("floor"),
        "accuracy_m": members.number("accuracy"),
        "speed_mps": members.number("speed"),
    }
    source = members.text("source")
    if "x_m" in fields:
        fields["frame_id"] = source
    identities = _identities(members.text("provider_id"), trackable_id)
    times = _times(members)
    members.drop("provider_id")
    out.tag(
        TagPositionReported,
        identities=identities,
        gateway_id=values.receiver(source) or FORMAT,
        times=times,
        fields=fields,
        rest=members.rest,
    )


def _coordinates(members: Members) -> dict[str, Any]:
    """Read a GeoJSON point: longitude first on the globe, metres in a zone's own frame."""
    point, crs = members.nested("position"), members.text("crs") or "local"
    numbers = [values.number(n) for n in point.items("coordinates")]
    if len(numbers) not in (2, 3) or any(n is None for n in numbers):
        raise ItemRefusedError("no_position", "position must be a GeoJSON point of 2 or 3 numbers")
    height = numbers[2] if len(numbers) == 3 else None
    if crs == "local":
        return {"x_m": numbers[0], "y_m": numbers[1], "z_m": height}
    if crs.upper() in ("EPSG:4326", "OGC:CRS84"):
        return {"longitude_deg": numbers[0], "latitude_deg": numbers[1], "altitude_m": height}
    raise ItemRefusedError("unsupported", "crs must be local or EPSG:4326; ask the hub for those")


def _proximity(out: Outcome, members: Members) -> None:
    """Read a claim of a zone: no receiver and no signal strength stand behind it."""
    source = members.text("source")
    fields = {**_common(members), "zone": source}
    identities = _identities(members.text("provider_id"))
    times = _times(members)
    members.drop("provider_id")
    out.tag(
        TagZoneReported,
        identities=identities,
        gateway_id=values.receiver(source) or FORMAT,
        times=times,
        fields=fields,
        rest=members.rest,
    )


def _fence_event(out: Outcome, members: Members) -> None:
    kind = members.text("event_type")
    claim = _CLAIMS.get(kind or "")
    if claim is None:
        raise ItemRefusedError(
            "unsupported", "an event that is neither region_entry nor region_exit"
        )
    identities = _identities(members.text("provider_id"), members.text("trackable_id"))
    entered, left = members.moment("entry_time"), members.moment("exit_time")
    fields = {"zone": members.text("fence_id"), "claim": claim}
    members.drop("provider_id")
    rest = members.rest
    if claim == "left" and entered:
        rest["entry_time"] = entered.isoformat()
    out.tag(
        TagZoneReported,
        identities=identities,
        gateway_id=FORMAT,
        times=Times(gateway_received_at=left if claim == "left" else entered),
        fields=fields,
        rest=rest,
    )
