"""Apple's manufacturer data: iBeacon, and the frames of the Find My network.

Sources: Apple, Proximity Beacon Specification R1; Find My frames as described in
reference/locating-systems.md, section 2.7 (length 2 = near its owner, 25 = separated).
"""

from __future__ import annotations

import struct
from typing import Final

from tagtrail_agent.decoding.decoded import Decoded

_IBEACON: Final = 0x02
_FIND_MY: Final = 0x12
_SEPARATED: Final = 25
_NEARBY: Final = 2
_DEVICES: Final = ("Apple Device", "AirTag", "third party", "AirPods")
_BATTERIES: Final = ("full", "medium", "low", "very low")
_power_and_numbers: Final = struct.Struct(">HHb").unpack_from


def read(decoded: Decoded, data: bytes) -> None:
    """Walk Apple's own list of type, length, value."""
    at, end = 0, len(data)
    while at + 2 <= end:
        kind, length = data[at], data[at + 1]
        start = at + 2
        at = start + length
        if kind == _IBEACON and length == 21 and at <= end:
            major, minor, power = _power_and_numbers(data, start + 16)
            decoded.frames.append("ibeacon")
            decoded.identities.append(f"ibeacon:{data[start : start + 16].hex()}:{major}:{minor}")
            decoded.members["rssi_1m_dbm"] = power
        elif kind == _FIND_MY:
            _find_my(decoded, data[start:at])


def _find_my(decoded: Decoded, value: bytes) -> None:
    decoded.frames.append("findmy")
    decoded.network = "findmy"
    if not value:
        return
    status = value[0]
    details = decoded.details
    details["status"] = status
    details["device"] = _DEVICES[status >> 4 & 3]
    details["battery"] = _BATTERIES[status >> 6]
    if len(value) == _SEPARATED:
        details["state"] = "separated"
        details["key_rest"] = value[1:23]
        details["key_bits"] = value[23]
        details["hint"] = value[24]
    elif len(value) == _NEARBY:
        details["state"] = "nearby"


def public_key(decoded: Decoded, address: str) -> str | None:
    """Return the advertised public key of a separated Find My accessory; None if it has none.

    For looking at a single advert of one's own; nothing in the agent stores it.

    Args:
        decoded: The advert.
        address: Address it came from, 12 hex digits: it holds the first six bytes of the key.
    """
    rest, bits = decoded.details.get("key_rest"), decoded.details.get("key_bits")
    if rest is None or bits is None:
        return None
    first = int(address[:2], 16) & 0x3F | (bits & 3) << 6
    return f"{first:02x}{address[2:]}{rest.hex()}".upper()
