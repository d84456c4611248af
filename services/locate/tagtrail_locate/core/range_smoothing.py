"""What later ranges say about where a tag was: the steps of `range_tracking`, run backwards.

The form of Bryson and Frazier (Bierman 1973, "Fixed interval smoothing with discrete
measurements") carries a gradient and a curvature back through the stored updates; it needs no
inverse, so it is as robust as the filter itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tagtrail_locate.core.range_tracking import MOTION, Floats, Step


@dataclass(frozen=True, slots=True)
class Estimate:
    """Where a tag was.

    Attributes:
        at_s: Event time, seconds.
        x_m: East, metres.
        y_m: North, metres.
        vx_mps: Speed east, m/s.
        vy_mps: Speed north, m/s.
        covariance_m2: xx, xy, yy of the random error, square metres (see `systematic_m2`).
    """

    at_s: float
    x_m: float
    y_m: float
    vx_mps: float
    vy_mps: float
    covariance_m2: tuple[float, float, float]


def smoothed(steps: Sequence[Step], wanted: Sequence[int], row: int) -> list[Estimate]:
    """Return estimates at some steps that use every step given, also the later ones.

    Args:
        steps: Successive steps of one run.
        wanted: Indexes into `steps`, ascending.
        row: Which row of the last step.

    Returns:
        One estimate per index; the last step's is the filter's own.
    """
    size = steps[-1].mean.shape[1]
    pull, pulls = np.zeros(size), np.zeros((size, size))
    left, found = list(wanted), []
    for i in range(len(steps) - 1, -1, -1):
        if not left:
            break
        if left[-1] == i:
            left.pop()
            found.append(_estimate(steps[i], row, pull, pulls))
        pull, pulls = _backwards(steps[i], row, pull, pulls)
        row = int(steps[i].parent[row])
    return found[::-1]


def _estimate(step_: Step, row: int, pull: Floats, pulls: Floats) -> Estimate:
    mean, spread = step_.mean[row], step_.covariance[row]
    moved = mean[:MOTION] - np.add.reduce(spread[:MOTION] * pull, axis=1)
    half = np.add.reduce(spread[:2, :, None] * pulls, axis=1)
    xx, xy, yy = (
        float(spread[i, j] - np.add.reduce(half[i] * spread[:, j]))
        for i, j in ((0, 0), (0, 1), (1, 1))
    )
    x, y, vx, vy = (float(v) for v in moved)
    return Estimate(step_.at_s, x, y, vx, vy, (max(xx, 1e-8), xy, max(yy, 1e-8)))


def _backwards(step_: Step, row: int, pull: Floats, pulls: Floats) -> tuple[Floats, Floats]:
    """Carry what later ranges say from after a step to before it."""
    if step_.believed[row]:
        variance = step_.variance_m2[row]
        gain = step_.gain[row] / variance
        ux, uy = step_.gradient[row]
        index = MOTION + int(step_.slot[row])
        slope = np.zeros(len(pull))
        slope[0], slope[1], slope[index] = ux, uy, 1.0
        seen = np.add.reduce(pulls * gain, axis=1)
        along = np.add.reduce(gain * pull)
        pull = pull - slope * (along + step_.innovation_m[row] / variance)
        inner = np.add.reduce(gain * seen) + 1.0 / variance
        cross = slope[:, None] * seen
        pulls = pulls - cross - cross.T + slope[:, None] * slope * inner
    dt, glide, fade = step_.dt_s[row], step_.glide[row], step_.fade[row]
    pull = _returned(pull, dt, glide, fade)
    pulls = _returned(_returned(pulls, dt, glide, fade).T, dt, glide, fade)
    if step_.cleared is not None:
        index = MOTION + step_.cleared
        pull[index] = 0.0
        pulls[index, :] = 0.0
        pulls[:, index] = 0.0
    return pull, pulls


def _returned(values: Floats, dt: float, glide: float, fade: float) -> Floats:
    """Multiply by the transposed transition from the left."""
    out = values.copy()
    out[2:4] = glide * values[2:4] + dt * values[:2]
    out[4:] *= fade
    return out
