"""Tags that lie still over a map of mean powers, and what their stays tell of the gateways."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tagtrail_locate.core.grid import Grid, grid_over
from tagtrail_locate.core.grid_place import Place
from tagtrail_locate.core.grid_stay import DAY_S, Heard, Offsets, StayLocator
from tagtrail_locate.core.grid_stay_map import StayMap, power_mean_db, stay_map_of
from tagtrail_locate.core.grid_stillness import BLOCK_S, Stay, stays_of
from tagtrail_locate.core.radio_map import Survey, map_of_plan

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

GATEWAYS = ("g0", "g1", "g2", "g3", "g4", "g5")
POSITIONS = np.array(
    [[0.0, 0.0, 2.0], [14.0, 0.0, 2.0], [0.0, 10.0, 2.0], [14.0, 10.0, 2.0], [7.0, 0.0, 2.0], [7.0, 10.0, 2.0]]
)  # fmt: skip
PLACE_SD_DB = 3.0
LISTENING = 12


def hall() -> Grid:
    zones = {
        "west": [(0.0, 0.0), (7.0, 0.0), (7.0, 10.0), (0.0, 10.0)],
        "east": [(7.0, 0.0), (14.0, 0.0), (14.0, 10.0), (7.0, 10.0)],
    }
    return grid_over(zones, cell_m=0.5)


def locator() -> StayLocator:
    grid = hall()
    mean = map_of_plan(grid, GATEWAYS, POSITIONS).mean_db
    error = np.full(mean.shape, PLACE_SD_DB**2)
    return StayLocator(grid, StayMap(GATEWAYS, mean, error, np.full(len(GATEWAYS), 8.0)))


def heard_at(site: StayLocator, cell: int, off_db: Floats, *, readings: float = 20.0) -> Heard:
    return Heard(site.stay_map.mean_db[:, cell] + off_db, np.full(len(GATEWAYS), readings))


def missed_m(site: StayLocator, place: Place, cell: int) -> float:
    return float(np.hypot(place.x_m[0] - site.grid.x_m[cell], place.y_m[0] - site.grid.y_m[cell]))


def taught(site: StayLocator, off_db: Floats, stays: int, rng: np.random.Generator) -> Offsets:
    offsets = site.start()
    for stay in range(stays):
        cell = int(rng.integers(site.grid.cells))
        off = off_db + rng.normal(0.0, PLACE_SD_DB, len(GATEWAYS))
        offsets = site.learned(offsets, heard_at(site, cell, off), 60.0 * (stay + 1))
    return offsets


# -- mean powers ----------------------------------------------------------------------------


def test_a_deep_fade_of_one_channel_pulls_the_mean_power_less_than_the_mean_of_decibels() -> None:
    level = np.array([-70.0, -70.0, -90.0])
    power = power_mean_db(level, np.full(3, 100.0))

    assert level.mean() + 4.0 < power < -70.0


def test_bursts_do_not_count_in_a_mean_power() -> None:
    assert power_mean_db(np.array([-70.0, -20.0]), np.array([99.0, 1.0])) == pytest.approx(-70.0)


def test_a_map_of_stays_expects_what_was_heard_at_its_places_in_whatever_order_it_is_listed() -> (
    None
):
    grid = hall()
    x, y = (v.reshape(-1) for v in np.meshgrid(np.arange(1.25, 14, 2.5), np.arange(1.25, 10, 2.5)))
    places = np.stack([x, y, np.full(len(x), 1.0)], axis=1)
    cells = [grid.cell_at(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    levels = map_of_plan(grid, GATEWAYS, POSITIONS).mean_db[:, [c for c in cells if c is not None]]
    gateway, place = (v.reshape(-1) for v in np.indices(levels.shape))
    order = np.random.default_rng(2).permutation(levels.size)
    survey = Survey(
        places, place[order], gateway[order], levels.reshape(-1)[order], np.full(levels.size, 50.0)
    )
    found = stay_map_of(grid, GATEWAYS, POSITIONS, survey)

    expected = map_of_plan(grid, GATEWAYS, POSITIONS).mean_db
    assert np.abs(found.mean_db - expected).max() < 2.5
    assert found.error_db2.shape == expected.shape
    assert (found.error_db2 > 0.0).all()


# -- where it lies --------------------------------------------------------------------------


def test_a_still_tag_is_found_where_the_map_has_its_levels() -> None:
    site = locator()
    cell = 11 * site.grid.columns + 5
    place = site.locate(site.start(), heard_at(site, cell, np.zeros(len(GATEWAYS))))

    assert missed_m(site, place, cell) < 1.0
    assert place.zones[0, 0] > 0.9


def test_listening_on_does_not_narrow_the_place_beyond_what_the_map_knows() -> None:
    site = locator()
    cell = 11 * site.grid.columns + 5
    radii = [
        site.locate(
            site.start(), heard_at(site, cell, np.zeros(len(GATEWAYS)), readings=n)
        ).radius_m[0]
        for n in (50.0, 5000.0)
    ]

    assert radii[1] >= 0.9 * radii[0] > 1.0


def test_a_gateway_that_was_shut_away_does_not_pull_the_place_along() -> None:
    site, rng, missed = locator(), np.random.default_rng(8), []
    for cell in rng.integers(site.grid.cells, size=10).tolist():
        for gateway in range(len(GATEWAYS)):
            off = np.zeros(len(GATEWAYS))
            off[gateway] = -15.0
            place = site.locate(site.start(), heard_at(site, cell, off))
            missed.append(missed_m(site, place, cell))

    assert np.mean(missed) < 1.6


def test_a_tag_that_nobody_heard_may_be_anywhere_inside() -> None:
    site = locator()
    nothing = Heard(np.full(len(GATEWAYS), np.nan), np.zeros(len(GATEWAYS)))

    assert site.locate(site.start(), nothing).zones[0, :2] == pytest.approx([0.5, 0.5])


def test_a_stronger_tag_is_located_as_well_as_the_one_of_the_survey() -> None:
    site = locator()
    rng = np.random.default_rng(3)
    cells = rng.integers(site.grid.cells, size=40).tolist()
    noise = rng.normal(0.0, PLACE_SD_DB, (40, len(GATEWAYS)))
    usual, strong = (
        np.median(
            [
                missed_m(site, site.locate(site.start(), heard_at(site, c, off + more)), c)
                for c, off in zip(cells, noise, strict=True)
            ]
        )
        for more in (0.0, 4.0)
    )

    assert strong <= 1.25 * usual


# -- what stays teach -----------------------------------------------------------------------


def test_stays_at_unknown_places_tell_how_far_each_gateway_is_off_its_map() -> None:
    site, off = locator(), np.array([4.0, -3.0, 0.0, 2.0, -4.0, 1.0])
    offsets = taught(site, off, 60, np.random.default_rng(4))

    assert np.abs(offsets.mean_db - off).max() < 2.5
    assert np.sqrt(np.diag(offsets.covariance_db2)).max() < 2.0


def test_what_stays_taught_makes_later_ones_better_located() -> None:
    site, off = locator(), np.array([4.0, -3.0, 0.0, 2.0, -4.0, 1.0])
    rng = np.random.default_rng(5)
    knowing = taught(site, off, 60, rng)
    missed = []
    for _ in range(60):
        cell = int(rng.integers(site.grid.cells))
        heard = heard_at(site, cell, off + rng.normal(0.0, PLACE_SD_DB, len(GATEWAYS)))
        missed.append(
            [missed_m(site, site.locate(o, heard), cell) for o in (site.start(), knowing)]
        )
    before, after = np.mean(missed, axis=0)

    assert after < 0.85 * before


def test_gateways_that_are_as_the_survey_has_them_lose_nothing_by_learning() -> None:
    site = locator()
    offsets = taught(site, np.zeros(len(GATEWAYS)), 60, np.random.default_rng(6))

    assert np.abs(offsets.mean_db).max() < 1.5


def test_a_gateway_that_was_known_becomes_unknown_again_with_time() -> None:
    site = locator()
    cell = 11 * site.grid.columns + 5
    known = taught(site, np.zeros(len(GATEWAYS)), 30, np.random.default_rng(7))
    assert known.at_s is not None
    soon, late = (
        site.learned(known, heard_at(site, cell, np.zeros(len(GATEWAYS))), known.at_s + passed_s)
        for passed_s in (60.0, 180.0 * DAY_S)
    )

    assert np.trace(late.covariance_db2) > np.trace(soon.covariance_db2) + 1.0


# -- stillness ------------------------------------------------------------------------------


def way(rest_s: float, walk_s: float, *, seed: int) -> tuple[Floats, Indices, Floats]:
    """Return two readings per second of a tag that rests, is carried, and rests again as long.

    Carried, it comes to other shadows every other second.
    """
    rng = np.random.default_rng(seed)
    at_s = np.repeat(np.arange(0.0, 2.0 * rest_s + walk_s, 0.5), LISTENING)
    gateway = np.tile(np.arange(LISTENING), len(at_s) // LISTENING)
    places = rng.normal(0.0, 5.0, (int(walk_s / 2.0) + 2, LISTENING))
    step = np.clip(np.ceil((at_s - rest_s) / 2.0), 0, len(places) - 1).astype(np.intp)
    level = -70.0 + places[step, gateway] + rng.normal(0.0, 2.8, len(at_s))
    return at_s, gateway, level


def test_a_rest_is_told_within_a_quarter_of_a_minute_and_its_end_within_two_blocks() -> None:
    first, second = stays_of(*way(60.0, 20.0, seed=1), LISTENING)

    assert first.start_s == 0.0
    assert first.told_s <= 15.0
    assert 60.0 - BLOCK_S <= first.end_s <= 60.0 + BLOCK_S
    assert first.ended_s == first.end_s + BLOCK_S
    assert 75.0 <= second.start_s <= 90.0
    assert second.end_s == np.inf


@pytest.mark.parametrize("seed", range(8))
def test_a_tag_that_is_carried_all_the_time_never_lies_still(seed: int) -> None:
    at_s, gateway, level = way(1.0, 120.0, seed=seed)

    assert stays_of(at_s[at_s < 120.0], gateway[at_s < 120.0], level[at_s < 120.0], LISTENING) == []


@pytest.mark.parametrize("until_s", [12.0, 30.0, 64.0, 70.0, 100.0])
def test_a_verdict_is_the_same_without_what_comes_later(until_s: float) -> None:
    at_s, gateway, level = way(60.0, 20.0, seed=1)
    until_s = BLOCK_S * np.floor(until_s / BLOCK_S)
    kept = at_s < until_s
    early = stays_of(at_s[kept], gateway[kept], level[kept], LISTENING)
    late = stays_of(at_s, gateway, level, LISTENING)

    def as_known(stay: Stay) -> Stay:
        over = stay.ended_s <= until_s
        return stay if over else stay._replace(end_s=np.inf, ended_s=np.inf)

    assert early == [as_known(stay) for stay in late if stay.told_s <= until_s]


def test_without_readings_nothing_lies_still() -> None:
    nothing = np.zeros(0)

    assert stays_of(nothing, np.zeros(0, dtype=np.intp), nothing, 3) == []
