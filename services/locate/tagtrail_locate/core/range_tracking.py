"""A moving tag followed through single ranges: filter and smoother, over many tags at once.

State of one row: x, y, vx, vy (metres, metres per second) and one slowly wandering range error for
each of the last few anchors (metres). The wandering errors are what makes it work: two ranges of
one anchor a tenth of a second apart are wrong by the same amount, so a filter that takes their
errors as independent believes its bearing far too much and follows every multipath swing.

Each range is one scalar update (no matrix is ever inverted), so rows of different tags, anchors
and times go through the same elementwise arithmetic and a row never depends on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indexes = npt.NDArray[np.intp]

MOTION: Final = 4
"""x, y, vx, vy come first; the range errors of the anchor slots follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeModel:
    """How tags move and how ranges err; the defaults are for people on foot and DW1000 radios.

    Attributes:
        acceleration_m2s3: Spectral density of the white acceleration, m²/s³: a walker who turns.
        glide_s: Time in which an unheard tag's speed is forgotten, seconds.
        speed_mps: Standard deviation of either component of a speed not yet known, m/s.
        noise_m: Standard deviation of the part of a range error that is new each time, metres.
        wander_m: Standard deviation of the part that lasts (multipath), metres.
        wander_s: Time in which that part changes, seconds.
        systematic_m: Standard deviation of what never averages out in one anchor's ranges
            (antenna delay, survey), metres; widens the stated area only.
        shared_m: The same for what all anchors share (tag's delay, body, heights), metres.
        huber: Innovations beyond this many sigmas count linearly.
        gate: Innovations beyond this many sigmas are not believed at all.
        tag_height_m: Height of the tag over the plane of the anchors' z, metres.
        slots: Anchors whose range errors are remembered at a time.
    """

    acceleration_m2s3: float = 0.4
    glide_s: float = 30.0
    speed_mps: float = 0.7
    noise_m: float = 0.03
    wander_m: float = 0.04
    wander_s: float = 1.5
    systematic_m: float = 0.02
    shared_m: float = 0.1
    huber: float = 2.5
    gate: float = 8.0
    tag_height_m: float = 1.0
    slots: int = 8

    @property
    def size(self) -> int:
        """Length of the state."""
        return MOTION + self.slots


UNSURVEYED: Final = RangeModel(systematic_m=0.05, shared_m=0.25)
"""Before a calibration: delays of antennas and of the ranging system itself are in the ranges."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """One range for each of B rows.

    Attributes:
        slot: Which range error of the state it carries, shape (B,), 0 to `slots` - 1.
        anchor_m: Where the anchor stands, shape (B, 3), metres.
        range_m: Measured distance less its known bias, shape (B,), metres.
        noise_m: Standard deviation of its own noise, shape (B,), metres.
    """

    slot: Indexes
    anchor_m: Floats
    range_m: Floats
    noise_m: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one prediction and update did, kept for smoothing; arrays have B rows.

    Attributes:
        at_s: Event time, seconds.
        dt_s: Time since the step before, shape (B,), seconds.
        glide: Factor that the speed was kept by, shape (B,).
        fade: Factor that the range errors were kept by, shape (B,).
        gradient: Derivative of the range by x and y, shape (B, 2); 0 where nothing was believed.
        slot: Slot of the range, shape (B,).
        believed: Whether the range was used, shape (B,).
        gain: Gain times the innovation's variance, shape (B, n).
        expected_m2: Variance of the innovation as it was expected, shape (B,).
        variance_m2: The same as it was used, shape (B,).
        innovation_m: Measured minus expected, shape (B,), metres.
        mean: State after the step, shape (B, n).
        covariance: Its covariance, shape (B, n, n).
        cleared: Slot that was given to another anchor before the step; None if none was.
        parent: Row of the step before that each row continues, shape (B,).
    """

    at_s: float
    dt_s: Floats
    glide: Floats
    fade: Floats
    gradient: Floats
    slot: Indexes
    believed: Bools
    gain: Floats
    expected_m2: Floats
    variance_m2: Floats
    innovation_m: Floats
    mean: Floats
    covariance: Floats
    cleared: int | None
    parent: Indexes


def fading(time_s: Floats, constant_s: float) -> Floats:
    """Return nearly exp(-time / constant) by additions, products and quotients alone.

    (1 + u/16)^-16 differs from the exponential by less than 0.02 and is the same on every machine.
    """
    base = 1.0 / (1.0 + np.maximum(time_s, 0.0) / (16.0 * constant_s))
    for _ in range(4):
        base = base * base
    return base


