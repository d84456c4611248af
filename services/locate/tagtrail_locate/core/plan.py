"""A site as the filter sees it: cells, and what every gateway is expected to hear in each.

From what is configured: zone outlines and places of gateways (a log-distance law with wide
errors), each gateway's own path loss, or a calibration with survey points. Floors lie side by
side in one grid, with no way between them but the filter's rare jump. A site whose gateways or
zones have no coordinates gets one cell per zone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.borders import LOSS_SD_DB, Raster, loss_by_survey
from tagtrail_locate.core.calibration_config import Calibration, Level, survey_of
from tagtrail_locate.core.calibration_config import Point as Mark
from tagtrail_locate.core.cells import Cells, laid, roomwise, side_by_side
from tagtrail_locate.core.censored import expected
from tagtrail_locate.core.gaussian_process import decades
from tagtrail_locate.core.geometry import Point
from tagtrail_locate.core.grid import Grid, grid_over
from tagtrail_locate.core.levels import STANDARD_DBM, edge_level, excess_db, shift_of
from tagtrail_locate.core.radio_map import map_of_survey
from tagtrail_locate.core.registry import Gateway, Registry, Zone, size_of

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

CELLS: Final = 400
"""Cells that a floor is cut into, about: finer ones cost time and signal strength can not use them."""

LEAST_CELL_M: Final = 0.75
MOST_CELL_M: Final = 3.0
"""Bounds of the edge of a cell: half a person's width of doubt, and half a narrow aisle."""

GATEWAY_HEIGHT_M: Final = 2.5
"""Assumed where a gateway states no height: above people and pallets."""

FLOOR_LOSS_DB: Final = 15.0
"""Loss through a concrete floor at 2.4 GHz."""

LAW_SD_DB: Final = 4.5
"""Deviation of a rest's mean level from the log-distance law and the borders of zones: shadowing 3
to 4, small-scale fading and the gateway's own offset 2 dB."""

LEAST_SD_DB: Final = 1.5
"""No map knows a place better than this: furniture and stock move."""

SENSITIVITY_DBM: Final = -95.0
FADING_DB: Final = 6.0
MOST_HEARD: Final = 0.95
"""Level of which half of the adverts are heard, the spread around it, and the adverts heard of a
near tag: common BLE receivers."""

ANYWHERE: Final = 0.05
ANY_ROOM: Final = 0.5
"""Chance that a tag that was moved turns up anywhere: on a plan most moves are followed; rooms
without a plan may all be neighbours."""

NEAREST_M: Final = 0.5
"""The log-distance law is not followed closer than this."""

UNHEARD_DBM: Final = -110.0
"""Level of cells that no floor has; no tag can be there."""

UNHEARD_SD_DB: Final = 3.0
"""Deviation of the level that stands for a gateway that heard nothing at a survey point, dB."""

FEWEST_POINTS: Final = 3
"""From so many survey points on, a floor's map is learned from them."""

OWN_DBM: Final = STANDARD_DBM - 1.0
OTHER_DBM: Final = STANDARD_DBM - 27.0
ROOM_SD_DB: Final = 12.0
"""Without a plan: levels of the gateway of the tag's own room and of those of other rooms. With
one wide deviation for both, each decibel by which a gateway is nearer speaks equally for its room,
at any level that occurs: 0.18 nats."""

STEPS_PER_DB: Final = 64.0
"""Maps are rounded to this, so that the last bits of logarithms do not show."""


class Plan(NamedTuple):
    """A site as the filter sees it.

    Attributes:
        cells: C of them; their zone names are zone ids.
        gateways: Ids, in the order of the maps.
        mean_dbm: Expected normalised level, shape (G, C), dBm.
        sd_db: Deviation of a rest's mean from it, shape (G, C), dB.
        unheard_share: Chance that several adverts are all unheard, shape (G, C).
        borders_db: Error that all borders of zones have in common, one standard deviation, shape
            (G, C), dB.
        placed: Whether cells have coordinates.
        anywhere: Chance that a tag that was moved turns up anywhere.
    """

    cells: Cells
    gateways: tuple[str, ...]
    mean_dbm: Floats
    sd_db: Floats
    unheard_share: Floats
    borders_db: Floats
    placed: bool
    anywhere: float


