"""Identifiers that change with the time: what a key gives now, and whose a heard one is.

Sources: google/eddystone, eid-computation; Find Hub Network accessory specification 1.3, EID
computation; SEC 2 for the curve secp160r1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from tagtrail_agent.decoding.crypto import block_cipher

_CLOCK: Final = 2**32
DRIFT_WINDOWS: Final = 2
"""Identifiers tried before and after the expected one. Clocks may be 150 ppm off, half an hour
in four months; whoever is heard meanwhile has the drift learnt."""


STEP: Final = 8
"""Identifiers computed in one go: one of FMDN takes 1 to 3 ms, and adverts wait meanwhile."""

_FOREVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RollingKey:
    """What explains the identifiers of a tag.

    Attributes:
        key: 16 octets (Eddystone identity key) or 32 (FMDN ephemeral identity key).
        exponent: The identifier changes every 2^exponent seconds, 0 to 15.
        clock_s: The tag's clock at `clock_at`, seconds.
        clock_at: When it was read, UTC.
    """

    key: bytes = field(repr=False)
    exponent: int
    clock_s: int
    clock_at: datetime

    def window(self, at: datetime) -> int:
        """Return the number of the period at a time."""
        since_s = (at - self.clock_at) // timedelta(seconds=1)
        return (self.clock_s + since_s) >> self.exponent

    def bounds(self, window: int) -> tuple[datetime, datetime]:
        """Return when a period begins and ends, UTC."""
        start = self.clock_at + timedelta(seconds=(window << self.exponent) - self.clock_s)
        return start, start + timedelta(seconds=1 << self.exponent)

    def window_s(self, window: int) -> int:
        """Return the tag's clock at the start of a period, seconds, 32 bits."""
        return (window << self.exponent) % _CLOCK


def eddystone_eid(key: bytes, exponent: int, time_s: int) -> bytes:
    """Return the 8 octets of an Eddystone EID.

    Args:
        key: Identity key, 16 octets.
        exponent: Rotation exponent.
        time_s: The tag's clock, seconds; its low bits do not count.
    """
    time_s = time_s >> exponent << exponent
    high = (time_s >> 16).to_bytes(2, "big")
    temporary = block_cipher(key)(bytes(11) + b"\xff\x00\x00" + high)
    # The temporary key changes every 65,536 s, so it is not worth a place among prepared keys.
    encrypt = block_cipher.__wrapped__(temporary)
    return encrypt(bytes(11) + bytes([exponent]) + time_s.to_bytes(4, "big"))[:8]


def fmdn_eid(key: bytes, exponent: int, time_s: int) -> bytes:
    """Return the 20 octets of an FMDN EID: the x coordinate of a point that key and time give.

    Args:
        key: Ephemeral identity key, 32 octets.
        exponent: Rotation exponent, 10 by the specification.
        time_s: The tag's clock, seconds; its low bits do not count.
    """
    time = (time_s >> exponent << exponent).to_bytes(4, "big")
    half = bytes([exponent]) + time
    encrypt = block_cipher(key)
    scrambled = encrypt(b"\xff" * 11 + half) + encrypt(bytes(11) + half)
    return _times_generator(int.from_bytes(scrambled, "big") % _N).to_bytes(20, "big")


_P: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF7FFFFFFF
_N: Final = 0x0100000000000000000001F4C8F927AED3CA752257
_GX: Final = 0x4A96B5688EF573284664698968C38BB913CBFC82
_GY: Final = 0x23A628553168947D59DCC912042351377AC5FB32


def _times_generator(factor: int) -> int:
    """Return the x coordinate of factor times the generator of secp160r1.

    In Jacobian coordinates, from the highest bit; not in constant time, which nobody outside can
    measure here.
    """
    x, y, z = 0, 1, 0
    for bit in f"{factor:b}":
        x, y, z = _double(x, y, z)
        if bit == "1":
            x, y, z = _add_generator(x, y, z)
    inverse = pow(z, -1, _P) if z else 0
    return x * inverse * inverse % _P


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    """Double a point; the curve's a is -3."""
    if not z:
        return x, y, z
    yy, zz = y * y % _P, z * z % _P
    s = 4 * x * yy % _P
    m = 3 * (x - zz) * (x + zz) % _P
    x3 = (m * m - 2 * s) % _P
    return x3, (m * (s - x3) - 8 * yy * yy) % _P, 2 * y * z % _P


def _add_generator(x: int, y: int, z: int) -> tuple[int, int, int]:
    if not z:
        return _GX, _GY, 1
    zz = z * z % _P
    h, r = (_GX * zz - x) % _P, (_GY * zz * z - y) % _P
    if not h:
        return _double(x, y, z) if not r else (0, 1, 0)
    hh = h * h % _P
    hhh, v = h * hh % _P, x * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - y * hhh) % _P, z * h % _P


class Found(NamedTuple):
    """Whose identifier it is.

    Attributes:
        number: Number of the key, in the order given.
        window: Period that it belongs to.
    """

    number: int
    window: int


class RollingTable:
    """Finds the key of an identifier, by the identifiers that the keys give about now.

    Args:
        keys: The keys.
        identifier: Computes one from key, exponent and time.
    """

    def __init__(
        self, keys: Sequence[RollingKey], identifier: Callable[[bytes, int, int], bytes]
    ) -> None:
        self._keys = tuple(keys)
        self._identifier = identifier
        self._drift = [0] * len(self._keys)
        self._windows: list[int] = []
        self._known: dict[Found, bytes] = {}
        self._found: dict[bytes, Found] = {}
        self._missing: list[Found] = []
        self._from = self._until = datetime.min.replace(tzinfo=UTC)

    def find(self, identifier: bytes, at: datetime) -> Found | None:
        """Return whose identifier it is at a time; None if no key explains it.

        With many keys the first calls of a period answer None for some, because each call
        computes a few identifiers only; tags repeat theirs every few seconds.
        """
        if not self._from <= at < self._until:
            self._plan(at)
        if self._missing:
            self._compute()
        found = self._found.get(identifier)
        if found is not None:
            self._drift[found.number] = found.window - self._windows[found.number]
        return found

    def drift(self, number: int) -> int:
        """Return by how many periods the clock of a key's tag was off when it was heard last."""
        return self._drift[number]

    def _plan(self, at: datetime) -> None:
        """Decide which periods count from now on, and until when; likely ones are computed first."""
        self._windows = [key.window(at) for key in self._keys]
        bounds = [key.bounds(w) for key, w in zip(self._keys, self._windows, strict=True)]
        self._from = max((start for start, _ in bounds), default=at)
        self._until = min((end for _, end in bounds), default=_FOREVER)
        wanted = [
            Found(number, middle + self._drift[number] + offset)
            for offset in sorted(range(-DRIFT_WINDOWS, DRIFT_WINDOWS + 1), key=abs)
            for number, middle in enumerate(self._windows)
        ]
        self._known = {place: self._known[place] for place in wanted if place in self._known}
        self._found = {identifier: place for place, identifier in self._known.items()}
        self._missing = [place for place in reversed(wanted) if place not in self._known]

    def _compute(self) -> None:
        for _ in range(min(STEP, len(self._missing))):
            place = self._missing.pop()
            key = self._keys[place.number]
            identifier = self._identifier(key.key, key.exponent, key.window_s(place.window))
            self._known[place] = identifier
            self._found[identifier] = place
