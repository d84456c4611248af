"""Ranges of a tag that stands still, gathered until it moves: their medians are calmer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Final

import msgspec

MOST: Final = 30
"""Readings kept of an anchor: medians of more change by less than a centimetre."""

STALE: Final = 8
"""Rounds after which an anchor that is no longer heard does not count any more: what is heard once
by chance, at the limit of its reach, is the worst range of all."""

LEAST: Final = 5
"""So many anchors count although they are no longer heard: three alone are one outlier from lost."""

KNOWN: Final = 5
"""An anchor with fewer readings cannot tell whether the tag moved."""

MOVED_M: Final = 0.3
"""A range that is off its median by this is seen with a still tag once in a hundred times."""

FEWEST_MOVED: Final = 3
"""So many anchors, and at least half of those that know, see a move."""


class Reading(msgspec.Struct, frozen=True):
    """One range with its powers.

    Attributes:
        anchor_id: Who measured.
        range_m: Metres.
        rssi_dbm: Received power, dBm; NaN = not known.
        first_path_dbm: Power of the first path, dBm; NaN = not known.
    """

    anchor_id: str
    range_m: float
    rssi_dbm: float = math.nan
    first_path_dbm: float = math.nan


class StillRanges(msgspec.Struct):
    """What anchors read since a tag last moved.

    Attributes:
        readings: The newest of each anchor, in order of arrival.
        heard: Round in which each anchor was heard last.
        rounds: Rounds taken.
        moves: How often it moved.
    """

    readings: dict[str, list[Reading]] = {}
    heard: dict[str, int] = {}
    rounds: int = 0
    moves: int = 0

    def take(self, round_: Iterable[Reading]) -> None:
        """Take in one round of ranges; forgets the past if it shows that the tag moved."""
        fresh = [r for r in round_ if math.isfinite(r.range_m) and r.range_m >= 0.0]
        known = [r for r in fresh if len(self.readings.get(r.anchor_id, [])) >= KNOWN]
        moved = [r for r in known if abs(r.range_m - self._middle(r.anchor_id)) > MOVED_M]
        if len(moved) >= FEWEST_MOVED and 2 * len(moved) >= len(known):
            self.readings, self.moves = {}, self.moves + 1
        self.rounds += 1
        for reading in fresh:
            self.heard[reading.anchor_id] = self.rounds
            kept = self.readings.setdefault(reading.anchor_id, [])
            kept.append(reading)
            del kept[:-MOST]

    def medians(self) -> list[Reading]:
        """Return one reading per anchor heard lately, in the order of their names."""
        newest = sorted(self.readings, key=lambda a: (-self.heard[a], a))
        counted = {a for a in newest if self.heard[a] > self.rounds - STALE} | set(newest[:LEAST])
        return [_median(self.readings[a]) for a in sorted(counted)]

    def _middle(self, anchor_id: str) -> float:
        return statistics.median(r.range_m for r in self.readings[anchor_id])


def _median(readings: list[Reading]) -> Reading:
    return Reading(
        readings[0].anchor_id,
        statistics.median(r.range_m for r in readings),
        _known_median([r.rssi_dbm for r in readings]),
        _known_median([r.first_path_dbm for r in readings]),
    )


def _known_median(values: list[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return statistics.median(known) if known else math.nan
