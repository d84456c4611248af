"""The port of wire formats, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

from tagtrail.simulator.roster import Gateway


class Reading(NamedTuple):
    """One reception as a gateway makes it; the gateway's clock error is already in `at_ms`.

    Attributes:
        at_ms: Gateway's clock at reception, milliseconds since 1970.
        true_s: True time, seconds since the start.
        mac: Radio address, 12 lower-case hex digits.
        rssi_dbm: Power, not rounded, dBm.
        advert: Running number of the tag's advert.
        interval_s: Advertising interval, seconds.
        battery_pct: Charge of the tag, percent.
        twice: Whether it is sent a second time with the same identity.
        random: 128 random bits as 32 hex digits, for identities.
    """

    at_ms: int
    true_s: float
    mac: str
    rssi_dbm: float
    advert: int
    interval_s: float
    battery_pct: float
    twice: bool
    random: str


class RangeReading(NamedTuple):
    """One UWB range as an anchor reports it.

    Attributes:
        at_ms: Anchor's clock, milliseconds since 1970.
        mac: Address of the tag, 12 lower-case hex digits.
        range_m: Distance, metres.
        sigma_m: Stated standard deviation, metres.
        random: 32 hex digits.
    """

    at_ms: int
    mac: str
    range_m: float
    sigma_m: float
    random: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message before it goes onto the link.

    Attributes:
        ready_s: When the gateway sends it, seconds since the start.
        topic: MQTT topic.
        payload: Bytes.
        unique: Different readings in it.
        sent: Readings in it, repeats included.
        qos: MQTT quality of service.
        copies: How often the gateway publishes it (exact doubles).
        retained: MQTT retain flag.
    """

    ready_s: float
    topic: str
    payload: bytes
    unique: int = 0
    sent: int = 0
    qos: int = 1
    copies: int = 1
    retained: bool = False


class Voice(Protocol):
    """How one gateway speaks."""

    echoes: bool
    """Whether two readings of one advert stay distinguishable (times in milliseconds)."""

    def sightings(self, readings: list[Reading], step_end_s: float) -> Iterator[Message]:
        """Spell the readings of one step, in order of time."""
        ...

    def status(self, at_s: float, *, online: bool, will: bool = False) -> Iterator[Message]:
        """Say that the gateway is there, or (as its last will) that it is not."""
        ...


class Speaker:
    """What all voices need.

    Args:
        gateway: Who speaks.
        start: Simulated start, aware.
        rssi_1m_dbm: Power of a standard tag at 1 m, dBm, as this gateway was calibrated.
    """

    echoes = False

    def __init__(self, gateway: Gateway, start: datetime, rssi_1m_dbm: float) -> None:
        self.gateway, self.rssi_1m_dbm = gateway, rssi_1m_dbm
        self._start_ms = epoch_ms(start)
        self._skew_ms = round(gateway.skew_s * 1000)

    def clock_ms(self, at_s: float) -> int:
        """Return what the gateway's clock shows at a true time, milliseconds since 1970."""
        return self._start_ms + self._skew_ms + round(at_s * 1000)


def epoch_ms(at: datetime) -> int:
    """Return the milliseconds since 1970 of an aware time."""
    return round(at.timestamp() * 1000)


@lru_cache(maxsize=65_536)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(at_ms: int) -> str:
    """Return a time as RFC 3339 with milliseconds, UTC."""
    second, ms = divmod(at_ms, 1000)
    return f"{_second(second)}.{ms:03d}Z"


def uuid7_text(at_ms: int, random: str) -> str:
    """Return a UUIDv7 (RFC 9562) of a time and at least 19 random hex digits."""
    stamp = f"{at_ms:012x}"
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"


def colons(mac: str) -> str:
    """Return an address as upper-case pairs with colons."""
    upper = mac.upper()
    return ":".join(upper[n : n + 2] for n in range(0, 12, 2))
