from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tagtrail_locate.core.errors import TooFewRangesError
from tagtrail_locate.core.gaussian_process import Shadowing, decades, fit
from tagtrail_locate.core.grid import Grid, grid_over
from tagtrail_locate.core.level_table import LOW_DBM, PER_NAT, heard_share, table_of
from tagtrail_locate.core.radio_map import (
    LEAST_SPACINGS,
    SHAPE_STEP,
    Means,
    Survey,
    map_of_plan,
    map_of_survey,
    masts_of,
    normal_shape,
    shadowing_of,
    spacing_m,
)

Floats = npt.NDArray[np.float64]
GATEWAYS = ("g0", "g1")
POSITIONS = np.array([[0.5, 0.5, 2.0], [9.5, 9.5, 2.0]])


@pytest.fixture
def hall() -> Grid:
    return grid_over({"hall": [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]}, cell_m=1.0)


def truth(places: Floats, gateway: int) -> Floats:
    bump = 6.0 * np.exp(-0.5 * np.sum((places[:, :2] - 5.0) ** 2, axis=1) / 4.0)
    exponent = 1.8 + 0.4 * gateway
    level: Floats = -55.0 - 5.0 * gateway + exponent * decades(POSITIONS[gateway], places) + bump
    return level


def survey(per_side: int, seed: int = 1) -> Survey:
    chance = np.random.default_rng(seed)
    line = np.linspace(0.5, 9.5, per_side)
    places = np.array([(x, y, 1.0) for x in line for y in line])
    columns: list[list[float]] = []
    for gateway in range(2):
        for place, level in enumerate(truth(places, gateway)):
            columns += [[place, gateway, level + noise, 1.0] for noise in chance.normal(0, 2, 30)]
    place, which, level_db, count = np.array(columns).T
    return Survey(places, place.astype(np.intp), which.astype(np.intp), level_db, count)


def error_db(grid: Grid, per_side: int) -> float:
    learned = map_of_survey(grid, GATEWAYS, POSITIONS, survey(per_side))
    places = np.stack([grid.x_m, grid.y_m, np.ones(grid.cells)], axis=1)
    known = np.stack([truth(places, gateway) for gateway in range(2)])
    return float(np.sqrt(np.mean((learned.mean_db - known) ** 2)))


def test_a_survey_teaches_each_gateway_its_own_path_loss_and_shadows(hall: Grid) -> None:
    assert error_db(hall, 6) < 0.8
    assert error_db(hall, 3) < 3.0


def test_a_map_knows_less_where_nobody_walked(hall: Grid) -> None:
    whole = survey(7)
    west = whole.places_m[whole.place, 0] < 4.0
    half = Survey(
        whole.places_m, whole.place[west], whole.gateway[west], whole.level_db[west],
        whole.count[west],
    )  # fmt: skip
    learned = map_of_survey(hall, GATEWAYS, POSITIONS, half)
    near, far = hall.cell_at(2.0, 5.0), hall.cell_at(9.0, 5.0)

    assert learned.sd_db[0, far] > learned.sd_db[0, near]


def test_a_gateway_that_the_survey_never_heard_is_named(hall: Grid) -> None:
    whole = survey(3)
    mute = Survey(whole.places_m, whole.place, whole.gateway * 0, whole.level_db, whole.count)

    with pytest.raises(TooFewRangesError, match="g1 heard nothing"):
        map_of_survey(hall, GATEWAYS, POSITIONS, mute)


def test_a_plan_expects_less_from_farther_away(hall: Grid) -> None:
    plan = map_of_plan(hall, GATEWAYS, POSITIONS)
    near, far = hall.cell_at(1.5, 1.5), hall.cell_at(8.5, 8.5)

    assert plan.mean_db[0, near] > plan.mean_db[0, far] + 10.0
    assert plan.mean_db[1, far] > plan.mean_db[1, near] + 10.0


def test_antennas_that_hang_together_are_one_mast() -> None:
    together = np.array([[0.0, 0.0, 2.0], [5.0, 0.0, 2.0], [0.1, 0.0, 2.0]])

    assert masts_of(together).tolist() == [0, 1, 0]


