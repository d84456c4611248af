"""ble_tetam: one BLE tag, twelve fixed gateways, an office of nine zones; see the data's README.

Calibration reads gateways.csv, zones.csv, occupancy_0.5m.csv and fingerprints_set_1.csv; of the
folder to evaluate only tracks/*.events.csv and static/*.events.csv are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.locate.following import Packets, follow
from bench.locate.output import Fix, rows
from tagtrail_locate.core.grid import Grid, cells_over, grid_over
from tagtrail_locate.core.grid_filter import FilterSettings, GridFilter
from tagtrail_locate.core.grid_motion import Gait
from tagtrail_locate.core.radio_map import Survey, map_of_survey

CELL_M: Final = 0.5
"""As fine as the occupancy is given."""

AT_REST: Final = Gait(start_per_s=0.01, stop_per_s=0.5)
"""The stays are of a tag that lies still, as tags with an accelerometer say of themselves."""

OCCUPIED: Final = 0.1
"""Weight of a cell that the plan calls occupied against a free one: chairs move, maps age."""


def predict(
    calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None
) -> Iterator[Fix]:
    """Yield the fixes of every run, calibrated from `calibrate` only."""
    del radio
    walking = FilterSettings(follow_paths=True)
    names, tracker = tracker_of(calibrate, walking)
    resting = GridFilter(tracker.grid, tracker.radio_map, replace(walking, gait=AT_REST))
    tracks = [(path, _stem(path)) for path in sorted(evaluate.glob("tracks/*.events.csv"))]
    stays = [
        (path, f"static/{_stem(path)}") for path in sorted(evaluate.glob("static/*.events.csv"))
    ]
    if not tracks and not stays:
        raise FileNotFoundError(
            f"neither tracks/*.events.csv nor static/*.events.csv in {evaluate}"
        )
    for path, run in tracks + stays:
        core = resting if run.startswith("static/") else tracker
        for moment in follow(core, packets_of(path, names), delay_s):
            yield Fix(label, run, moment.at_s, moment.x_m, moment.y_m, moment.zone)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".events.csv")


def tracker_of(
    folder: Path, settings: FilterSettings, kept: Callable[[Survey], Survey] | None = None
) -> tuple[tuple[str, ...], GridFilter]:
    """Return the gateways' names and the filter that the calibration part of the set gives.

    Args:
        folder: The set.
        settings: Assumptions of the filter.
        kept: What of the survey is used; None = all.
    """
    gateways = list(rows(folder / "gateways.csv"))
    names = tuple(row["gateway"] for row in gateways)
    positions = np.array([[float(row[axis]) for axis in "xyz"] for row in gateways])
    grid, survey = grid_of(folder), survey_of(folder / "fingerprints_set_1.csv", names)
    survey = kept(survey) if kept else survey
    height = float(np.median(survey.places_m[:, 2]))
    radio_map = map_of_survey(grid, names, positions, survey, tag_height_m=height)
    return names, GridFilter(grid, radio_map, settings)


def grid_of(folder: Path) -> Grid:
    """Return the office as cells, occupied ones less likely."""
    zones = {}
    for row in rows(folder / "zones.csv"):
        x0, y0, x1, y1 = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
        zones[row["zone"]] = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    corners = [corner for outline in zones.values() for corner in outline]
    west, south, count, columns, _centres = cells_over(corners, CELL_M)
    presence = np.full((count, columns), OCCUPIED)
    for row in rows(folder / "occupancy_0.5m.csv"):
        column, line = (int((float(row[a]) - o) / CELL_M) for a, o in (("x", west), ("y", south)))
        if 0 <= line < count and 0 <= column < columns and row["free"] == "1":
            presence[line, column] = 1.0
    return grid_over(zones, cell_m=CELL_M, presence=presence.reshape(-1))


def survey_of(path: Path, names: tuple[str, ...]) -> Survey:
    """Return a campaign of stays: at every place, how often each gateway heard each level."""
    places: dict[tuple[float, float, float], int] = {}
    place, gateway, level, count = [], [], [], []
    for row in rows(path):
        at = float(row["x"]), float(row["y"]), float(row["z"])
        index = places.setdefault(at, len(places))
        for part in row["counts"].split():
            level_db, times = part.split(":")
            place.append(index)
            gateway.append(names.index(row["gateway"]))
            level.append(float(level_db))
            count.append(float(times))
    return Survey(
        np.array(list(places)), np.array(place), np.array(gateway), np.array(level), np.array(count)
    )


def packets_of(path: Path, names: tuple[str, ...]) -> Packets:
    """Return the packets of a run; gateways that the calibration does not know are passed over."""
    return Packets.of(
        (float(row["t"]), float(row["t"]), names.index(row["gateway"]), float(row["rssi"]))
        for row in rows(path)
        if row["rssi"] and row["gateway"] in names
    )
