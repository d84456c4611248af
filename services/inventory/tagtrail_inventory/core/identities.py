"""Spelling of the identities that a tag is heard by: `kind:value`, one form per thing."""

from __future__ import annotations

import re
from typing import Final

from tagtrail_kernel.errors import RejectedError

MAX_ID: Final = 200
"""Longest identity: the limit of `Id` in the events."""

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{12}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_BEACON: Final = re.compile(r"([0-9a-f]{32}):([0-9]{1,5}):([0-9]{1,5})")
_EDDYSTONE: Final = re.compile(r"[0-9a-f]{20}:[0-9a-f]{12}")
_MAX_MAJOR: Final = 65_535


def normal_identity(written: str) -> str:
    """Return the one spelling of an identity, the same as ingest and the agent find.

    Args:
        written: `kind:value`, or a bare radio address: 12 hexadecimal digits, or pairs with `:` or
            `-` between them. Blanks around it do not count.

    Raises:
        RejectedError: it is none; says what is expected.

    Example:
        >>> normal_identity("58:B1:29:44:94:D3")
        'mac:58b1294494d3'
        >>> normal_identity("MAC:58-b1-29-44-94-d3")
        'mac:58b1294494d3'
        >>> normal_identity("epc:30140f4c")
        'epc:30140F4C'
        >>> normal_identity("a0000000000:0")
        'a0000000000:0'
    """
    text = written.strip()
    bare = _mac(text)
    if bare is not None:
        return f"mac:{bare}"
    kind, colon, value = text.partition(":")
    kind = kind.lower()
    normal = _value(kind, value) if colon and _KIND.fullmatch(kind) else None
    if normal is None or len(f"{kind}:{normal}") > MAX_ID:
        raise RejectedError(
            f"{written[:60]!r} is not an identity; write kind:value, for example "
            "mac:58b1294494d3, epc:30140F4C…, ibeacon:<uuid>:<major>:<minor>",
            field="identities",
        )
    return f"{kind}:{normal}"


def _mac(text: str) -> str | None:
    if not _MAC.fullmatch(text):
        return None
    return text.replace(":", "").replace("-", "").lower()


def _value(kind: str, value: str) -> str | None:
    lower = value.lower()
    match kind:
        case "mac":
            return _mac(value)
        case "epc" | "tid":
            return value.upper() if _HEX.fullmatch(lower) else None
        case "irk":
            return lower if len(lower) == 32 and _HEX.fullmatch(lower) else None
        case "ibeacon":
            return _beacon(lower.replace("-", ""))
        case "eddystone":
            return lower if _EDDYSTONE.fullmatch(lower) else None
        case _:
            plain = value.strip()
            return plain if plain and plain.isprintable() else None


def _beacon(text: str) -> str | None:
    found = _BEACON.fullmatch(text)
    if found is None or int(found[2]) > _MAX_MAJOR or int(found[3]) > _MAX_MAJOR:
        return None
    return text
