"""hybrid_apartment by BLE: one tag, six anchors of two antennas, a flat of six rooms.

Calibration reads anchors.csv, rooms.csv, layout.csv and of every run that has the robot's place
(x, y) its packets; of the folder to evaluate only runs/*.ble.csv are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.locate.following import Packets, follow
from bench.locate.output import Fix, rows, runs
from tagtrail_locate.core.grid import Grid, grid_over
from tagtrail_locate.core.grid_filter import FilterSettings, GridFilter
from tagtrail_locate.core.grid_motion import Gait
from tagtrail_locate.core.radio_map import Survey, map_of_survey

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

CELL_M: Final = 0.4
"""Half a door; finer cells moved no figure by more than 0.02 m."""

PLACE_M: Final = 0.5
"""Readings of the calibration runs are averaged over squares of this edge."""

TAG_HEIGHT_M: Final = 1.3
"""The robot's pole, as the README says."""

CLOCK_TICKS: Final = 65536
"""Ticks per second of the anchors' 16-bit clock, which therefore wraps once a second."""

SAME_TICKS: Final = CLOCK_TICKS // 20
"""Within a report the antennas' rows of one packet may stand in either order."""

LATENCIES_S: Final = tuple(0.1 * step for step in range(21))
"""Candidates of the time that a report takes to the server."""

MOST_SQUARES: Final = 10_000
"""More than there are squares along one side, or antennas."""

MOVING_M_PER_S: Final = 0.05
"""Slower than this, a robot stands and its place only trembles."""


class Walk(NamedTuple):
    """A calibration run.

    Attributes:
        packets: What was heard.
        at_s: Times of the robot's places, shape (k,), ascending.
        places_m: The places, shape (k, 2), metres.
    """

    packets: Packets
    at_s: Floats
    places_m: Floats


def predict(
    calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None
) -> Iterator[Fix]:
    """Yield the fixes of every run, calibrated from `calibrate` only."""
    del radio
    names = antennas_of(calibrate)
    walks = [walk for path in runs(calibrate, "runs/*.ble.csv") if (walk := walk_of(path, names))]
    latency_s, tracker = calibrated(calibrate, names, walks)
    for path in runs(evaluate, "runs/*.ble.csv"):
        run = path.name.removesuffix(".ble.csv")
        packets = packets_of(path, names).earlier(latency_s)
        for moment in follow(tracker, packets, delay_s):
            yield Fix(label, run, moment.at_s, moment.x_m, moment.y_m, moment.zone)


def calibrated(folder: Path, names: tuple[str, ...], walks: list[Walk]) -> tuple[float, GridFilter]:
    """Return the latency of reports, seconds, and the filter that some calibration runs give."""
    latency_s = latency_of(walks)
    walks = [walk._replace(packets=walk.packets.earlier(latency_s)) for walk in walks]
    gait = Gait(walk_m_per_s=speed_of(walks))
    settings = FilterSettings(follow_paths=True, gait=gait)
    return latency_s, tracker_of(folder, names, walks, settings)


def latency_of(walks: list[Walk]) -> float:
    """Return how long after its last packet a report comes, seconds.

    With the right latency the levels heard in a square scatter least.
    """

    def scatter(latency_s: float) -> float:
        heard = [known_places(walk, walk.packets.earlier(latency_s)) for walk in walks]
        square, gateway, level = (np.concatenate(column) for column in zip(*heard, strict=True))
        key = (square[:, 0] * MOST_SQUARES + square[:, 1]) * MOST_SQUARES + gateway
        _, index, count = np.unique(key, return_inverse=True, return_counts=True)
        away = level - (np.bincount(index, level) / count)[index]
        return float(away @ away) / max(len(level) - len(count), 1)

    return min(LATENCIES_S, key=scatter)


def speed_of(walks: list[Walk]) -> float:
    """Return how fast the tag goes while it walks straight on, metres per second.

    That is the upper quartile over seconds in which it moves: the others hold turns and starts.
    """
    speeds = []
    for walk in walks:
        seconds = np.arange(walk.at_s[0], walk.at_s[-1], 1.0)
        way = np.diff(places_at(walk, seconds), axis=0)
        speeds.append(np.sqrt(np.sum(way * way, axis=1)))
    speed = np.concatenate(speeds)
    moving = speed[speed > MOVING_M_PER_S]
    return float(np.quantile(moving, 0.75)) if len(moving) else Gait().walk_m_per_s


