"""Decoding BLE adverts: who sends, and what it says of itself. Total: any bytes give an answer.

Only what adverts say openly is read; encrypted ones keep their address as identity. Frames of
finding networks (Apple Find My, Google FMDN, Samsung SmartTag, DULT) name nobody: their keys and
addresses rotate so that strangers cannot follow them, and neither do we.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tagtrail_ingest.adapters import bthome

_APPLE: Final = 0x004C
_RUUVI: Final = 0x0499
_IBEACON: Final = 0x02
_FIND_MY: Final = 0x12
_AD_TX_POWER: Final = 0x0A
_AD_SERVICE_16: Final = 0x16
_AD_MANUFACTURER: Final = 0xFF
_ANONYMOUS_SERVICES: Final = frozenset({0xFCB2, 0xFD5A, 0xFD59})
"""DULT, and Samsung's SmartTag paired and unpaired."""
_FMDN_FRAMES: Final = frozenset({0x40, 0x41})
_EDDYSTONE_LOSS_DB: Final = 41
"""Eddystone states power at 0 m; one metre of air takes 41 dB (Eddystone protocol, UID frame)."""


@dataclass(slots=True)
class Advert:
    """What an advert says.

    Attributes:
        identities: Candidates, best first, without the address it came from.
        fields: Members of `TagSighted` by name.
        extra: Other values, units in their names.
        anonymous: It belongs to a finding network: no identity may be made of it.
    """

    identities: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    anonymous: bool = False


def read_advert(ad: bytes) -> Advert:
    """Read AD structures as a scanner reports them (no PDU header, no checksum)."""
    advert = Advert()
    for kind, data in _structures(ad):
        if kind == _AD_MANUFACTURER:
            _manufacturer(advert, data)
        elif kind == _AD_SERVICE_16 and len(data) >= 2:
            _service(advert, int.from_bytes(data[:2], "little"), data[2:])
        elif kind == _AD_TX_POWER and len(data) == 1:
            advert.fields["tx_power_dbm"] = _signed(data[0])
    return advert


def read_parts(manufacturer: bytes | None, services: Iterable[tuple[int, bytes]] = ()) -> Advert:
    """Read an advert that a gateway has taken apart.

    Args:
        manufacturer: Manufacturer data, beginning with the company id (little-endian).
        services: 16-bit service UUID and its data, for each service-data field.
    """
    advert = Advert()
    if manufacturer:
        _manufacturer(advert, manufacturer)
    for uuid, data in services:
        _service(advert, uuid, data)
    return advert


def merge(adverts: Iterable[Advert]) -> Advert:
    """Join what several adverts of one sender say; the last one wins where they differ."""
    whole = Advert()
    for one in adverts:
        whole.identities += one.identities
        whole.fields.update(one.fields)
        whole.extra.update(one.extra)
        whole.anonymous = whole.anonymous or one.anonymous
    return whole


def ibeacon_identity(uuid: bytes, major: int, minor: int) -> str:
    """Return `ibeacon:<32 hex digits>:<major>:<minor>`."""
    return f"ibeacon:{uuid.hex()}:{major}:{minor}"


