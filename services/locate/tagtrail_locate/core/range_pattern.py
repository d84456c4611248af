"""The range error of one tag towards each anchor: constant, by distance, by the tag's own direction.

A tag that is fixed on a trolley or fork-lift is weaker towards some sides (its antenna, the metal
it sits on), and a weak first path is timed late. Where the carrier drives the way it faces, the
course tells which side an anchor sees. Each part is small; together they halve the error that a
constant per pair leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import RefusedCalibrationError

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]

LATENCIES_S: Final = tuple(round(0.02 * i, 2) for i in range(16))
"""Searched: 0 to 0.3 s between the moment of a range and its stamp."""

HARMONICS: Final = 3
"""Sides are told apart down to 60 degrees: more is the room, not the tag."""

SLOWEST_MPS: Final = 0.08
"""Slower than this, the course is noise and the last one holds."""

COURSE_S: Final = 0.5
"""Half the time over which the surveyed way gives a course."""

FEWEST: Final = 500
"""Ranges that a fit needs: some twenty for each of its constants."""

OUTLIER_M: Final = 0.12
"""Residuals of this size count half: twice what is left after the fit."""

PRIOR_RANGES: Final = 3.0
"""The curve and the pattern start at zero with the weight of so many ranges."""

RAIL_M: Final = 2.0
"""A constant beyond this is no antenna delay but a wrong coordinate."""


@dataclass(frozen=True, slots=True, eq=False)
class SurveyedTag:
    """Ranges of a tag whose way is known.

    Attributes:
        at_s: Stamps of the ranges, shape (n,), seconds.
        anchor: Index into `anchors_m`, shape (n,).
        range_m: Shape (n,), metres.
        anchors_m: Shape (a, 3), metres.
        anchor_ids: Names, length a.
        way_s: Times of the known way, ascending, shape (w,), seconds.
        way_m: x, y, z of it, shape (w, 3), metres.
    """

    at_s: Floats
    anchor: Indexes
    range_m: Floats
    anchors_m: Floats
    anchor_ids: tuple[str, ...]
    way_s: Floats
    way_m: Floats


@dataclass(frozen=True, slots=True)
class TagRangeBias:
    """Range errors of one tag.

    Attributes:
        offsets_m: Towards each anchor, metres; the mean for anchors not named.
        middle_m: Distance at which the curve is zero, metres.
        span_m: Distance from there to the nearest or furthest surveyed, metres, > 0.
        curve_m: Factors of the first three powers of (distance - middle) / span, metres.
        pattern_m: Factors of cosine and sine of one, two and three times the anchor's bearing off
            the course, metres.
        noise_m: Standard deviation of what is new in each range, metres.
        wander_m: Standard deviation of what lasts, metres.
        wander_s: How long that lasts, seconds.
    """

    offsets_m: Mapping[str, float]
    middle_m: float
    span_m: float
    curve_m: tuple[float, ...]
    pattern_m: tuple[float, ...]
    noise_m: float
    wander_m: float
    wander_s: float

    def expected_m(self, anchor_id: str, distance_m: float, aside: tuple[float, float]) -> float:
        """Return the error to expect of a range, metres.

        Args:
            anchor_id: To which anchor.
            distance_m: How far it is, metres.
            aside: Cosine and sine of its bearing off the tag's course; (0, 0) = not known.
        """
        mean = sum(self.offsets_m.values()) / max(len(self.offsets_m), 1)
        u = min(max((distance_m - self.middle_m) / self.span_m, -1.2), 1.2)
        found = self.offsets_m.get(anchor_id, mean)
        found += sum(c * p for c, p in zip(self.curve_m, (u, u * u, u * u * u), strict=True))
        c1, s1 = aside
        c, s = c1, s1
        for n in range(HARMONICS):
            found += self.pattern_m[2 * n] * c + self.pattern_m[2 * n + 1] * s
            c, s = c * c1 - s * s1, s * c1 + c * s1
        return found


def seen_aside(
    anchor: tuple[float, float], place: tuple[float, float], velocity: tuple[float, float] | None
) -> tuple[float, float]:
    """Return cosine and sine of an anchor's bearing off a tag's course; (0, 0) if not known."""
    if velocity is None:
        return 0.0, 0.0
    dx, dy = anchor[0] - place[0], anchor[1] - place[1]
    vx, vy = velocity
    scale = float(np.sqrt((dx * dx + dy * dy) * (vx * vx + vy * vy)))
    if scale <= 0.0:
        return 0.0, 0.0
    return (dx * vx + dy * vy) / scale, (dy * vx - dx * vy) / scale


def latency_s(surveys: list[SurveyedTag]) -> float:
    """Return by how much the stamps of ranges are late, seconds, from moving tags.

    It is 0 if no latency within `LATENCIES_S` fits better than its ends.
    """
    costs = []
    for latency in LATENCIES_S:
        cost = 0.0
        for survey in surveys:
            design, error, _ = _design(survey, latency)
            residual = error - design @ _factors(design, error, len(survey.anchor_ids), rounds=3)
            cost += float(np.median(np.abs(residual)))
        costs.append(cost)
    best = int(np.argmin(costs))
    return LATENCIES_S[best] if best < len(LATENCIES_S) - 1 else 0.0


def fit_tag(survey: SurveyedTag, *, latency: float) -> TagRangeBias:
    """Learn the range errors of a tag, robustly.

    Args:
        survey: Its ranges on a known way.
        latency: Of the stamps, seconds.

    Raises:
        RefusedCalibrationError: too few ranges of the moving tag, or an offset at a rail.
    """
    design, error, rows = _design(survey, latency)
    if len(error) < FEWEST:
        raise RefusedCalibrationError(
            f"{len(error)} ranges of a moving tag do not fix its errors; it takes {FEWEST}: "
            "survey longer",
            ranges=len(error),
        )
    count = len(survey.anchor_ids)
    found = _factors(design, error, count, rounds=12)
    largest = float(np.max(np.abs(found)))
    if largest > RAIL_M:
        raise RefusedCalibrationError(
            f"a range error ran to {largest:.2f} m: check the anchors' coordinates",
            largest_m=round(largest, 3),
        )
    heard = np.bincount(survey.anchor[rows], minlength=count) > 0
    middle, span = _middle(survey)
    values = [round(float(v), 4) for v in found]
    noise, wander, lasting = _scatter(survey, rows, error - design @ found)
    return TagRangeBias(
        {a: values[i] for i, a in enumerate(survey.anchor_ids) if heard[i]},
        middle,
        span,
        tuple(values[count : count + 3]),
        tuple(values[count + 3 :]),
        noise,
        wander,
        lasting,
    )


def _middle(survey: SurveyedTag) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(survey.range_m, (0.01, 0.99)))
    return round(0.5 * (low + high), 2), max(round(0.5 * (high - low), 2), 0.5)


def _design(survey: SurveyedTag, latency: float) -> tuple[Floats, Floats, Indexes]:
    """Return the terms (m, a + 9), measured minus true (m,), and which ranges these are."""
    at = survey.at_s - latency
    low, high = survey.way_s[0] + COURSE_S, survey.way_s[-1] - COURSE_S
    before, after = _on(survey, at - COURSE_S), _on(survey, at + COURSE_S)
    velocity = (after - before)[:, :2] / (2.0 * COURSE_S)
    speed = np.sqrt(np.square(velocity).sum(axis=1))
    rows = np.flatnonzero((at >= low) & (at <= high) & (speed > SLOWEST_MPS))
    anchors = survey.anchors_m[survey.anchor[rows]]
    away = anchors - _on(survey, at[rows])
    true = np.sqrt(np.square(away).sum(axis=1))
    scale = np.sqrt(np.square(away[:, :2]).sum(axis=1)) * speed[rows]
    cosine = (away[:, :2] * velocity[rows]).sum(axis=1) / scale
    sine = (away[:, 1] * velocity[rows, 0] - away[:, 0] * velocity[rows, 1]) / scale
    middle, span = _middle(survey)
    u = np.clip((true - middle) / span, -1.2, 1.2)
    turn = np.arctan2(sine, cosine)
    sides = [f(n * turn) for n in range(1, HARMONICS + 1) for f in (np.cos, np.sin)]
    pairs = np.eye(len(survey.anchor_ids))[survey.anchor[rows]]
    design = np.concatenate([pairs, np.stack([u, u * u, u * u * u, *sides], axis=1)], axis=1)
    return design, survey.range_m[rows] - true, rows


def _on(survey: SurveyedTag, at: Floats) -> Floats:
    return np.stack([np.interp(at, survey.way_s, survey.way_m[:, k]) for k in range(3)], axis=1)


def _factors(design: Floats, error: Floats, anchors: int, *, rounds: int) -> Floats:
    """Return the robust least squares solution, by re-weighting."""
    prior = np.full(design.shape[1], PRIOR_RANGES)
    prior[:anchors] *= 0.1
    weight: Floats = np.ones(len(error))
    found: Floats = np.zeros(design.shape[1])
    for _ in range(rounds):
        weighed = design * weight[:, None]
        solved = np.linalg.solve(weighed.T @ design + np.diag(prior), weighed.T @ error)
        found = np.asarray(solved, dtype=np.float64)
        left: Floats = (error - design @ found) / OUTLIER_M
        weight = 1.0 / (1.0 + left * left)
    return found


def _scatter(survey: SurveyedTag, rows: Indexes, residual: Floats) -> tuple[float, float, float]:
    """Split what is left into new and lasting error: both sizes (metres), and how long (s).

    From products of residuals of one anchor a given time apart: they lack the part that is new.
    """
    limit = 2.0 * OUTLIER_M
    clipped, at, anchor = np.clip(residual, -limit, limit), survey.at_s[rows], survey.anchor[rows]
    near: list[Floats] = []
    far: list[Floats] = []
    for i in range(len(survey.anchor_ids)):
        own = anchor == i
        times, values = at[own], clipped[own]
        for apart, bag in ((0.2, near), (1.0, far)):
            later = np.minimum(np.searchsorted(times, times + apart), max(len(times) - 1, 0))
            fits = np.abs(times[later] - times - apart) < 0.25 * apart
            bag.append((values * values[later])[fits])
    total = float(np.mean(clipped * clipped))
    short, long = (float(np.mean(np.concatenate(b))) if b else 0.0 for b in (near, far))
    short = min(max(short, 0.05 * total), 0.9 * total)
    long = min(max(long, 0.1 * short), 0.9 * short)
    lasting = float(np.clip(0.8 / np.log(short / long), 0.5, 10.0))
    wander = min(short * float(np.exp(0.2 / lasting)), 0.9 * total)
    return (
        round(float(np.sqrt(total - wander)), 4),
        round(float(np.sqrt(wander)), 4),
        round(lasting, 2),
    )
