"""Where a tag is, from the whole distribution that its ranges leave over the site.

Many blocked ranges leave several valleys, and a search by steps ends in the nearest one. Here
every spot of a grid is asked what errors it would mean, first coarsely over the site, then finely
where the tag may be. What is returned is the mean of the distribution, with its spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import TooFewRangesError
from tagtrail_locate.core.ranging_quality import Mixture

Floats = npt.NDArray[np.float64]

COARSE_M: Final = 0.3
"""First grid; the expected errors are widened by half of it, so that no peak lies between spots."""

FINE_M: Final = 0.05
"""Second grid: below the scale of a range in sight."""

MOST_CELLS: Final = 400
"""Coarse cells that are looked at finely, the most probable ones: 36 square metres."""

UNLIKELY: Final = 1e-5
"""Cells this much less probable than the best are not."""

MARGIN_M: Final = 0.5
"""Tags are looked for this far outside of the anchors' bounding box, if no bounds are given."""

FEWEST: Final = 3
"""Two ranges leave two places."""

MODE_APART_M: Final = 1.0
"""Probability this far from the answer and more is told as another place."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a tag is.

    Attributes:
        x_m: East, metres.
        y_m: North, metres.
        accuracy_m: Radius of about 68 %, metres: the root of the summed variances.
        covariance_m2: ((xx, xy), (xy, yy)), square metres.
        residuals_m: Measured minus fitted, in the order given, metres.
        blocked: Probability of each range not to be in line of sight, given the answer.
        elsewhere: Probability of being more than `MODE_APART_M` from the answer.
    """

    x_m: float
    y_m: float
    accuracy_m: float
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    residuals_m: tuple[float, ...]
    blocked: tuple[float, ...]
    elsewhere: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """A box in the site frame, metres."""

    west_m: float
    south_m: float
    east_m: float
    north_m: float


def around(anchors_m: Floats, margin_m: float = MARGIN_M) -> Bounds:
    """Return the bounding box of anchors (n, 2 or 3), grown by a margin, metres."""
    low, high = anchors_m.min(axis=0) - margin_m, anchors_m.max(axis=0) + margin_m
    return Bounds(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def spot(
    anchors_m: Floats,
    ranges_m: Floats,
    errors: Mixture,
    *,
    height_m: float,
    bounds: Bounds | None = None,
) -> Spot:
    """Find a tag by its ranges and the errors to expect of them.

    The likelihood is taken to the power of one half: errors of one place hang together (one rack
    blocks several anchors, a tag's side weakens several), so n ranges tell as much as n/2.

    Args:
        anchors_m: Shape (n, 3), metres; n >= 3.
        ranges_m: Shape (n,), metres.
        errors: Of these ranges.
        height_m: Height of the tag, metres.
        bounds: Where it can be; None = around the anchors.

    Raises:
        TooFewRangesError: fewer ranges than 3.
    """
    if len(ranges_m) < FEWEST:
        raise TooFewRangesError(
            f"{len(ranges_m)} ranges do not fix a point; it takes {FEWEST} anchors in reach",
            ranges=len(ranges_m),
        )
    field = _Field(anchors_m, ranges_m, errors, height_m)
    x, y = _lattice(bounds or around(anchors_m))
    rough = field.probability(x, y, widened_m=0.5 * COARSE_M)
    order = np.argsort(-rough, kind="stable")[:MOST_CELLS]
    order = order[rough[order] >= UNLIKELY * rough[order[0]]]
    x, y = _finer(x[order], y[order])
    weight = field.probability(x, y, widened_m=0.0)
    weight = weight / np.add.reduce(weight)
    mean_x, mean_y = float(np.add.reduce(weight * x)), float(np.add.reduce(weight * y))
    dx, dy = x - mean_x, y - mean_y
    own = FINE_M * FINE_M / 12.0
    xx = float(np.add.reduce(weight * dx * dx)) + own
    yy = float(np.add.reduce(weight * dy * dy)) + own
    xy = float(np.add.reduce(weight * dx * dy))
    residual = ranges_m - field.distances(np.array([mean_x]), np.array([mean_y]))[:, 0]
    apart = dx * dx + dy * dy > MODE_APART_M * MODE_APART_M
    return Spot(
        mean_x,
        mean_y,
        math.sqrt(xx + yy),
        ((xx, xy), (xy, yy)),
        tuple(residual.tolist()),
        tuple(errors.blocked(residual).tolist()),
        float(np.add.reduce(np.where(apart, weight, 0.0))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """The probability of places; arrays of places have shape (p,)."""

    anchors: Floats
    ranges: Floats
    errors: Mixture
    height: float

    def distances(self, x: Floats, y: Floats) -> Floats:
        """Return distances to the anchors, shape (n, p), metres."""
        return np.stack([self._distance(i, x, y) for i in range(len(self.ranges))])

    def probability(self, x: Floats, y: Floats, *, widened_m: float) -> Floats:
        """Return the root of the likelihood, scaled to 1 at the best."""
        product = np.ones(len(x))
        for i in range(len(self.ranges)):
            error = self.ranges[i] - self._distance(i, x, y)
            product = product * self.errors.density(i, error, widened_m=widened_m)
            # Scaled by a power of two at most, so that the numbers stay in range and exact.
            product = product / 2.0 ** math.frexp(float(np.max(product)))[1]
        return np.sqrt(product)

    def _distance(self, i: int, x: Floats, y: Floats) -> Floats:
        dx, dy = x - self.anchors[i, 0], y - self.anchors[i, 1]
        dz = self.height - float(self.anchors[i, 2])
        away: Floats = np.sqrt(dx * dx + dy * dy + dz * dz)
        return away


def _lattice(bounds: Bounds) -> tuple[Floats, Floats]:
    columns = np.arange(math.ceil((bounds.east_m - bounds.west_m) / COARSE_M)) + 0.5
    rows = np.arange(math.ceil((bounds.north_m - bounds.south_m) / COARSE_M)) + 0.5
    x, y = bounds.west_m + columns * COARSE_M, bounds.south_m + rows * COARSE_M
    east: Floats = np.repeat(x, len(y)).astype(np.float64)
    north: Floats = np.tile(y, len(x)).astype(np.float64)
    return east, north


def _finer(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Split each coarse cell into fine ones."""
    parts = round(COARSE_M / FINE_M)
    shift = (np.arange(parts) - 0.5 * (parts - 1)) * FINE_M
    across, along = np.repeat(shift, parts), np.tile(shift, parts)
    return (x[:, None] + across).ravel(), (y[:, None] + along).ravel()
