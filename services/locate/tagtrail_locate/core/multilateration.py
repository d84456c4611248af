"""Positions from ranges: robust least squares over many tags at once, and one fix with rejection.

`range_solver` has the numerics over many tags. `multilaterate` is one fix for people: it refuses
degenerate geometry, drops ranges that do not fit the rest (no line of sight lengthens them), names
them, and tells which other places fit as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tagtrail_locate.core.errors import DegenerateGeometryError, TooFewRangesError
from tagtrail_locate.core.range_solver import (
    Bools,
    Floats,
    Solutions,
    principal_axis,
    solve_many,
)

SUSPECT_SIGMAS: Final = 3.5
"""A range that misses the fix by this much is tried without."""

WORTH: Final = 0.5
"""A range is dropped only if the rest then fits with less than half of the cost."""

AS_GOOD: Final = 9.2
"""A mirror image whose cost is not this much worse is told: 99 % of chi squared with 2 degrees."""

WIDE: Final = 0.1
"""Anchors that spread across by a third of the spread along leave no mirror image."""

BELOW_M: Final = 1.5
"""Height of ceiling anchors over most tags."""

APART_M: Final = 0.5
"""Nearer to the fix than this, a mirror image is the same place."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One position.

    Attributes:
        x_m: East, metres.
        y_m: North, metres.
        z_m: Height, metres; None if it was given and not solved for.
        accuracy_m: Radius of about 68 %, metres: the root of the summed horizontal variances.
        covariance_m2: ((xx, xy), (xy, yy)), square metres.
        residuals_m: Measured minus fitted, also of rejected ranges, in the order given, metres.
        rejected: Indexes of the ranges that were not believed.
        others: Other places x, y, z that fit nearly as well: mirror images by the line or the
            plane that the anchors are close to; z as in `z_m`. `accuracy_m` does not cover
            them: the zone, the floor or the track has to tell which place it is.
    """

    x_m: float
    y_m: float
    z_m: float | None
    accuracy_m: float
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    residuals_m: tuple[float, ...]
    rejected: tuple[int, ...]
    others: tuple[tuple[float, float, float | None], ...] = ()


def multilaterate(
    anchors_m: Sequence[Sequence[float]],
    ranges_m: Sequence[float],
    *,
    sigma_m: float | Sequence[float] = 0.15,
    height_m: float | None = None,
    solve_height: bool = False,
) -> Fix:
    """Find the point whose distances to the anchors fit the ranges best.

    Robust least squares. While a range misses by more than `SUSPECT_SIGMAS` and enough others
    remain, the one whose absence helps most is dropped.

    Args:
        anchors_m: Anchor positions, shape (n, 2) or (n, 3), metres, site frame; n >= 3.
        ranges_m: Measured distances, shape (n,), metres, >= 0; same order.
        sigma_m: Standard deviation of one range, or of each, metres, > 0.
        height_m: Known height of the tag, metres; None = as high as the anchors.
        solve_height: Whether to find the height too; needs (n, 3) and n >= 4.

    Returns:
        The fix.

    Raises:
        TooFewRangesError: fewer ranges than 3 (4 with `solve_height`).
        DegenerateGeometryError: the anchors stand (nearly) on one line; `candidates_m` names
            both mirror images.
        ValueError: shapes differ, or a range is negative or not finite.

    Example:
        >>> fix = multilaterate([(0, 0), (4, 0), (0, 3)], [2.5, 2.5, 2.5])
        >>> round(fix.x_m, 3), round(fix.y_m, 3)
        (2.0, 1.5)
    """
    anchors, ranges, sigma = _checked(anchors_m, ranges_m, sigma_m)
    dimensions = 3 if solve_height else 2
    if len(ranges) <= dimensions:
        text = (
            f"{len(ranges)} ranges do not fix a point; it takes {dimensions + 1} anchors in reach"
        )
        raise TooFewRangesError(text, ranges=len(ranges))
    offset = _offset(anchors, height_m, solve_height=solve_height)
    places = anchors[:, :dimensions]
    case = _Case(places, ranges, sigma, offset)
    used, solved = _believed(case)
    others = _mirrored(case, used, solved)
    return _fix(places, ranges, offset, used, solved, others)


def _offset(anchors: Floats, height_m: float | None, *, solve_height: bool) -> Floats:
    """Return the known differences of height, shape (n,), metres."""
    if solve_height and anchors.shape[1] != 3:
        raise ValueError("the height can only be solved for with three-dimensional anchors")
    if solve_height or height_m is None or anchors.shape[1] != 3:
        return np.zeros(len(anchors))
    differences: Floats = anchors[:, 2] - height_m
    return differences


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One problem: places (n, d), ranges (n,), their sigmas (n,), known offsets (n,), metres."""

    anchors: Floats
    ranges: Floats
    sigma: Floats
    offset: Floats

    def solve(self, used: Bools) -> Solutions:
        """Return the solutions with several choices of ranges, shape (k, n)."""
        solved = self.solve_from(None, used)
        if self.anchors.shape[1] == 2:
            return solved
        # Anchors at one height say nothing of z at first: begin below them, where tags are.
        below = solved.position_m.copy()
        below[:, 2] = np.mean(self.anchors[:, 2]) - BELOW_M
        again = self.solve_from(below, used)
        return again if np.add.reduce(again.cost - solved.cost) <= 0.0 else solved

    def solve_from(self, starts: Floats | None, used: Bools) -> Solutions:
        """Return the solutions found from several places, shape (k, d), None = linear ones."""
        many, sigma = (np.repeat(v[None], len(used), axis=0) for v in (self.ranges, self.sigma))
        return solve_many(self.anchors, many, sigma, used, offset_m=self.offset, start_m=starts)


