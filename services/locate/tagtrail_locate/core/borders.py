"""How many borders of zones lie between gateways and places: where a plan draws them, walls stand.

Signals that pass a border of zones usually pass a wall, a partition or a row of racks; a plan does
not say which. The count is taken along the straight way, on a fine raster of the zones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.gaussian_process import decades
from tagtrail_locate.core.geometry import Point, contains_many
from tagtrail_locate.core.radio_map import Survey

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

RASTER_M: Final = 0.5
"""Edge of the raster: a wall's thickness is below it, the narrowest room is not."""

MOST_SQUARES: Final = 40_000
"""Squares of one raster, about; a wide site has coarser ones."""

MOST_BORDERS: Final = 4
"""Beyond so many walls the signal comes around them: through doors, over racks."""

LOSS_SD_DB: Final = 2.5
"""How much the loss at borders differs from what is usual, dB: a site of marks on an open floor, or
one of brick walls, differs at all its borders alike."""

MOST_LOSS_DB: Final = 12.0
"""More than that is a wall of steel, not what borders usually are."""

LEVEL_SD_DB: Final = 4.0
"""Deviation of a place's mean level from law and borders: shadowing."""


class Raster:
    """The zones of one floor as squares.

    Args:
        outlines_m: Polygons of the zones, at least one; where they overlap, the first holds.
    """

    def __init__(self, outlines_m: Sequence[Sequence[Point]]) -> None:
        corners = np.array([point for outline in outlines_m for point in outline])
        west, south = corners.min(axis=0).tolist()
        width, depth = (corners.max(axis=0) - corners.min(axis=0)).tolist()
        self._edge_m = max(RASTER_M, math.sqrt(width * depth / MOST_SQUARES))
        self._west_m, self._south_m = west, south
        self._columns = max(1, math.ceil(width / self._edge_m))
        self._rows = max(1, math.ceil(depth / self._edge_m))
        x = west + (np.arange(self._columns) + 0.5) * self._edge_m
        y = south + (np.arange(self._rows) + 0.5) * self._edge_m
        centres = np.stack([np.tile(x, self._rows), np.repeat(y, self._columns)], axis=1)
        self._zone = np.full(len(centres), -1, dtype=np.intp)
        for index, outline in reversed(list(enumerate(outlines_m))):
            self._zone[contains_many(outline, centres)] = index

    def _zone_at(self, x_m: Floats, y_m: Floats) -> Indices:
        """Return the zones of points, same shape; -1 = in none."""
        column = np.floor((x_m - self._west_m) / self._edge_m).astype(np.intp)
        row = np.floor((y_m - self._south_m) / self._edge_m).astype(np.intp)
        within = (column >= 0) & (column < self._columns) & (row >= 0) & (row < self._rows)
        found: Indices = np.where(
            within, self._zone[np.where(within, row * self._columns + column, 0)], -1
        )
        return found

    def between(self, gateway_m: Point, x_m: Floats, y_m: Floats) -> Floats:
        """Return the borders between a gateway and n places, shape (n,), at most `MOST_BORDERS`.

        What lies between zones and in none (walls that were drawn with their thickness, corridors)
        is one border; a place or a gateway in no zone is beyond one.

        Args:
            gateway_m: East and north, metres.
            x_m: East of the places, shape (n,), metres.
            y_m: North, shape (n,), metres.
        """
        dx, dy = x_m - gateway_m[0], y_m - gateway_m[1]
        longest_m = float(np.maximum(np.abs(dx), np.abs(dy)).max(initial=0.0))
        steps = max(2, math.ceil(longest_m / self._edge_m) + 1)
        along = np.arange(steps) / (steps - 1.0)
        zone = self._zone_at(gateway_m[0] + dx[:, None] * along, gateway_m[1] + dy[:, None] * along)
        known = np.maximum.accumulate(np.where(zone >= 0, np.arange(steps), 0), axis=1)
        passed = np.take_along_axis(zone, known, axis=1)
        count = np.count_nonzero(passed[:, 1:] != passed[:, :-1], axis=1)
        count += (zone[:, -1] < 0) & (passed[:, -1] >= 0)
        found: Floats = np.minimum(count, MOST_BORDERS).astype(np.float64)
        return found


def loss_by_survey(survey: Survey, positions_m: Floats, passed: Floats, usual_db: float) -> float:
    """Return what a border takes by a survey, dB: least squares around what is usual.

    Each gateway has an offset and an exponent of its own, which are fitted along.

    Args:
        survey: Levels at known places; its columns have shape (p,).
        positions_m: Of the gateways, shape (n, 3), metres.
        passed: Borders on the way of each level, shape (p,).
        usual_db: Expected without any levels.

    Returns:
        0 to `MOST_LOSS_DB`.
    """
    weight = 1.0 / LOSS_SD_DB**2
    pull = usual_db * weight
    for gateway, position in enumerate(positions_m):
        own = survey.gateway == gateway
        place, count = survey.place[own], survey.count[own]
        if not place.size:
            continue
        share = count / np.bincount(place, weights=count)[place]
        slope = decades(position, survey.places_m[place])
        columns = [slope, survey.level_db[own], passed[own]]
        slope, level, borders = [c - np.sum(share * c) / np.sum(share) for c in columns]
        along = share * slope / max(float(np.sum(share * slope * slope)), 1e-9)
        level -= slope * np.sum(along * level)
        borders -= slope * np.sum(along * borders)
        weight += float(np.sum(share * borders * borders)) / LEVEL_SD_DB**2
        pull -= float(np.sum(share * borders * level)) / LEVEL_SD_DB**2
    return min(max(pull / weight, 0.0), MOST_LOSS_DB)
