"""Traccar Client: the JSON of version 9 and later, and the query string of the OsmAnd protocol.

The receiver of a GPS fix is the phone itself, which is the tag here; the gateway is "traccar".
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagPositionReported

FORMAT: Final = "traccar"
_MPS_PER_KNOT: Final = 1852 / 3600
_MAX_FIELDS: Final = 64


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it is neither form.
    """
    out = Outcome(message, FORMAT, technology="gps", source_class="own_phone")
    if message.payload.lstrip()[:1] != b"{":
        with out.item(0):
            _query(out, _pairs(message.payload))
        return out.done()
    body = Members(values.parse_object(message.payload))
    identities = _identities(body.text("device_id", "deviceid", "id"))
    location = body.peek("location")
    fixes = location if isinstance(location, list) else [location]
    for index, fix in enumerate(fixes):
        with out.item(index):
            if not values.is_object(fix):
                raise ItemRefusedError("no_position", "location must be an object")
            _fix(out, identities, Members(fix))
    return out.done()


def _identities(device: str | None) -> tuple[str, ...]:
    return (f"traccar:{device}",) if device and len(device) <= 128 else ()


def _fix(out: Outcome, identities: tuple[str, ...], fix: Members) -> None:
    place, battery = fix.nested("coords"), fix.nested("battery")
    level, speed_mps = battery.number("level"), place.number("speed")
    fields: dict[str, Any] = {
        "latitude_deg": place.strict_number("latitude"),
        "longitude_deg": place.strict_number("longitude"),
        "altitude_m": place.number("altitude"),
        "accuracy_m": place.number("accuracy"),
        "speed_mps": speed_mps if speed_mps is None or speed_mps >= 0 else None,
        "battery_pct": round(level * 100, 1) if level is not None and level >= 0 else None,
    }
    times = Times(tag_time_at=fix.moment("timestamp"))
    fix.drop("_", "uuid", "extras")
    _add(out, identities, times, fields, {**place.rest, **battery.rest, **fix.rest})


def _pairs(payload: bytes) -> Members:
    """Decode a query string or a form body.

    Raises:
        UnreadableError: it is none.
    """
    try:
        pairs = parse_qsl(values.parse_text(payload).lstrip("/?"), max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise UnreadableError("neither JSON nor a query string") from error
    if not pairs:
        raise UnreadableError("neither JSON nor a query string")
    return Members(dict(pairs))


def _query(out: Outcome, query: Members) -> None:
    identities = _identities(query.text("id", "deviceid"))
    place = (query.text("location") or "").split(",")
    latitude, longitude = query.strict_number("lat"), query.strict_number("lon")
    if latitude is None and len(place) == 2:
        latitude, longitude = values.number(place[0]), values.number(place[1])
    speed_kn = query.number("speed")
    fields: dict[str, Any] = {
        "latitude_deg": latitude,
        "longitude_deg": longitude,
        "altitude_m": query.number("altitude"),
        "accuracy_m": query.number("accuracy"),
        "speed_mps": None if speed_kn is None else round(max(speed_kn, 0) * _MPS_PER_KNOT, 3),
        "battery_pct": query.number("batt"),
    }
    times = Times(tag_time_at=query.moment("timestamp"))
    query.drop("driverUniqueId")
    _add(out, identities, times, fields, query.rest)


def _add(
    out: Outcome,
    identities: tuple[str, ...],
    times: Times,
    fields: dict[str, Any],
    rest: dict[str, Any],
) -> None:
    if fields["latitude_deg"] is None or fields["longitude_deg"] is None:
        raise ItemRefusedError("no_position", "no latitude and longitude")
    out.tag(
        TagPositionReported,
        identities=identities,
        gateway_id=FORMAT,
        times=times,
        fields=fields,
        rest=rest,
    )
