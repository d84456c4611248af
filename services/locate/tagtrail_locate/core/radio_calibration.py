"""Calibrates a site's radio from levels at known places, and says how good that is, or refuses.

Path losses are fitted per gateway with weak priors (Tikhonov), so that a gateway which few places
hear leans on what is usual. How good the whole is shows at places that are left out of the map:
each is located by what was heard there, over the map of the others.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tagtrail_locate.core import gaussian_process as gp
from tagtrail_locate.core.calibration_config import (
    Calibration,
    GatewayFit,
    Point,
    survey_of,
)
from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.grid import Grid
from tagtrail_locate.core.grid_filter import FilterSettings, GridFilter
from tagtrail_locate.core.radio_map import RadioMap, map_of_plan, map_of_survey

FEWEST_POINTS: Final = 6
"""Offset and exponent per gateway, and something left to test them with."""

FEWEST_READINGS: Final = 5
"""A mean of fewer readings is worth little more than its noise."""

FEWEST_GATEWAYS: Final = 3
"""Fewer gateways do not fix a place in the plane."""

WHOLE_LEFT_OUT: Final = 20
"""Up to so many points each is left out alone; beyond, tenths are, which is nearly the same map."""

OFFSET_RAIL_DB: Final = (-85.0, -30.0)
EXPONENT_RAIL: Final = (0.8, 4.5)
"""What tags and rooms can do; a fit at these bounds has swallowed an error of the plan."""

OFFSET_SD_DB: Final = 12.0
EXPONENT_SD: Final = 0.8
POINT_SD_DB: Final = 5.0
"""Priors of the fit, and the deviation of a place's mean level from the law."""


@dataclass(frozen=True, slots=True)
class Known:
    """A calibration and what it is worth.

    Attributes:
        calibration: Ready to be applied.
        errors_m: Error of each point when it was left out, metres.
        plan_errors_m: Error of each point with the plan alone, metres.
    """

    calibration: Calibration
    errors_m: tuple[float, ...]
    plan_errors_m: tuple[float, ...]

    @property
    def error_m(self) -> float:
        """Median error at places that were left out, metres."""
        return statistics.median(self.errors_m)

    @property
    def plan_error_m(self) -> float:
        """Median error with the plan alone, metres."""
        return statistics.median(self.plan_errors_m)


def calibrate(
    grid: Grid,
    gateways: Mapping[str, tuple[float, float, float]],
    points: Sequence[Point],
    *,
    source: Literal["survey", "reference_tags", "gateways"],
    tag_height_m: float,
    tag_rssi_1m_dbm: float | None = None,
) -> Known:
    """Calibrate a site from levels at known places.

    Args:
        grid: Of the site and floor of the points.
        gateways: Position by gateway, metres.
        points: Levels at known places; means of fewer than `FEWEST_READINGS` are left out.
        source: Where the points come from.
        tag_height_m: Usual height of a tag, metres.
        tag_rssi_1m_dbm: Power at 1 m of the tag that was carried, dBm, if it is known.

    Raises:
        RefusedCalibrationError: too few points or gateways, a parameter at its bound, or a map
            that is no better than the plan; the detail says which and what to do.
    """
    kept = [_trimmed(point, gateways) for point in points]
    kept = [point for point in kept if point.levels]
    names = tuple(sorted({name for point in kept for name in point.levels}))
    _enough(kept, names)
    fits = {name: fit_path_loss(name, gateways[name], kept, tag_height_m) for name in names}
    positions = np.array([gateways[name] for name in names], dtype=np.float64)
    base = map_of_plan(grid, names, positions, tag_height_m=tag_height_m)
    whole = _errors(grid, lambda left: _learned(grid, names, positions, left, tag_height_m), kept)
    plan = _errors(grid, lambda _left: base, kept)
    found = Known(
        Calibration(
            source=source,
            points=tuple(kept),
            gateways=fits,
            error_m=round(statistics.median(whole), 3),
            tag_rssi_1m_dbm=tag_rssi_1m_dbm,
        ),
        tuple(whole),
        tuple(plan),
    )
    if found.error_m > found.plan_error_m:
        raise RefusedCalibrationError(
            f"places left out are missed by {found.error_m:.2f} m with the calibration and by "
            f"{found.plan_error_m:.2f} m without; check the coordinates of gateways and marks",
            error_m=found.error_m,
            plan_error_m=found.plan_error_m,
        )
    return found


