"""Many positions from ranges at once: Huber-weighted Levenberg-Marquardt, row by row the same.

Arrays lie anchor by anchor and every operation is elementwise (sums over anchors are explicit
loops, no matrix library is called), so a row depends neither on its batch nor on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indexes = npt.NDArray[np.intp]

HUBER: Final = 1.345
"""Residuals beyond 1.345 sigma count linearly: 95 % efficiency on clean normal errors."""

ITERATIONS: Final = 15
"""From the linear start 4 to 8 are usual, and one row in 200 creeps on after 15, below 1 cm."""

STEP_M: Final = 1e-3
"""A step below a millimetre is the last one: what would follow is below a twentieth of that."""

FLATNESS: Final = 0.04
"""Anchors whose spread across is below 4 % of the spread along count as one line: at 25 m of
length that is 1 m, where a range error of 0.15 m already moves the fix by several metres."""

NEAREST_M2: Final = 1e-12
"""A tag on top of an anchor is taken to be a micrometre away, so that there is a direction."""

LINEAR_SHARE: Final = 0.1
"""Weight in Newton's matrix of ranges that count linearly. Zero would be exact, and singular where
nearly all are; damping cures that in more steps than this costs."""

SPARSE: Final = 0.3
"""When this share of the rows stands still, they are left out: copying costs a third of a step."""

CHUNK: Final = 8192
"""Rows worked on together: fewer, and the calls cost more than the sums; more, and the arrays of
one anchor leave the cache."""


FEW: Final = 500
"""With fewer rows than this all anchors are taken at once, with the same sums: less to call."""


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


def solve_many(
    anchors_m: Floats,
    ranges_m: Floats,
    sigma_m: Floats,
    used: Bools,
    *,
    offset_m: Floats | None = None,
    start_m: Floats | None = None,
) -> Solutions:
    """Solve many multilaterations at once.

    Args:
        anchors_m: Anchor positions, shape (B, n, d) or (n, d), d = 2 or 3, metres.
        ranges_m: Measured distances, shape (B, n), metres.
        sigma_m: Their standard deviations, shape (B, n), metres, > 0.
        used: Which of them count, shape (B, n); at least d per row.
        offset_m: Known distance along the axis that is not solved for (the height difference for
            d = 2), shape (B, n) or (n,), metres; None = 0.
        start_m: Where to begin, shape (B, d), metres; None = the linear solution.

    Returns:
        One row per problem; a row never depends on the other rows.
    """
    count, width = ranges_m.shape
    square = np.zeros(width) if offset_m is None else np.square(offset_m)
    parts = []
    for first in range(0, max(count, 1), CHUNK):
        rows = slice(first, first + CHUNK)
        problem = _Problem(
            anchors_m if anchors_m.ndim == 2 else anchors_m[rows],
            ranges_m[rows],
            np.where(used[rows], 1.0 / sigma_m[rows], 0.0),
            square if square.ndim == 1 else square[rows],
        )
        parts.append(problem.solve(None if start_m is None else start_m[rows]))
    if len(parts) == 1:
        return parts[0]
    return Solutions(
        *(np.concatenate(columns) for columns in zip(*map(_columns, parts), strict=True))
    )


def _columns(part: Solutions) -> tuple[Floats | Bools, ...]:
    return (
        part.position_m, part.covariance_m2, part.residual_m,
        part.cost, part.converged, part.degenerate,
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class _Level:
    """What one look at the ranges from the rows' places says; arrays of shape (B,).

    Attributes:
        cost: Huber cost.
        normal: Upper triangle of the weighted normal matrix, row by row.
        right: The weighted right hand side.
    """

    cost: Floats
    normal: list[Floats]
    right: list[Floats]

    def of(self, rows: Bools) -> _Level:
        """Return some rows."""
        return _Level(
            self.cost[rows], [n[rows] for n in self.normal], [r[rows] for r in self.right]
        )


class _Problem:
    """B problems, one array per anchor and coordinate; anchors shared by all rows stay numbers."""

    def __init__(self, anchors: Floats, ranges: Floats, weight: Floats, square: Floats) -> None:
        self.size, self.width = anchors.shape[-1], ranges.shape[1]
        self.anchors = anchors[:, :, None] if anchors.ndim == 2 else _by_anchor(anchors)
        self.square = (square[:, None] if square.ndim == 1 else _by_anchor(square)) + NEAREST_M2
        self.ranges, self.weight = _by_anchor(ranges), _by_anchor(weight)
        self.squared = self.weight * self.weight

    def solve(self, start: Floats | None) -> Solutions:
        """Return the fixes, from given places or from the linear ones."""
        place = self._linear_start() if start is None else list(_by_anchor(start))
        place, converged = self._search(place)
        level = self._look(place, reweighted=True)
        residual = np.stack([self._fit(i, place)[0] for i in range(self.width)], axis=1)
        return Solutions(
            np.stack(place, axis=1),
            self._covariance(residual, level),
            np.where(self.weight.T > 0.0, residual, 0.0),
            level.cost,
            converged,
            on_one_line(self.anchors, self.weight > 0.0),
        )

    def _of(self, rows: Indexes) -> _Problem:
        """Return the problems of some rows."""
        part = _Problem.__new__(_Problem)
        part.size, part.width = self.size, self.width
        part.ranges, part.weight = self.ranges[:, rows], self.weight[:, rows]
        part.squared = self.squared[:, rows]
        part.anchors = self.anchors[:, :, rows] if self.anchors.shape[2] > 1 else self.anchors
        part.square = self.square[:, rows] if self.square.shape[1] > 1 else self.square
        return part

    def _linear_start(self) -> list[Floats]:
        """Return the least squares solution of the squared equations minus their mean."""
        share = self.squared
        total = _summed(share)
        axes = range(self.size)
        centre = [_summed(share * self.anchors[:, k]) / total for k in axes]
        normal = [np.zeros(len(total)) for _ in range(self.size * (self.size + 1) // 2)]
        right = [np.zeros(len(total)) for _ in axes]
        local = [[self.anchors[i, k] - centre[k] for k in axes] for i in range(self.width)]
        levels = [
            sum((x * x for x in local[i]), self.square[i]) - self.ranges[i] * self.ranges[i]
            for i in range(self.width)
        ]
        mean = _summed(share * np.stack(levels)) / total
        for i in range(self.width):
            _gather(normal, right, local[i], 2.0 * share[i], share[i] * (levels[i] - mean))
        _damp(normal, self.size, np.full(len(total), 1e-6), 1e-12 * total)
        return [c + s for c, s in zip(centre, _solved(normal, right), strict=True)]

    def _fit(self, i: int | slice, place: list[Floats]) -> tuple[Floats, list[Floats]]:
        """Return measured minus fitted of one anchor (B,) or all (n, B), and the derivatives."""
        away = [p - self.anchors[i, k] for k, p in enumerate(place)]
        fitted = np.sqrt(sum((x * x for x in away[1:]), away[0] * away[0] + self.square[i]))
        inverse = 1.0 / fitted
        return self.ranges[i] - fitted, [x * inverse for x in away]

    def _look(self, place: list[Floats], *, reweighted: bool = False) -> _Level:
        """Return cost and normal equations, for a Newton step or for re-weighted least squares.

        Newton's matrix counts ranges in the linear part of the cost by `LINEAR_SHARE` only; it
        ends in 3 to 6 steps where re-weighting, whose matrix a covariance is made of, takes 30.
        """
        count = len(place[0])
        cost = np.zeros(count)
        normal = [np.zeros(count) for _ in range(self.size * (self.size + 1) // 2)]
        right = [np.zeros(count) for _ in place]
        whole: list[int | slice] = [slice(None)]
        for i in whole if count <= FEW else range(self.width):
            residual, slope = self._fit(i, place)
            scaled = np.abs(residual) * self.weight[i]
            inner = np.minimum(scaled, HUBER)
            cost += _total(inner * (2.0 * scaled - inner))
            robust = HUBER / np.maximum(scaled, HUBER)
            pull = self.squared[i] * robust * residual
            if not reweighted:
                robust = np.where(scaled > HUBER, LINEAR_SHARE * robust, 1.0)
            _gather(normal, right, slope, self.squared[i] * robust, pull)
        return _Level(cost, normal, right)

    def _search(self, place: list[Floats]) -> tuple[list[Floats], Bools]:
        """Improve places by damped Newton steps; returns them and which converged."""
        count = len(place[0])
        ended, done = np.stack(place), np.zeros(count, dtype=np.bool_)
        rows, problem, level = np.arange(count), self, self._look(place)
        damping, still = np.full(count, 1e-6), np.zeros(count, dtype=np.bool_)
        for _ in range(ITERATIONS):
            place, level, damping, still = problem.improve(place, level, damping, still)
            if np.count_nonzero(still) < SPARSE * len(rows):
                continue
            ended[:, rows] = np.stack(place)
            done[rows] = still
            if still.all():
                return list(ended), done
            moving = ~still
            rows, damping, still = rows[moving], damping[moving], still[moving]
            problem, place, level = self._of(rows), [p[moving] for p in place], level.of(moving)
        ended[:, rows] = np.stack(place)
        done[rows] = still
        return list(ended), done

    def improve(
        self, place: list[Floats], level: _Level, damping: Floats, still: Bools
    ) -> tuple[list[Floats], _Level, Floats, Bools]:
        """Try one step in each row that does not stand still.

        Returns:
            Places, their levels, damping, and which rows stand still now.
        """
        damped = [n.copy() for n in level.normal]
        _damp(damped, self.size, damping, 1e-12)
        step = _solved(damped, level.right)
        short = sum((s * s for s in step[1:]), step[0] * step[0]) < STEP_M * STEP_M
        trial = [p + s for p, s in zip(place, step, strict=True)]
        seen = self._look(trial)
        better = (seen.cost <= level.cost) & ~still
        chosen = _Level(
            np.where(better, seen.cost, level.cost),
            _chosen(better, seen.normal, level.normal),
            _chosen(better, seen.right, level.right),
        )
        damping = np.where(better, damping * 0.1, 8.0 * damping + 0.05)
        return _chosen(better, trial, place), chosen, damping, still | short

    def _covariance(self, residual: Floats, level: _Level) -> Floats:
        """Return the covariances of fixes, scaled up where the ranges fit worse than they say."""
        normal = [n.copy() for n in level.normal]
        _damp(normal, self.size, np.zeros(len(level.cost)), 1e-9)
        scaled = np.abs(residual.T) * self.weight
        freedom = _summed((self.weight > 0.0) * 1.0) - self.size
        misfit = _summed(scaled * np.minimum(scaled, HUBER)) / np.maximum(freedom, 1.0)
        scale = np.maximum(np.where(freedom > 0.0, misfit, 1.0), 1.0)
        covariance = np.empty((len(scale), self.size, self.size))
        for k in range(self.size):
            unit = [np.full(len(scale), 1.0 * (j == k)) for j in range(self.size)]
            for j, column in enumerate(_solved(normal, unit)):
                covariance[:, j, k] = column * scale
        return covariance


def _by_anchor(values: Floats) -> Floats:
    """Put the rows last: (B, n) to (n, B), (B, n, d) to (n, d, B)."""
    return np.ascontiguousarray(np.moveaxis(values, 0, -1))


def _summed(values: npt.NDArray[np.floating]) -> Floats:
    """Sum over anchors, one after the other."""
    total: Floats = values[0].astype(np.float64)
    for row in values[1:]:
        total += row
    return total


def _total(values: Floats) -> Floats:
    """Return one anchor's share as it is (B,), or the sum of all (n, B) in the same order."""
    return values if values.ndim == 1 else np.add.accumulate(values, axis=0)[-1]