def begin(places_m: Floats, spread_m: Floats, model: RangeModel) -> tuple[Floats, Floats]:
    """Return the states of B tags that stand, perhaps, at given points.

    Args:
        places_m: Shape (B, 2), metres.
        spread_m: Standard deviation of x and of y, shape (B,), metres.
        model: Motion and noise.

    Returns:
        Means (B, n) and covariances (B, n, n).
    """
    mean = np.zeros((len(places_m), model.size))
    mean[:, :2] = places_m
    covariance = np.zeros((len(places_m), model.size, model.size))
    covariance[:, 0, 0] = covariance[:, 1, 1] = spread_m * spread_m
    covariance[:, 2, 2] = covariance[:, 3, 3] = model.speed_mps * model.speed_mps
    for i in range(MOTION, model.size):
        covariance[:, i, i] = model.wander_m * model.wander_m
    return mean, covariance


def clear_slot(mean: Floats, covariance: Floats, slot: int, model: RangeModel) -> None:
    """Forget the range error in a slot, in place: another anchor takes it."""
    i = MOTION + slot
    mean[:, i] = 0.0
    covariance[:, i, :] = 0.0
    covariance[:, :, i] = 0.0
    covariance[:, i, i] = model.wander_m * model.wander_m


def predict(
    mean: Floats, covariance: Floats, dt_s: Floats, model: RangeModel
) -> tuple[Floats, Floats]:
    """Let time pass.

    Args:
        mean: Shape (B, n).
        covariance: Shape (B, n, n).
        dt_s: Shape (B,), seconds, >= 0.
        model: Motion and noise.

    Returns:
        The new means and covariances.
    """
    glide, fade = fading(dt_s, model.glide_s), fading(dt_s, model.wander_s)
    return _moved(mean, dt_s, glide, fade), _spread(covariance, dt_s, glide, fade, model)


def _moved(mean: Floats, dt_s: Floats, glide: Floats, fade: Floats) -> Floats:
    moved = mean.copy()
    moved[:, :2] += dt_s[:, None] * mean[:, 2:4]
    moved[:, 2:4] *= glide[:, None]
    moved[:, 4:] *= fade[:, None]
    return moved


def _spread(
    covariance: Floats, dt_s: Floats, glide: Floats, fade: Floats, model: RangeModel
) -> Floats:
    spread = _carried(_carried(covariance, dt_s, glide, fade).transpose(0, 2, 1), dt_s, glide, fade)
    spread = 0.5 * (spread + spread.transpose(0, 2, 1))
    density = model.acceleration_m2s3 * dt_s
    crossed, walked = density * dt_s / 2.0, density * dt_s * dt_s / 3.0
    place, speed = np.arange(2), np.arange(2, MOTION)
    spread[:, place, place] += walked[:, None]
    spread[:, place, speed] += crossed[:, None]
    spread[:, speed, place] += crossed[:, None]
    spread[:, speed, speed] += density[:, None]
    errors = np.arange(MOTION, model.size)
    fresh = model.wander_m * model.wander_m * (1.0 - fade * fade)
    spread[:, errors, errors] += fresh[:, None]
    return spread


def _carried(matrix: Floats, dt_s: Floats, glide: Floats, fade: Floats) -> Floats:
    """Multiply by the transition from the left."""
    out = matrix.copy()
    out[:, :2, :] += dt_s[:, None, None] * matrix[:, 2:4, :]
    out[:, 2:4, :] *= glide[:, None, None]
    out[:, 4:, :] *= fade[:, None, None]
    return out


def step(
    mean: Floats,
    covariance: Floats,
    at_s: float,
    dt_s: Floats,
    ranges: Ranges | None,
    model: RangeModel,
    *,
    cleared: int | None = None,
    parent: Indexes | None = None,
) -> Step:
    """Let time pass and take one range per row.

    Args:
        mean: Shape (B, n).
        covariance: Shape (B, n, n).
        at_s: Event time after the step, seconds; only noted.
        dt_s: Shape (B,), seconds, >= 0.
        ranges: What was measured; None = nothing, time only passes.
        model: Motion and noise.
        cleared: Noted in the step.
        parent: Noted in the step; None = each row continues itself.

    Returns:
        The step; its `mean` and `covariance` are the new state.
    """
    count = len(mean)
    if np.maximum.reduce(dt_s, initial=0.0) > 0.0:
        glide, fade = fading(dt_s, model.glide_s), fading(dt_s, model.wander_s)
        mean = _moved(mean, dt_s, glide, fade)
        covariance = _spread(covariance, dt_s, glide, fade, model)
    else:
        glide = fade = np.ones(count)
    parent = np.arange(count) if parent is None else parent
    if ranges is None:
        return _passed(mean, covariance, at_s, dt_s, (glide, fade), cleared, parent)
    gradient, innovation, gain, expected = _innovations(mean, covariance, ranges, model)
    sigmas = np.abs(innovation) / np.sqrt(expected)
    believed = sigmas <= model.gate
    variance = expected * np.maximum(sigmas / model.huber, 1.0)
    share = np.where(believed, innovation / variance, 0.0)
    squeeze = np.where(believed, 1.0 / variance, 0.0)
    mean = mean + gain * share[:, None]
    covariance = covariance - gain[:, :, None] * gain[:, None, :] * squeeze[:, None, None]
    return Step(
        at_s, dt_s, glide, fade, gradient, ranges.slot, believed, gain, expected, variance, innovation,
        mean, covariance, cleared, parent,
    )  # fmt: skip


