"""Positions from ranges: robust least squares over many tags at once, and one fix with rejection.

`solve_many` is the numerics: Huber-weighted Levenberg-Marquardt, vectorised over problems, each
row independent of the others. `multilaterate` is one fix for people: it refuses degenerate
geometry, drops ranges that do not fit the rest (no line of sight lengthens them), and names them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import DegenerateGeometryError, TooFewRangesError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HUBER: Final = 1.345
"""Residuals beyond 1.345 sigma count linearly: 95 % efficiency on clean normal errors."""

ITERATIONS: Final = 25
"""From the linear start 4 to 8 are usual; more means that it does not converge."""

STEP_M: Final = 1e-4
"""A step below a tenth of a millimetre ends the search: ranges are a thousand times worse."""

FLATNESS: Final = 0.04
"""Anchors whose spread across is below 4 % of the spread along count as one line: at 25 m of
length that is 1 m, where a range error of 0.15 m already moves the fix by several metres."""

SUSPECT_SIGMAS: Final = 3.5
"""A range that misses the fix by this much is tried without."""

WORTH: Final = 0.5
"""A range is dropped only if the rest then fits with less than half of the cost."""


@dataclass(frozen=True, slots=True, eq=False)
class Solutions:
    """Fixes of B problems.

    Attributes:
        position_m: Shape (B, d), metres.
        covariance_m2: Shape (B, d, d), square metres; scaled up where the ranges fit badly.
        residual_m: Measured minus fitted, shape (B, n), metres; 0 for unused ranges.
        cost: Huber cost in units of sigma squared, shape (B,).
        converged: Shape (B,).
        degenerate: Whether the used anchors (nearly) stand on one line, shape (B,).
    """

    position_m: Floats
    covariance_m2: Floats
    residual_m: Floats
    cost: Floats
    converged: Bools
    degenerate: Bools


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
    """

    x_m: float
    y_m: float
    z_m: float | None
    accuracy_m: float
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    residuals_m: tuple[float, ...]
    rejected: tuple[int, ...]


def solve_many(
    anchors_m: Floats,
    ranges_m: Floats,
    sigma_m: Floats,
    used: Bools,
    *,
    offset_m: Floats | None = None,
) -> Solutions:
    """Solve many multilaterations at once.

    Args:
        anchors_m: Anchor positions, shape (B, n, d) or (n, d), d = 2 or 3, metres.
        ranges_m: Measured distances, shape (B, n), metres.
        sigma_m: Their standard deviations, shape (B, n), metres, > 0.
        used: Which of them count, shape (B, n); at least d per row.
        offset_m: Known distance along the axis that is not solved for (the height difference for
            d = 2), shape (B, n) or (n,), metres; None = 0.

    Returns:
        One row per problem; a row never depends on the other rows.
    """
    count, width = ranges_m.shape
    anchors = np.broadcast_to(anchors_m, (count, width, anchors_m.shape[-1]))
    square = (
        np.zeros((count, width))
        if offset_m is None
        else np.broadcast_to(np.square(offset_m), (count, width))
    )
    weight = np.where(used, 1.0 / np.square(sigma_m), 0.0)
    problem = _Problem(anchors, ranges_m, weight, square)
    position, converged = problem.search(problem.linear_start())
    residual, jacobian = problem.residuals(position)
    return Solutions(
        position,
        _covariance(residual, jacobian, weight * problem.huber(residual), used),
        np.where(used, residual, 0.0),
        problem.cost(residual),
        converged,
        _on_one_line(anchors, used),
    )


def _covariance(residual: Floats, jacobian: Floats, robust: Floats, used: Bools) -> Floats:
    """Return the covariances of fixes, scaled up where the ranges fit worse than they say."""
    dimensions = jacobian.shape[-1]
    normal = np.einsum("bni,bn,bnj->bij", jacobian, robust, jacobian)
    covariance: Floats = np.linalg.inv(normal + 1e-9 * np.eye(dimensions))
    freedom = used.sum(axis=1) - dimensions
    misfit = np.einsum("bn,bn->b", robust, np.square(residual)) / np.maximum(freedom, 1)
    scale = np.maximum(np.where(freedom > 0, misfit, 1.0), 1.0)
    return covariance * scale[:, None, None]


