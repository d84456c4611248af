"""Where things are over time: piecewise linear tracks with knots on whole seconds."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from tagtrail.simulator.layout import Floats, Point

AWAY: Final[Point] = (math.nan, math.nan)
"""Off-site: no receiver hears it and no zone holds it."""


@dataclass(slots=True)
class Track:
    """One asset's way; between knots it moves in a straight line, after the last it rests.

    Attributes:
        times_s: Knots, whole seconds since the start, ascending; the first is 0.
        points_m: Position at each knot; AWAY when off-site until the next knot.
    """

    times_s: list[int] = field(default_factory=list)
    points_m: list[Point] = field(default_factory=list)

    def rest(self, at_s: int, point: Point) -> None:
        """Be at a point from a time on (a jump, or standing still until then)."""
        if self.times_s and self.times_s[-1] == at_s:
            self.points_m[-1] = point
            return
        self.times_s.append(at_s)
        self.points_m.append(point)

    def go(self, start_s: int, corners: list[Point], speed_mps: float) -> int:
        """Travel along corners from a time on.

        Args:
            start_s: When it sets off; not before the last knot.
            corners: The way, metres; the first is where it is.
            speed_mps: Speed; legs are rounded up to whole seconds.

        Returns:
            When it arrives, seconds.
        """
        at_s = start_s
        self.rest(at_s, corners[0])
        for a, b in pairwise(corners):
            at_s += max(1, math.ceil(math.dist(a, b) / speed_mps))
            self.rest(at_s, b)
        return at_s

    @property
    def place(self) -> Point:
        """Where the track ends so far."""
        return self.points_m[-1]

    def segment(self, at_s: float) -> int:
        """Return the index of the knot at or before a time."""
        return max(bisect_right(self.times_s, at_s) - 1, 0)

    def at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Return east and north at some times, metres, each of the shape of `times_s`."""
        knots = np.array(self.times_s, dtype=np.float64)
        points = np.array(self.points_m, dtype=np.float64)
        index = np.maximum(np.searchsorted(knots, times_s, side="right") - 1, 0)
        after = np.minimum(index + 1, len(knots) - 1)
        span = np.where(after > index, knots[after] - knots[index], 1.0)
        share = np.clip((times_s - knots[index]) / span, 0.0, 1.0)[:, None]
        here, there = points[index], points[after]
        there = np.where(np.isnan(there) | np.isnan(here), here, there)
        found = here + (there - here) * share
        return found[:, 0], found[:, 1]
