"""BTHome version 2: a number, then a value of fixed length; several objects in one frame.

Source: bthome.io/format. Names are those of docs/wire-format.md where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tagtrail_agent.decoding.decoded import Decoded, Sealed

_ENCRYPTED: Final = 0x01
_VERSION: Final = 2
_TEXT, _RAW = 0x53, 0x54


class Shape(NamedTuple):
    """How one kind of object is read.

    Attributes:
        length: Octets.
        name: Member that it becomes.
        scale: What the number is divided by; 1 = a whole number. Negative = multiplied.
        signed: Whether the number has a sign.
    """

    length: int
    name: str
    scale: float = 1
    signed: bool = False


_FLAGS: Final[Mapping[int, str]] = {
    0x0F: "flag", 0x10: "power_on", 0x11: "opening", 0x15: "battery_low", 0x16: "charging",
    0x17: "carbon_monoxide", 0x18: "cold", 0x19: "connected", 0x1A: "door_open",
    0x1B: "garage_door_open", 0x1C: "gas", 0x1D: "heat", 0x1E: "light", 0x1F: "unlocked",
    0x20: "wet", 0x21: "motion", 0x22: "motion", 0x23: "occupied", 0x24: "plugged_in",
    0x25: "present", 0x26: "problem", 0x27: "running", 0x28: "safe", 0x29: "smoke", 0x2A: "sound",
    0x2B: "tampered", 0x2C: "vibration", 0x2D: "window_open",
}  # fmt: skip
_SHAPES: Final[Mapping[int, Shape]] = {
    0x00: Shape(1, "sequence"),
    0x01: Shape(1, "battery_pct"),
    0x02: Shape(2, "temperature_c", 100, signed=True),
    0x03: Shape(2, "humidity_pct", 100),
    0x04: Shape(3, "pressure_pa"),
    0x05: Shape(3, "illuminance_lux", 100),
    0x06: Shape(2, "mass_kg", 100),
    0x07: Shape(2, "mass_lb", 100),
    0x08: Shape(2, "dew_point_c", 100, signed=True),
    0x09: Shape(1, "count"),
    0x0A: Shape(3, "energy_kwh", 1000),
    0x0B: Shape(3, "power_w", 100),
    0x0C: Shape(2, "battery_mv"),
    0x0D: Shape(2, "pm2_5_ug_per_m3"),
    0x0E: Shape(2, "pm10_ug_per_m3"),
    0x12: Shape(2, "co2_ppm"),
    0x13: Shape(2, "tvoc_ug_per_m3"),
    0x14: Shape(2, "moisture_pct", 100),
    0x2E: Shape(1, "humidity_pct"),
    0x2F: Shape(1, "moisture_pct"),
    0x3A: Shape(1, "button"),
    0x3C: Shape(2, "dimmer"),
    0x3D: Shape(2, "count"),
    0x3E: Shape(4, "count"),
    0x3F: Shape(2, "rotation_deg", 10, signed=True),
    0x40: Shape(2, "distance_mm"),
    0x41: Shape(2, "measured_distance_m", 10),
    0x42: Shape(3, "duration_s", 1000),
    0x43: Shape(2, "current_a", 1000),
    0x44: Shape(2, "speed_m_per_s", 100),
    0x45: Shape(2, "temperature_c", 10, signed=True),
    0x46: Shape(1, "uv_index", 10),
    0x47: Shape(2, "volume_l", 10),
    0x48: Shape(2, "volume_ml"),
    0x49: Shape(2, "flow_m3_per_h", 1000),
    0x4A: Shape(2, "battery_mv", -100),
    0x4B: Shape(3, "gas_m3", 1000),
    0x4C: Shape(4, "gas_m3", 1000),
    0x4D: Shape(4, "energy_kwh", 1000),
    0x4E: Shape(4, "volume_l", 1000),
    0x4F: Shape(4, "water_l", 1000),
    0x50: Shape(4, "tag_time_s"),
    0x51: Shape(2, "acceleration_m_per_s2", 1000),
    0x52: Shape(2, "turning_deg_per_s", 1000),
    0x55: Shape(4, "stored_volume_l", 1000),
    0x56: Shape(2, "conductivity_us_per_cm"),
    0x57: Shape(1, "temperature_c", signed=True),
    0x58: Shape(1, "temperature_c", 1 / 0.35, signed=True),
    0x59: Shape(1, "count", signed=True),
    0x5A: Shape(2, "count", signed=True),
    0x5B: Shape(4, "count", signed=True),
    0x5C: Shape(4, "power_w", 100, signed=True),
    0x5D: Shape(2, "current_a", 1000, signed=True),
    0x5E: Shape(2, "direction_deg", 100),
    0x5F: Shape(2, "precipitation_mm", 10),
    0x60: Shape(1, "object_channel"),
    0x61: Shape(2, "turning_rpm"),
    0xF0: Shape(2, "device_type"),
    0xF1: Shape(4, "firmware"),
    0xF2: Shape(3, "firmware"),
}


def read(decoded: Decoded, data: bytes) -> None:
    """Read the service data of 0xFCD2."""
    if not data or data[0] >> 5 != _VERSION:
        return
    decoded.frames.append("bthome")
    if not data[0] & _ENCRYPTED:
        read_objects(decoded.members, data, 1)
        return
    decoded.details["encrypted"] = True
    if len(data) > 9:
        decoded.sealed = Sealed("bthome", data, 1)


def read_objects(members: dict[str, Any], data: bytes, at: int = 0) -> None:
    """Read objects from a position on; stop at one of unknown length or cut short.

    Args:
        members: Taken into.
        data: Objects: number, value.
        at: Where they begin.
    """
    end = len(data)
    while at + 1 < end:
        kind = data[at]
        flag = _FLAGS.get(kind)
        if flag is not None:
            members[flag] = data[at + 1] != 0
            at += 2
            continue
        shape = _SHAPES.get(kind)
        if shape is None:
            if kind not in (_TEXT, _RAW):
                return
            at += 2 + data[at + 1]
            continue
        stop = at + 1 + shape.length
        if stop > end:
            return
        _take(members, shape, data[at + 1 : stop])
        at = stop


def _take(members: dict[str, Any], shape: Shape, raw: bytes) -> None:
    number = int.from_bytes(raw, "little", signed=shape.signed)
    scale = shape.scale
    if shape.name == "battery_pct" and number > 100:
        return
    if scale == 1:
        members[shape.name] = number
    else:
        members[shape.name] = number * -int(scale) if scale < 0 else round(number / scale, 3)
