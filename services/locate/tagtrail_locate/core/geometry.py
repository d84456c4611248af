"""Polygons and frames: points in zones, borders, and the way from WGS84 to a site's frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Point = tuple[float, float]
Floats = npt.NDArray[np.float64]

EARTH_M: Final = 6_371_008.8
"""Mean radius of the Earth, metres (IUGG): over a site the equirectangular error is millimetres."""


def contains(outline_m: Sequence[Point], x_m: float, y_m: float) -> bool:
    """Tell whether a point lies in a polygon, by the even-odd rule.

    A point exactly on the border belongs to one side only, the same one every time.

    Args:
        outline_m: Corners in order, n >= 3, metres.
        x_m: East, metres.
        y_m: North, metres.
    """
    inside = False
    x0, y0 = outline_m[-1]
    for x1, y1 in outline_m:
        if (y0 > y_m) != (y1 > y_m) and x_m < (x1 - x0) * (y_m - y0) / (y1 - y0) + x0:
            inside = not inside
        x0, y0 = x1, y1
    return inside


def contains_many(outline_m: Sequence[Point], points_m: Floats) -> npt.NDArray[np.bool_]:
    """Tell which points lie in a polygon; the same answer as `contains` for each.

    Args:
        outline_m: Corners in order, n >= 3, metres.
        points_m: Shape (p, 2), metres.

    Returns:
        Shape (p,).
    """
    ends = np.asarray(outline_m, dtype=np.float64)
    starts = np.roll(ends, 1, axis=0)
    x, y = points_m[:, 0, None], points_m[:, 1, None]
    x0, y0, x1, y1 = starts[:, 0], starts[:, 1], ends[:, 0], ends[:, 1]
    spans = (y0 > y) != (y1 > y)
    rise = np.where(y1 == y0, 1.0, y1 - y0)
    crossed = spans & (x < (x1 - x0) * (y - y0) / rise + x0)
    odd: npt.NDArray[np.bool_] = np.count_nonzero(crossed, axis=1) % 2 == 1
    return odd


def nearest_on_border(outline_m: Sequence[Point], x_m: float, y_m: float) -> Point:
    """Return the point of a polygon's border that is nearest to a point, metres."""
    best, best_square = outline_m[0], math.inf
    x0, y0 = outline_m[-1]
    for x1, y1 in outline_m:
        dx, dy = x1 - x0, y1 - y0
        square = dx * dx + dy * dy
        along = 0.0 if square <= 0.0 else ((x_m - x0) * dx + (y_m - y0) * dy) / square
        along = min(1.0, max(0.0, along))
        near = (x0 + along * dx, y0 + along * dy)
        away = (near[0] - x_m) ** 2 + (near[1] - y_m) ** 2
        if away < best_square:
            best, best_square = near, away
        x0, y0 = x1, y1
    return best


def depth_m(outline_m: Sequence[Point], x_m: float, y_m: float) -> float:
    """Return the distance to a polygon's border, positive inside and negative outside, metres."""
    near_x, near_y = nearest_on_border(outline_m, x_m, y_m)
    away = math.hypot(near_x - x_m, near_y - y_m)
    return away if contains(outline_m, x_m, y_m) else -away


def area_m2(outline_m: Sequence[Point]) -> float:
    """Return the area of a simple polygon, square metres, whatever its direction."""
    total = 0.0
    x0, y0 = outline_m[-1]
    for x1, y1 in outline_m:
        total += x0 * y1 - x1 * y0
        x0, y0 = x1, y1
    return abs(total) / 2


def to_site_frame(
    latitude_deg: float,
    longitude_deg: float,
    *,
    origin_latitude_deg: float,
    origin_longitude_deg: float,
    bearing_deg: float,
) -> Point:
    """Return the site coordinates of a WGS84 point, metres, by the equirectangular projection.

    Args:
        latitude_deg: Latitude of the point.
        longitude_deg: Longitude of the point.
        origin_latitude_deg: Latitude of the frame's origin.
        origin_longitude_deg: Longitude of the frame's origin.
        bearing_deg: Clockwise angle from true north to the frame's y axis.

    Example:
        >>> x, y = to_site_frame(52.001, 13.0, origin_latitude_deg=52.0,
        ...                      origin_longitude_deg=13.0, bearing_deg=90.0)
        >>> round(x, 1), round(y, 1)
        (-111.2, 0.0)
    """
    turn = (longitude_deg - origin_longitude_deg + 180.0) % 360.0 - 180.0
    east = EARTH_M * math.radians(turn) * math.cos(math.radians(origin_latitude_deg))
    north = EARTH_M * math.radians(latitude_deg - origin_latitude_deg)
    sine, cosine = math.sin(math.radians(bearing_deg)), math.cos(math.radians(bearing_deg))
    return east * cosine - north * sine, east * sine + north * cosine
