"""From readings to items of the native wire format (docs/wire-format.md)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from tagtrail_agent.clock import EPOCH
from tagtrail_agent.readings import Reading

EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)
"""The server takes earlier times for a clock that was never set."""

AHEAD: Final = timedelta(minutes=4)
"""A little less than the 5 minutes by which the server lets a time lie in the future."""

_LAST_MS: Final = (1 << 48) - 1


def compact(value: object) -> str:
    """Return JSON without spaces, members in the order of their names."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def text_of(at: datetime) -> str:
    """Return a time as on the wire: RFC 3339, milliseconds, Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def item_id(reading: Reading, gateway_id: str) -> str:
    """Return the event id of a reading: a UUIDv8 of milliseconds, then a hash of all it says.

    The same reading always gets the same id, so that whatever is sent twice is one event.

    Args:
        reading: The reading, with the clock as it was.
        gateway_id: The receiver.
    """
    content = compact([gateway_id, reading.tag, reading.at.isoformat(), reading.members])
    digest = int.from_bytes(hashlib.sha256(content.encode()).digest()[:10], "big") >> 6
    ms = min(max((reading.at - EPOCH) // timedelta(milliseconds=1), 0), _LAST_MS)
    high = (ms << 16) | 0x8000 | (digest >> 62)
    return str(UUID(int=(high << 64) | (0b10 << 62) | (digest & ((1 << 62) - 1))))


def item_of(reading: Reading, gateway_id: str) -> dict[str, Any]:
    """Return the item without its time, which is decided when it is sent.

    A reading that has an id already keeps it: a phone's is made of the phone's own, so that what a
    phone hands over again is still one event.
    """
    own = reading.members.get("id")
    made = own if _is_event_id(own) else item_id(reading, gateway_id)
    return {**reading.members, "id": made, "tag": reading.tag}


def _is_event_id(value: object) -> bool:
    """Return whether the server takes a value as an event id: a UUID of version 7 or 8."""
    try:
        return isinstance(value, str) and UUID(value).version in (7, 8)
    except ValueError:
        return False


def timed(
    item: dict[str, Any], at: datetime, true_at: datetime | None, tolerance_s: float
) -> dict[str, Any]:
    """Return an item with the best time that is known.

    Args:
        item: The item without a time.
        at: What the gateway's clock said.
        true_at: The same moment by the server's clock, if it can be told.
        tolerance_s: A smaller difference is left alone, seconds.

    Returns:
        The item with `at`. A corrected one says with `clock_ahead_s` by how much the clock had
        been ahead; one whose time nobody can tell has none, and the time of sending stands in.
    """
    if true_at is not None:
        ahead_s = (at - true_at).total_seconds()
        if abs(ahead_s) <= tolerance_s:
            return {**item, "at": text_of(at)}
        return {**item, "at": text_of(true_at), "clock_ahead_s": round(ahead_s, 3)}
    return {**item, "at": text_of(at)}


def plausible(at: datetime, server_at: datetime) -> bool:
    """Return whether the server would take a time."""
    return EARLIEST <= at <= server_at + AHEAD
