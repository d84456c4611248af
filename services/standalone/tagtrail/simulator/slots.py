"""Places on the floor where a crate can stand."""

from __future__ import annotations

import numpy as np

from tagtrail.simulator.layout import Point, Site
from tagtrail_kernel.errors import RejectedError

PITCH_M = 1.6
"""A Euro pallet is 1.2 m long; the rest is the gap."""
STACK = 2
"""Crates per place."""
END_M, SIDE_M = 2.4, 1.0
"""Kept free at the ends of an aisle for turning, and along its sides."""


class Slots:
    """Free places by zone index."""

    def __init__(self, site: Site) -> None:
        self._points: list[list[Point]] = []
        self._free: list[list[int]] = []
        for zone in site.zones:
            xs = [min(max(x, 0.0), site.width_m) for x, _ in zone.outline_m]
            ys = [y for _, y in zone.outline_m]
            end = END_M if zone.kind == "storage" else 1.5
            grid = [
                (round(float(x), 3), round(float(y), 3))
                for x in np.arange(min(xs) + end, max(xs) - end + 1e-9, PITCH_M)
                for y in np.arange(min(ys) + SIDE_M, max(ys) - SIDE_M + 1e-9, PITCH_M)
            ]
            self._points.append(grid)
            self._free.append([n for n in range(len(grid)) for _ in range(STACK)])

    def take(self, rng: np.random.Generator, zone: int) -> tuple[tuple[int, int], Point] | None:
        """Take a random free place of a zone; None if it is full.

        Returns:
            The slot, to give back later, and its point, metres.
        """
        free = self._free[zone]
        if not free:
            return None
        number = free.pop(int(rng.integers(len(free))))
        return (zone, number), self._points[zone][number]

    def take_any(self, rng: np.random.Generator, zones: list[int]) -> tuple[tuple[int, int], Point]:
        """Take a random free place in one of several zones.

        Raises:
            RejectedError: all of them are full.
        """
        for n in rng.permutation(len(zones)):
            found = self.take(rng, zones[int(n)])
            if found is not None:
                return found
        raise RejectedError("the hall is full; simulate fewer tags per site or a larger hall")

    def give_back(self, slot: tuple[int, int]) -> None:
        """Free a place."""
        self._free[slot[0]].append(slot[1])
