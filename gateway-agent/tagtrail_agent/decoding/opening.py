"""Opening the encrypted part of an advert with an enrolled key.

Sources: MiEcosystem/miio_open (MiBeacon encryption), bthome.io/encryption,
google/eddystone tlm-encrypted.
"""

from __future__ import annotations

from typing import Any, Final

from tagtrail_agent.decoding import bthome, crypto, eddystone, mibeacon
from tagtrail_agent.decoding.decoded import Decoded, Sealed

KEY_BYTES: Final = 16
LEGACY_KEY_BYTES: Final = 12
_LEGACY_MIDDLE: Final = bytes.fromhex("8d3d3c97")
"""What versions 2 and 3 of MiBeacon put between the halves of their 12-byte key."""
_BTHOME_UUID: Final = bytes.fromhex("d2fc")


def unseal(sealed: Sealed, key: bytes, address: str, time_s: int = 0) -> dict[str, Any] | None:
    """Open the encrypted part of an advert.

    Args:
        sealed: The part.
        key: The tag's key: 16 octets, or 12 for MiBeacon of versions 2 and 3.
        address: The sender's address, 12 hex digits.
        time_s: For Eddystone: the tag's clock, its low bits cleared as in its EID, seconds.

    Returns:
        Members of the native item; None if the key does not fit or the content is damaged.
    """
    if sealed.key == "mibeacon":
        return _mibeacon(sealed, key, sealed.address or address)
    if len(key) != KEY_BYTES:
        return None
    if sealed.key == "bthome":
        return _bthome(sealed, key, address)
    return _eddystone(sealed, key, time_s)


def _mibeacon(sealed: Sealed, key: bytes, address: str) -> dict[str, Any] | None:
    data, start = sealed.data, sealed.start
    sender = _octets(address)[::-1]
    if data[1] >> 4 <= 3:
        return _mibeacon_legacy(data, start, key, sender)
    if len(key) != KEY_BYTES or len(data) < start + 7:
        return None
    nonce = sender + data[2:5] + data[-7:-4]
    plain = crypto.ccm_open(key, nonce, data[start:-7] + data[-4:], associated=b"\x11")
    if plain is None:
        return None
    members: dict[str, Any] = {"encryption_counter": int.from_bytes(data[-7:-4], "little")}
    mibeacon.read_objects(members, plain)
    return members


def _mibeacon_legacy(data: bytes, start: int, key: bytes, sender: bytes) -> dict[str, Any] | None:
    """Open versions 2 and 3, which prove nothing: only a well-formed object is believed."""
    if len(key) != LEGACY_KEY_BYTES or len(data) < start + 7:
        return None
    whole_key = key[:6] + _LEGACY_MIDDLE + key[6:]
    nonce = data[:5] + data[-4:-1] + sender[:-1]
    plain = crypto.ccm_unverified(whole_key, nonce, data[start:-4])
    members: dict[str, Any] = {"encryption_counter": int.from_bytes(data[-4:-1], "little")}
    return members if mibeacon.read_objects(members, plain) else None


def _bthome(sealed: Sealed, key: bytes, address: str) -> dict[str, Any] | None:
    data = sealed.data
    nonce = _octets(address) + _BTHOME_UUID + data[:1] + data[-8:-4]
    plain = crypto.ccm_open(key, nonce, data[sealed.start : -8] + data[-4:])
    if plain is None:
        return None
    members: dict[str, Any] = {"encryption_counter": int.from_bytes(data[-8:-4], "little")}
    bthome.read_objects(members, plain)
    return members


def _eddystone(sealed: Sealed, key: bytes, time_s: int) -> dict[str, Any] | None:
    data = sealed.data
    nonce = time_s.to_bytes(4, "big") + data[14:16]
    plain = crypto.eax_open(key, nonce, data[2:14], data[16:18])
    if plain is None:
        return None
    opened = Decoded()
    eddystone.read_telemetry(opened, plain)
    return opened.members


def _octets(address: str) -> bytes:
    """Read an address; one that is none gives a wrong nonce of the right length."""
    try:
        return bytes.fromhex(address)[:6].rjust(6, b"\0")
    except ValueError:
        return bytes(6)