class _Problem:
    """The arrays of B problems and what is computed from them."""

    def __init__(self, anchors: Floats, ranges: Floats, weight: Floats, square: Floats) -> None:
        self._anchors, self._ranges = anchors, ranges
        self._weight, self._square = weight, square

    def linear_start(self) -> Floats:
        """Return the least squares solution of the squared equations minus their mean."""
        share = self._weight / self._weight.sum(axis=1, keepdims=True)
        centre = np.einsum("bn,bni->bi", share, self._anchors)
        local = self._anchors - centre[:, None, :]
        level = np.square(local).sum(axis=2) + self._square - np.square(self._ranges)
        level = level - np.einsum("bn,bn->b", share, level)[:, None]
        normal = 2.0 * np.einsum("bni,bn,bnj->bij", local, share, local)
        scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
        normal = normal + (1e-6 * scale + 1e-12) * np.eye(local.shape[-1])
        right = np.einsum("bni,bn,bn->bi", local, share, level)
        start: Floats = centre + _solved(normal, right)
        return start

    def residuals(self, position: Floats) -> tuple[Floats, Floats]:
        """Return measured minus fitted (B, n), and the derivative of the fit (B, n, d)."""
        away = position[:, None, :] - self._anchors
        fitted = np.sqrt(np.square(away).sum(axis=2) + self._square)
        return self._ranges - fitted, away / np.maximum(fitted, 1e-6)[:, :, None]

    def huber(self, residual: Floats) -> Floats:
        """Return the weights of iteratively re-weighted least squares, 0 to 1."""
        scaled = np.abs(residual) * np.sqrt(self._weight)
        weights: Floats = HUBER / np.maximum(scaled, HUBER)
        return weights

    def cost(self, residual: Floats) -> Floats:
        """Return the Huber cost, shape (B,)."""
        scaled = np.abs(residual) * np.sqrt(self._weight)
        linear = HUBER * (2.0 * scaled - HUBER)
        summed: Floats = np.where(scaled <= HUBER, np.square(scaled), linear).sum(axis=1)
        return summed

    def search(self, position: Floats) -> tuple[Floats, Bools]:
        """Improve positions by damped Gauss-Newton steps; returns them and which converged."""
        damping = np.full(len(position), 1e-6)
        residual, jacobian = self.residuals(position)
        cost = self.cost(residual)
        converged = np.zeros(len(position), dtype=np.bool_)
        identity = np.eye(position.shape[1])
        for _ in range(ITERATIONS):
            robust = self._weight * self.huber(residual)
            normal = np.einsum("bni,bn,bnj->bij", jacobian, robust, jacobian)
            scale = np.trace(normal, axis1=1, axis2=2) * damping + 1e-12
            right = np.einsum("bni,bn,bn->bi", jacobian, robust, residual)
            damped = normal + scale[:, None, None] * identity
            step = _solved(damped, right)
            trial = position + step
            new_residual, new_jacobian = self.residuals(trial)
            new_cost = self.cost(new_residual)
            better = (new_cost <= cost) & ~converged
            converged |= np.square(step).sum(axis=1) < STEP_M * STEP_M
            position = np.where(better[:, None], trial, position)
            residual = np.where(better[:, None], new_residual, residual)
            jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
            cost = np.where(better, new_cost, cost)
            damping = np.clip(np.where(better, damping * 0.2, damping * 8.0), 1e-9, 1e6)
            if converged.all():
                break
        return position, converged


def _solved(matrix: Floats, right: Floats) -> Floats:
    """Solve B symmetric systems of 2 (in closed form, several times faster) or 3 unknowns."""
    if right.shape[1] != 2:
        return np.asarray(np.linalg.solve(matrix, right[:, :, None])[:, :, 0], dtype=np.float64)
    a, b, c = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    p, q = right[:, 0], right[:, 1]
    return np.stack([c * p - b * q, a * q - b * p], axis=1) / (a * c - b * b)[:, None]


def _on_one_line(anchors: Floats, used: Bools) -> Bools:
    """Tell where the used anchors' horizontal spread is flat, shape (B,)."""
    plane = anchors[:, :, :2]
    share = used / np.maximum(used.sum(axis=1, keepdims=True), 1)
    local = plane - np.einsum("bn,bni->bi", share, plane)[:, None, :]
    spread = np.einsum("bni,bn,bnj->bij", local, share, local)
    middle = 0.5 * (spread[:, 0, 0] + spread[:, 1, 1])
    swing = np.hypot(0.5 * (spread[:, 0, 0] - spread[:, 1, 1]), spread[:, 0, 1])
    flat: Bools = middle - swing <= np.square(FLATNESS) * np.maximum(middle + swing, 1e-12)
    return flat


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
        DegenerateGeometryError: the anchors stand (nearly) on one line.
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
    used, solved = _believed(places, ranges, sigma, offset)
    return _fix(places, ranges, offset, used, solved)


def _offset(anchors: Floats, height_m: float | None, *, solve_height: bool) -> Floats:
    """Return the known differences of height, shape (n,), metres."""
    if solve_height and anchors.shape[1] != 3:
        raise ValueError("the height can only be solved for with three-dimensional anchors")
    if solve_height or height_m is None or anchors.shape[1] != 3:
        return np.zeros(len(anchors))
    differences: Floats = anchors[:, 2] - height_m
    return differences


def _believed(
    anchors: Floats, ranges: Floats, sigma: Floats, offset: Floats
) -> tuple[Bools, Solutions]:
    """Drop ranges that do not fit the rest; returns what is left and its solution."""
    dimensions = anchors.shape[1]
    used = np.ones((1, len(ranges)), dtype=np.bool_)
    solved = solve_many(anchors, ranges[None], sigma[None], used, offset_m=offset)
    if solved.degenerate[0]:
        raise DegenerateGeometryError(
            "the anchors stand on one line, so the mirror image fits as well; move one aside",
            anchors=len(ranges),
        )
    while used.sum() >= dimensions + 2:
        worst = np.max(np.abs(solved.residual_m[0]) / sigma)
        if worst <= SUSPECT_SIGMAS:
            break
        without = np.flatnonzero(used[0])
        trial = np.repeat(used, len(without), axis=0)
        trial[np.arange(len(without)), without] = False
        many = np.repeat(ranges[None], len(without), axis=0)
        rest = solve_many(anchors, many, np.broadcast_to(sigma, many.shape), trial, offset_m=offset)
        cost = np.where(rest.degenerate, np.inf, rest.cost)
        best = int(np.argmin(cost))
        if cost[best] > WORTH * solved.cost[0]:
            break
        used = trial[best : best + 1]
        solved = solve_many(anchors, ranges[None], sigma[None], used, offset_m=offset)
    return used[0], solved


def _fix(anchors: Floats, ranges: Floats, offset: Floats, used: Bools, solved: Solutions) -> Fix:
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
