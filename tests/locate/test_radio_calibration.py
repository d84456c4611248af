"""Calibrations help, are measured at places left out, and are refused with the reason (S12, N15)."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from tagtrail_locate.core.calibration_config import (
    MOST_POINTS,
    Calibration,
    Point,
    calibration_of,
    survey_of,
    values_of,
)
from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.grid import grid_over
from tagtrail_locate.core.radio_calibration import Known, calibrate

GATEWAYS = {
    "g0": (1.0, 1.0, 2.3),
    "g1": (19.0, 1.0, 2.3),
    "g2": (1.0, 13.0, 2.3),
    "g3": (19.0, 13.0, 2.3),
}
OFFSETS_DB = {"g0": -48.0, "g1": -66.0, "g2": -57.0, "g3": -60.0}
GRID = grid_over({"hall": [(0, 0), (20, 0), (20, 14), (0, 14)]}, cell_m=1.0)
PLACES = [(2.5 + 5.0 * c, 2.0 + 3.3 * r) for r in range(4) for c in range(4)]


def _points(
    places: list[tuple[float, float]] = PLACES,
    *,
    count: int = 30,
    turned: Callable[[float, float], tuple[float, float]] = lambda x, y: (x, y),
) -> list[Point]:
    """Levels of gateways of unequal sensitivity, shadowed by 3 dB; `turned` plants wrong marks."""
    chance = np.random.default_rng(7)
    points = []
    for x, y in places:
        levels = {}
        for name, (gx, gy, gz) in GATEWAYS.items():
            away = math.dist((x, y, 1.0), (gx, gy, gz))
            mean = OFFSETS_DB[name] - 22.0 * math.log10(away) + chance.normal(0.0, 2.0)
            levels[name] = (round(float(mean), 2), 2.5, count)
        marked = turned(x, y)
        points.append(Point(x_m=marked[0], y_m=marked[1], levels=levels))
    return points


def _calibrated(points: list[Point]) -> Known:
    return calibrate(GRID, GATEWAYS, points, source="survey", tag_height_m=1.0)


def test_a_walk_halves_the_error_at_places_that_were_left_out() -> None:
    known = _calibrated(_points())

    assert known.error_m < 0.6 * known.plan_error_m
    assert known.error_m < 2.5
    for name, fit in known.calibration.gateways.items():
        assert fit.offset_db == pytest.approx(OFFSETS_DB[name], abs=5.0)
        assert 1.4 < fit.exponent < 3.0


def test_a_calibration_survives_the_way_through_the_configuration() -> None:
    calibration = _calibrated(_points()).calibration

    values = msgspec.json.decode(msgspec.json.encode(values_of(calibration)))
    back, trouble = calibration_of(values)

    assert trouble is None
    assert back is not None
    assert [(p.x_m, p.y_m, list(p.levels)) for p in back.points] == [
        (p.x_m, p.y_m, list(p.levels)) for p in calibration.points
    ]
    assert back.points[3].levels["g2"] == pytest.approx(
        calibration.points[3].levels["g2"], abs=0.06
    )
    assert back.gateways == calibration.gateways
    assert calibration_of({}) == (None, None)
    refused = calibration_of({"source": "survey", "points": [{"x_m": "left"}]})
    assert refused[0] is None
    assert "x_m" in str(refused[1])


def test_a_survey_point_keeps_its_mean_and_deviation() -> None:
    survey = survey_of(_points(count=12)[:1], ["g0"], tag_height_m=1.0)
    weight = survey.count / survey.count.sum()
    mean = float(np.sum(weight * survey.level_db))

    assert survey.count.sum() == pytest.approx(12)
    assert mean == pytest.approx(_points()[0].levels["g0"][0], abs=1e-9)
    assert np.sum(weight * (survey.level_db - mean) ** 2) == pytest.approx(2.5**2)


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (_points(PLACES[:5]), "5 places"),
        (_points(count=4), "0 places"),
        (
            [Point(x_m=p.x_m, y_m=p.y_m, levels={"g0": p.levels["g0"]}) for p in _points()],
            "1 gateways",
        ),
        ([Point(x_m=p.x_m, y_m=p.y_m, levels={"stranger": (-60, 1, 9)}) for p in _points()],
         "0 places"),
    ],
)  # fmt: skip
def test_too_few_data_are_refused_with_the_reason(points: list[Point], word: str) -> None:
    with pytest.raises(RefusedCalibrationError, match=word):
        _calibrated(points)


def test_a_plan_that_is_upside_down_is_refused() -> None:
    with pytest.raises(RefusedCalibrationError, match="check"):
        _calibrated(_points(turned=lambda x, y: (20.0 - x, 14.0 - y)))


def test_a_calibration_fits_into_one_fact() -> None:
    level = (-71.25, 3.25, 120)
    points = tuple(
        Point(x_m=n + 0.25, y_m=7.5, zone_id="zone-12", levels={f"gw-{g}": level for g in range(6)})
        for n in range(MOST_POINTS)
    )

    body = msgspec.json.encode(values_of(Calibration(source="survey", points=points)))

    assert len(body) < 65_535 - 1_000