def _believed(case: _Case) -> tuple[Bools, Solutions]:
    """Drop ranges that do not fit the rest; returns what is left and its solution."""
    used = np.ones((1, len(case.ranges)), dtype=np.bool_)
    solved = case.solve(used)
    if solved.degenerate[0]:
        raise DegenerateGeometryError(
            "the anchors stand on one line, so the mirror image fits as well; move one aside",
            anchors=len(case.ranges),
            candidates_m=" or ".join(_both_sides(case)),
        )
    while used.sum() >= case.anchors.shape[1] + 2:
        worst = np.max(np.abs(solved.residual_m[0]) / case.sigma)
        if worst <= SUSPECT_SIGMAS:
            break
        without = np.flatnonzero(used[0])
        trial = np.repeat(used, len(without), axis=0)
        trial[np.arange(len(without)), without] = False
        rest = case.solve(trial)
        cost = np.where(rest.degenerate, np.inf, rest.cost)
        best = int(np.argmin(cost))
        if cost[best] > WORTH * solved.cost[0]:
            break
        used = trial[best : best + 1]
        solved = case.solve(used)
    return used[0], solved


def _mirrored(
    case: _Case, used: Bools, solved: Solutions
) -> tuple[tuple[float, float, float | None], ...]:
    """Return the mirror images of a solution that fit nearly as well."""
    place = solved.position_m[0]
    axis = principal_axis(case.anchors[:, :, None], used[:, None])
    nx, ny = -axis.uy[0], axis.ux[0]
    across = (place[0] - axis.x_m[0]) * nx + (place[1] - axis.y_m[0]) * ny
    starts = []
    if axis.across_m2[0] < WIDE * axis.along_m2[0]:
        starts.append(place - 2.0 * across * np.array([nx, ny, 0.0])[: len(place)])
    if len(place) == 3:
        level = float(np.mean(case.anchors[used, 2]))
        starts.append(np.array([place[0], place[1], 2.0 * level - place[2]]))
    if not starts:
        return ()
    again = case.solve_from(np.stack(starts), np.repeat(used[None], len(starts), axis=0))
    found = []
    for other, cost in zip(again.position_m, again.cost, strict=True):
        apart = math.sqrt(float(np.add.reduce(np.square(other - place))))
        if apart > APART_M and cost <= solved.cost[0] + AS_GOOD:
            found.append((float(other[0]), float(other[1]), _height(other)))
    return tuple(found)


def _both_sides(case: _Case) -> list[str]:
    """Return the two places, mirrored by the line of the anchors, that fit the ranges."""
    used = np.ones((2, len(case.ranges)), dtype=np.bool_)
    axis = principal_axis(case.anchors[:, :, None], used[:1].T)
    middle = case.anchors.mean(axis=0)
    aside = np.zeros(len(middle))
    aside[0], aside[1] = -axis.uy[0], axis.ux[0]
    reach = float(np.min(case.ranges)) + 1.0
    solved = case.solve_from(np.stack([middle + reach * aside, middle - reach * aside]), used)
    return [", ".join(f"{v:.2f}" for v in place) for place in solved.position_m.tolist()]


def _height(place: Floats) -> float | None:
    return float(place[2]) if len(place) == 3 else None


def _fix(
    anchors: Floats,
    ranges: Floats,
    offset: Floats,
    used: Bools,
    solved: Solutions,
    others: tuple[tuple[float, float, float | None], ...],
) -> Fix:
    position, covariance = solved.position_m[0], solved.covariance_m2[0]
    away = np.sqrt(np.square(anchors - position).sum(axis=1) + np.square(offset))
    xx, xy, yy = float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])
    return Fix(
        x_m=float(position[0]),
        y_m=float(position[1]),
        z_m=float(position[2]) if len(position) == 3 else None,
        accuracy_m=math.sqrt(xx + yy),
        covariance_m2=((xx, xy), (xy, yy)),
        residuals_m=tuple((ranges - away).tolist()),
        rejected=tuple(np.flatnonzero(~used).tolist()),
        others=others,
    )


def _checked(
    anchors_m: Sequence[Sequence[float]], ranges_m: Sequence[float], sigma_m: Any
) -> tuple[Floats, Floats, Floats]:
    anchors = np.asarray(anchors_m, dtype=np.float64)
    ranges = np.asarray(ranges_m, dtype=np.float64)
    sigma = np.broadcast_to(np.asarray(sigma_m, dtype=np.float64), ranges.shape)
    if anchors.ndim != 2 or anchors.shape[1] not in (2, 3) or anchors.shape[0] != len(ranges):
        raise ValueError(f"{anchors.shape} anchors do not fit {ranges.shape} ranges")
    if not np.isfinite(anchors).all():
        raise ValueError("an anchor's position is not finite")
    if not (np.isfinite(ranges) & (ranges >= 0)).all() or not (sigma > 0).all():
        raise ValueError("a range is negative or not finite, or a standard deviation is not > 0")
    return anchors, ranges, sigma