def _structures(ad: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 1 < len(ad) and ad[at]:
        end = at + 1 + ad[at]
        if end > len(ad):
            return
        yield ad[at + 1], ad[at + 2 : end]
        at = end


def _manufacturer(advert: Advert, data: bytes) -> None:
    if len(data) < 3:
        return
    company, body = int.from_bytes(data[:2], "little"), data[2:]
    if company == _APPLE:
        _apple(advert, body)
    elif company == _RUUVI:
        _ruuvi(advert, body)


def _apple(advert: Advert, body: bytes) -> None:
    """Walk Apple's own type-length-value list."""
    at = 0
    while at + 2 <= len(body):
        kind, length = body[at], body[at + 1]
        value = body[at + 2 : at + 2 + length]
        if kind == _FIND_MY:
            advert.anonymous = True
        elif kind == _IBEACON and len(value) == 21 == length:
            major, minor, power = struct.unpack(">HHb", value[16:])
            advert.identities.append(ibeacon_identity(value[:16], major, minor))
            advert.fields["rssi_1m_dbm"] = power
        at += 2 + length


def _ruuvi(advert: Advert, body: bytes) -> None:
    if body[0] == 0x05 and len(body) >= 24:
        _ruuvi_5(advert, body)
    elif body[0] in (0x06, 0xE1) and len(body) >= 20:
        _climate(advert, body)


def _climate(advert: Advert, body: bytes) -> None:
    """Read what Ruuvi's formats 5, 6 and E1 have in common."""
    temperature, humidity, pressure = struct.unpack(">hHH", body[1:7])
    if temperature != -0x8000:
        advert.fields["temperature_c"] = round(temperature * 0.005, 3)
    if humidity != 0xFFFF:
        advert.fields["humidity_pct"] = round(humidity * 0.0025, 4)
    if pressure != 0xFFFF:
        advert.extra["pressure_pa"] = pressure + 50_000


def _ruuvi_5(advert: Advert, body: bytes) -> None:
    _climate(advert, body)
    x, y, z, power, movements, sequence = struct.unpack(">hhhHBH", body[7:18])
    for axis, value in (("x", x), ("y", y), ("z", z)):
        if value != -0x8000:
            advert.extra[f"acceleration_{axis}_mg"] = value
    if power >> 5 != 0x7FF:
        advert.fields["battery_mv"] = 1600 + (power >> 5)
    if power & 0x1F != 0x1F:
        advert.fields["tx_power_dbm"] = -40 + 2 * (power & 0x1F)
    if movements != 0xFF:
        advert.extra["movement_counter"] = movements
    if sequence != 0xFFFF:
        advert.fields["sequence"] = sequence
    if body[18:24] != b"\xff" * 6:
        advert.identities.append(f"mac:{body[18:24].hex()}")


def _service(advert: Advert, uuid: int, data: bytes) -> None:
    if uuid in _ANONYMOUS_SERVICES:
        advert.anonymous = True
    reader = _SERVICES.get(uuid)
    if reader is not None and data:
        reader(advert, data)


def _eddystone(advert: Advert, data: bytes) -> None:
    frame = data[0]
    if frame in _FMDN_FRAMES:
        advert.anonymous = True
    elif frame == 0x00 and len(data) >= 18:
        advert.identities.append(f"eddystone:{data[2:12].hex()}:{data[12:18].hex()}")
        advert.fields["rssi_1m_dbm"] = _signed(data[1]) - _EDDYSTONE_LOSS_DB
    elif frame == 0x20 and len(data) >= 14 and data[1] == 0x00:
        voltage, temperature, count, tenths = struct.unpack(">HhII", data[2:14])
        if voltage:
            advert.fields["battery_mv"] = voltage
        if temperature != -0x8000:
            advert.fields["temperature_c"] = round(temperature / 256, 2)
        advert.extra.update(advert_count=count, uptime_s=tenths / 10)


def _mibeacon(advert: Advert, data: bytes) -> None:
    """Read Xiaomi's MiBeacon; objects only where they are not encrypted."""
    if len(data) < 5:
        return
    control, product, counter = struct.unpack("<HHB", data[:5])
    advert.extra["mibeacon_product"] = product
    advert.fields["sequence"] = counter
    at = 5
    if control & 0x10:
        if len(data) < at + 6:
            return
        advert.identities.append(f"mac:{data[at : at + 6][::-1].hex()}")
        at += 6
    if control & 0x20:
        at += 3 if len(data) > at and data[at] & 0x20 else 1
    if control & 0x40 and not control & 0x08:
        _mibeacon_object(advert, data[at:])


def _mibeacon_object(advert: Advert, data: bytes) -> None:
    if len(data) < 3 or len(data) < 3 + data[2]:
        return
    kind, length = struct.unpack("<HB", data[:3])
    value = data[3 : 3 + length]
    if kind == 0x1004 and length == 2:
        advert.fields["temperature_c"] = struct.unpack("<h", value)[0] / 10
    elif kind == 0x1006 and length == 2:
        advert.fields["humidity_pct"] = struct.unpack("<H", value)[0] / 10
    elif kind == 0x100A and length == 1 and value[0] <= 100:
        advert.fields["battery_pct"] = value[0]
    elif kind == 0x100D and length == 4:
        temperature, humidity = struct.unpack("<hH", value)
        advert.fields.update(temperature_c=temperature / 10, humidity_pct=humidity / 10)


def _bthome(advert: Advert, data: bytes) -> None:
    """Read BTHome version 2; encrypted ones keep only their address."""
    encrypted, version = data[0] & 0x01, data[0] >> 5
    if encrypted or version != 2:
        return
    for name, value in bthome.objects(data[1:]):
        if name in bthome.FIELDS:
            advert.fields[name] = value
        else:
            advert.extra[name] = value


def _signed(octet: int) -> int:
    return octet - 256 if octet > 127 else octet


_SERVICES: Final[Mapping[int, Callable[[Advert, bytes], None]]] = {
    0xFEAA: _eddystone,
    0xFE95: _mibeacon,
    0xFCD2: _bthome,
}
