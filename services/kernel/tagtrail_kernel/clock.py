"""Time and identity as ports, so that cores and tests decide them."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LAST_UUID_MS = (1 << 48) - 1


class Clock(Protocol):
    """Source of the current time."""

    def now(self) -> datetime:
        """Return an aware UTC datetime."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return an aware UTC datetime."""
        return datetime.now(UTC)  # noqa: TID251 - this is the port's one adapter


class FakeClock:
    """A clock that a test sets and moves."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.at

    def forward(self, seconds: float) -> None:
        """Move the clock forward by some seconds."""
        self.at += timedelta(seconds=seconds)


def milliseconds(at: datetime) -> int:
    """Return the milliseconds since 1970 of an aware time, clamped to what a UUID can hold."""
    return min(max((at - EPOCH) // _MILLISECOND, 0), _LAST_UUID_MS)


def _uuid_of(number: int) -> uuid.UUID:
    """Return a UUID of 128 bits that are known to be good.

    The constructor's checks cost four times as much as all the rest; ids are made per sighting.
    """
    made = _new(uuid.UUID)
    _set(made, "int", number)
    _set(made, "is_safe", uuid.SafeUUID.unknown)
    return made


_new = object.__new__
_set = object.__setattr__


def uuid7(ms: int, random: int) -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562, 5.7) of a millisecond and 74 random bits."""
    high = (ms << 16) | 0x7000 | ((random >> 62) & 0xFFF)
    return _uuid_of((high << 64) | (0b10 << 62) | (random & ((1 << 62) - 1)))


def uuid8(at: datetime, content: bytes) -> uuid.UUID:
    """Return a UUIDv8 (RFC 9562, 5.8): event milliseconds, then 74 bits of SHA-256 of the content.

    The same fact always gets the same id, and ids are ordered by event time, which keeps the
    log's index of known ids append-mostly.
    """
    digest = int.from_bytes(hashlib.sha256(content).digest()[:10], "big") >> 6
    high = (milliseconds(at) << 16) | 0x8000 | (digest >> 62)
    return _uuid_of((high << 64) | (0b10 << 62) | (digest & ((1 << 62) - 1)))


class Ids(Protocol):
    """Source of new identities."""

    def new(self) -> uuid.UUID:
        """Return a fresh, time-ordered UUID (version 7)."""
        ...


class TimeOrderedIds:
    """Version 7 UUIDs of a clock, with random low bits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self) -> uuid.UUID:
        """Return a fresh, time-ordered UUID (version 7)."""
        return uuid7(milliseconds(self._clock.now()), secrets.randbits(74))
