"""Range errors: learned from power, from reference tags, from anchors; and fixes that use them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.locate import industrial

from tagtrail_locate.core.descent import minimised
from tagtrail_locate.core.errors import RefusedCalibrationError, TooFewRangesError
from tagtrail_locate.core.range_bias import UNSURVEYED, Links
from tagtrail_locate.core.range_posterior import Bounds, Spot, spot
from tagtrail_locate.core.range_survey import RangeSurvey, calibrate
from tagtrail_locate.core.ranging_quality import Floats, Mixture, features, gated, spreading_db
from tagtrail_locate.core.still_ranges import Reading, StillRanges

HALL = {
    "a": (0.0, 0.0, 2.5), "b": (24.0, 0.0, 2.5), "c": (24.0, 11.0, 2.5), "d": (0.0, 11.0, 2.5),
    "e": (12.0, 0.0, 2.5), "f": (12.0, 11.0, 2.5), "g": (6.0, 5.0, 2.5), "h": (18.0, 6.0, 2.5),
}  # fmt: skip
TAG_M = 1.5


def _reading(
    chance: np.random.Generator, anchor: str, place: tuple[float, ...], *, blocked: bool
) -> Reading:
    """Return a range as a radio in sight, or behind a rack, would report it."""
    true = math.dist(place, HALL[anchor])
    power = -73.0 - 20.0 * math.log10(true) + chance.normal(0, 1)
    error = chance.normal(-0.05, 0.06)
    if blocked:
        power -= 9.0
        error += 0.1 + chance.exponential(0.6)
    gap = 9.0 if blocked else 3.0
    return Reading(anchor, max(true + error, 0.0), power, power - gap + chance.normal(0, 1))


def _survey(seed: int, places: int = 9, *, blocked: float = 0.4) -> RangeSurvey:
    chance = np.random.default_rng(seed)
    spots = {
        f"p{i}": (float(chance.uniform(1, 23)), float(chance.uniform(1, 10)), TAG_M)
        for i in range(places)
    }
    readings = {
        name: tuple(
            _reading(chance, a, place, blocked=bool(chance.random() < blocked)) for a in HALL
        )
        for name, place in spots.items()
    }
    return RangeSurvey(HALL, spots, readings)


def test_a_range_without_known_power_counts_as_a_middling_one() -> None:
    unknown = features(np.array([5.0]), np.array([math.nan]), np.array([math.nan]))

    assert unknown.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_the_spreading_loss_is_interpolated_to_a_seventh_of_a_decibel() -> None:
    metres = np.geomspace(0.3, 1500.0, 400)

    assert np.max(np.abs(spreading_db(metres) - 20.0 * np.log10(metres))) < 0.14


def test_shares_sum_to_one_and_the_higher_level_gets_more() -> None:
    shares = gated(np.array([[0.0, 0.0, 0.0], [3.0, 0.0, -200.0]]))

    assert shares.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert shares[0].tolist() == pytest.approx([1 / 3] * 3)
    assert shares[1, 0] > 0.9
    assert shares[1, 2] < 1e-12


def test_the_density_of_an_error_integrates_to_one() -> None:
    errors = UNSURVEYED.mixture(["a"], np.array([[1.0, 0.5, -0.2, 0.1]]))
    at = np.arange(-60.0, 60.0, 0.002)

    assert float(errors.density(0, at).sum() * 0.002) == pytest.approx(1.0 + 120 * 1e-4, abs=2e-3)


def test_the_moments_are_those_of_the_density() -> None:
    errors = UNSURVEYED.mixture(["a"], np.array([[1.0, -1.0, -0.5, 0.3]]))
    at = np.arange(-200.0, 200.0, 0.01)
    density = errors.density(0, at) - 1e-4

    mean, sigma = errors.moments()

    assert mean[0] == pytest.approx(float((density * at).sum() * 0.01), abs=1e-3)
    spread = float((density * (at - mean[0]) ** 2).sum() * 0.01)
    assert sigma[0] == pytest.approx(math.sqrt(spread), abs=5e-3)


def test_a_weak_range_is_probably_blocked_and_a_long_one_certainly() -> None:
    near = features(np.array([10.0, 10.0]), np.array([-85.0, -99.0]), np.array([-87.0, -108.0]))
    errors = UNSURVEYED.mixture(["a", "b"], near)

    before = errors.blocked()
    after = errors.blocked(np.array([-0.05, 1.4]))

    assert before[0] < 0.3 < 0.8 < before[1]
    assert after[0] < before[0]
    assert after[1] > 0.99


def test_the_descent_finds_the_lowest_point_of_a_bent_valley() -> None:
    def valley(at: Floats) -> tuple[float, Floats]:
        x, y = at
        bend = y - x * x
        slope = np.array([-400.0 * x * bend - 2.0 * (1.0 - x), 200.0 * bend])
        return float(100.0 * bend * bend + (1.0 - x) ** 2), slope

    found, value, ended = minimised(valley, np.array([-1.2, 1.0]), enough=1e-14)

    assert ended
    assert value < 1e-8
    assert found == pytest.approx([1.0, 1.0], abs=1e-3)


def test_a_survey_lowers_the_error_at_places_not_learned_from() -> None:
    report = calibrate(_survey(3, 14))

    held_out = np.array(list(report.held_out_m.values()))
    unsurveyed = np.array(list(report.unsurveyed_m.values()))
    assert report.tag_height_m == TAG_M
    assert held_out.mean() < 0.12
    assert held_out.mean() < unsurveyed.mean()
    assert report.covered > 0.85


def test_an_anchor_s_own_offset_is_found_and_shrunk() -> None:
    survey = _survey(4, 14, blocked=0.0)
    shifted = {
        name: tuple(replace_range(r, 0.12) if r.anchor_id == "g" else r for r in readings)
        for name, readings in survey.readings.items()
    }

    report = calibrate(replace(survey, readings=shifted))

    assert 0.05 < report.model.offsets_m["g"] < 0.13
    assert max(abs(v) for a, v in report.model.offsets_m.items() if a != "g") < 0.05


def replace_range(reading: Reading, more_m: float) -> Reading:
    """Return a reading with a longer range."""
    return Reading(
        reading.anchor_id, reading.range_m + more_m, reading.rssi_dbm, reading.first_path_dbm
    )


def test_two_places_are_refused_and_the_refusal_says_how_many_it_takes() -> None:
    with pytest.raises(RefusedCalibrationError, match="30 from 3: survey more places"):
        calibrate(_survey(5, 2))


def test_a_survey_in_the_wrong_frame_is_refused() -> None:
    survey = _survey(6, 9)
    moved = {name: (x + 7.0, y, z) for name, (x, y, z) in survey.places.items()}

    with pytest.raises(RefusedCalibrationError, match="check the coordinates"):
        calibrate(replace(survey, places=moved))


def test_links_of_one_place_are_left_out_together() -> None:
    links = Links(np.array([0, 1, 0]), ("a", "b", "c"), np.array([0.1, 0.2, 0.3]), np.ones((3, 4)))

    rest = links.without(0)

    assert rest.anchor_ids == ("b",)
    assert rest.error_m.tolist() == [0.2]


def test_many_blocked_ranges_leave_a_place_and_name_themselves() -> None:
    chance = np.random.default_rng(12)
    misses, inside, named = [], [], []
    for _ in range(120):
        place = (float(chance.uniform(1, 23)), float(chance.uniform(1, 10)), TAG_M)
        hidden = [bool(chance.random() < 0.5) for _ in HALL]
        readings = [
            _reading(chance, a, place, blocked=b) for a, b in zip(HALL, hidden, strict=True)
        ]
        found = _found(readings)
        dx, dy = found.x_m - place[0], found.y_m - place[1]
        (xx, xy), (_, yy) = found.covariance_m2
        misses.append(math.hypot(dx, dy))
        inside.append((yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / (xx * yy - xy * xy) < 5.99)
        named += [(p > 0.5) == b for p, b in zip(found.blocked, hidden, strict=True)]

    assert np.median(misses) < 0.15
    assert np.quantile(misses, 0.95) < 0.6
    assert 0.90 <= np.mean(inside) <= 1.0
    assert np.mean(named) > 0.85


def _found(readings: list[Reading]) -> Spot:
    errors = UNSURVEYED.mixture(
        [r.anchor_id for r in readings],
        features(
            np.array([r.range_m for r in readings]),
            np.array([r.rssi_dbm for r in readings]),
            np.array([r.first_path_dbm for r in readings]),
        ),
    )
    places = np.array([HALL[r.anchor_id] for r in readings])
    return spot(places, np.array([r.range_m for r in readings]), errors, height_m=TAG_M)


def test_two_ranges_are_refused() -> None:
    with pytest.raises(TooFewRangesError, match="takes 3"):
        _found([Reading("a", 5.0), Reading("b", 20.0)])


def test_two_valleys_are_told_as_elsewhere() -> None:
    line = np.array([(0.0, 5.0, 2.0), (5.0, 5.0, 2.0), (10.0, 5.0, 2.0)])
    ranges = np.sqrt((line[:, 0] - 4.0) ** 2 + 9.0)
    sight = Mixture(np.array([[1.0, 0.0, 0.0]] * 3), np.zeros((3, 3)), np.array([0.1, 0.2, 0.6]))
    found = spot(line, ranges, sight, height_m=2.0, bounds=Bounds(0.0, 0.0, 10.0, 10.0))

    assert found.elsewhere > 0.9
    assert found.accuracy_m > 2.0


def test_a_still_tag_s_readings_become_medians_and_a_move_forgets_them() -> None:
    state = StillRanges()
    for k in range(8):
        state.take([Reading(a, 5.0 + 0.01 * k) for a in "abcd"])
    still = {r.anchor_id: r.range_m for r in state.medians()}

    state.take([Reading("a", 6.0), Reading("b", 4.0), Reading("c", 5.9), Reading("d", 5.04)])

    assert still == pytest.approx(dict.fromkeys("abcd", 5.035))
    assert state.moves == 1
    assert {r.anchor_id: r.range_m for r in state.medians()}["a"] == 6.0


def test_one_anchor_that_jumps_is_no_move() -> None:
    state = StillRanges()
    for _ in range(8):
        state.take([Reading(a, 5.0) for a in "abcd"])

    state.take([Reading("a", 9.0), *(Reading(a, 5.0) for a in "bcd")])

    assert state.moves == 0
    assert [r.range_m for r in state.medians()] == [5.0] * 4


def test_an_anchor_no_longer_heard_counts_only_while_there_are_few() -> None:
    state = StillRanges()
    state.take([Reading(a, 5.0) for a in "abcdefg"])
    for _ in range(10):
        state.take([Reading(a, 5.0) for a in "cdefg"])
    many = [r.anchor_id for r in state.medians()]
    for _ in range(10):
        state.take([Reading(a, 5.0) for a in "fg"])

    assert many == list("cdefg")
    assert [r.anchor_id for r in state.medians()] == list("cdefg")


def test_racks_leave_a_still_tag_within_the_goal_at_places_not_learned_from(
    shared_data: Path,
) -> None:
    folder = shared_data / "locate" / "uwb_industrial"
    survey = industrial.surveyed(folder, without=None)

    report = calibrate(survey)

    errors = np.array(list(report.held_out_m.values()))
    assert len(errors) == 7
    assert errors.mean() <= 0.15
    assert errors.max() <= 0.40


def test_six_anchors_on_the_walls_keep_the_goal(shared_data: Path) -> None:
    folder = shared_data / "locate" / "uwb_industrial"
    anchors, truth = industrial.anchors_of(folder), industrial.surveyed(folder, without=None).places
    kept = {a: anchors[a] for a in ("21", "14", "4", "31", "26", "33")}
    errors = []
    for position, rounds in industrial.measured(folder).items():
        model, height_m = industrial.calibrated(folder, without=position)
        some = {k: rounds[k] for k in sorted(rounds) if k in (5, 15, 25)}
        x, y, _ = truth[position]
        errors += [
            math.hypot(s.x_m - x, s.y_m - y)
            for _, s in industrial.followed(kept, some, model, height_m=height_m)
        ]

    assert np.median(errors) <= 0.16
    assert np.quantile(errors, 0.95) <= 0.65
