"""Ruuvi's manufacturer data: formats 5 (RAWv2), and of 6 and E1 the climate.

Source: ruuvi/docs, data format 5; docs/wire-format.md for the names.
"""

from __future__ import annotations

import struct
from typing import Final

from tagtrail_agent.decoding.decoded import Decoded

_FORMAT_5: Final = 0x05
_AIR: Final = frozenset({0x06, 0xE1})
_climate: Final = struct.Struct(">hHH").unpack_from
_movement: Final = struct.Struct(">hhhHBH").unpack_from


def read(decoded: Decoded, data: bytes) -> None:
    """Read one frame."""
    if not data:
        return
    if data[0] == _FORMAT_5 and len(data) >= 24:
        decoded.frames.append("ruuvi")
        _read_climate(decoded, data)
        _read_movement(decoded, data)
        if data[18:24] != b"\xff" * 6:
            decoded.identities.append(f"mac:{data[18:24].hex()}")
    elif data[0] in _AIR and len(data) >= 20:
        decoded.frames.append("ruuvi")
        _read_climate(decoded, data)


def _read_climate(decoded: Decoded, data: bytes) -> None:
    temperature, humidity, pressure = _climate(data, 1)
    members = decoded.members
    if temperature != -0x8000:
        members["temperature_c"] = round(temperature * 0.005, 3)
    if humidity != 0xFFFF:
        members["humidity_pct"] = round(humidity * 0.0025, 4)
    if pressure != 0xFFFF:
        members["pressure_pa"] = pressure + 50_000


def _read_movement(decoded: Decoded, data: bytes) -> None:
    x, y, z, power, movements, sequence = _movement(data, 7)
    members = decoded.members
    if x != -0x8000:
        members["acceleration_x_mg"] = x
    if y != -0x8000:
        members["acceleration_y_mg"] = y
    if z != -0x8000:
        members["acceleration_z_mg"] = z
    if power >> 5 != 0x7FF:
        members["battery_mv"] = 1600 + (power >> 5)
    if power & 0x1F != 0x1F:
        members["tx_power_dbm"] = -40 + 2 * (power & 0x1F)
    if movements != 0xFF:
        members["movement_counter"] = movements
    if sequence != 0xFFFF:
        members["sequence"] = sequence
