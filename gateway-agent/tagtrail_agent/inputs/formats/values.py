"""Values as gateways write them: numbers as text, addresses in any case, times in any unit."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{12}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_HEX: Final = re.compile(r"(0x)?(?:[0-9a-fA-F]{2})*")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_TEXT: Final = 200
_LARGEST: Final = 10**19
"""Nanoseconds since 1970 fit; nothing that a gateway measures is larger."""


class UnreadableError(Exception):
    """A message is not of its format.

    Args:
        reason: One word for counting.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(payload: bytes) -> Any:
    """Parse JSON.

    Raises:
        UnreadableError: it is none, or holds a number or text that JSON cannot carry on.
    """
    try:
        found = json.loads(payload, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise UnreadableError("no_json") from error
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def parse_object(payload: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        UnreadableError: it is something else.
    """
    found = parse(payload)
    if not isinstance(found, dict):
        raise UnreadableError("no_object")
    return found


def mac(value: object) -> str | None:
    """Return a radio address as 12 lower-case digits; None if it is none."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        return None
    return value.replace(":", "").replace("-", "").lower()


def receiver(value: object) -> str | None:
    """Return a gateway's name: its address without separators, or its own word."""
    return mac(value) or text(value)


def text(value: object) -> str | None:
    """Return a short printable text; None for anything else."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    return value if value.isprintable() and 0 < len(value) <= MAX_TEXT else None


def number(members: Mapping[str, Any], *names: str) -> float | None:
    """Return the first of some members that is a finite number, perhaps as text."""
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if -_LARGEST < value < _LARGEST:
            return value
    return None


def integer(members: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of some members that is a whole number, perhaps as text."""
    found = number(members, *names)
    return int(found) if found is not None and found == int(found) else None


def octets(value: object) -> bytes | None:
    """Return bytes written as hexadecimal digits; None if they are none, or empty."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        return None
    return bytes.fromhex(value.removeprefix("0x")) or None


def from_base64(value: object) -> bytes | None:
    """Return bytes written in base 64; None if they are none."""
    if not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def moment(members: Mapping[str, Any], *names: str) -> datetime | None:
    """Return the first of some members that is a time: ISO, or a number since 1970.

    Numbers are seconds, milli-, micro- or nanoseconds by their size; a time without zone is UTC.
    """
    for name in names:
        value = members.get(name)
        found = _from_number(number(members, name))
        if found is None and isinstance(value, str):
            found = _from_text(value)
        if found is not None:
            return found
    return None


def _from_number(since_epoch: float | None) -> datetime | None:
    if since_epoch is None or since_epoch <= 0:
        return None
    while since_epoch > 1e11:
        since_epoch /= 1000
    return _EPOCH + timedelta(seconds=since_epoch)


def _from_text(value: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return None


def named(**members: object) -> dict[str, Any]:
    """Return the members that have a value."""
    return {name: value for name, value in members.items() if value is not None}


def sensor_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return battery, temperature and humidity as gateways that decode adverts name them."""
    volts = number(members, "volt", "voltage")
    return named(
        battery_pct=number(members, "batt", "battery", "battery_level", "batteryLevel"),
        battery_mv=integer(members, "mV") if volts is None else round(volts * 1000),
        temperature_c=number(members, "tempc", "temperature", "temp"),
        humidity_pct=number(members, "hum", "humidity", "rh"),
    )
