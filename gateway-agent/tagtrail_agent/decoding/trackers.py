"""Trackers of consumer networks: Tile, Samsung SmartTag, and the common DULT frame.

SmartTag and DULT frames name nobody on purpose. Their states are read so that they can be
counted; no identity is ever made of them.

Sources: ietf-wg-dult/accessory-protocol, Location-enabled advertisement payload; reference/
libraries.md, section 3, surprise 7; captures in the shared test data (adverts.json).
"""

from __future__ import annotations

from typing import Final

from tagtrail_agent.decoding.decoded import Decoded

_SMARTTAG_STATES: Final = {
    1: "premature offline",
    2: "offline",
    3: "overmature offline",
    5: "connected/near owner",
    6: "connected/near owner",
}
_NETWORKS: Final = {1: "Apple", 2: "Google"}


def read_tile(decoded: Decoded, data: bytes) -> None:
    """Note a Tile; its identifier is Tile's alone, so only the address can name it."""
    decoded.frames.append("tile")
    decoded.details["vendor"] = "Tile"
    decoded.details["service_data_bytes"] = len(data)


def read_smarttag(decoded: Decoded, data: bytes) -> None:
    """Read the frame of a SmartTag that has an owner."""
    decoded.frames.append("smarttag")
    decoded.network = "smarttag"
    details = decoded.details
    if data:
        details["state"] = _SMARTTAG_STATES.get(data[0] & 0x07, "unknown")
    if len(data) >= 13:
        details["privacy_id"] = data[4:12].hex()
        details["battery_level"] = data[12] & 0x03


def read_unpaired_smarttag(decoded: Decoded, data: bytes) -> None:
    """Note a SmartTag that waits for an owner."""
    decoded.frames.append("smarttag")
    decoded.network = "smarttag"
    decoded.details.update(state="unpaired", service_data_bytes=len(data))


def read_dult(decoded: Decoded, data: bytes) -> None:
    """Read the location-enabled payload that every network shares."""
    decoded.frames.append("dult")
    decoded.network = decoded.network or "dult"
    if data:
        decoded.details["network_id"] = data[0]
        decoded.details["network"] = _NETWORKS.get(data[0], "other")
    if len(data) >= 2:
        decoded.details["near_owner"] = bool(data[1] & 0x01)