def _passed(
    mean: Floats,
    covariance: Floats,
    at_s: float,
    dt_s: Floats,
    kept: tuple[Floats, Floats],
    cleared: int | None,
    parent: Indexes,
) -> Step:
    """Return a step in which time passed and nothing was measured."""
    count = len(mean)
    none, slot = np.zeros(count), np.zeros(count, dtype=np.intp)
    return Step(
        at_s, dt_s, *kept, np.zeros((count, 2)), slot, none > 0.0, np.zeros_like(mean),
        none + 1.0, none + 1.0, none, mean, covariance, cleared, parent,
    )  # fmt: skip


def _innovations(
    mean: Floats, covariance: Floats, ranges: Ranges, model: RangeModel
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return gradient (B, 2), innovation (B,), covariance with the state (B, n), variance (B,)."""
    dx, dy = mean[:, 0] - ranges.anchor_m[:, 0], mean[:, 1] - ranges.anchor_m[:, 1]
    dz = model.tag_height_m - ranges.anchor_m[:, 2]
    away = np.maximum(np.sqrt(dx * dx + dy * dy + dz * dz), 1e-3)
    ux, uy = dx / away, dy / away
    rows, index = np.arange(len(mean)), MOTION + ranges.slot
    innovation = ranges.range_m - away - mean[rows, index]
    gain = (
        covariance[:, :, 0] * ux[:, None]
        + covariance[:, :, 1] * uy[:, None]
        + covariance[rows, :, index]
    )
    curved = _curvature(covariance, ux, uy, away)
    variance = gain[:, 0] * ux + gain[:, 1] * uy + gain[rows, index]
    variance = np.maximum(variance, 0.0) + ranges.noise_m * ranges.noise_m + curved
    gradient = np.empty((len(mean), 2))
    gradient[:, 0], gradient[:, 1] = ux, uy
    return gradient, innovation, gain, variance


def _curvature(covariance: Floats, ux: Floats, uy: Floats, away: Floats) -> Floats:
    """Return the variance that bends of the circle add where a tag is near or not yet known."""
    across = (
        uy * uy * covariance[:, 0, 0]
        - 2.0 * ux * uy * covariance[:, 0, 1]
        + ux * ux * covariance[:, 1, 1]
    )
    bend = across / away
    return 0.5 * bend * bend


def systematic_m2(
    anchors_m: Floats, x_m: float, y_m: float, model: RangeModel
) -> tuple[float, float, float]:
    """Return the covariance that constant errors of the ranges leave in a fix.

    Args:
        anchors_m: The anchors heard lately, shape (n, 3), metres.
        x_m: The fix.
        y_m: The fix.
        model: For `systematic_m` and `shared_m`; what bad geometry makes of them is bounded.

    Returns:
        xx, xy, yy in square metres.
    """
    dx, dy = x_m - anchors_m[:, 0], y_m - anchors_m[:, 1]
    dz = model.tag_height_m - anchors_m[:, 2]
    square = np.maximum(dx * dx + dy * dy + dz * dz, 1e-6)
    a = float(np.add.reduce(dx * dx / square)) + 1e-4
    b = float(np.add.reduce(dx * dy / square))
    c = float(np.add.reduce(dy * dy / square)) + 1e-4
    away = np.sqrt(square)
    p, q = float(np.add.reduce(dx / away)), float(np.add.reduce(dy / away))
    rest = 1.0 / (a * c - b * b)
    scale = model.systematic_m * model.systematic_m * rest
    sx, sy = model.shared_m * (c * p - b * q) * rest, model.shared_m * (a * q - b * p) * rest
    return scale * c + sx * sx, -scale * b + sx * sy, scale * a + sy * sy
