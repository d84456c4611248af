"""Averages, polygons, frames and multilateration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagtrail_locate.core.errors import DegenerateGeometryError, TooFewRangesError
from tagtrail_locate.core.geometry import contains, contains_many, depth_m, to_site_frame
from tagtrail_locate.core.multilateration import multilaterate
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


def _errors(blocked: float) -> list[float]:
    chance = np.random.default_rng(11)
    found = []
    for _ in range(400):
        place = (chance.uniform(1, 39), chance.uniform(1, 24))
        ranges, _ = _ranges(chance, place, blocked=blocked)
        fix = multilaterate(ANCHORS.tolist(), ranges.tolist(), sigma_m=SIGMA_M, height_m=TAG_M)
        found.append(math.hypot(fix.x_m - place[0], fix.y_m - place[1]))
    return found


def test_s11_the_ninetieth_percentile_in_line_of_sight_is_below_half_a_metre() -> None:
    assert np.percentile(_errors(0.0), 90) < 0.5


def test_s11_with_twenty_percent_blocked_ranges_it_is_below_one_metre() -> None:
    errors = _errors(0.2)

    assert np.percentile(errors, 90) < 1.0
    assert np.median(errors) < 0.2


def test_s11_a_bad_anchor_is_named_by_the_residuals() -> None:
    chance = np.random.default_rng(3)
    for bad in range(len(ANCHORS)):
        ranges, _ = _ranges(chance, (12.0, 9.0), blocked=0.0)
        ranges[bad] += 3.0

        fix = multilaterate(ANCHORS.tolist(), ranges.tolist(), sigma_m=SIGMA_M, height_m=TAG_M)

        assert fix.rejected == (bad,)
        assert fix.residuals_m[bad] == pytest.approx(3.0, abs=0.5)
        assert math.hypot(fix.x_m - 12.0, fix.y_m - 9.0) < 0.4


def test_clean_ranges_reject_nobody_and_the_accuracy_is_honest() -> None:
    chance = np.random.default_rng(4)
    ratios = []
    for _ in range(300):
        place = (chance.uniform(1, 39), chance.uniform(1, 24))
        ranges, _ = _ranges(chance, place, blocked=0.0)
        fix = multilaterate(ANCHORS.tolist(), ranges.tolist(), sigma_m=SIGMA_M, height_m=TAG_M)
        assert len(fix.rejected) <= 1
        ratios.append(math.hypot(fix.x_m - place[0], fix.y_m - place[1]) / fix.accuracy_m)

    assert 0.55 <= float(np.mean(np.array(ratios) <= 1.0)) <= 0.85


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


def test_anchors_on_one_line_are_refused_with_advice() -> None:
    line = [(0.0, 0.0), (5.0, 0.1), (10.0, 0.0), (15.0, 0.1)]

    with pytest.raises(DegenerateGeometryError, match="move one aside"):
        multilaterate(line, [5.0, 5.0, 8.0, 11.0])


def test_anchors_on_one_line_leave_two_places_and_both_are_named() -> None:
    line = [(0.0, 0.0), (5.0, 0.0), (10.0, 0.0), (15.0, 0.0)]

    with pytest.raises(DegenerateGeometryError) as refused:
        multilaterate(line, [math.dist(a, (4.0, 6.0)) for a in line])

    assert refused.value.context["candidates_m"] in (
        "4.00, 6.00 or 4.00, -6.00",
        "4.00, -6.00 or 4.00, 6.00",
    )


def test_a_nearly_flat_layout_tells_of_the_mirror_image_that_fits_as_well() -> None:
    bent = [(0.0, 0.0), (5.0, 0.6), (10.0, 0.0), (15.0, 0.6)]

    fix = multilaterate(bent, [math.dist(a, (4.0, 6.0)) for a in bent], sigma_m=0.3)

    assert math.dist((fix.x_m, fix.y_m), (4.0, 6.0)) < 0.1
    assert len(fix.others) == 1
    assert fix.others[0][1] == pytest.approx(-5.4, abs=0.6)


def test_a_room_with_anchors_all_around_has_no_mirror_image() -> None:
    chance = np.random.default_rng(6)
    for _ in range(50):
        place = (chance.uniform(1, 39), chance.uniform(1, 24))
        ranges, _ = _ranges(chance, place, blocked=0.0)
        fix = multilaterate(ANCHORS.tolist(), ranges.tolist(), sigma_m=SIGMA_M, height_m=TAG_M)

        assert fix.others == ()


def test_anchors_at_one_height_leave_two_heights_and_both_are_told() -> None:
    ceiling = [(x, y, 3.0) for x, y, _ in ANCHORS.tolist()]
    ranges = [math.dist(a, (12.0, 9.0, 1.4)) for a in ceiling]

    fix = multilaterate(ceiling, ranges, solve_height=True)

    heights = sorted([fix.z_m or 0.0, *(z or 0.0 for _, _, z in fix.others)])
    assert heights == pytest.approx([1.4, 4.6], abs=0.05)


def _normalised_squares(blocked: float) -> Floats:
    chance = np.random.default_rng(21)
    squares = []
    for _ in range(500):
        place = (chance.uniform(1, 39), chance.uniform(1, 24))
        ranges, _ = _ranges(chance, place, blocked=blocked)
        fix = multilaterate(ANCHORS.tolist(), ranges.tolist(), sigma_m=SIGMA_M, height_m=TAG_M)
        miss = np.array([fix.x_m - place[0], fix.y_m - place[1]])
        squares.append(miss @ np.linalg.inv(np.array(fix.covariance_m2)) @ miss)
    return np.array(squares)


def test_in_line_of_sight_the_normalised_error_is_that_of_two_degrees_of_freedom() -> None:
    squares = _normalised_squares(0.0)

    assert 1.4 < squares.mean() < 2.3
    assert 0.90 < float(np.mean(squares < 5.99)) < 0.98


def test_with_blocked_ranges_the_stated_area_still_holds_nine_places_of_ten() -> None:
    squares = _normalised_squares(0.2)

    assert 0.90 < float(np.mean(squares < 5.99)) < 0.98


def test_anchors_just_off_one_line_are_accepted() -> None:
    bent = [(0.0, 0.0), (5.0, 1.5), (10.0, 0.0), (15.0, 1.5)]
    true = [math.dist(a, (4.0, 6.0)) for a in bent]

    fix = multilaterate(bent, true)

    assert math.dist((fix.x_m, fix.y_m), (4.0, 6.0)) < 0.01


def test_two_ranges_are_too_few() -> None:
    with pytest.raises(TooFewRangesError, match="takes 3 anchors"):
        multilaterate([(0, 0), (4, 0)], [1.0, 3.0])


@pytest.mark.parametrize("wrong", [[1.0, -1.0, 2.0], [1.0, math.nan, 2.0]])
def test_ranges_that_cannot_be_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="negative or not finite"):
        multilaterate([(0, 0), (4, 0), (0, 3)], wrong)


def test_the_height_can_be_solved_for() -> None:
    true = (12.0, 9.0, 1.4)
    ranges = [math.dist(tuple(a), true) for a in ANCHORS]

    fix = multilaterate(ANCHORS.tolist(), ranges, solve_height=True)

    assert fix.z_m is not None
    assert math.dist((fix.x_m, fix.y_m, fix.z_m), true) < 0.02


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