def fit_path_loss(
    name: str,
    position_m: tuple[float, float, float],
    points: Sequence[Point],
    tag_height_m: float,
) -> GatewayFit:
    """Fit offset and exponent of one gateway.

    Args:
        name: The gateway, for the error.
        position_m: Where it is, metres.
        points: Those that it heard and others.
        tag_height_m: Height of points that state none, metres.

    Raises:
        RefusedCalibrationError: offset or exponent is at its bound.
    """
    heard = [p for p in points if name in p.levels]
    places = np.array(
        [(p.x_m, p.y_m, tag_height_m if p.z_m is None else p.z_m) for p in heard], dtype=np.float64
    )
    slope = gp.decades(np.array(position_m, dtype=np.float64), places)
    level = np.array([p.levels[name][0] for p in heard], dtype=np.float64)
    prior = np.array([gp.OFFSET_MEAN_DB, gp.EXPONENT_MEAN])
    weight = np.diag([POINT_SD_DB**2 / OFFSET_SD_DB**2, POINT_SD_DB**2 / EXPONENT_SD**2])
    design = np.stack([np.ones(len(heard)), slope], axis=1)
    normal = design.T @ design + weight
    offset, exponent = np.linalg.solve(normal, design.T @ level + weight @ prior)
    residual = level - design @ np.array([offset, exponent])
    sigma = float(np.sqrt(np.sum(residual**2) / max(len(heard) - 2, 1)))
    if not OFFSET_RAIL_DB[0] < offset < OFFSET_RAIL_DB[1]:
        raise RefusedCalibrationError(
            f"gateway {name}: {offset:.0f} dBm at 1 m is outside {OFFSET_RAIL_DB[0]:.0f} to "
            f"{OFFSET_RAIL_DB[1]:.0f}; check its position and its antenna",
            gateway=name,
        )
    if not EXPONENT_RAIL[0] < exponent < EXPONENT_RAIL[1]:
        raise RefusedCalibrationError(
            f"gateway {name}: a path loss exponent of {exponent:.1f} is outside "
            f"{EXPONENT_RAIL[0]} to {EXPONENT_RAIL[1]}; check its position on the plan, and add "
            "marks near it and far from it",
            gateway=name,
        )
    return GatewayFit(
        offset_db=round(float(offset), 2),
        exponent=round(float(exponent), 3),
        sigma_db=round(max(sigma, 0.5), 2),
    )


def _trimmed(point: Point, gateways: Mapping[str, object]) -> Point:
    levels = {
        name: level
        for name, level in sorted(point.levels.items())
        if name in gateways and level[2] >= FEWEST_READINGS
    }
    return Point(
        x_m=point.x_m, y_m=point.y_m, z_m=point.z_m, floor=point.floor, zone_id=point.zone_id,
        levels=levels,
    )  # fmt: skip


def _enough(points: Sequence[Point], names: Sequence[str]) -> None:
    if len(points) < FEWEST_POINTS:
        raise RefusedCalibrationError(
            f"{len(points)} places with {FEWEST_READINGS} readings or more; it takes "
            f"{FEWEST_POINTS}, spread over the site",
            points=len(points),
        )
    if len(names) < FEWEST_GATEWAYS:
        raise RefusedCalibrationError(
            f"{len(names)} gateways with known positions heard the tag; it takes {FEWEST_GATEWAYS}",
            gateways=len(names),
        )


def _learned(
    grid: Grid,
    names: tuple[str, ...],
    positions: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    points: Sequence[Point],
    tag_height_m: float,
) -> RadioMap:
    survey = survey_of(points, names, tag_height_m=tag_height_m)
    return map_of_survey(grid, names, positions, survey, tag_height_m=tag_height_m)


def _errors(
    grid: Grid, map_of: Callable[[Sequence[Point]], RadioMap], points: Sequence[Point]
) -> list[float]:
    """Return by how much each point is missed by the map of the others, metres."""
    parts = len(points) if len(points) <= WHOLE_LEFT_OUT else 10
    errors = [0.0] * len(points)
    for part in range(parts):
        left = [p for n, p in enumerate(points) if n % parts != part]
        radio_map = map_of(left)
        for index in range(part, len(points), parts):
            errors[index] = _missed_m(grid, radio_map, points[index])
    return errors


def _missed_m(grid: Grid, radio_map: RadioMap, point: Point) -> float:
    """Return the distance between a point and where its levels put it, metres."""
    tracker = GridFilter(grid, radio_map, FilterSettings())
    known = [(n, point.levels[g]) for n, g in enumerate(radio_map.gateways) if g in point.levels]
    gateway = np.array([[n for n, _ in known]], dtype=np.intp)
    level = np.array([[mean for _, (mean, _, _) in known]], dtype=np.float64)
    count = np.array([[min(n, 10.0) for _, (_, _, n) in known]], dtype=np.float64)
    belief = tracker.step(tracker.start(1), np.zeros(1), gateway, level, count)
    place = tracker.summary(belief.mass)
    return float(np.hypot(place.x_m[0] - point.x_m, place.y_m[0] - point.y_m))
