"""Zones, position and area of what is believed over a grid.

Sums run along the last axis and the rest is elementwise, so a tag's answer is its own to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid import Grid

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


class Place(NamedTuple):
    """Where B tags are.

    Attributes:
        zones: Probability per zone, shape (B, Z + 1); the last is "in no zone".
        x_m: Spatial median (or mean, see the settings), shape (B,), metres.
        y_m: Likewise, shape (B,), metres.
        covariance_m2: About that point, shape (B, 3), m²: east-east, east-north, north-north.
        radius_m: Around that point, holds `area_share` of the belief, shape (B,), metres.
    """

    zones: Floats
    x_m: Floats
    y_m: Floats
    covariance_m2: Floats
    radius_m: Floats


def place_of(grid: Grid, cells: Floats, area_share: float, median_rounds: int) -> Place:
    """Tell zones, position and area of beliefs.

    Args:
        grid: The cells.
        cells: Shape (B, C), sums to 1 per tag.
        area_share: Share of the belief that the area holds, below 1.
        median_rounds: Rounds of Weiszfeld from the mean towards the spatial median.
    """
    count = len(grid.zone_names) + 1
    zones = [np.add.reduce(cells * (grid.zone == index), axis=-1) for index in range(count)]
    x, y = _centre(grid, cells, median_rounds)
    east, north = grid.x_m - x[:, None], grid.y_m - y[:, None]
    pairs = ((east, east), (east, north), (north, north))
    covariance = np.stack([np.add.reduce(cells * a * b, axis=-1) for a, b in pairs], axis=-1)
    covariance[:, (0, 2)] += grid.cell_m**2 / 12.0
    radius = _radius(grid, cells, np.sqrt(east * east + north * north), area_share)
    return Place(np.stack(zones, axis=-1), x, y, covariance, radius)


def over_modes(mass: Singles) -> Floats:
    """Return the belief per cell, shape (B, C), of a belief per mode and cell, (B, M, C)."""
    cells: Floats = mass[:, 0].astype(np.float64)
    for mode in range(1, mass.shape[1]):
        cells += mass[:, mode]
    return cells


def _centre(grid: Grid, cells: Floats, rounds: int) -> tuple[Floats, Floats]:
    near_m2 = grid.cell_m**2 / 4.0
    weights, x, y = cells, cells[:, 0], cells[:, 0]
    for left in range(rounds, -1, -1):
        total = np.add.reduce(weights, axis=-1)
        x = np.add.reduce(weights * grid.x_m, axis=-1) / total
        y = np.add.reduce(weights * grid.y_m, axis=-1) / total
        if left:
            east, north = grid.x_m - x[:, None], grid.y_m - y[:, None]
            weights = cells / np.sqrt(east * east + north * north + near_m2)
    return x, y


def _radius(grid: Grid, cells: Floats, away_m: Floats, share: float) -> Floats:
    """Return the radius that holds the share, rounded up to half a cell, by halving."""
    step_m = grid.cell_m / 2.0
    most = 4 * max(grid.rows, grid.columns)
    low, high = np.zeros(len(cells)), np.full(len(cells), float(most))
    for _halving in range(most.bit_length()):
        middle = np.floor((low + high) / 2.0)
        held = np.add.reduce(cells * (away_m <= (middle * step_m)[:, None]), axis=-1)
        enough = held >= share
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return np.maximum(high * step_m, step_m)
