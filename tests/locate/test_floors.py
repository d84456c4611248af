"""Fractional floors."""

from __future__ import annotations

import pytest

from tagtrail_locate.core.floors import fractional_floor

HOUSE = [(1.0, 3.0), (0.0, 0.0), (2.0, 7.0), (-1.0, -2.5)]


@pytest.mark.parametrize(
    ("z_m", "floor"),
    [(0.0, 0.0), (3.0, 1.0), (1.5, 0.5), (5.0, 1.5), (-1.25, -0.5), (9.0, 2.5), (-5.0, -2.0)],
)
def test_a_height_is_a_floor_with_a_fraction(z_m: float, floor: float) -> None:
    assert fractional_floor(z_m, HOUSE) == pytest.approx(floor)


def test_a_height_far_off_is_at_most_one_floor_beyond() -> None:
    assert fractional_floor(400.0, HOUSE) == 3.0
    assert fractional_floor(-400.0, HOUSE) == -2.0


def test_a_site_of_one_floor_is_that_floor() -> None:
    assert fractional_floor(12.0, [(4.0, 0.0)]) == 4.0


@pytest.mark.parametrize("floors", [[], [(0.0, 1.0), (1.0, 1.0)]])
def test_floors_that_cannot_be_are_refused(floors: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="floors"):
        fractional_floor(1.0, floors)
