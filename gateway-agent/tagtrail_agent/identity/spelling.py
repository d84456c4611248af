"""Spelling of identities, `kind:value`, as the server has it (docs/gateways.md, Identities)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

MAX_LENGTH: Final = 200
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BEACON: Final = re.compile(r"([0-9a-f]{32}):([0-9]{1,5}):([0-9]{1,5})")
_EDDYSTONE: Final = re.compile(r"[0-9a-f]{20}:[0-9a-f]{12}")
_NAMELESS: Final = frozenset({"found.apple.com/airtag", "found.apple.com/item"})
"""Pages of finding networks whose path names the kind of thing, not the thing."""


@lru_cache(maxsize=4096)
def normal_identity(written: str) -> str | None:
    """Return the one spelling of an identity; None if it is none.

    Args:
        written: `kind:value`, or a bare radio address in a usual form.

    Example:
        >>> normal_identity("58:B1:29:44:94:D3")
        'mac:58b1294494d3'
        >>> normal_identity("epc:30140f4c")
        'epc:30140F4C'
        >>> normal_identity("nonsense") is None
        True
    """
    if _MAC.fullmatch(written):
        return f"mac:{_bare(written)}"
    kind, colon, value = written.partition(":")
    kind = kind.lower()
    if not colon or not _KIND.fullmatch(kind):
        return None
    normal = _value(kind, value)
    if normal is None or len(kind) + 1 + len(normal) > MAX_LENGTH:
        return None
    return f"{kind}:{normal}"


def _bare(address: str) -> str:
    return address.replace(":", "").replace("-", "").lower()


def _value(kind: str, value: str) -> str | None:
    match kind:
        case "mac":
            return _bare(value) if _MAC.fullmatch(value) else None
        case "epc" | "tid":
            return value.upper() if _HEX.fullmatch(value) else None
        case "irk":
            return value.lower() if len(value) == 32 and _HEX.fullmatch(value) else None
        case "ibeacon":
            return _beacon(value.replace("-", "").lower())
        case "eddystone":
            return value.lower() if _EDDYSTONE.fullmatch(value.lower()) else None
        case _:
            value = value.strip()
            return value if value and value.isprintable() else None


def _beacon(value: str) -> str | None:
    found = _BEACON.fullmatch(value)
    return value if found and int(found[2]) < 65_536 and int(found[3]) < 65_536 else None


def nfc_identity(uid: str | bytes) -> str | None:
    """Return the identity of an NFC label by the serial number of its chip; None if it is none.

    Args:
        uid: 4, 7 or 10 octets, or their hex digits with any of `:`, `-` or blanks between.

    Example:
        >>> nfc_identity("04:A2:B3:C4:D5:E6:80")
        'nfc:04a2b3c4d5e680'
    """
    digits = uid.hex() if isinstance(uid, bytes) else re.sub(r"[:\-\s]", "", uid).lower()
    if len(digits) not in (8, 14, 20) or not _HEX.fullmatch(digits):
        return None
    return f"nfc:{digits}"


def uri_identity(uri: str) -> str | None:
    """Return the identity of a label by the address written on it; None if it names no thing.

    Scheme, query and fragment do not count: signed labels change their query with each tap.

    Example:
        >>> uri_identity("https://Shop.example/t/crate-7?c=00001A&m=94EED9")
        'nfc:shop.example/t/crate-7'
        >>> uri_identity("https://found.apple.com/airtag?pid=5500") is None
        True
    """
    try:
        parts = urlsplit(uri.strip())
        host = parts.hostname
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if not host or not path or f"{host}{path}" in _NAMELESS:
        return None
    return normal_identity(f"nfc:{host}{path}")
