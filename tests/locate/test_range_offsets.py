"""Constant range errors, and those of a carried tag by anchor, distance and side."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.locate import room
from bench.locate.output import rows

from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.range_offsets import (
    AnchorRange,
    ReferenceRange,
    from_anchors,
    from_references,
)
from tagtrail_locate.core.range_pattern import SurveyedTag, fit_tag, latency_s

HALL = {
    "a": (0.0, 0.0, 2.5), "b": (24.0, 0.0, 2.5), "c": (24.0, 11.0, 2.5), "d": (0.0, 11.0, 2.5),
    "e": (12.0, 0.0, 2.5), "f": (12.0, 11.0, 2.5), "g": (6.0, 5.0, 2.5), "h": (18.0, 6.0, 2.5),
}  # fmt: skip
OFFSETS = {"a": 0.05, "b": -0.1, "c": 0.12, "d": 0.0}


def _references(seed: int, places: int = 8) -> list[ReferenceRange]:
    chance = np.random.default_rng(seed)
    found = []
    for place in range(places):
        for tag, own in (("s", 0.0), ("t", 0.08)):
            for anchor, offset in OFFSETS.items():
                true = chance.uniform(2, 20)
                error = 0.15 + offset + own * (anchor == "d") + chance.normal(0, 0.02)
                found.append(ReferenceRange(f"p{place}", tag, anchor, true, true + error))
    return found


def test_offsets_from_reference_tags_get_better_from_constant_to_anchor_to_pair() -> None:
    links = _references(1)

    constant, anchor, pair = (from_references(links, m) for m in ("constant", "anchor", "pair"))

    assert constant.before_m > constant.left_out_m > anchor.left_out_m > pair.left_out_m
    assert pair.left_out_m < 0.04
    assert pair.expected_m("t", "d") == pytest.approx(0.23, abs=0.04)
    assert anchor.expected_m("s", "c") == pytest.approx(0.27, abs=0.04)


def test_reference_tags_at_two_places_are_refused() -> None:
    with pytest.raises(RefusedCalibrationError, match="survey 3 or more"):
        from_references(_references(1, places=2), "constant")


def test_an_offset_of_metres_is_refused() -> None:
    far = [replace(k, range_m=k.range_m + 4.0) for k in _references(1)]

    with pytest.raises(RefusedCalibrationError, match="check the coordinates"):
        from_references(far, "anchor")


def test_offsets_that_do_not_help_ranges_left_out_are_refused() -> None:
    by_place = [
        ReferenceRange(f"p{i}", "s", a, 5.0, 5.0 + 0.2 * (-1) ** i)
        for i in range(4)
        for a in "abcd"
    ]

    with pytest.raises(RefusedCalibrationError, match="simpler mode"):
        from_references(by_place, "anchor")


def _between(seed: int, own: dict[str, float]) -> list[AnchorRange]:
    chance = np.random.default_rng(seed)
    ids = sorted(own)
    found = []
    for i, first in enumerate(ids):
        for second in ids[i + 1 :]:
            error = own[first] + own[second] + chance.normal(0, 0.02)
            found.append(AnchorRange(first, second, 8.0, 8.0 + error))
    return found


def test_anchors_that_range_with_each_other_tell_what_each_of_them_adds() -> None:
    own = {"a": 0.1, "b": 0.2, "c": 0.05, "d": 0.12, "e": 0.02, "f": 0.15}
    ranges = _between(2, own)
    ranges[3] = replace(ranges[3], range_m=ranges[3].range_m + 1.5)

    found = from_anchors(ranges)

    mean = sum(own.values()) / len(own)
    assert found.constant_m == pytest.approx(2 * mean, abs=0.05)
    assert {a: found.anchors_m[a] for a in own} == pytest.approx(
        {a: v - mean for a, v in own.items()}, abs=0.05
    )
    assert found.left_out_m < found.before_m


def test_a_ring_of_anchors_is_refused_as_too_few_ranges() -> None:
    ring = [AnchorRange(a, b, 8.0, 8.2) for a, b in ("ab", "bc", "cd", "da")]

    with pytest.raises(RefusedCalibrationError, match="three others"):
        from_anchors(ring)


def _carried(seed: int, *, late_s: float) -> SurveyedTag:
    chance = np.random.default_rng(seed)
    ids = tuple(sorted(HALL))
    anchors = np.array([HALL[a] for a in ids])
    way_s = np.arange(0.0, 120.0, 0.1)
    turn = 0.1 * way_s
    way = np.stack(
        [12 + 8 * np.cos(turn), 5.5 + 4 * np.sin(2 * turn), np.full(len(turn), 1.0)], axis=1
    )
    at, which, ranges = [], [], []
    for k in range(10, len(way_s) - 10):
        dx, dy = way[k + 1, :2] - way[k - 1, :2]
        for i in range(len(ids)):
            bearing = math.atan2(anchors[i, 1] - way[k, 1], anchors[i, 0] - way[k, 0])
            side = bearing - math.atan2(dy, dx)
            at.append(way_s[k] + late_s)
            which.append(i)
            error = 0.1 + 0.02 * i + 0.06 * math.cos(side) + chance.normal(0, 0.03)
            ranges.append(math.dist(anchors[i], way[k]) + error)
    return SurveyedTag(np.array(at), np.array(which), np.array(ranges), anchors, ids, way_s, way)


def test_a_carried_tag_s_constants_pattern_and_latency_are_found() -> None:
    survey = _carried(1, late_s=0.1)

    latency = latency_s([survey])
    bias = fit_tag(survey, latency=latency)

    assert latency == pytest.approx(0.1, abs=0.021)
    assert bias.offsets_m["h"] - bias.offsets_m["a"] == pytest.approx(0.14, abs=0.02)
    assert bias.pattern_m[0] == pytest.approx(0.06, abs=0.01)
    assert bias.expected_m("a", 9.0, (1.0, 0.0)) == pytest.approx(0.16, abs=0.02)
    assert bias.noise_m == pytest.approx(0.03, abs=0.01)


def test_a_short_survey_of_a_carried_tag_is_refused() -> None:
    survey = _carried(1, late_s=0.0)
    short = replace(
        survey, at_s=survey.at_s[:300], anchor=survey.anchor[:300], range_m=survey.range_m[:300]
    )

    with pytest.raises(RefusedCalibrationError, match="it takes 500"):
        fit_tag(short, latency=0.0)


def test_a_trolley_is_followed_to_the_goal_with_the_errors_of_another_minute(
    shared_data: Path,
) -> None:
    folder = shared_data / "locate" / "uwb_room"
    anchors = room.anchors_of(folder)
    ranges = room.ranges_of(folder / "mid.ranges.csv", anchors)["1"]
    begin = ranges[0][0]
    latency, biases, height_m = room.calibrated(folder, since_s=begin + 64.5)
    half = [r for r in ranges if r[0] < begin + 25.0]
    way = {
        round(float(r["t"]), 3): (float(r["x"]), float(r["y"]))
        for r in rows(folder / "mid.truth.csv")
        if r["tag"] == "1"
    }

    found = list(room.places(half, anchors, biases["1"], latency, height_m, delay_s=0.0))

    measured = [p for p in found if round(p.at_s, 3) in way]
    errors = [math.dist((p.x_m, p.y_m), way[round(p.at_s, 3)]) for p in measured]
    assert len(errors) > 200
    assert np.median(errors) <= 0.035
    assert np.quantile(errors, 0.95) <= 0.09
