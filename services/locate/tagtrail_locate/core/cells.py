"""The cells of a whole site, floor beside floor, as the live filter needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid import Grid

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """C = rows * columns cells, row by row; see `grid.Grid`, whose fields these are.

    Attributes:
        cell_m: Edge of a cell, metres.
        west_m: West border of the first floor's rectangle, metres.
        south_m: Its south border, metres.
        rows: Cells from south to north.
        columns: Cells from west to east, of all floors.
        x_m: Centres, shape (C,), metres, each in the site's frame.
        y_m: Centres, shape (C,), metres.
        floor: Floor of each, shape (C,).
        presence: Weight of a tag being there at all, shape (C,), >= 0.
        zone: Index into `zone_names`, shape (C,); len(zone_names) = in no zone.
        zone_names: Zones; "" is inside the outline but in no zone.
        gates: Shares of motion that pass to the east, west, north and south.
    """

    cell_m: float
    west_m: float
    south_m: float
    rows: int
    columns: int
    x_m: Floats
    y_m: Floats
    floor: Floats
    presence: Floats
    zone: Indices
    zone_names: tuple[str, ...]
    gates: tuple[Floats, Floats, Floats, Floats]


def side_by_side(grids: Sequence[Grid], levels: Sequence[float]) -> Cells:
    """Return the floors of a site side by side, with no way between them.

    Args:
        grids: One per floor, all with the same edge.
        levels: Their floors.
    """
    rows, columns = max(g.rows for g in grids), sum(g.columns for g in grids)
    names = tuple(name for grid in grids for name in grid.zone_names)

    def along(parts: Sequence[Floats], filled: float = 0.0) -> Floats:
        row: Floats = laid([part.reshape(1, -1) for part in parts], grids, rows, filled)[0]
        return row

    def shut(parts: Sequence[Floats]) -> Floats:
        closed = [p for part in parts for p in (_tall(part, rows), np.zeros((rows, 1)))]
        return np.concatenate(closed[:-1], axis=1)

    def upright(parts: Sequence[Floats]) -> Floats:
        return np.concatenate([_tall(part, rows - 1) for part in parts], axis=1)

    zones, first = [], 0
    for grid in grids:
        inside = grid.zone < len(grid.zone_names)
        zones.append(np.where(inside, grid.zone + first, len(names)).astype(np.float64))
        first += len(grid.zone_names)
    one = grids[0]
    return Cells(
        one.cell_m, one.west_m, one.south_m, rows, columns,
        along([g.x_m for g in grids]), along([g.y_m for g in grids]),
        along([np.full(g.cells, v) for g, v in zip(grids, levels, strict=True)]),
        along([g.presence for g in grids]), along(zones, float(len(names))).astype(np.intp), names,
        (shut([g.east for g in grids]), shut([g.west for g in grids]),
         upright([g.north for g in grids]), upright([g.south for g in grids])),
    )  # fmt: skip


def roomwise(zone_ids: Sequence[str], floors: Sequence[float]) -> Cells:
    """Return one cell per zone, with no way between them."""
    count = len(zone_ids)
    shut, none = np.zeros((1, max(count - 1, 0))), np.zeros((0, count))
    return Cells(
        1.0, 0.0, 0.0, 1, count, np.arange(count, dtype=np.float64), np.zeros(count),
        np.array(floors, dtype=np.float64), np.ones(count), np.arange(count, dtype=np.intp),
        tuple(zone_ids), (shut, shut, none, none),
    )  # fmt: skip


def laid(parts: Sequence[Floats], grids: Sequence[Grid], rows: int, filled: float) -> Floats:
    """Return the floors' arrays of shape (n, C of the floor) as one of shape (n, C).

    Args:
        parts: One per floor.
        grids: The floors.
        rows: Rows of the whole.
        filled: Value of the cells that no floor has.
    """
    blocks = []
    for part, grid in zip(parts, grids, strict=True):
        block = np.full((len(part), rows, grid.columns), filled)
        block[:, : grid.rows] = part.reshape(len(part), grid.rows, grid.columns)
        blocks.append(block)
    return np.concatenate(blocks, axis=2).reshape(len(parts[0]), -1)


def _tall(part: Floats, rows: int) -> Floats:
    found = np.zeros((rows, part.shape[1]))
    found[: part.shape[0]] = part
    return found
