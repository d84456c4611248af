"""A site and floor as square cells: which zone each lies in, and which way is open to the next.

Cells are stored row by row from the south-west corner, so a belief over the grid is a plain array
whose last axis has `grid.cells` entries and can be seen as (rows, columns) without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.geometry import Point, contains_many

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Segment = tuple[Point, Point]

THROUGH_WALL: Final = 0.0
"""Share of the motion towards a wall that passes it. Walls are closed; a plan that lacks a door is
corrected by `jump_per_s` of the filter, not by walls that leak."""

MOST_CELLS: Final = 250_000
"""Cells of one grid at most: 500 x 500 m in metres; more is a plan in the wrong unit."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Square cells over a rectangle; C = rows * columns.

    Attributes:
        cell_m: Edge of a cell, metres.
        west_m: West border of the rectangle, metres, site frame (x east, y north).
        south_m: South border, metres.
        rows: Cells from south to north.
        columns: Cells from west to east.
        x_m: Centres, shape (C,), metres.
        y_m: Centres, shape (C,), metres.
        inside: Where a tag can be at all, shape (C,).
        presence: Weight of a moving tag being there, shape (C,), >= 0; 0 outside. A still one lies
            anywhere inside, on desks and shelves too.
        zone: Index into `zone_names`, shape (C,); len(zone_names) = in no zone.
        zone_names: Zones, Z of them.
        east: Share of eastward motion that passes from each cell to the next, shape
            (rows, columns - 1), 0 to 1; less where the next has less presence.
        west: The same for westward motion across the same borders.
        north: Share of northward motion that passes, shape (rows - 1, columns), 0 to 1.
        south: The same for southward motion.
    """

    cell_m: float
    west_m: float
    south_m: float
    rows: int
    columns: int
    x_m: Floats
    y_m: Floats
    inside: Booleans
    presence: Floats
    zone: Indices
    zone_names: tuple[str, ...]
    east: Floats
    west: Floats
    north: Floats
    south: Floats

    @property
    def cells(self) -> int:
        """Number of cells, those outside included."""
        return self.rows * self.columns

    def cell_at(self, x_m: float, y_m: float) -> int | None:
        """Return the cell that holds a point; None beyond the rectangle."""
        column = math.floor((x_m - self.west_m) / self.cell_m)
        row = math.floor((y_m - self.south_m) / self.cell_m)
        if 0 <= column < self.columns and 0 <= row < self.rows:
            return row * self.columns + column
        return None


def grid_over(
    zones: Mapping[str, Sequence[Point]],
    *,
    cell_m: float,
    outline_m: Sequence[Point] | None = None,
    walls_m: Sequence[Segment] = (),
    presence: Floats | None = None,
) -> Grid:
    """Lay a grid over a floor.

    Args:
        zones: Polygons by name, metres; where they overlap, the first named holds the cell.
        cell_m: Edge of a cell, metres, > 0.
        outline_m: Where a tag can be at all, polygon, metres; None = anywhere in the zones. Its
            sides are walls.
        walls_m: Further walls as segments with gaps for the doors, metres.
        presence: Weight of a moving tag in each cell, shape (C,), as `cells_over` counts them;
            0 = no tag at all; None = 1 inside.

    Raises:
        ValueError: no zones, an edge that is not positive, too many cells, or a wrong shape.
    """
    if not zones or cell_m <= 0.0:
        raise ValueError("a grid needs zones and a positive edge")
    corners = [point for outline in zones.values() for point in outline] + list(outline_m or ())
    west, south, rows, columns, centres = cells_over(corners, cell_m)
    zone = np.full(rows * columns, len(zones), dtype=np.intp)
    for index, outline in reversed(list(enumerate(zones.values()))):
        zone[contains_many(outline, centres)] = index
    inside = zone < len(zones) if outline_m is None else contains_many(outline_m, centres)
    weight = inside.astype(np.float64)
    if presence is not None:
        if presence.shape != weight.shape:
            raise ValueError(f"presence has shape {presence.shape}, the grid {weight.shape}")
        weight = weight * presence
    walls = [*walls_m, *_sides(outline_m or ())]
    plane = weight.reshape(rows, columns)
    across, along = _openness(centres.reshape(rows, columns, 2), plane > 0.0, walls)
    east, west_ward = _gated(across, plane[:, :-1], plane[:, 1:])
    north, south_ward = _gated(along, plane[:-1], plane[1:])
    return Grid(
        cell_m, west, south, rows, columns, centres[:, 0].copy(), centres[:, 1].copy(), inside & (weight > 0.0),
        weight,
        zone, tuple(zones), east, west_ward, north, south_ward,
    )  # fmt: skip


def cells_over(corners_m: Sequence[Point], cell_m: float) -> tuple[float, float, int, int, Floats]:
    """Return the cells of the rectangle around some points.

    Returns:
        West border, south border (metres), rows, columns, centres of shape (rows * columns, 2).

    Raises:
        ValueError: that would be more than `MOST_CELLS` cells.
    """
    points = np.asarray(corners_m, dtype=np.float64)
    west, south = (float(value) for value in points.min(axis=0))
    width, height = (float(value) for value in points.max(axis=0) - points.min(axis=0))
    columns = max(1, math.ceil(width / cell_m - 1e-9))
    rows = max(1, math.ceil(height / cell_m - 1e-9))
    if rows * columns > MOST_CELLS:
        raise ValueError(f"{rows * columns} cells of {cell_m} m: choose a larger edge")
    x = west + (np.arange(columns) + 0.5) * cell_m
    y = south + (np.arange(rows) + 0.5) * cell_m
    centres: Floats = np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1).astype(np.float64)
    return west, south, rows, columns, centres


def _sides(outline_m: Sequence[Point]) -> list[Segment]:
    return [
        (outline_m[index - 1], outline_m[index])
        for index in range(len(outline_m))
        if outline_m[index - 1] != outline_m[index]
    ]


def _openness(centres: Floats, inside: Booleans, walls: Sequence[Segment]) -> tuple[Floats, Floats]:
    """Return the openness between neighbours: east (rows, columns - 1), north (rows - 1, columns)."""
    east = (inside[:, :-1] & inside[:, 1:]).astype(np.float64)
    north = (inside[:-1] & inside[1:]).astype(np.float64)
    for wall in walls:
        east[_crossed(centres[:, :-1], centres[:, 1:], wall)] = THROUGH_WALL
        north[_crossed(centres[:-1], centres[1:], wall)] = THROUGH_WALL
    return east, north


def _gated(openness: Floats, here: Floats, there: Floats) -> tuple[Floats, Floats]:
    """Return the share that passes from here to there and back.

    Into a place of less presence passes the ratio of the two, so that a tag that moves about for
    long is found in every cell as often as its presence says (the rule of Metropolis).
    """
    most = np.maximum(np.maximum(here, there), 1e-9)
    onward = openness * np.where(there < here, there / most, 1.0)
    back = openness * np.where(here < there, here / most, 1.0)
    return onward, back


def _crossed(starts: Floats, ends: Floats, wall: Segment) -> Booleans:
    """Tell which of the ways from starts to ends, shape (..., 2), a wall crosses."""
    a, b = np.asarray(wall[0], dtype=np.float64), np.asarray(wall[1], dtype=np.float64)
    before, after = _side(a, b, starts), _side(a, b, ends)
    near, far = _turn(starts, ends, a), _turn(starts, ends, b)
    crossed: Booleans = ((before > 0.0) != (after > 0.0)) & ((near > 0.0) != (far > 0.0))
    return crossed


def _side(a: Floats, b: Floats, points: Floats) -> Floats:
    side: Floats = (b[0] - a[0]) * (points[..., 1] - a[1]) - (b[1] - a[1]) * (points[..., 0] - a[0])
    return side


def _turn(starts: Floats, ends: Floats, point: Floats) -> Floats:
    ahead, away = ends - starts, point - starts
    turn: Floats = ahead[..., 0] * away[..., 1] - ahead[..., 1] * away[..., 0]
    return turn
