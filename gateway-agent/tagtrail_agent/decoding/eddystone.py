"""Eddystone: UID, URL, TLM plain and encrypted, EID; and Google's FMDN in the same service.

Sources: google/eddystone, protocol-specification and the pages of each frame; Find Hub Network
accessory specification 1.3 for frames 0x40 and 0x41.
"""

from __future__ import annotations

import struct
from typing import Final

from tagtrail_agent.decoding.decoded import Decoded, Sealed, signed

LOSS_DB: Final = 41
"""Eddystone states power at 0 m; one metre of air takes 41 dB (UID frame)."""

_SCHEMES: Final = ("http://www.", "https://www.", "http://", "https://")
_ENDINGS: Final = (
    ".com/", ".org/", ".edu/", ".net/", ".info/", ".biz/", ".gov/",
    ".com", ".org", ".edu", ".net", ".info", ".biz", ".gov",
)  # fmt: skip
_tlm: Final = struct.Struct(">HhII").unpack_from


def read(decoded: Decoded, data: bytes) -> None:
    """Read one frame."""
    if not data:
        return
    frame = data[0]
    if frame == 0x00:
        _uid(decoded, data)
    elif frame == 0x20:
        _telemetry(decoded, data)
    elif frame == 0x10:
        _url(decoded, data)
    elif frame == 0x30:
        _eid(decoded, data)
    elif frame in (0x40, 0x41):
        _fmdn(decoded, data)


def _power(decoded: Decoded, octet: int) -> None:
    decoded.members["rssi_1m_dbm"] = signed(octet) - LOSS_DB
    decoded.details["power_at_0m_dbm"] = signed(octet)


def _uid(decoded: Decoded, data: bytes) -> None:
    if len(data) < 18:
        return
    decoded.frames.append("eddystone-uid")
    decoded.identities.append(f"eddystone:{data[2:12].hex()}:{data[12:18].hex()}")
    _power(decoded, data[1])


def _url(decoded: Decoded, data: bytes) -> None:
    if len(data) < 3 or data[2] >= len(_SCHEMES):
        return
    decoded.frames.append("eddystone-url")
    _power(decoded, data[1])
    letters = [_ENDINGS[c] if c < len(_ENDINGS) else chr(c) for c in data[3:] if c < 0x7F]
    decoded.details["url"] = _SCHEMES[data[2]] + "".join(letters)


def _telemetry(decoded: Decoded, data: bytes) -> None:
    if len(data) < 14:
        return
    if data[1] == 0x00:
        decoded.frames.append("eddystone-tlm")
        read_telemetry(decoded, data[2:14])
    elif data[1] == 0x01 and len(data) >= 18:
        decoded.frames.append("eddystone-etlm")
        decoded.sealed = Sealed("eddystone", data, 2)


def read_telemetry(decoded: Decoded, plain: bytes) -> None:
    """Read the 12 bytes of a TLM frame, plain or opened."""
    voltage, temperature, count, tenths = _tlm(plain)
    members = decoded.members
    if voltage:
        members["battery_mv"] = voltage
    if temperature != -0x8000:
        members["temperature_c"] = round(temperature / 256, 2)
    members["advert_count"] = count
    members["uptime_s"] = tenths / 10


def _eid(decoded: Decoded, data: bytes) -> None:
    if len(data) < 10:
        return
    decoded.frames.append("eddystone-eid")
    decoded.ephemeral = ("eddystone", data[2:10])
    _power(decoded, data[1])


def _fmdn(decoded: Decoded, data: bytes) -> None:
    decoded.frames.append("fmdn")
    decoded.network = "fmdn"
    decoded.details["frame"] = data[0]
    decoded.details["unwanted_tracking_protection"] = data[0] == 0x41
    if len(data) >= 21:
        decoded.ephemeral = ("fmdn", data[1:21])