def _chosen(better: Bools, new: list[Floats], old: list[Floats]) -> list[Floats]:
    return [np.where(better, n, o) for n, o in zip(new, old, strict=True)]


def _gather(
    normal: list[Floats], right: list[Floats], slope: list[Floats], weight: Floats, pull: Floats
) -> None:
    """Add one anchor (B,), or all (n, B), to normal equations, in place."""
    at = 0
    for j, first in enumerate(slope):
        right[j] += _total(pull * first)
        weighted = weight * first
        for second in slope[j:]:
            normal[at] += _total(weighted * second)
            at += 1


def _damp(normal: list[Floats], size: int, share: Floats, more: Floats | float) -> None:
    """Add a share of the trace, and something more, to the diagonal, in place."""
    diagonal = (0, 2) if size == 2 else (0, 3, 5)
    trace = sum((normal[i] for i in diagonal[1:]), normal[0].copy())
    for i in diagonal:
        normal[i] = normal[i] + (share * trace + more)


def _solved(normal: list[Floats], right: list[Floats]) -> list[Floats]:
    """Solve B symmetric systems of 2 or 3 unknowns by Cramer's rule."""
    if len(right) == 2:
        (a, b, c), (p, q) = normal, right
        scale = 1.0 / (a * c - b * b)
        return [(c * p - b * q) * scale, (a * q - b * p) * scale]
    (a, b, c, d, e, f), (p, q, r) = normal, right
    xx, xy, xz = d * f - e * e, c * e - b * f, b * e - c * d
    yy, yz, zz = a * f - c * c, b * c - a * e, a * d - b * b
    scale = 1.0 / (a * xx + b * xy + c * xz)
    return [
        (xx * p + xy * q + xz * r) * scale,
        (xy * p + yy * q + yz * r) * scale,
        (xz * p + yz * q + zz * r) * scale,
    ]


