"""Reading untrusted values: every function returns a clean value or None, and never fails."""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

import msgspec

from tagtrail_ingest.adapters.contract import UnreadableError
from tagtrail_kernel.clock import EPOCH

MAX_ID: Final = 200
MAX_TEXT: Final = 512
_MAX_INT: Final = 2**63 - 1
_SAFE_INT: Final = 2**53
_MAX_NUMBER: Final = 1e30
"""Beyond every quantity here, and far enough from infinity for changes of unit."""
_MAX_DEPTH: Final = 8
_MAX_SECONDS: Final = 253_402_300_799
"""31 December 9999, the last second that a datetime can hold."""

_NUMBER: Final = re.compile(
    r"\s*([-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,2})?)\s*%?\s*"
)
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")
_ADDRESS: Final = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{12}")
_ADDRESS_INSIDE: Final = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{2}([:_-])[0-9a-fA-F]{2}(?:\1[0-9a-fA-F]{2}){4,}(?![0-9a-fA-F])"
    r"|(?<![0-9a-fA-F-])(?=[0-9]{0,11}[a-fA-F])[0-9a-fA-F]{12}(?![0-9a-fA-F])"
)
_ADDRESS_KEY: Final = re.compile(
    r"mac$|mac_?addr|^addr|address$|^bd_?addr|bssid|irk|^epc|^tid|trackerid"
    r"|raw_?data|manufacturer_?data|service_?data$|adv_?data|ad_?data|scan_?data",
    re.IGNORECASE,
)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Say whether a decoded value is an object with text keys."""
    return isinstance(value, dict) and all(type(k) is str for k in value)


def parse_json(payload: bytes) -> object:
    """Decode JSON.

    Raises:
        UnreadableError: it is none, or it is nested too deeply.
    """
    try:
        return msgspec.json.decode(payload)
    except RecursionError as error:
        raise UnreadableError("the JSON is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnreadableError(f"not JSON: {error}") from error


def parse_object(payload: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        UnreadableError: it is none.
    """
    value = parse_json(payload)
    if not is_object(value):
        raise UnreadableError(f"expected a JSON object, got {kind_of(value)}")
    return value


def parse_objects(payload: bytes) -> list[object]:
    """Decode a JSON array, or one value as a list of one.

    Raises:
        UnreadableError: it is no JSON, or neither an array nor an object.
    """
    value = parse_json(payload)
    if isinstance(value, list):
        return value
    if is_object(value):
        return [value]
    raise UnreadableError(f"expected a JSON array or object, got {kind_of(value)}")


def parse_text(payload: bytes) -> str:
    """Decode a plain-text payload.

    Raises:
        UnreadableError: it is not UTF-8.
    """
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError("not UTF-8 text") from error


def kind_of(value: object) -> str:
    """Name a decoded value's JSON kind, for messages."""
    for kind, name in (
        (bool, "a boolean"),
        (str, "a string"),
        (list, "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"


def number(value: object) -> float | None:
    """Read a number of at most 10^30; also from text such as "52.6", " 6.34" or "77%"."""
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value)
        value = float(found[1]) if found else None
    if type(value) is int:
        return float(value) if _fits(value) else None
    if isinstance(value, float) and -_MAX_NUMBER <= value <= _MAX_NUMBER:
        return value
    return None


def _fits(value: int) -> bool:
    return -_MAX_INT - 1 <= value <= _MAX_INT


def integer(value: object) -> int | None:
    """Read a whole number of at most 63 bits; a fraction is rounded."""
    if type(value) is int:
        return value if _fits(value) else None
    read = number(value)
    return round(read) if read is not None and _fits(round(read)) else None


def text(value: object) -> str | None:
    """Read printable text of 1 to 512 characters; numbers become text."""
    if type(value) is int and _fits(value):
        value = str(value)
    if not isinstance(value, str):
        return None
    value = value.strip()
    return value if value and len(value) <= MAX_TEXT and value.isprintable() else None


def flag(value: object) -> bool | None:
    """Read a boolean; also 0 and 1, "true" and "false", "ON" and "OFF"."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
    return words.get(str(value).lower()) if isinstance(value, str | int) else None


def octets(value: object) -> bytes | None:
    """Read bytes: binary as it is, or text of hexadecimal digit pairs (also with a leading 0x)."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        digits = value.strip().removeprefix("0x")
        return bytes.fromhex(digits) if _HEX.fullmatch(digits) else None
    return None


def base64_octets(value: object) -> bytes | None:
    """Read bytes written as base64 text."""
    if not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def mac(value: object) -> str | None:
    """Read a 48-bit radio address in any usual spelling as 12 lower-case hexadecimal digits."""
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        return value.replace(":", "").replace("-", "").lower()
    return None


def hex_id(value: object) -> str:
    """Normalise a foreign identifier: hexadecimal ones lose case and separators, others stay."""
    written = text(value) or ""
    digits = written.replace(":", "").replace("-", "")
    return digits.lower() if len(digits) >= 8 and _HEX.fullmatch(digits) else written


def receiver(value: object) -> str | None:
    """Normalise the name of a gateway: an address without separators, or a slug as on the wire."""
    written = text(value)
    if written is None or len(written) > MAX_ID:
        return None
    return mac(written) or written


def moment(value: object) -> datetime | None:
    """Read a time: ISO 8601 text (UTC where it names no zone), or a number since 1970.

    Numbers may be seconds, milliseconds, microseconds or nanoseconds; which one follows from the
    size, because seconds stay below 10^11 until the year 5138.
    """
    if isinstance(value, datetime):
        return _aware(value)
    count = number(value)
    if count is None:
        return _iso(value) if isinstance(value, str) else None
    while abs(count) >= 1e11:
        count /= 1000
    if not 0 <= count <= _MAX_SECONDS:
        return None
    return EPOCH + timedelta(microseconds=round(count * 1e6))


def _iso(value: str) -> datetime | None:
    try:
        return _aware(datetime.fromisoformat(value.strip()))
    except ValueError:
        return None


def _aware(value: datetime) -> datetime | None:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def keep(value: object, depth: int = 0) -> object:
    """Copy what nobody named so that it may lie in the log.

    Left out are members that hold radio addresses or raw adverts, text that contains an address,
    values that JSON cannot hold, and anything deeper than 8 levels. Whole numbers beyond 53 bits
    become text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return None if _ADDRESS_INSIDE.search(value) else value
    if type(value) is int:
        return value if abs(value) <= _SAFE_INT else str(value)[:40]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [keep(v, depth + 1) for v in value]
    if is_object(value):
        return keep_members(value, depth + 1)
    return None


def keep_members(members: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Copy the members of an object by the rules of `keep`; what has to go is left out."""
    kept: dict[str, Any] = {}
    for name, value in members.items():
        if _ADDRESS_KEY.search(name) or _ADDRESS_INSIDE.search(name):
            continue
        copy = keep(value, depth)
        if copy is not None or value is None:
            kept[name] = copy
    return kept