def antennas_of(folder: Path) -> tuple[str, ...]:
    """Return the names of the antennas, two per anchor: each is a gateway of its own."""
    return tuple(f"{row['id']}.{n}" for row in rows(folder / "anchors.csv") for n in (1, 2))


def tracker_of(
    folder: Path, names: tuple[str, ...], walks: list[Walk], settings: FilterSettings
) -> GridFilter:
    """Return the filter that some calibration runs give."""
    anchors = {
        row["id"]: [float(row[axis]) for axis in "xyz"] for row in rows(folder / "anchors.csv")
    }
    positions = np.array([anchors[name.partition(".")[0]] for name in names])
    grid = grid_of(folder)
    radio_map = map_of_survey(grid, names, positions, survey_of(walks), tag_height_m=TAG_HEIGHT_M)
    return GridFilter(grid, radio_map, settings)


def grid_of(folder: Path) -> Grid:
    """Return the flat as cells, its outline as walls."""
    rooms = {}
    for row in rows(folder / "rooms.csv"):
        x0, y0, x1, y1 = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
        rooms[row["room"]] = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    outline = [(float(row["x"]), float(row["y"])) for row in rows(folder / "layout.csv")]
    return grid_over(rooms, cell_m=CELL_M, outline_m=outline)


def walk_of(path: Path, names: tuple[str, ...]) -> Walk | None:
    """Return a calibration run; None if it does not tell where the robot was."""
    vectors = path.with_name(path.name.replace(".ble.", ".vectors_3hz."))
    truth = [row for row in rows(vectors) if row.get("x")] if vectors.exists() else []
    if not truth:
        return None
    at_s = np.array([float(row["t"]) for row in truth])
    places = np.array([(float(row["x"]), float(row["y"])) for row in truth])
    return Walk(packets_of(path, names), at_s, places)


def packets_of(path: Path, names: tuple[str, ...]) -> Packets:
    """Return the packets of a run in the order in which they were sent.

    An anchor reports once a second: a packet came as long before the last one of its report as
    the anchor's clock says. Anchors that the calibration does not know are passed over.
    """
    reports: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows(path):
        if row["rssi"] and f"{row['anchor']}.{row['antenna']}" in names:
            reports.setdefault((row["t"], row["anchor"]), []).append(row)
    read = []
    for (t, anchor), report in reports.items():
        last = int(report[-1]["ble_ts"])
        for row in report:
            ticks = (last - int(row["ble_ts"]) + SAME_TICKS) % CLOCK_TICKS - SAME_TICKS
            age_s = max(ticks, 0) / CLOCK_TICKS
            gateway = names.index(f"{anchor}.{row['antenna']}")
            read.append((float(t) - age_s, float(t), gateway, float(row["rssi"])))
    return Packets.of(read)


def survey_of(walks: list[Walk]) -> Survey:
    """Return what was heard while the robot was known to be in each square."""
    heard = [known_places(walk, walk.packets) for walk in walks]
    square, gateway, levels = (np.concatenate(column) for column in zip(*heard, strict=True))
    squares, index = np.unique(square, axis=0, return_inverse=True)
    height = np.full(len(squares), TAG_HEIGHT_M)
    places = np.column_stack([(squares + 0.5) * PLACE_M, height])
    return Survey(places, index.reshape(-1), gateway, levels, np.ones(len(levels)))


def known_places(walk: Walk, heard: Packets) -> tuple[Indices, Indices, Floats]:
    """Return square (n, 2), gateway (n,) and level (n,) of what was heard while the way is known."""
    timed = (heard.at_s >= walk.at_s[0]) & (heard.at_s <= walk.at_s[-1])
    square = np.floor(places_at(walk, heard.at_s[timed]) / PLACE_M).astype(np.intp)
    return square, heard.gateway[timed], heard.level_db[timed]


def places_at(walk: Walk, moments: Floats) -> Floats:
    """Return where the robot was at some moments within its run, shape (k, 2), metres."""
    columns = [np.interp(moments, walk.at_s, walk.places_m[:, axis]) for axis in (0, 1)]
    places: Floats = np.stack(columns, axis=1)
    return places
