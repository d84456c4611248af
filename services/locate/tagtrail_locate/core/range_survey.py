"""A survey of ranges from known places turned into an error model, with its leave-one-out error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.range_bias import UNSURVEYED, Links, RangeErrorModel, fit_range_errors
from tagtrail_locate.core.range_posterior import Bounds, Spot, around, spot
from tagtrail_locate.core.ranging_quality import features
from tagtrail_locate.core.still_ranges import Reading

Floats = npt.NDArray[np.float64]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class RangeSurvey:
    """Medians of what anchors read from known places.

    Attributes:
        anchors: Where they stand: x, y, z, metres.
        places: Where the tag stood: x, y, z, metres.
        readings: Per place, one reading per anchor.
    """

    anchors: Mapping[str, Point]
    places: Mapping[str, Point]
    readings: Mapping[str, tuple[Reading, ...]]


@dataclass(frozen=True, slots=True)
class SurveyReport:
    """What a survey is good for.

    Attributes:
        model: Errors of ranges.
        tag_height_m: Median height of the places, metres.
        held_out_m: Error of each place with a model of the others, metres.
        unsurveyed_m: Error of each place without any survey, metres.
        covered: Share of places that lie in the 95 % area stated for them.
    """

    model: RangeErrorModel
    tag_height_m: float
    held_out_m: Mapping[str, float]
    unsurveyed_m: Mapping[str, float]
    covered: float


def calibrate(survey: RangeSurvey, *, bounds: Bounds | None = None) -> SurveyReport:
    """Learn the errors of a site's ranges, and say how good that is at places not learned from.

    Raises:
        RefusedCalibrationError: the survey is too small, a constant ran to a rail, or places are
            found worse with the model of the other places than without any.
    """
    height = float(np.median([p[2] for p in survey.places.values()])) if survey.places else 0.0
    names, links = links_of(survey)
    model = fit_range_errors(links)
    held_out, unsurveyed, inside = {}, {}, []
    for i, name in enumerate(names):
        readings = survey.readings[name]
        if len(readings) < 3:
            continue
        other = fit_range_errors(links.without(i))
        found = locate(survey.anchors, readings, other, height_m=height, bounds=bounds)
        held_out[name] = _miss(found, survey.places[name])
        inside.append(_normalised(found, survey.places[name]) <= 5.99)
        plain = locate(survey.anchors, readings, UNSURVEYED, height_m=height, bounds=bounds)
        unsurveyed[name] = _miss(plain, survey.places[name])
    with_model, without = (sum(e.values()) / max(len(e), 1) for e in (held_out, unsurveyed))
    if with_model > without:
        raise RefusedCalibrationError(
            f"places are found to {with_model:.2f} m with a model of the others and to "
            f"{without:.2f} m without any: check the coordinates, survey more places",
            with_model_m=round(with_model, 3),
            without_m=round(without, 3),
        )
    covered = sum(inside) / max(len(inside), 1)
    return SurveyReport(model, height, held_out, unsurveyed, covered)


def links_of(survey: RangeSurvey) -> tuple[list[str], Links]:
    """Return the names of the places, and the links from them in that order."""
    names = sorted(survey.places)
    rows = [
        (i, r, math.dist(survey.places[name], survey.anchors[r.anchor_id]))
        for i, name in enumerate(names)
        for r in survey.readings.get(name, ())
        if r.anchor_id in survey.anchors
    ]
    readings = [r for _, r, _ in rows]
    links = Links(
        np.array([i for i, _, _ in rows], dtype=np.intp),
        tuple(r.anchor_id for r in readings),
        np.array([r.range_m - true for _, r, true in rows]),
        features_of(readings),
    )
    return names, links


def features_of(readings: Iterable[Reading]) -> Floats:
    """Return the features of readings, shape (n, 4)."""
    table = np.array([(r.range_m, r.rssi_dbm, r.first_path_dbm) for r in readings]).reshape(-1, 3)
    return features(table[:, 0], table[:, 1], table[:, 2])


def locate(
    anchors: Mapping[str, Point],
    readings: Iterable[Reading],
    model: RangeErrorModel,
    *,
    height_m: float,
    bounds: Bounds | None = None,
) -> Spot:
    """Find a tag by the readings of anchors, with their learned errors.

    Args:
        anchors: Where they stand: x, y, z, metres. All of them bound the site if `bounds` is None.
        readings: One per anchor; those of unknown anchors are passed over.
        model: Errors to expect.
        height_m: Height of the tag, metres.
        bounds: Where it can be.

    Raises:
        TooFewRangesError: fewer readings than 3.
    """
    known = [r for r in readings if r.anchor_id in anchors]
    places = np.array([anchors[r.anchor_id] for r in known]).reshape(-1, 3)
    errors = model.mixture([r.anchor_id for r in known], features_of(known))
    ranges = np.array([r.range_m for r in known])
    box = bounds or around(np.array(list(anchors.values())))
    return spot(places, ranges, errors, height_m=height_m, bounds=box)


def _miss(found: Spot, place: Point) -> float:
    return math.hypot(found.x_m - place[0], found.y_m - place[1])


def _normalised(found: Spot, place: Point) -> float:
    (xx, xy), (_, yy) = found.covariance_m2
    dx, dy = found.x_m - place[0], found.y_m - place[1]
    return (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / (xx * yy - xy * xy)
