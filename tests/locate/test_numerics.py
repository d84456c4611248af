"""Averages, polygons, frames and ranges solved in batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagtrail_locate.core.geometry import contains, contains_many, depth_m, to_site_frame
from tagtrail_locate.core.range_solver import CHUNK, HUBER, Bools, Floats, solve_many
from tagtrail_locate.core.smoothing import distance_m, level_db, tukey_mean

ANCHORS = np.array(
    [(1, 1, 2.5), (20, 1, 4.0), (39, 1, 2.5), (1, 24, 4.0), (20, 24, 2.5), (39, 24, 4.0)], float
)
SIGMA_M = 0.1
TAG_M = 1.0


def _ranges(
    chance: np.random.Generator, place: tuple[float, float], *, blocked: float
) -> tuple[Floats, Bools]:
    true = np.linalg.norm(ANCHORS - np.array([*place, TAG_M]), axis=1)
    nlos = chance.random(len(true)) < blocked
    noise = chance.normal(0, SIGMA_M, len(true)) + nlos * chance.exponential(0.8, len(true))
    return np.maximum(true + noise, 0.0), nlos


@pytest.mark.parametrize("seed", range(5))
def test_the_solver_finds_what_a_brute_force_grid_finds(seed: int) -> None:
    chance = np.random.default_rng(seed)
    place = (chance.uniform(2, 38), chance.uniform(2, 23))
    ranges, _ = _ranges(chance, place, blocked=0.3)
    sigma = np.full((1, 6), SIGMA_M)
    offset = ANCHORS[:, 2] - TAG_M

    solved = solve_many(ANCHORS[:, :2], ranges[None], sigma, np.ones((1, 6), bool), offset_m=offset)

    best = _grid(ranges, offset, centre=place, half_m=4.0, step_m=0.1)
    best = _grid(ranges, offset, centre=best, half_m=0.2, step_m=0.005)
    assert math.dist(best, tuple(solved.position_m[0])) < 0.01


def _grid(
    ranges: Floats, offset: Floats, *, centre: tuple[float, float], half_m: float,
    step_m: float,
) -> tuple[float, float]:  # fmt: skip
    """Return the grid point with the least Huber cost: the definition, without any cleverness."""
    around = np.arange(-half_m, half_m + step_m / 2, step_m)
    best, least = centre, math.inf
    for dx, dy in itertools.product(around, around):
        x, y = centre[0] + dx, centre[1] + dy
        fitted = np.sqrt((ANCHORS[:, 0] - x) ** 2 + (ANCHORS[:, 1] - y) ** 2 + offset**2)
        scaled = np.abs(ranges - fitted) / SIGMA_M
        cost = np.where(scaled <= HUBER, scaled**2, HUBER * (2 * scaled - HUBER)).sum()
        if cost < least:
            best, least = (x, y), cost
    return best


def test_the_stated_covariance_is_that_of_the_errors_in_line_of_sight() -> None:
    chance = np.random.default_rng(21)
    places = np.stack([chance.uniform(1, 39, 500), chance.uniform(1, 24, 500)], axis=1)
    ranges = np.stack([_ranges(chance, (x, y), blocked=0.0)[0] for x, y in places.tolist()])
    sigma, used = np.full(ranges.shape, SIGMA_M), np.ones(ranges.shape, bool)

    solved = solve_many(ANCHORS[:, :2], ranges, sigma, used, offset_m=ANCHORS[:, 2] - TAG_M)

    miss = solved.position_m - places
    squares = np.einsum("bi,bij,bj->b", miss, np.linalg.inv(solved.covariance_m2), miss)
    assert 1.4 < squares.mean() < 2.3
    assert 0.90 < float(np.mean(squares < 5.99)) < 0.98


def test_anchors_on_one_line_are_told_and_those_just_off_it_are_not() -> None:
    tag = (4.0, 6.0)
    layouts = np.array(
        [[(0, 0), (5, 0), (10, 0), (15, 0)], [(0, 0), (5, 1.5), (10, 0), (15, 1.5)]], float
    )
    ranges = np.array([[math.dist(anchor, tag) for anchor in row] for row in layouts.tolist()])

    solved = solve_many(layouts, ranges, np.full(ranges.shape, 0.1), np.ones(ranges.shape, bool))

    assert solved.degenerate.tolist() == [True, False]
    assert math.dist(tuple(solved.position_m[1]), tag) < 0.01


def test_a_problem_is_solved_alike_alone_and_among_many() -> None:
    chance = np.random.default_rng(8)
    many = np.stack(
        [
            _ranges(chance, (chance.uniform(1, 39), chance.uniform(1, 24)), blocked=0.2)[0]
            for _ in range(50)
        ]
    )
    sigma, used = np.full(many.shape, SIGMA_M), np.ones(many.shape, bool)

    together = solve_many(ANCHORS[:, :2], many, sigma, used)
    alone = [
        solve_many(ANCHORS[:, :2], many[n : n + 1], sigma[:1], used[:1]).position_m[0]
        for n in range(len(many))
    ]

    assert np.array_equal(together.position_m, np.stack(alone))


def test_many_rows_are_solved_like_few_across_the_borders_of_chunks() -> None:
    chance = np.random.default_rng(9)
    ranges = chance.uniform(3.0, 30.0, (2 * CHUNK + 3, 4))
    sigma, used = np.full(ranges.shape, 0.1), np.ones(ranges.shape, bool)
    some = np.array([0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 2])

    many = solve_many(ANCHORS[:4, :2], ranges, sigma, used)
    few = solve_many(ANCHORS[:4, :2], ranges[some], sigma[some], used[some])

    assert np.array_equal(many.position_m[some], few.position_m)
    assert np.array_equal(many.covariance_m2[some], few.covariance_m2)


def test_the_mean_ignores_what_lies_outside_the_fence() -> None:
    inside = [-70.0, -71.0, -69.0, -70.5, -69.5]

    assert tukey_mean([*inside, -20.0]).mean == pytest.approx(-70.0)
    assert tukey_mean([*inside, -20.0]).kept == 5
    assert tukey_mean([-70.0, -20.0]).mean == pytest.approx(-45.0)


@given(st.permutations([-70.25, -60.5, -71.125, -69.0, -70.0, -90.0, -64.5]))
def test_the_mean_does_not_depend_on_the_order(values: list[float]) -> None:
    assert tukey_mean(values) == tukey_mean(sorted(values))


@given(st.floats(0.02, 900), st.floats(1.5, 5))
def test_distance_and_level_are_inverse(metres: float, exponent: float) -> None:
    assert distance_m(level_db(metres, exponent), exponent) == pytest.approx(metres)


_CORNER = st.tuples(st.integers(-20, 20), st.integers(-20, 20))


@given(st.lists(_CORNER, min_size=3, max_size=9), st.lists(_CORNER, min_size=1, max_size=20))
def test_many_points_are_judged_like_one(
    outline: list[tuple[int, int]], points: list[tuple[int, int]]
) -> None:
    shape = [(float(x), float(y)) for x, y in outline]
    asked = np.array(points, dtype=np.float64) + 0.25

    many = contains_many(shape, asked)

    assert many.tolist() == [contains(shape, x, y) for x, y in asked.tolist()]


def test_the_depth_is_positive_inside_and_negative_outside() -> None:
    room = [(0.0, 0.0), (10.0, 0.0), (10.0, 6.0), (0.0, 6.0)]

    assert depth_m(room, 2.0, 3.0) == pytest.approx(2.0)
    assert depth_m(room, 13.0, 10.0) == pytest.approx(-5.0)


def test_a_site_turned_by_ninety_degrees_has_its_y_axis_to_the_east() -> None:
    x_m, y_m = to_site_frame(
        52.0,
        13.001,
        origin_latitude_deg=52.0,
        origin_longitude_deg=13.0,
        bearing_deg=90.0,
    )

    assert x_m == pytest.approx(0.0, abs=1e-6)
    assert y_m == pytest.approx(68.46, abs=0.1)