class Levels(NamedTuple):
    """What gateways hear on a grid; arrays have shape (G, C).

    Attributes:
        mean_dbm: Expected level, dBm.
        sd_db: Deviation of a rest's mean from it, dB.
        borders: Borders of zones on the way whose loss is not known.
    """

    mean_dbm: Floats
    sd_db: Floats
    borders: Floats


def plan_of(registry: Registry, site_id: str) -> Plan | None:
    """Return the plan of a site; None if no gateway of it could tell a zone."""
    gateways = sorted(
        (g for g in registry.gateways.values() if g.site_id == site_id),
        key=lambda g: g.gateway_id,
    )
    zones = sorted((z for z in registry.zones.values() if z.site_id == site_id), key=size_of)
    if not gateways or not zones:
        return None
    named = {registry.zone_of[g.gateway_id] for g in gateways if g.gateway_id in registry.zone_of}
    outlined = {z.zone_id for z in zones if z.outline_m is not None}
    placed = [g for g in gateways if g.x_m is not None and g.y_m is not None]
    if outlined and named <= outlined and len(placed) == len(gateways):
        return _placed(registry, site_id, placed, [z for z in zones if z.outline_m is not None])
    heard = [g for g in gateways if g.gateway_id in registry.zone_of]
    return _roomwise(registry, heard, sorted(named)) if heard else None


# -- sites with coordinates ----------------------------------------------------------------


def _placed(
    registry: Registry, site_id: str, gateways: Sequence[Gateway], zones: Sequence[Zone]
) -> Plan:
    site = registry.sites.get(site_id)
    outline = site.outline_m if site is not None else None
    calibration = registry.calibrations.get(site_id)
    grids, maps, levels = [], [], []
    outlines: dict[float, dict[str, Sequence[Point]]] = {}
    for zone in zones:
        outlines.setdefault(zone.floor, {})[zone.zone_id] = zone.outline_m or ()
    if outline is not None:
        for own in outlines.values():
            own[""] = outline
    cell_m = max(_cell_m(own) for own in outlines.values())
    for level, own in sorted(outlines.items()):
        grid = grid_over(own, cell_m=cell_m)
        grids.append(grid)
        raster = Raster([outline for name, outline in own.items() if name])
        maps.append(_map_of(registry, grid, level, gateways, calibration, raster))
        levels.append(level)
    cells = side_by_side(grids, levels)
    mean = laid([m.mean_dbm for m in maps], grids, cells.rows, UNHEARD_DBM)
    spread = laid([m.sd_db for m in maps], grids, cells.rows, LAW_SD_DB)
    borders = laid([m.borders for m in maps], grids, cells.rows, 0.0)
    names = tuple(g.gateway_id for g in gateways)
    return _plan(cells, names, Levels(mean, spread, borders), placed=True)


def _plan(cells: Cells, names: tuple[str, ...], levels: Levels, *, placed: bool) -> Plan:
    mean, spread = _rounded(levels.mean_dbm), _rounded(levels.sd_db)
    borders_db = levels.borders * LOSS_SD_DB
    anywhere = ANYWHERE if placed else ANY_ROOM
    return Plan(cells, names, mean, spread, unheard_share(mean), borders_db, placed, anywhere)


def heard_share(mean_dbm: Floats) -> Floats:
    """Return the share of adverts that are heard at mean levels, same shape."""
    return MOST_HEARD * (1.0 - unheard_share(mean_dbm))


def unheard_share(mean_dbm: Floats) -> Floats:
    """Return the chance that several adverts are all unheard at mean levels, same shape.

    Collisions do not take several in a row; the shadow of the place does.
    """
    z = (mean_dbm - SENSITIVITY_DBM) / FADING_DB
    share: Floats = 1.0 / (1.0 + np.exp(1.702 * z))
    return share


