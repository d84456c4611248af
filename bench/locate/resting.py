"""Answers for the times when a tag lies still, in the place of those of the filter of carried tags.

That a tag lies still is told by its levels (`core/grid_stillness.py`). A campaign follows tags in the
order of time: what the stays that are over tell of the gateways' offsets is used for the later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from bench.locate.following import Moment, Packets, follow, ticks_of
from tagtrail_locate.core.grid_filter import GridFilter
from tagtrail_locate.core.grid_stay import Heard, Offsets, StayLocator
from tagtrail_locate.core.grid_stillness import Stay, stays_of

ANEW_S: Final = 1.0
"""The place of a stay is computed anew so often; in between the last one stands."""

TEACHING_S: Final = 10.0
"""A stay of so long teaches offsets: a person who stops for a moment shields the tag."""


class Lesson(NamedTuple):
    """A stay that is over: when, what was heard, and over which map."""

    ended_s: float
    heard: Heard
    locator: StayLocator


class Followers(NamedTuple):
    """What follows a tag while it is carried, and what locates it while it lies still."""

    carried: GridFilter
    still: StayLocator


class Campaign:
    """Follows tags one after the other, and learns from their stays how gateways drifted."""

    def __init__(self) -> None:
        """Know nothing."""
        self._offsets: Offsets | None = None
        self._lessons: list[Lesson] = []

    def follow(self, followers: Followers, packets: Packets, delay_s: float) -> list[Moment]:
        """Return an answer every `TICK_S`, each from packets that are known `delay_s` after it.

        Args:
            followers: Over the map that holds for this tag.
            packets: Of one tag; those of several are given in the order of their begin.
            delay_s: Seconds.
        """
        if not len(packets.at_s):
            return []
        offsets = self._learned(packets.begin_s, followers.still)
        gateways = len(offsets.mean_db)
        stays = stays_of(packets.at_s, packets.gateway, packets.level_db, gateways)
        ticks = ticks_of(packets).tolist()
        moments: dict[float, Moment] = {}
        for stay in stays:
            during = [at_s for at_s in ticks if _is_known(stay, at_s, delay_s)]
            found = _located(followers.still, offsets, packets, stay, during, delay_s)
            moments.update(zip(during, found, strict=True))
            self._remember(followers.still, packets, stay)
        others = [at_s for at_s in ticks if at_s not in moments]
        if others:
            begun = _until(packets, others[-1] + delay_s)
            carried = {m.at_s: m for m in follow(followers.carried, begun, delay_s)}
            moments |= {at_s: carried[at_s] for at_s in others}
        return [moments[at_s] for at_s in ticks]

    def _learned(self, until_s: float, locator: StayLocator) -> Offsets:
        """Return what the stays that were over at a moment told of the offsets."""
        offsets = self._offsets or locator.start()
        self._lessons.sort(key=lambda lesson: lesson.ended_s)
        while self._lessons and self._lessons[0].ended_s <= until_s:
            ended_s, heard, own = self._lessons.pop(0)
            offsets = own.learned(offsets, heard, ended_s)
        self._offsets = offsets
        return offsets

    def _remember(self, locator: StayLocator, packets: Packets, stay: Stay) -> None:
        """Keep what a stay may teach once it is over; the last one is over with the packets."""
        last_s = float(packets.known_s.max())
        until_s = min(stay.end_s, last_s)
        if until_s - stay.start_s >= TEACHING_S:
            heard = _heard(packets, stay.start_s, until_s, len(locator.stay_map.gateways))
            self._lessons.append(Lesson(min(stay.ended_s, last_s), heard, locator))


def _until(packets: Packets, until_s: float) -> Packets:
    """Return packets up to a moment and the next one, which shows that there was nothing between."""
    end = int(np.searchsorted(packets.at_s, until_s, side="right")) + 1
    return packets.only(np.arange(len(packets.at_s)) < end)


def _is_known(stay: Stay, at_s: float, delay_s: float) -> bool:
    """Tell whether it is known some time after a moment that the tag lay still then."""
    begun = at_s >= stay.start_s and at_s + delay_s >= stay.told_s
    return begun and (at_s < stay.end_s or at_s + delay_s < stay.ended_s)


def _located(
    locator: StayLocator,
    offsets: Offsets,
    packets: Packets,
    stay: Stay,
    ticks: Sequence[float],
    delay_s: float,
) -> Iterator[Moment]:
    """Yield where the tag lies, for moments of its stay in order."""
    gateways, names = len(offsets.mean_db), locator.grid.zone_names
    last, next_s = Moment(-np.inf, np.nan, np.nan, "", np.inf), -np.inf
    for at_s in ticks:
        if at_s >= next_s:
            next_s = at_s + ANEW_S
            heard = _heard(packets, stay.start_s, min(at_s + delay_s, stay.end_s), gateways)
            place = locator.locate(offsets, heard)
            zone = names[int(np.argmax(place.zones[0, : len(names)]))]
            x, y, radius = (float(v[0]) for v in (place.x_m, place.y_m, place.radius_m))
            last = Moment(at_s, x, y, zone, radius)
        yield last._replace(at_s=at_s)


def _heard(packets: Packets, since_s: float, until_s: float, gateways: int) -> Heard:
    known = (packets.at_s >= since_s) & (packets.known_s <= until_s)
    own = packets.only(known)
    return Heard.of(own.gateway, own.level_db, gateways)