def on_one_line(anchors: Floats, used: Bools) -> Bools:
    """Tell where the used anchors' horizontal spread is flat.

    Args:
        anchors: Shape (n, d, B) or (n, d, 1), metres.
        used: Shape (n, B).

    Returns:
        Shape (B,).
    """
    axis = principal_axis(anchors, used)
    flat: Bools = axis.across_m2 <= np.square(FLATNESS) * np.maximum(axis.along_m2, 1e-12)
    return flat


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The line that anchors lie nearest to; arrays of shape (B,).

    Attributes:
        x_m: A point of it, metres.
        y_m: A point of it, metres.
        ux: Its direction, a unit vector.
        uy: Its direction.
        along_m2: Summed squares along it, square metres.
        across_m2: Summed squares across it, square metres.
    """

    x_m: Floats
    y_m: Floats
    ux: Floats
    uy: Floats
    along_m2: Floats
    across_m2: Floats


def principal_axis(anchors: Floats, used: Bools) -> Axis:
    """Return the horizontal principal axis of the used anchors; shapes as in `on_one_line`."""
    share = used * 1.0
    count = np.maximum(_summed(share), 1.0)
    x, y = (_summed(share * anchors[:, k]) / count for k in (0, 1))
    dx, dy = anchors[:, 0] - x, anchors[:, 1] - y
    xx, xy, yy = _summed(share * dx * dx), _summed(share * dx * dy), _summed(share * dy * dy)
    middle, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
    swing = np.sqrt(half * half + xy * xy)
    # The eigenvector, taken from whichever row of the matrix does not cancel.
    ux, uy = np.where(half >= 0.0, half + swing, xy), np.where(half >= 0.0, xy, swing - half)
    length = np.sqrt(ux * ux + uy * uy)
    round_ = length <= 0.0
    length = np.where(round_, 1.0, length)
    return Axis(
        x, y, np.where(round_, 1.0, ux / length), uy / length, middle + swing, middle - swing
    )
