"""Spelling of candidate identities, `kind:value`; docs/gateways.md lists the kinds."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tagtrail_ingest.adapters import values

_BEACON: Final = re.compile(r"([0-9a-f]{32}):([0-9]{1,5}):([0-9]{1,5})")
_EDDYSTONE: Final = re.compile(r"[0-9a-f]{20}:[0-9a-f]{12}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
"""Digits only: a leading 0x is no part of a number on a label, and the registry refuses it too."""


@lru_cache(maxsize=16_384)
def normal_identity(written: str) -> str | None:
    """Normalise an identity as a native producer writes it; None if it is not one.

    Example:
        >>> normal_identity("MAC:58:B1:29:44:94:D3")
        'mac:58b1294494d3'
        >>> normal_identity("58-b1-29-44-94-d3")
        'mac:58b1294494d3'
        >>> normal_identity("epc:urn") is None, normal_identity("epc:0x3014") is None
        (True, True)
    """
    bare = values.mac(written)
    if bare:
        return f"mac:{bare}"
    kind, colon, value = written.partition(":")
    kind = kind.lower()
    if not colon or not _KIND.fullmatch(kind) or len(written) > values.MAX_ID:
        return None
    normal = _normal_value(kind, value)
    return f"{kind}:{normal}" if normal else None


def _normal_value(kind: str, value: str) -> str | None:
    if kind == "mac":
        return values.mac(value)
    if kind in ("epc", "tid"):
        return value.upper() if _HEX.fullmatch(value) else None
    if kind == "irk":
        return value.lower() if len(value) == 32 and _HEX.fullmatch(value) else None
    if kind == "ibeacon":
        beacon = value.replace("-", "").lower()
        found = _BEACON.fullmatch(beacon)
        return beacon if found and int(found[2]) < 65_536 and int(found[3]) < 65_536 else None
    if kind == "eddystone":
        return value.lower() if _EDDYSTONE.fullmatch(value.lower()) else None
    return values.text(value)


def by_address(address: str | None) -> tuple[str, ...]:
    """Return the identity of an address, or none."""
    return (f"mac:{address}",) if address else ()


def best_first(*identities: str | None) -> tuple[str, ...]:
    """Join candidates, each once; addresses come last because the stable ids are better."""
    known = dict.fromkeys(i for i in identities if i)
    return tuple(sorted(known, key=lambda i: i.startswith("mac:")))
