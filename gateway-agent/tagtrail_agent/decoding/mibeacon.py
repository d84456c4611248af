"""Xiaomi's MiBeacon: header, and objects where they are not encrypted.

Sources: MiEcosystem/miio_open, MiBeacon protocol and object definitions; the public MIoT
specification for objects above 0x4000.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from tagtrail_agent.decoding.decoded import Decoded, Sealed

ENCRYPTED: Final = 0x0008
_HAS_ADDRESS: Final = 0x0010
_HAS_CAPABILITY: Final = 0x0020
_HAS_OBJECT: Final = 0x0040
_CAPABILITY_HAS_IO: Final = 0x20
_PERSONAL: Final = frozenset({0x0006, 0x000B, 0x2000})
"""Fingerprints, who opened a lock, body temperature: none of a goods tracker's business."""
_header: Final = struct.Struct("<HHB").unpack_from
_object: Final = struct.Struct("<HB").unpack_from

Members = dict[str, Any]
_PRESSES: Final = {0: "press", 1: "double press", 2: "long press", 3: "dimmer press"}
_ROTATIONS: Final = {4: "dimmer rotate", 5: "dimmer rotate pressed"}


def read(decoded: Decoded, data: bytes) -> None:
    """Read the service data of 0xFE95."""
    if len(data) < 5:
        return
    control, product, counter = _header(data)
    decoded.frames.append("mibeacon")
    decoded.members["mibeacon_product"] = product
    decoded.members["sequence"] = counter
    at, address = 5, None
    if control & _HAS_ADDRESS:
        if len(data) < 11:
            return
        address = data[10:4:-1].hex()
        decoded.identities.append(f"mac:{address}")
        at = 11
    if control & _HAS_CAPABILITY:
        at += 3 if len(data) > at and data[at] & _CAPABILITY_HAS_IO else 1
    if control & ENCRYPTED:
        decoded.details["encrypted"] = True
        if len(data) > at:
            decoded.sealed = Sealed("mibeacon", data, at, address)
    elif control & _HAS_OBJECT:
        read_objects(decoded.members, data, at)


def read_objects(members: Members, data: bytes, at: int = 0) -> bool:
    """Read objects from a position on; False if they do not fill the data exactly.

    Args:
        members: Taken into.
        data: Objects: kind, length, value.
        at: Where they begin.
    """
    while at + 3 <= len(data):
        kind, length = _object(data, at)
        at += 3 + length
        if at > len(data):
            return False
        value = data[at - length : at]
        reader = _READERS.get((kind, length))
        if reader is not None:
            members.update(reader(value))
        elif kind not in _PERSONAL:
            members[f"mibeacon_{kind:04x}"] = value.hex()
    return at == len(data)


def _float(value: bytes) -> float | None:
    number: float = struct.unpack("<f", value)[0]
    return round(number, 2) if math.isfinite(number) else None


def _one(name: str, read_value: Callable[[bytes], Any]) -> Callable[[bytes], Members]:
    def reader(value: bytes) -> Members:
        found = read_value(value)
        return {} if found is None else {name: found}

    return reader


def _signed_tenths(value: bytes) -> float:
    return int.from_bytes(value, "little", signed=True) / 10


def _tenths(value: bytes) -> float:
    return int.from_bytes(value, "little") / 10


def _whole(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _flag(value: bytes) -> bool:
    return value[0] != 0


def _percent(value: bytes) -> int | None:
    return value[0] if value[0] <= 100 else None


def _climate(value: bytes) -> Members:
    return {"temperature_c": _signed_tenths(value[:2]), "humidity_pct": _tenths(value[2:])}


def _stillness(value: bytes) -> Members:
    """Read seconds without motion; zero says that there is motion."""
    seconds = _whole(value)
    return {"motion": seconds == 0, "still_s": seconds}


def _lit_motion(value: bytes) -> Members:
    return {"motion": True, "illuminance_lux": _whole(value)}


def _lit_motion_float(value: bytes) -> Members:
    lux = _float(value)
    return {"motion": True} if lux is None else {"motion": True, "illuminance_lux": lux}


def _button(value: bytes) -> Members:
    """Read a button event: number, value, kind of press; 3 and above come from dimmers.

    The value is the number of steps; a button pressed while turning puts them into the first.
    """
    number, steps, press = value
    said: Members = {"button": number, "button_event": _PRESSES.get(press, f"press {press}")}
    if press in _ROTATIONS:
        turned = number if steps == 0 else steps
        said = {"button_event": _ROTATIONS[press]}
        said["button_steps"] = turned - 256 if turned > 127 else turned
    return said


_READERS: Final[Mapping[tuple[int, int], Callable[[bytes], Members]]] = {
    (0x0003, 1): _one("motion", _flag),
    (0x000F, 3): _lit_motion,
    (0x1001, 3): _button,
    (0x1004, 2): _one("temperature_c", _signed_tenths),
    (0x1006, 2): _one("humidity_pct", _tenths),
    (0x1007, 3): _one("illuminance_lux", _whole),
    (0x1008, 1): _one("moisture_pct", _percent),
    (0x1009, 2): _one("conductivity_us_per_cm", _whole),
    (0x100A, 1): _one("battery_pct", _percent),
    (0x100D, 4): _climate,
    (0x1017, 4): _stillness,
    (0x4801, 4): _one("temperature_c", _float),
    (0x4803, 1): _one("battery_pct", _percent),
    (0x4808, 4): _one("humidity_pct", _float),
    (0x4818, 2): _stillness,
    (0x4A01, 1): _one("battery_low", _flag),
    (0x4A08, 4): _lit_motion_float,
    (0x4C01, 4): _one("temperature_c", _float),
    (0x4C02, 1): _one("humidity_pct", _percent),
    (0x4C03, 1): _one("battery_pct", _percent),
    (0x4C08, 4): _one("humidity_pct", _float),
    (0x4E01, 1): _one("battery_low", _flag),
}
"""Readers by kind and length; a kind of another length is kept as bytes."""
