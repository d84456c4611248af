"""ble_tetam: one BLE tag, twelve fixed gateways, an office of nine zones; see the data's README.

Calibration reads gateways.csv, zones.csv, occupancy_0.5m.csv, fingerprints_set_1.csv and the tracks
whose way is known (tracks/*.truth.csv); of the folder to evaluate only tracks/*.events.csv and
static/*.events.csv are read. A track is never calibrated from itself: where both folders hold it, it is
left out of the map. Runs are followed in the order of time, and stays that are over tell later ones how the
gateways drifted since the survey (`resting.py`); that a tag lies still is told by its levels, not by its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bench.locate.following import Packets
from bench.locate.output import Fix, rows
from bench.locate.resting import Campaign, Followers
from tagtrail_locate.core.gaussian_process import Shadowing
from tagtrail_locate.core.grid import Grid, cells_over, grid_over
from tagtrail_locate.core.grid_filter import FilterSettings, GridFilter
from tagtrail_locate.core.grid_stay import StayLocator
from tagtrail_locate.core.grid_stay_map import power_means_of, stay_map_of
from tagtrail_locate.core.radio_map import (
    Survey,
    map_of_survey,
    means_of,
    shadowing_of,
)

Floats = npt.NDArray[np.float64]

CELL_M: Final = 0.5
"""As fine as the occupancy is given."""

WALKING: Final = FilterSettings(follow_paths=True)

PLACE_M: Final = 1.0
"""Packets of a known way are averaged over squares of this edge: half the spacing of the stays."""

OCCUPIED: Final = 0.1
"""Weight of a cell that the plan calls occupied against a free one: chairs move, maps age."""


def predict(
    calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None
) -> Iterator[Fix]:
    """Yield the fixes of every run, calibrated from `calibrate` only."""
    del radio
    office = Office.read(calibrate)
    tracks = [(path, _stem(path)) for path in sorted(evaluate.glob("tracks/*.events.csv"))]
    stays = [
        (path, f"static/{_stem(path)}") for path in sorted(evaluate.glob("static/*.events.csv"))
    ]
    if not tracks and not stays:
        raise FileNotFoundError(
            f"neither tracks/*.events.csv nor static/*.events.csv in {evaluate}"
        )
    heard = [(run, packets_of(path, office.names)) for path, run in tracks + stays]
    campaign, everything = Campaign(), office.followers_without(None)
    for run, packets in sorted(heard, key=lambda one: one[1].begin_s):
        known = office.followers_without(run) if run in office.walked else everything
        for moment in campaign.follow(known, packets, delay_s):
            yield Fix(label, run, moment.at_s, moment.x_m, moment.y_m, moment.zone)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".events.csv")


@dataclass(frozen=True, slots=True, eq=False)
class Office:
    """What the calibration part of the set says.

    Attributes:
        names: Gateways, G of them.
        positions_m: Where they hang, shape (G, 3), metres.
        grid: The office as cells.
        stays: What was heard of a tag that lay at known places for long.
        walked: What was heard on each track whose way is known, by run.
        shadowing: What levels are like there.
        stay_shadowing: What mean powers of still tags are like there.
    """

    names: tuple[str, ...]
    positions_m: Floats
    grid: Grid
    stays: Survey
    walked: Mapping[str, Survey]
    shadowing: Shadowing
    stay_shadowing: Shadowing

    @classmethod
    def read(cls, folder: Path) -> Office:
        """Read a folder; tracks without a truth are passed over."""
        gateways = list(rows(folder / "gateways.csv"))
        names = tuple(row["gateway"] for row in gateways)
        positions = np.array([[float(row[axis]) for axis in "xyz"] for row in gateways])
        stays = survey_of(folder / "fingerprints_set_1.csv", names)
        levels, powers = (
            shadowing_of(positions, stays.places_m, [of(stays, *one) for one in enumerate(names)])
            for of in (means_of, power_means_of)
        )
        walked = {
            _stem(path): walk
            for path in sorted(folder.glob("tracks/*.events.csv"))
            if (walk := walk_of(path, names)) is not None
        }
        return cls(names, positions, grid_of(folder), stays, walked, levels, powers)

    def followers_without(self, run: str | None) -> Followers:
        """Return what follows a carried and a still tag over all that is known, save one track."""
        walks = [walk for name, walk in self.walked.items() if name != run]
        survey, site = together([self.stays, *walks]), (self.grid, self.names, self.positions_m)
        height_m = float(np.median(self.stays.places_m[:, 2]))
        levels = map_of_survey(*site, survey, tag_height_m=height_m, shadowing=self.shadowing)
        powers = stay_map_of(*site, survey, tag_height_m=height_m, shadowing=self.stay_shadowing)
        return Followers(GridFilter(self.grid, levels, WALKING), StayLocator(self.grid, powers))


def walk_of(path: Path, names: tuple[str, ...]) -> Survey | None:
    """Return what was heard on a track, by squares of its way; None if the way is not known."""
    truth = path.with_name(f"{_stem(path)}.truth.csv")
    way = (
        sorted(tuple(float(row[c]) for c in "txyz") for row in rows(truth))
        if truth.exists()
        else []
    )
    heard = packets_of(path, names)
    if not way or not len(heard.at_s):
        return None
    known = np.array(way)
    heard = heard.only((heard.at_s >= known[0, 0]) & (heard.at_s <= known[-1, 0]))
    places = np.stack([np.interp(heard.at_s, known[:, 0], known[:, i]) for i in (1, 2, 3)], axis=1)
    squares = np.floor(places[:, :2] / PLACE_M).astype(np.intp)
    _, index, count = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    middles = np.stack([np.bincount(index, places[:, i]) / count for i in range(3)], axis=1)
    return Survey(middles, index, heard.gateway, heard.level_db, np.ones(len(index)))


def together(surveys: Sequence[Survey]) -> Survey:
    """Return several surveys as one; a place that two of them have counts as two."""
    firsts = np.cumsum([0, *(len(survey.places_m) for survey in surveys[:-1])])
    places = [s.place + first for s, first in zip(surveys, firsts, strict=True)]
    return Survey(
        np.concatenate([s.places_m for s in surveys]),
        np.concatenate(places),
        np.concatenate([s.gateway for s in surveys]),
        np.concatenate([s.level_db for s in surveys]),
        np.concatenate([s.count for s in surveys]),
    )


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
