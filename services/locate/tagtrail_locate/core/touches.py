"""Whether the reads of an NFC label can all be of one label.

The chip of a signed label counts its reads, so each read says a higher number than all before it. A
copy cannot go on counting in step with the original: sooner or later a number comes twice, or a lower
one after a higher one. Labels without a counter, too, cannot be at two sites at once.

Judged are pairs of reads by when they happened, so what is found does not depend on the order in which
they reach the log: an offline queue that comes late with an older, lower number contradicts nothing.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from tagtrail_locate.core.geometry import EARTH_M
from tagtrail_locate.core.registry import Site

KEPT: Final = 16
"""Reads remembered of a label: one that the log learns of later than so many others is judged by those
only. They count upwards, so the newest hold the highest number."""

ECHO_S: Final = 2.0
"""The same number of one phone or reader within this time is one touch that was told twice: chips count
when the field reaches them, and browsers may tell of one touch more than once."""

CLOCKS_S: Final = 60.0
"""How far the clocks of two phones may be apart: a lower number so shortly after a higher one says
nothing. The same number twice does."""

FASTEST_MPS: Final = 300.0
"""Nothing that carries goods is faster: airliners reach 260 m/s."""

Sign = Literal["counter_repeated", "counter_went_back", "impossible_travel"]
_TELLING: Final[tuple[Sign, ...]] = ("counter_repeated", "counter_went_back", "impossible_travel")


class Touch(msgspec.Struct, array_like=True):
    """A read of a label.

    Attributes:
        at_s: Event time, seconds since 1970.
        event: Id of the sighting, 16 bytes.
        gateway_id: Who read it.
        counter: What the label said it had counted to; None if it does not count.
        zone_id: Zone that the reader stood for then.
        site_id: Site at which the reader stands; None for a phone, which is carried about.
        told: Whether it was told to contradict an earlier read.
    """

    at_s: float
    event: bytes
    gateway_id: str
    counter: int | None = None
    zone_id: str | None = None
    site_id: str | None = None
    told: bool = False


class Contradiction(NamedTuple):
    """Two reads that cannot both be of one label.

    Attributes:
        sign: What is wrong.
        earlier: The earlier read.
        later: The later read.
        distance_m: Between their sites, whole metres, of `impossible_travel`.
    """

    sign: Sign
    earlier: Touch
    later: Touch
    distance_m: float | None = None


def take(touches: list[Touch], new: Touch, sites: Mapping[str, Site]) -> list[Contradiction]:
    """Take in a read of a label, and return what it contradicts.

    Each read is told at most once as the later one. As long as no more than `KEPT` reads were made,
    the same reads in any order give the same later ones.

    Args:
        touches: Reads so far, in order of time; changed in place.
        new: The read; a repetition of its event must not come here.
        sites: By site id, for their coordinates.

    Returns:
        In order of the time of the later read.
    """
    place = bisect.bisect(touches, _when(new), key=_when)
    pairs = (contradiction(touch, new, sites) for touch in touches[:place])
    against = [pair for pair in pairs if pair is not None]
    found = []
    if against:
        new.told = True
        found.append(min(against, key=lambda pair: (_TELLING.index(pair.sign), -pair.earlier.at_s)))
    for touch in touches[place:]:
        pair = None if touch.told else contradiction(new, touch, sites)
        if pair is not None:
            touch.told = True
            found.append(pair)
    touches.insert(place, new)
    if len(touches) > KEPT:
        touches.pop(next((n for n, touch in enumerate(touches) if touch.told), 0))
    return found


def contradiction(earlier: Touch, later: Touch, sites: Mapping[str, Site]) -> Contradiction | None:
    """Return why two reads cannot both be of one label; None if they can.

    Args:
        earlier: A read.
        later: Another one, not before it.
        sites: By site id.
    """
    apart_s = later.at_s - earlier.at_s
    if earlier.counter is not None and later.counter is not None:
        if later.counter == earlier.counter:
            echo = later.gateway_id == earlier.gateway_id and apart_s <= ECHO_S
            return None if echo else Contradiction("counter_repeated", earlier, later)
        if later.counter < earlier.counter and apart_s > CLOCKS_S:
            return Contradiction("counter_went_back", earlier, later)
    if earlier.site_id is None or later.site_id is None or earlier.site_id == later.site_id:
        return None
    distance_m = distance_between(sites.get(earlier.site_id), sites.get(later.site_id))
    if distance_m is None or distance_m <= FASTEST_MPS * (apart_s + CLOCKS_S):
        return None
    return Contradiction("impossible_travel", earlier, later, float(round(distance_m)))


def distance_between(one: Site | None, other: Site | None) -> float | None:
    """Return the great-circle distance of two sites, metres; None if one has no coordinates.

    Example:
        >>> berlin = Site(site_id="b", name="B", latitude_deg=52.52, longitude_deg=13.405)
        >>> hamburg = Site(site_id="h", name="H", latitude_deg=53.551, longitude_deg=9.994)
        >>> round(distance_between(berlin, hamburg), -3)
        255000.0
    """
    if one is None or one.latitude_deg is None or one.longitude_deg is None:
        return None
    if other is None or other.latitude_deg is None or other.longitude_deg is None:
        return None
    north = math.radians(other.latitude_deg - one.latitude_deg) / 2
    east = math.radians(other.longitude_deg - one.longitude_deg) / 2
    across = math.cos(math.radians(one.latitude_deg)) * math.cos(math.radians(other.latitude_deg))
    half = math.sin(north) ** 2 + across * math.sin(east) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(half)))


def _when(touch: Touch) -> tuple[float, bytes]:
    return touch.at_s, touch.event
