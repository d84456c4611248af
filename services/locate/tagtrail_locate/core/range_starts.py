"""The points that fit a first round of ranges: all of them, mirror images among them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BEARINGS: Final = 720
"""Half a degree apart: at 50 m the next bearing is 0.4 m away, which the search then closes."""

SOFT_M: Final = 0.3
"""Misfits beyond this count linearly: a first round may hold a range that is not in sight."""

AGREED_M: Final = 0.15
"""Standard deviation of a range in sight; what misses by more is doubted."""

POSSIBLE: Final = 8.0
"""A start whose cost is this much above the best's is not kept."""

MOST: Final = 3
"""Four ranges have two mirror images at most; one more for a reflected range."""


def possible_places(
    anchors_m: Floats, ranges_m: Floats, tag_height_m: float
) -> tuple[Floats, Floats]:
    """Search the circle around the nearest anchor for points that fit the other ranges.

    Args:
        anchors_m: Shape (n, 3), metres; n >= 3.
        ranges_m: Shape (n,), metres.
        tag_height_m: Height of the tag, metres.

    Returns:
        Places (m, 2), best first, m <= 3, and the standard deviation to start each with (m,).
    """
    flat = np.sqrt(np.maximum(ranges_m * ranges_m - (tag_height_m - anchors_m[:, 2]) ** 2, 0.01))
    centre = int(np.argmin(flat))
    ring = anchors_m[centre, :2] + flat[centre] * _bearings()
    cost = _cost(ring, anchors_m[:, :2], flat)
    low = (cost <= np.roll(cost, 1)) & (cost < np.roll(cost, -1))
    found = np.array([_improved(p, anchors_m[:, :2], flat) for p in ring[low]]).reshape(-1, 2)
    cost = _cost(found, anchors_m[:, :2], flat)
    kept: list[int] = []
    for i in np.argsort(cost, kind="stable").tolist():
        near = any(np.hypot(*(found[i] - found[k])) < 0.05 * flat[centre] + 0.2 for k in kept)
        if not near and cost[i] - cost.min() <= POSSIBLE and len(kept) < MOST:
            kept.append(i)
    away = np.array([float(np.min(np.hypot(*(anchors_m[:, :2] - found[i]).T))) for i in kept])
    return found[kept], 0.5 + 0.05 * away.reshape(-1)


@functools.cache
def _bearings() -> Floats:
    turns = [2.0 * math.pi * i / BEARINGS for i in range(BEARINGS)]
    return np.array([(math.cos(t), math.sin(t)) for t in turns])


def _cost(points: Floats, anchors: Floats, flat: Floats) -> Floats:
    total = np.zeros(len(points))
    for i in range(len(flat)):
        dx, dy = points[:, 0] - anchors[i, 0], points[:, 1] - anchors[i, 1]
        miss = np.abs(np.sqrt(dx * dx + dy * dy) - flat[i]) / SOFT_M
        total = total + np.where(miss <= 1.0, miss * miss, 2.0 * miss - 1.0)
    return total


def _improved(point: Floats, anchors: Floats, flat: Floats) -> Floats:
    """Close in on the nearest minimum by ten damped, reweighted Gauss-Newton steps."""
    x, y = float(point[0]), float(point[1])
    for _ in range(10):
        a = b = c = p = q = 0.0
        for (ax, ay), distance in zip(anchors.tolist(), flat.tolist(), strict=True):
            away = max(math.sqrt((x - ax) ** 2 + (y - ay) ** 2), 1e-6)
            ux, uy, miss = (x - ax) / away, (y - ay) / away, distance - away
            weight = SOFT_M / max(abs(miss), SOFT_M)
            a, b, c = a + weight * ux * ux, b + weight * ux * uy, c + weight * uy * uy
            p, q = p + weight * ux * miss, q + weight * uy * miss
        a, c = a * 1.001 + 1e-4, c * 1.001 + 1e-4
        x, y = x + (c * p - b * q) / (a * c - b * b), y + (a * q - b * p) / (a * c - b * b)
    return np.array([x, y])


def agreed_place(
    heard: Sequence[tuple[float, float, float, float]],
    expected: tuple[float, float],
    prior_m2: tuple[float, float, float],
) -> tuple[float, float]:
    """Return the point near an expected one that most of the ranges of a moment agree on.

    Ten reweighted Gauss-Newton steps. Ranges that are too long lose their weight faster than those
    that are too short: walls and bodies only lengthen.

    Args:
        heard: Of each range the anchor's x and y, its height over the tag, and the distance, metres.
        expected: Where the tag is expected, metres.
        prior_m2: Covariance of that: xx, xy, yy.
    """
    x, y = expected
    xx, xy, yy = prior_m2
    rest = 1.0 / max(xx * yy - xy * xy, 1e-9)
    pa, pb, pc = yy * rest, -xy * rest, xx * rest
    for _ in range(10):
        dx, dy = expected[0] - x, expected[1] - y
        a, b, c = pa, pb, pc
        p, q = pa * dx + pb * dy, pb * dx + pc * dy
        for ax, ay, up, distance in heard:
            away = max(math.sqrt((x - ax) ** 2 + (y - ay) ** 2 + up * up), 1e-6)
            ux, uy, miss = (x - ax) / away, (y - ay) / away, distance - away
            weight = min(AGREED_M / max(abs(miss), 1e-9), 1.0)
            weight = (weight * weight if miss > 0.0 else weight) / (AGREED_M * AGREED_M)
            a, b, c = a + weight * ux * ux, b + weight * ux * uy, c + weight * uy * uy
            p, q = p + weight * ux * miss, q + weight * uy * miss
        rest = 1.0 / (a * c - b * b)
        x, y = x + (c * p - b * q) * rest, y + (a * q - b * p) * rest
    return x, y
