from __future__ import annotations

import numpy as np
import pytest

from tagtrail_locate.core.grid import cells_over, grid_over

TWO_ROOMS = {
    "left": [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)],
    "right": [(4.0, 0.0), (6.0, 0.0), (6.0, 4.0), (4.0, 4.0)],
}


def test_cells_lie_row_by_row_from_the_south_west_and_know_their_zone() -> None:
    grid = grid_over(TWO_ROOMS, cell_m=1.0)

    assert (grid.rows, grid.columns, grid.cells) == (4, 6, 24)
    assert (grid.x_m[0], grid.y_m[0], grid.x_m[5], grid.y_m[6]) == (0.5, 0.5, 5.5, 1.5)
    assert [grid.zone_names[z] for z in grid.zone[:6]] == ["left"] * 4 + ["right"] * 2
    assert grid.cell_at(4.5, 1.5) == 10
    assert grid.cell_at(6.5, 1.5) is None


def test_a_wall_closes_the_borders_it_crosses_and_leaves_its_door_open() -> None:
    wall = [((4.0, 0.0), (4.0, 2.0)), ((4.0, 3.0), (4.0, 4.0))]
    grid = grid_over(TWO_ROOMS, cell_m=1.0, walls_m=wall)

    assert grid.east[:, 3].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert grid.west[:, 3].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert grid.north.min() == grid.south.min() == 1.0


def test_outside_the_outline_is_nowhere_to_be_and_nowhere_to_go() -> None:
    outline = [(0.0, 0.0), (6.0, 0.0), (6.0, 2.0), (0.0, 2.0)]
    grid = grid_over(TWO_ROOMS, cell_m=1.0, outline_m=outline)

    assert grid.inside.sum() == 12
    assert grid.north[1].tolist() == [0.0] * 6


def test_a_place_of_less_presence_is_entered_less_and_left_as_any_other() -> None:
    presence = np.ones(24)
    presence[1] = 0.25
    grid = grid_over(TWO_ROOMS, cell_m=1.0, presence=presence)

    assert grid.east[0, :2].tolist() == [0.25, 1.0]
    assert grid.west[0, :2].tolist() == [1.0, 0.25]


def test_where_zones_overlap_the_first_named_holds_the_cell() -> None:
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
    grid = grid_over({"desk": square, "room": square}, cell_m=1.0)

    assert set(grid.zone.tolist()) == {0}


@pytest.mark.parametrize("cell_m", [0.0, -1.0, 0.001])
def test_an_impossible_edge_is_refused(cell_m: float) -> None:
    with pytest.raises(ValueError, match="edge"):
        grid_over(TWO_ROOMS, cell_m=cell_m)


def test_presence_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="presence has shape"):
        grid_over(TWO_ROOMS, cell_m=1.0, presence=np.ones(5))


def test_a_rectangle_that_is_no_multiple_of_the_edge_is_covered_whole() -> None:
    _west, _south, rows, columns, centres = cells_over([(0.0, 0.0), (2.1, 0.9)], 0.5)

    assert (rows, columns) == (2, 5)
    assert centres.max(axis=0).tolist() == [2.25, 0.75]
