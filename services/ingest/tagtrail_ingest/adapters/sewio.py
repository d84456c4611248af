"""Sewio RTLS Studio, WebSocket feed messages: UWB coordinates, zones, battery.

`at` names no zone; it is read as UTC, so run the studio's server on UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.ble import sensor_readings
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagPositionReported, TagSensed, TagZoneReported

FORMAT: Final = "sewio"


def read(message: Message) -> Decoded:
    """Read one message, or an array of them.

    Raises:
        UnreadableError: it has no feed.
    """
    out = Outcome(message, FORMAT, technology="uwb", source_class="reader")
    elements = values.parse_objects(message.payload)
    for index, element in enumerate(elements):
        with out.item(index, among=len(elements)):
            if not values.is_object(element) or not values.is_object(element.get("body")):
                raise UnreadableError("expected {body: {id, datastreams}}")
            _feed(out, Members(element["body"]))
    return out.done()


def _feed(out: Outcome, body: Members) -> None:
    named = body.text("id")
    identities = (f"sewio:{named}",) if named else ()
    streams, at = _streams(body.items("datastreams"))
    times = Times(gateway_received_at=at)
    fields: dict[str, Any] = {
        "x_m": streams.strict_number("posX"),
        "y_m": streams.strict_number("posY"),
        "z_m": streams.number("posZ"),
        "battery_pct": streams.number("battery_level"),
    }
    if fields["x_m"] is not None and fields["y_m"] is not None:
        out.tag(
            TagPositionReported,
            identities=identities,
            gateway_id=FORMAT,
            times=times,
            fields=fields,
            rest=sensor_readings({}, streams.rest),
        )
    else:
        readings = sensor_readings(fields, streams.rest)
        if readings:
            out.tag(
                TagSensed,
                identities=identities,
                gateway_id=FORMAT,
                times=times,
                fields={"readings": readings},
            )
    for zone in body.items("zones"):
        _zone(out, identities, zone, times)


def _streams(listed: list[Any]) -> tuple[Members, datetime | None]:
    """Return the newest values by name, and their time."""
    named: dict[str, Any] = {}
    times: list[datetime] = []
    for stream in listed:
        if values.is_object(stream) and isinstance(stream.get("id"), str):
            named[stream["id"]] = stream.get("current_value")
            at = values.moment(stream.get("at"))
            times += [at] if at else []
    return Members(named), max(times, default=None)


def _zone(out: Outcome, identities: tuple[str, ...], zone: object, times: Times) -> None:
    if not values.is_object(zone):
        raise ItemRefusedError("bad_value", "a zone must be an object")
    members = Members(zone)
    name = members.text("name", "id")
    at = members.moment("at")
    members.drop("feed_id")
    out.tag(
        TagZoneReported,
        identities=identities,
        gateway_id=FORMAT,
        times=Times(gateway_received_at=at) if at else times,
        fields={"zone": name},
        rest=members.rest,
    )