def test_leaving_a_point_out_agrees_with_fitting_without_it() -> None:
    places, shadowing = survey(4).places_m, Shadowing(2.0, 3.0, 1.0)
    level, noise = truth(places, 0), np.full(len(places), 0.1)
    residual, variance = fit(POSITIONS[0], places, level, noise, shadowing)[0].left_out()
    rest = np.arange(len(places)) != 5
    model, _evidence = fit(POSITIONS[0], places[rest], level[rest], noise[rest], shadowing)
    mean, smooth = model.predict(places[5:6])

    assert residual[5] == pytest.approx(level[5] - mean[0], abs=1e-3)
    assert variance[5] == pytest.approx(smooth[0] + 1.0 + 0.1, abs=1e-3)


def test_the_shapes_are_densities(hall: Grid) -> None:
    learned = map_of_survey(hall, GATEWAYS, POSITIONS, survey(4))

    assert normal_shape().sum() * SHAPE_STEP == pytest.approx(1.0, abs=1e-3)
    assert learned.shape.sum() * SHAPE_STEP == pytest.approx(1.0, abs=1e-3)


def test_the_table_prefers_the_cell_whose_mean_is_the_level(hall: Grid) -> None:
    plan = map_of_plan(hall, GATEWAYS, POSITIONS)
    table = table_of(plan)
    near = hall.cell_at(0.5, 1.5)
    assert near is not None
    level = round(float(plan.mean_db[0, near]))

    best = np.argmax(table.fits[0, 1 + level - LOW_DBM])
    assert abs(plan.mean_db[0, best] - level) < 0.6
    assert table.fits[0].max() == 0
    assert not table.fits[-1].any()


def test_one_stray_reading_cannot_rule_a_cell_out(hall: Grid) -> None:
    table = table_of(map_of_plan(hall, GATEWAYS, POSITIONS))

    assert table.fits.min() > -8 * PER_NAT


def test_not_being_heard_speaks_for_far_away(hall: Grid) -> None:
    plan = map_of_plan(hall, GATEWAYS, POSITIONS, level_at_1m_db=-75.0)
    fits = table_of(plan).fits[0, 0]

    assert fits[hall.cell_at(9.5, 9.5)] > fits[hall.cell_at(0.5, 0.5)]
    assert heard_share(np.array([-60.0]))[0] > 0.94
    assert heard_share(np.array([-95.0]))[0] == pytest.approx(0.475)


def test_a_gateway_deaf_to_one_side_is_learned_for_places_farther_that_way() -> None:
    chance = np.random.default_rng(4)
    gateway = np.array([0.0, 0.0, 2.0])
    turn, away = chance.uniform(0.0, 2.0 * np.pi, 80), chance.uniform(2.0, 6.0, 80)
    places = np.column_stack([away * np.cos(turn), away * np.sin(turn), np.ones(80)])
    level = -58.0 + 2.0 * decades(gateway, places) + 5.0 * np.cos(turn) + chance.normal(0, 1, 80)
    means = Means(np.arange(80), level, np.full(80, 0.1), 1.0)
    shadowing = shadowing_of(gateway[None], places, [means])
    model, _evidence = fit(gateway, places, level, means.noise_db2, shadowing)
    ahead, behind = model.predict(np.array([[9.0, 0.0, 1.0], [-9.0, 0.0, 1.0]]))[0]

    assert shadowing.pattern_db >= 3.0
    assert ahead - behind == pytest.approx(10.0, abs=2.0)


def test_shadows_shorter_than_the_surveys_spacing_are_not_claimed() -> None:
    chance = np.random.default_rng(5)
    line = np.linspace(0.0, 12.0, 5)
    places = np.array([(x, y, 1.0) for x in line for y in line])
    level = -60.0 + 2.0 * decades(POSITIONS[0], places) + chance.normal(0.0, 4.0, 25)
    means = Means(np.arange(25), level, np.full(25, 0.1), 1.0)

    assert spacing_m(places) == pytest.approx(3.0)
    assert shadowing_of(POSITIONS[:1], places, [means]).length_m >= LEAST_SPACINGS * 3.0


def test_a_handful_of_places_is_read_as_a_usual_site() -> None:
    chance = np.random.default_rng(6)
    places = np.column_stack([chance.uniform(0.0, 10.0, (4, 2)), np.ones(4)])
    level = -60.0 + 2.0 * decades(POSITIONS[0], places) + np.array([7.0, -7.0, 7.0, -7.0])
    means = Means(np.arange(4), level, np.full(4, 0.1), 1.0)
    found = shadowing_of(POSITIONS[:1], places, [means])

    assert found.shadow_db <= 5.0
    assert 1.5 <= found.pattern_db <= 4.5
