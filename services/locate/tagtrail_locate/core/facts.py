"""The parts of stored bodies that locate needs, decoded straight from the bytes.

A small struct is several times faster to decode than the whole envelope; a body of an older
version goes through the kernel's upcasters instead.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

import msgspec

from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registry import type_of


class Radio(msgspec.Struct, gc=False):
    """Common fields of radio facts; see `tagtrail_kernel.events.sightings.Radio`."""

    tag_id: str
    gateway_id: str
    site_id: str | None = None
    technology: str = "ble"
    source_class: str = "own_gateway"


class Sighting(Radio, gc=False):
    """Of `tag.sighted`."""

    rssi_dbm: float | None = None
    rssi_1m_dbm: float | None = None
    distance_m: float | None = None
    battery_pct: float | None = None
    battery_mv: float | None = None
    samples: int | None = None
    interval_ms: float | None = None
    counter: int | None = None


class Range(Radio, gc=False):
    """Of `tag.ranged`."""

    range_m: float = 0.0
    sigma_m: float | None = None
    rssi_dbm: float | None = None
    first_path_dbm: float | None = None


class Position(Radio, gc=False):
    """Of `tag.position_reported`."""

    x_m: float | None = None
    y_m: float | None = None
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    accuracy_m: float | None = None


class Claim(Radio, gc=False):
    """Of `tag.zone_reported`."""

    zone: str = ""
    claim: str = "in"
    confidence_pct: float | None = None


class Absence(Radio, gc=False):
    """Of `tag.absence_reported`."""


class Sensed(Radio, gc=False):
    """Of `tag.sensed`: no sighting, but its gateway is alive."""


class Report(msgspec.Struct, gc=False):
    """Of `gateway.reported`."""

    gateway_id: str
    kind: str
    online: bool | None = None
    retained: bool = False
    values: dict[str, Any] | None = None
    site_id: str | None = None


Fact = Sighting | Range | Position | Claim | Absence | Sensed | Report

_FACTS: Final[dict[str, type[Fact]]] = {
    "tag.sighted": Sighting,
    "tag.ranged": Range,
    "tag.position_reported": Position,
    "tag.zone_reported": Claim,
    "tag.absence_reported": Absence,
    "tag.sensed": Sensed,
    "gateway.reported": Report,
}


def _body_of(cls: type[Fact]) -> type[Any]:
    fields: list[Any] = [("version", int), ("occurred_at", datetime), ("data", cls)]
    return msgspec.defstruct(f"{cls.__name__}Body", fields, gc=False)


SIGHTED: Final = "tag.sighted"
"""The type that makes up nearly all of a log."""

_DECODERS: Final = {
    name: msgspec.json.Decoder(_body_of(cls)).decode for name, cls in _FACTS.items()
}
_VERSIONS: Final = {name: type_of(name).VERSION for name in _FACTS}


def read(event: Recorded) -> tuple[float, Fact] | None:
    """Decode what locate needs of one radio or gateway event.

    Returns:
        (seconds since 1970 of the event's time, the fact), or None for other types.

    Raises:
        RejectedError: an older body that its upcasters cannot read.
        UnknownEventTypeError: its version is newer than this code.
    """
    decode = _DECODERS.get(event.type)
    if decode is None:
        return None
    try:
        body = decode(event.body)
    except msgspec.ValidationError:
        return _upcast(event)
    if body.version != _VERSIONS[event.type]:
        return _upcast(event)
    return body.occurred_at.timestamp(), body.data


class SightingBody(msgspec.Struct, gc=False):
    """A stored sighting, as far as locate needs it."""

    version: int
    occurred_at: datetime
    data: Sighting


_sighting = msgspec.json.Decoder(SightingBody).decode
_sighting_version = _VERSIONS[SIGHTED]


def read_sighting(event: Recorded) -> tuple[float, Sighting]:
    """Decode a sighting; see `read`.

    Returns:
        (seconds since 1970 of the event's time, the sighting).
    """
    try:
        body = _sighting(event.body)
    except msgspec.ValidationError:
        return cast("tuple[float, Sighting]", _upcast(event))
    if body.version != _sighting_version:
        return cast("tuple[float, Sighting]", _upcast(event))
    return body.occurred_at.timestamp(), body.data


def _upcast(event: Recorded) -> tuple[float, Fact]:
    envelope = event.envelope
    fact = msgspec.convert(envelope.data, _FACTS[event.type], from_attributes=True)
    return envelope.occurred_at.timestamp(), fact
