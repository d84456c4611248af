"""Learning from a survey what anchors measure too much at which place.

Around the residuals of each anchor lies a Gaussian process over the floor: where the survey went
it gives the bias, elsewhere it falls back to zero and says so in the scatter. The moments of the
blinks are unknown and found in turn with the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import TooFewRangesError
from tagtrail_locate.core.grid import Grid
from tagtrail_locate.core.tdoa import FREEDOM, REWEIGHTED, TdoaMap, distances_m

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]

LENGTH_M: Final = 0.8
"""Distance over which biases change: what a wall or cupboard shadows."""

BIAS_M: Final = 0.5
"""Standard deviation of the biases through walls."""

NUGGET_M: Final = 0.05
"""What the mean of many blinks in one cell still differs by from the smooth bias."""

SINGLE_M: Final = 0.2
"""Scatter of one blink within a cell, for weighing cells by their number of blinks."""

SAME_BLINKS: Final = 20
"""More blinks than this in a cell tell nothing more: a tag that stood there repeats its error."""

FLOOR_M: Final = 0.08
"""Least scatter believed: the resolution of the radio itself."""

USUAL_M: Final = 0.15
"""Mean absolute residual supposed before any is seen, worth `USUAL_COUNT` blinks."""

USUAL_COUNT: Final = 3.0

MOST_MISS_M: Final = 1.5
"""Larger residuals count as this much for the scatter; the tails of the likelihood cover them."""

ROUNDS: Final = 4
"""Of moments and maps in turn; further ones change less than a centimetre."""

FEWEST: Final = 100
"""Blinks that a map needs: half a minute at three a second."""

PER_MEAN: Final = 1.25
"""Standard deviation over mean absolute deviation of a normal distribution."""


@dataclass(frozen=True, slots=True, eq=False)
class TdoaSurvey:
    """Blinks from known places.

    Attributes:
        places_m: Where they were sent, x and y, shape (n, 2), metres.
        heard_m: Times of arrival times the speed of light, any origin per blink, shape (n, A),
            metres; NaN = not heard.
    """

    places_m: Floats
    heard_m: Floats


def map_of_survey(
    grid: Grid, anchors_m: Floats, survey: TdoaSurvey, *, tag_height_m: float
) -> TdoaMap:
    """Fit clock constants, biases and scatter of A anchors.

    Args:
        grid: Cells.
        anchors_m: Shape (A, 3), metres.
        survey: Blinks from known places; those heard by fewer than three anchors tell nothing.
        tag_height_m: Height of the tag in the survey, metres.

    Raises:
        TooFewRangesError: fewer than `FEWEST` blinks were heard by three anchors.
    """
    enough = np.isfinite(survey.heard_m).sum(axis=1) >= 3
    if int(enough.sum()) < FEWEST:
        raise TooFewRangesError(f"a map of arrival times needs {FEWEST} blinks; survey longer")
    places, heard = survey.places_m[enough], survey.heard_m[enough]
    away = np.sqrt(
        np.square(places[:, None, :] - anchors_m[None, :, :2]).sum(axis=2)
        + np.square(tag_height_m - anchors_m[:, 2])
    )
    cells = _Cells(grid, places)
    excess = heard - np.nanmin(heard, axis=1, keepdims=True) - away
    offset = np.nanmedian(excess - np.nanmedian(excess, axis=1, keepdims=True), axis=0)
    bias, scatter = np.zeros(excess.shape), np.full(excess.shape, 2.0 * SINGLE_M)
    fits: list[_Fit] = []
    for last in (*(False for _ in range(ROUNDS - 1)), True):
        residual = excess - offset - _moments(excess - offset - bias, scatter)[:, None]
        fits = [cells.fit(residual[:, i], last=last) for i in range(len(anchors_m))]
        bias = np.stack([f.bias for f in fits], axis=1)
        scatter = np.stack([f.scatter for f in fits], axis=1)
    on_grid = np.stack([f.grid_bias for f in fits])
    expected = distances_m(grid, anchors_m, tag_height_m) + offset[:, None] + on_grid
    scattered = np.stack([f.grid_scatter for f in fits])
    unknown = np.stack([f.grid_variance for f in fits]) / BIAS_M**2
    return TdoaMap(
        np.round(expected, 4),
        np.round(scattered, 4),
        np.round(offset - offset.mean(), 4),
        np.round(1.0 - unknown.mean(axis=0), 4),
    )


def _moments(excess: Floats, scatter: Floats) -> Floats:
    """Return what the anchors of each blink share, robustly, shape (n,)."""
    heard = np.isfinite(excess)
    values, precision = np.where(heard, excess, 0.0), 1.0 / np.square(scatter)
    moment: Floats = np.nanmedian(excess, axis=1)
    for _ in range(REWEIGHTED):
        miss = values - moment[:, None]
        weight = heard * precision / (FREEDOM + np.square(miss) * precision)
        moment = moment + (weight * miss).sum(axis=1) / weight.sum(axis=1)
    return moment


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    bias: Floats
    scatter: Floats
    grid_bias: Floats
    grid_scatter: Floats
    grid_variance: Floats


class _Cells:
    """The survey's places, gathered by grid cell, and how they resemble one another and the grid."""

    def __init__(self, grid: Grid, places: Floats) -> None:
        column = np.floor((places[:, 0] - grid.west_m) / grid.cell_m).astype(np.intp)
        row = np.floor((places[:, 1] - grid.south_m) / grid.cell_m).astype(np.intp)
        _, self._of, counts = np.unique(
            row * (4 * grid.columns) + column, return_inverse=True, return_counts=True
        )
        middle = np.stack([np.bincount(self._of, places[:, i]) / counts for i in (0, 1)], axis=1)
        own = np.square(middle[:, None] - middle[None]).sum(axis=2)
        centres = np.stack([grid.x_m, grid.y_m], axis=1)
        other = np.square(centres[:, None] - middle[None]).sum(axis=2)
        self._own, self._other = (np.exp(-0.5 * s / LENGTH_M**2) for s in (own, other))
        self._near_own, self._near_other = (np.exp(-2.0 * s / LENGTH_M**2) for s in (own, other))

    def fit(self, residual: Floats, *, last: bool) -> _Fit:
        """Fit one anchor's residuals (n,), NaN = not heard; the grid's variance only at last."""
        heard = np.isfinite(residual)
        values, cell = residual[heard], self._of[heard]
        used, count, middle = _medians(values, cell)
        noise = SINGLE_M**2 / np.minimum(count, SAME_BLINKS) + NUGGET_M**2
        resembling = BIAS_M**2 * self._own[np.ix_(used, used)] + np.diag(noise)
        solved = np.linalg.solve(resembling, middle)
        own = BIAS_M**2 * (self._own[:, used] @ solved)
        missing = np.zeros(len(own))
        np.add.at(missing, cell, np.minimum(np.abs(values - own[cell]), MOST_MISS_M))
        across = BIAS_M**2 * self._other[:, used]
        variance = np.zeros(len(across))
        if last:
            explained = (across * np.linalg.solve(resembling, across.T).T).sum(axis=1)
            variance = np.clip(BIAS_M**2 - explained, 0.0, BIAS_M**2)
        scatter = _scatter(self._near_own[:, used], missing[used], count, np.zeros(len(own)))
        return _Fit(
            own[self._of],
            scatter[self._of],
            across @ solved,
            _scatter(self._near_other[:, used], missing[used], count, variance),
            variance,
        )


def _medians(values: Floats, cell: Indexes) -> tuple[Indexes, Floats, Floats]:
    """Return the cells that hold values, how many, and their median."""
    order = np.lexsort((values, cell))
    ordered: Floats = values[order]
    used, first, count = np.unique(cell[order], return_index=True, return_counts=True)
    low, high = ordered[first + (count - 1) // 2], ordered[first + count // 2]
    numbers: Floats = count.astype(np.float64)
    return used, numbers, 0.5 * (low + high)


def _scatter(near: Floats, missed: Floats, count: Floats, variance: Floats) -> Floats:
    """Return standard deviations from the residuals nearby and the bias not known."""
    mean = (near @ missed + USUAL_M * USUAL_COUNT) / (near @ count + USUAL_COUNT)
    scatter: Floats = np.sqrt(np.square(PER_MEAN * mean) + variance + FLOOR_M**2)
    return scatter
