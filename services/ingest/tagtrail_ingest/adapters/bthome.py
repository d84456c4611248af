"""The objects of BTHome version 2: a number, then a value of fixed length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

FIELDS: Final = frozenset(
    {"sequence", "battery_pct", "battery_mv", "temperature_c", "humidity_pct", "motion"}
)
"""Names that are members of `TagSighted`; the others go to `extra`."""


class _Shape(NamedTuple):
    """How one kind of object is read; `name` None = known length, value not kept."""

    length: int
    name: str | None = None
    factor: float = 1
    signed: bool = False
    boolean: bool = False


_LENGTHS: Final[Mapping[int, int]] = {
    0x06: 2, 0x07: 2, 0x08: 2, 0x0A: 3, 0x0B: 3, 0x0D: 2, 0x0E: 2, 0x12: 2, 0x13: 2,
    0x3C: 2, 0x3D: 2, 0x3E: 4, 0x41: 2, 0x42: 3, 0x43: 2, 0x44: 2, 0x46: 1, 0x47: 2, 0x48: 2,
    0x49: 2, 0x4B: 3, 0x4C: 4, 0x4D: 4, 0x4E: 4, 0x4F: 4, 0x50: 4, 0x51: 2, 0x52: 2,
    0x14: 2, 0x2F: 1, 0x59: 1, 0x5A: 2, 0x5B: 4, 0x5C: 4, 0x5D: 2, 0x5E: 2, 0x5F: 2,
}  # fmt: skip
"""Objects whose value we do not keep, but must step over."""

_SHAPES: Final[Mapping[int, _Shape]] = {
    **{kind: _Shape(length) for kind, length in _LENGTHS.items()},
    **{kind: _Shape(1) for kind in (0x0F, *range(0x10, 0x2E))},
    0x00: _Shape(1, "sequence"),
    0x01: _Shape(1, "battery_pct"),
    0x02: _Shape(2, "temperature_c", 0.01, signed=True),
    0x03: _Shape(2, "humidity_pct", 0.01),
    0x04: _Shape(3, "pressure_pa"),
    0x05: _Shape(3, "illuminance_lux", 0.01),
    0x09: _Shape(1, "count"),
    0x0C: _Shape(2, "battery_mv"),
    0x11: _Shape(1, "opening", boolean=True),
    0x21: _Shape(1, "motion", boolean=True),
    0x22: _Shape(1, "motion", boolean=True),
    0x2E: _Shape(1, "humidity_pct"),
    0x3A: _Shape(1, "button"),
    0x3F: _Shape(2, "rotation_deg", 0.1, signed=True),
    0x40: _Shape(2, "distance_mm"),
    0x45: _Shape(2, "temperature_c", 0.1, signed=True),
    0x4A: _Shape(2, "battery_mv", 100),
    0x57: _Shape(1, "temperature_c", signed=True),
    0x58: _Shape(1, "temperature_c", 0.35, signed=True),
}


def objects(data: bytes) -> Iterator[tuple[str, float | bool]]:
    """Yield name and value of each object; stop at one of unknown length or cut short."""
    at = 0
    while at < len(data):
        shape = _SHAPES.get(data[at])
        if shape is None or at + 1 + shape.length > len(data):
            return
        raw = data[at + 1 : at + 1 + shape.length]
        at += 1 + shape.length
        if shape.name is not None:
            value = int.from_bytes(raw, "little", signed=shape.signed)
            if shape.name != "battery_pct" or value <= 100:
                yield shape.name, _scaled(value, shape)


def _scaled(value: int, shape: _Shape) -> float | bool:
    if shape.boolean:
        return bool(value)
    return value * int(shape.factor) if shape.factor >= 1 else round(value * shape.factor, 3)