def _cell_m(outlines: Mapping[str, Sequence[Point]]) -> float:
    corners = np.array([point for outline in outlines.values() for point in outline])
    width, depth = (corners.max(axis=0) - corners.min(axis=0)).tolist()
    edge = math.sqrt(max(width * depth, 1.0) / CELLS)
    return round(min(max(edge, LEAST_CELL_M), MOST_CELL_M), 2)


def _map_of(
    registry: Registry, grid: Grid, level: float, gateways: Sequence[Gateway],
    calibration: Calibration | None, raster: Raster,
) -> Levels:  # fmt: skip
    """Return what is heard on one floor: by the law, and where there is a survey, by that."""
    shape = (len(gateways), grid.cells)
    law = Levels(np.empty(shape), np.empty(shape), np.zeros(shape))
    for row, gateway in enumerate(gateways):
        zone = registry.zones.get(registry.zone_of.get(gateway.gateway_id, ""))
        storeys = 0.0 if zone is None else abs(zone.floor - level)
        if storeys <= 0.0:
            law.borders[row] = raster.between(_place(gateway), grid.x_m, grid.y_m)
        _by_law(registry, grid, gateway, storeys, calibration, law, row)
    if calibration is None:
        return law
    points = [p for p in calibration.points if p.floor == level]
    if len(points) < FEWEST_POINTS:
        return law
    return _by_survey(registry, grid, gateways, points, law, calibration, raster)


def _by_law(
    registry: Registry, grid: Grid, gateway: Gateway, storeys: float,
    calibration: Calibration | None, law: Levels, row: int,
) -> None:  # fmt: skip
    """Note what one gateway hears by the log-distance law."""
    away = np.sqrt(
        (grid.x_m - (gateway.x_m or 0.0)) ** 2
        + (grid.y_m - (gateway.y_m or 0.0)) ** 2
        + (_height_m(gateway) - registry.thresholds.tag_height_m) ** 2
    )
    fit = calibration.gateways.get(gateway.gateway_id) if calibration is not None else None
    if fit is not None:
        offset = fit.offset_db + shift_of(registry, gateway.gateway_id) - STANDARD_DBM
        exponent, sigma = fit.exponent, max(fit.sigma_db, LEAST_SD_DB)
        law.borders[row] = 0.0
    else:
        offset, sigma = 0.0, LAW_SD_DB
        exponent = gateway.path_loss_exponent or registry.thresholds.default_exponent
    fallen = 10.0 * exponent * np.log10(np.maximum(away, NEAREST_M))
    fallen += registry.thresholds.border_loss_db * law.borders[row]
    law.mean_dbm[row] = STANDARD_DBM + offset - fallen - FLOOR_LOSS_DB * storeys
    law.sd_db[row] = sigma


def _place(gateway: Gateway) -> Point:
    return (gateway.x_m or 0.0, gateway.y_m or 0.0)


def _height_m(gateway: Gateway) -> float:
    return GATEWAY_HEIGHT_M if gateway.z_m is None else gateway.z_m


def _by_survey(
    registry: Registry, grid: Grid, gateways: Sequence[Gateway], points: Sequence[Mark],
    law: Levels, calibration: Calibration, raster: Raster,
) -> Levels:  # fmt: skip
    """Return the law's levels with the rows of those gateways that the survey heard replaced."""
    heard = [n for n, g in enumerate(gateways) if any(g.gateway_id in p.levels for p in points)]
    if not heard:
        return law
    height_m = registry.thresholds.tag_height_m
    stands = [gateways[n] for n in heard]
    names = tuple(g.gateway_id for g in stands)
    positions = np.array([(g.x_m or 0.0, g.y_m or 0.0, _height_m(g)) for g in stands])
    marks = _normalised(registry, points, names, calibration)
    x, y = np.array([p.x_m for p in marks]), np.array([p.y_m for p in marks])
    between = np.stack([raster.between(_place(g), x, y) for g in stands])
    marks = _with_silence(registry, marks, points, names, positions, between)
    survey = survey_of(marks, names, tag_height_m=height_m)
    passed = between[survey.gateway, survey.place]
    loss_db = loss_by_survey(survey, positions, passed, registry.thresholds.border_loss_db)
    survey = replace(survey, level_db=survey.level_db + loss_db * passed)
    found = map_of_survey(grid, names, positions, survey, tag_height_m=height_m)
    mean, spread, borders = law.mean_dbm.copy(), law.sd_db.copy(), law.borders.copy()
    cells = [loss_db * raster.between(_place(g), grid.x_m, grid.y_m) for g in stands]
    mean[heard] = found.mean_db - np.stack(cells)
    spread[heard] = np.maximum(found.sd_db * math.sqrt(found.shared_share), LEAST_SD_DB)
    borders[heard] = 0.0
    return Levels(mean, spread, borders)


