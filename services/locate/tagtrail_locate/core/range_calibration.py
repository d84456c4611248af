"""What a survey with known positions says about ranges: latency, bias by distance, bias by anchor.

Ranges reach the log a little after the moment they belong to; at walking speed 0.2 s are 0.3 m.
Their bias depends on the received power, hence on the distance (DW1000 radios: Decawave APS011),
and on each anchor's antenna delay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import TooFewRangesError

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]

LATENCIES_S: Final = tuple(round(-0.1 + 0.02 * i, 2) for i in range(36))
"""Searched: -0.1 to 0.6 s; an answer at either end is refused as not determined."""

KNOTS_M: Final = (3.0, 6.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0)
"""Distances between which the bias is interpolated; denser near, where the power changes more."""

FEWEST: Final = 200
"""Ranges that a fit needs: some ten for each of its constants."""

OUTLIER_M: Final = 0.1
"""Residuals of this size count half."""


@dataclass(frozen=True, slots=True)
class RangeCalibration:
    """Constants of a site's ranges.

    Attributes:
        latency_s: Arrival time less the time that a range belongs to, seconds.
        knots_m: Distances, ascending, metres.
        bias_m: Measured minus true at these distances, metres.
        offset_m: What an anchor adds to that, metres.
    """

    latency_s: float = 0.0
    knots_m: tuple[float, ...] = (0.0,)
    bias_m: tuple[float, ...] = (0.0,)
    offset_m: Mapping[str, float] = field(default_factory=dict)

    def corrected_m(self, anchor_id: str, range_m: float) -> float:
        """Return a range without its known bias, metres, >= 0."""
        bias = float(np.interp(range_m, self.knots_m, self.bias_m))
        return max(range_m - bias - self.offset_m.get(anchor_id, 0.0), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class SurveyedRanges:
    """Ranges of a tag whose way is known.

    Attributes:
        at_s: Arrival times, shape (n,), seconds.
        anchor: Index into `anchors_m`, shape (n,).
        range_m: Shape (n,), metres.
        anchors_m: Shape (a, 3), metres.
        anchor_ids: Names, length a.
        way_s: Times of the known way, ascending, shape (w,), seconds.
        way_m: x, y, z of the known way in the anchors' frame, shape (w, 3), metres.
    """

    at_s: Floats
    anchor: Indexes
    range_m: Floats
    anchors_m: Floats
    anchor_ids: tuple[str, ...]
    way_s: Floats
    way_m: Floats


def fit_ranges(runs: Sequence[SurveyedRanges]) -> RangeCalibration:
    """Fit the constants of ranges robustly, over all runs together.

    Args:
        runs: At least one.

    Returns:
        The constants; latency to 0.02 s.

    Raises:
        TooFewRangesError: fewer than `FEWEST` ranges lie within the known ways.
    """
    if not runs or sum(len(_residuals(run, 0.0)[0]) for run in runs) < FEWEST:
        raise TooFewRangesError(
            f"fewer than {FEWEST} ranges fall into the times of the known way; survey longer"
        )
    latency = _latency(runs)
    residual, true, names = _together(runs, latency)
    ids = sorted(set(names.tolist()))
    hats = [np.interp(true, KNOTS_M, np.eye(len(KNOTS_M))[i]) for i in range(len(KNOTS_M))]
    design = np.stack([*hats, *(1.0 * (names == i) for i in ids)], axis=1)
    # The prior keeps unseen distances near zero, and leaves what all anchors share to the curve.
    prior = np.diag([1.0] * len(KNOTS_M) + [300.0] * len(ids))
    weight, found = np.ones(len(residual)), np.zeros(design.shape[1])
    for _ in range(10):
        weighed = design * weight[:, None]
        found = np.linalg.solve(weighed.T @ design + prior, weighed.T @ residual)
        weight = 1.0 / (1.0 + np.square((residual - design @ found) / OUTLIER_M))
    curve = tuple(round(float(v), 4) for v in found[: len(KNOTS_M)])
    offsets = {i: round(float(v), 4) for i, v in zip(ids, found[len(KNOTS_M) :], strict=True)}
    return RangeCalibration(latency, KNOTS_M, curve, offsets)


def _latency(runs: Sequence[SurveyedRanges]) -> float:
    """Return the latency whose residuals scatter least, 0 if the tag moved too little to tell."""
    scatter = []
    for latency in LATENCIES_S:
        residual, _, _ = _together(runs, latency)
        scatter.append(float(np.median(np.abs(residual - np.median(residual)))))
    best = int(np.argmin(scatter))
    flat = scatter[best] > 0.95 * scatter[LATENCIES_S.index(0.0)]
    return 0.0 if flat or best in (0, len(LATENCIES_S) - 1) else LATENCIES_S[best]


def _together(
    runs: Sequence[SurveyedRanges], latency_s: float
) -> tuple[Floats, Floats, npt.NDArray[np.str_]]:
    parts = [_residuals(run, latency_s) for run in runs]
    names = [np.array(r.anchor_ids)[p[2]] for r, p in zip(runs, parts, strict=True)]
    return (
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        np.concatenate(names),
    )


def _residuals(run: SurveyedRanges, latency_s: float) -> tuple[Floats, Floats, Indexes]:
    """Return measured minus true, true (metres) and the anchors of the ranges on the known way."""
    at = run.at_s - latency_s
    inside = (at >= run.way_s[0]) & (at <= run.way_s[-1])
    at, anchor = at[inside], run.anchor[inside]
    away = np.stack([np.interp(at, run.way_s, run.way_m[:, i]) for i in range(3)], axis=1)
    true = np.sqrt(np.square(away - run.anchors_m[anchor]).sum(axis=1))
    return run.range_m[inside] - true, true, anchor
