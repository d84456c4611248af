"""The way between a site's frame and WGS84, and the frame that ground control points fix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from tagtrail_kernel.errors import RejectedError
from tagtrail_locate.core.geometry import EARTH_M, to_site_frame

LOCAL: Final = "local"
WGS84: Final = "EPSG:4326"

MOST_MISFIT: Final = 0.05
"""Control points that disagree with a rigid frame by more than 5 % of their extent were mistyped."""


class Frame(NamedTuple):
    """Where a site's frame lies on the globe.

    Attributes:
        latitude_deg: Of its origin.
        longitude_deg: Of its origin.
        bearing_deg: Clockwise angle from true north to its y axis, degrees.
    """

    latitude_deg: float
    longitude_deg: float
    bearing_deg: float

    def to_local(self, longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
        """Return metres in the site's frame."""
        return to_site_frame(
            latitude_deg,
            longitude_deg,
            origin_latitude_deg=self.latitude_deg,
            origin_longitude_deg=self.longitude_deg,
            bearing_deg=self.bearing_deg,
        )

    def to_globe(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Return (longitude, latitude), degrees; the inverse of `to_local`.

        Example:
            >>> frame = Frame(48.13, 7.8157, 30.0)
            >>> longitude, latitude = frame.to_globe(12.0, -3.5)
            >>> [round(v, 6) for v in frame.to_local(longitude, latitude)]
            [12.0, -3.5]
        """
        angle = math.radians(self.bearing_deg)
        sine, cosine = math.sin(angle), math.cos(angle)
        east, north = x_m * cosine + y_m * sine, y_m * cosine - x_m * sine
        latitude = self.latitude_deg + math.degrees(north / EARTH_M)
        per_degree = EARTH_M * math.cos(math.radians(self.latitude_deg))
        return self.longitude_deg + math.degrees(east / per_degree), latitude


def frame_of_control_points(points: Sequence[Sequence[float]]) -> Frame:
    """Return the rigid frame that fits pairs of (longitude, latitude), (x, y) best.

    Least squares rotation and shift in the plane (Horn's closed form in two dimensions).

    Args:
        points: The pairs one after the other, as omlox lists them; at least two pairs.

    Raises:
        RejectedError: too few points, or they fit no frame in metres.
    """
    globe, local = points[0::2], points[1::2]
    if len(globe) < 2 or len(globe) != len(local):
        raise RejectedError("ground_control_points needs pairs of [lon, lat], [x, y], two at least")
    count = len(globe)
    start = Frame(sum(g[1] for g in globe) / count, sum(g[0] for g in globe) / count, 0.0)
    plane = [start.to_local(g[0], g[1]) for g in globe]
    centre = (sum(p[0] for p in local) / count, sum(p[1] for p in local) / count)
    middle = (sum(p[0] for p in plane) / count, sum(p[1] for p in plane) / count)
    dot = cross = extent = reach = 0.0
    for (east, north), at in zip(plane, local, strict=True):
        e, n = east - middle[0], north - middle[1]
        x, y = at[0] - centre[0], at[1] - centre[1]
        dot, cross = dot + x * e + y * n, cross + x * n - y * e
        extent, reach = extent + x * x + y * y, reach + e * e + n * n
    if extent <= 0.0 or reach <= 0.0:
        raise RejectedError("ground_control_points lie on one spot; spread them over the site")
    scale = math.sqrt(reach / extent)
    if abs(scale - 1.0) > MOST_MISFIT:
        raise RejectedError(
            f"ground_control_points fit no frame in metres: one unit is {scale:.3g} m on the globe; "
            "give x and y in metres"
        )
    turn = math.atan2(cross, dot)
    sine, cosine = math.sin(turn), math.cos(turn)
    east = middle[0] - (centre[0] * cosine - centre[1] * sine)
    north = middle[1] - (centre[0] * sine + centre[1] * cosine)
    longitude, latitude = start.to_globe(east, north)
    return Frame(latitude, longitude, -math.degrees(turn))


def crs_of(text: str | None) -> str:
    """Return "local" or "EPSG:4326".

    Raises:
        RejectedError: any other reference system.
    """
    if text is None or text.lower() == LOCAL:
        return LOCAL
    if text.upper() in (WGS84, "OGC:CRS84"):
        return WGS84
    raise RejectedError(f"crs {text[:40]!r} is not served; ask for local or {WGS84}", field="crs")