def _normalised(
    registry: Registry, points: Sequence[Mark], names: Sequence[str], calibration: Calibration
) -> list[Mark]:
    """Return survey points with normalised levels; where a gateway heard nothing, with its limit.

    As many adverts were sent at a point as the gateway heard that heard most.
    """
    power_db = 0.0
    if calibration.tag_rssi_1m_dbm is not None:
        power_db = calibration.tag_rssi_1m_dbm - registry.thresholds.default_rssi_1m_dbm
    shift_db = {name: shift_of(registry, name) - power_db for name in names}
    found = []
    for point in points:
        sent = max((count for _, _, count in point.levels.values()), default=0)
        levels: dict[str, Level] = {}
        for name in names if sent else ():
            mean, spread, count = point.levels.get(name, (0.0, UNHEARD_SD_DB, 0))
            level = mean - float(excess_db(mean, count / sent))
            level = level if count else edge_level(0.5 / (sent + 1.0))
            levels[name] = (level + shift_db[name], max(spread, 1.0), max(count, 1))
        found.append(msgspec.structs.replace(point, levels=levels))
    return found


def _with_silence(
    registry: Registry, marks: Sequence[Mark], points: Sequence[Mark], names: Sequence[str],
    positions_m: Floats, between: Floats,
) -> list[Mark]:  # fmt: skip
    """Return normalised survey points with what is to be expected where gateways heard nothing."""
    height_m, usual_db = registry.thresholds.tag_height_m, registry.thresholds.border_loss_db
    places_m = np.array([(p.x_m, p.y_m, height_m if p.z_m is None else p.z_m) for p in marks])
    levels = [dict(mark.levels) for mark in marks]
    for row, name in enumerate(names):
        own = [n for n, mark in enumerate(marks) if name in mark.levels]
        heard = [points[n].levels.get(name, (0.0, 0.0, 0))[2] for n in own]
        silent = np.array(heard, dtype=np.int64) == 0
        limit = np.array([levels[n][name][0] for n in own])
        lost = decades(positions_m[row], places_m[own])
        found = expected(limit, silent, lost, between[row, own], usual_db)
        for n, level in zip(own, found.tolist(), strict=True):
            levels[n][name] = (level, *levels[n][name][1:])
    pairs = zip(marks, levels, strict=True)
    return [msgspec.structs.replace(mark, levels=own) for mark, own in pairs]


def _rounded(values: Floats) -> Floats:
    return np.rint(values * STEPS_PER_DB) / STEPS_PER_DB


# -- sites without coordinates -------------------------------------------------------------


def _roomwise(registry: Registry, gateways: Sequence[Gateway], zone_ids: Sequence[str]) -> Plan:
    """Return a plan of one cell per zone; there is no way between them but the filter's jump."""
    cells = roomwise(zone_ids, [registry.zones[z].floor for z in zone_ids])
    own = np.array([[registry.zone_of[g.gateway_id] == z for z in zone_ids] for g in gateways])
    mean = _rounded(np.where(own, OWN_DBM, OTHER_DBM))
    spread = np.full(mean.shape, ROOM_SD_DB)
    names = tuple(g.gateway_id for g in gateways)
    return _plan(cells, names, Levels(mean, spread, np.zeros(mean.shape)), placed=False)
