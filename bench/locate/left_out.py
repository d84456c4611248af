"""`python -m bench.locate.left_out --set NAME --data DIR [--delay S] [--fold K] [--drift DB]`.

How good `bench.locate` is where it was not calibrated, from a set whose places are all known. Parts
are left out of the calibration in turn, and told from the rest:

* hybrid_apartment, BLE: every fourth minute of the runs (all rooms stay surveyed), or with `--runs`
  one whole run at a time (rooms that only that run surveyed are then told unmeasured).
* ble_tetam: every ninth (`--every`) of the places where a tag lay still, told after 10 to 50 s of packets, in
  the order of time; `--drift` sets the gateways off since the map was made, `--moved` one of them anew at each place.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.locate import apartment, ble_tetam
from bench.locate.apartment import Walk
from bench.locate.following import Moment, Packets, follow
from bench.locate.output import rows, runs
from bench.locate.resting import Campaign
from tagtrail_locate.core.radio_map import Survey

Bools = npt.NDArray[np.bool_]

BLOCK_S: Final = 60.0
EVERY: Final = 4
"""Length of the parts that are left out, and how many parts there are to each that is."""

WARM_S: Final = 15.0
"""The filter starts so long before a part that was left out."""

STAYS_S: Final = (10.0, 20.0, 30.0, 40.0, 50.0)

MOVED: Final = 4
"""The gateway that is moved when one is: any would do."""


class Scored(NamedTuple):
    """One answer against the truth: error and radius of the area, metres; zone right or not."""

    error_m: float
    right: bool
    radius_m: float


class Zones:
    """Rectangles with names."""

    def __init__(self, path: Path, column: str) -> None:
        """Read them from a file whose names are in `column`."""
        self._all = [
            (
                row[column],
                (float(row["x_min"]), float(row["x_max"])),
                (float(row["y_min"]), float(row["y_max"])),
            )
            for row in rows(path)
        ]

    def at(self, x_m: float, y_m: float) -> str | None:
        """Return the zone that holds a point."""
        for name, (west, east), (south, north) in self._all:
            if west <= x_m <= east and south <= y_m <= north:
                return name
        return None


def scored(moments: list[Moment], at_s: float, x_m: float, y_m: float, zones: Zones) -> Scored:
    """Return how good the last answer until a moment is."""
    index = int(np.searchsorted([m.at_s for m in moments], at_s + 1e-6, side="right")) - 1
    moment = moments[max(index, 0)]
    error = float(np.hypot(moment.x_m - x_m, moment.y_m - y_m))
    return Scored(error, moment.zone == zones.at(x_m, y_m), moment.radius_m)


def flat(folder: Path, *, delay_s: float, whole_runs: bool, fold: int | None) -> Iterator[Scored]:
    """Yield how good the flat is told where it was left out."""
    names, zones = apartment.antennas_of(folder), Zones(folder / "rooms.csv", "room")
    read = [apartment.walk_of(path, names) for path in runs(folder, "runs/*.ble.csv")]
    walks = [walk for walk in read if walk is not None]
    for part in range(len(walks) if whole_runs else EVERY) if fold is None else (fold,):
        kept = [_without(w, i, part, whole_runs=whole_runs) for i, w in enumerate(walks)]
        kept = [walk for walk in kept if len(walk.packets.at_s)]
        latency_s, tracker = apartment.calibrated(folder, names, kept)
        for index, walk in enumerate(walks):
            for piece in _pieces(walk, _left(walk.at_s, walk, index, part, whole_runs=whole_runs)):
                packets = _between(walk.packets, piece[0] - WARM_S, piece[-1] + 2.0 * delay_s)
                moments = follow(tracker, packets.earlier(latency_s), delay_s)
                where = apartment.places_at(walk, piece)
                for at_s, (x, y) in zip(piece.tolist(), where.tolist(), strict=True):
                    yield scored(moments, at_s, x, y, zones)


def _left(at_s: apartment.Floats, walk: Walk, index: int, part: int, *, whole_runs: bool) -> Bools:
    """Tell which moments of a run are left out of the calibration."""
    if whole_runs:
        return np.full(len(at_s), index == part)
    block = np.floor((at_s - walk.at_s[0]) / BLOCK_S).astype(np.intp)
    left: Bools = (block + index) % EVERY == part
    return left


def _without(walk: Walk, index: int, part: int, *, whole_runs: bool) -> Walk:
    kept = ~_left(walk.packets.at_s, walk, index, part, whole_runs=whole_runs)
    return walk._replace(packets=walk.packets.only(kept))


def _pieces(walk: Walk, left: Bools) -> list[apartment.Floats]:
    """Return the moments with a known place that were left out, in pieces without a break."""
    moments = np.flatnonzero(left)
    if not len(moments):
        return []
    parts = np.split(moments, np.flatnonzero(np.diff(moments) > 1) + 1)
    return [walk.at_s[part] for part in parts]


def _between(packets: Packets, since_s: float, until_s: float) -> Packets:
    return packets.only((packets.at_s >= since_s) & (packets.at_s <= until_s))


def office(
    folder: Path,
    *,
    delay_s: float,
    every: int,
    fold: int | None,
    drift_db: float,
    moved_db: float = 0.0,
) -> Iterator[Scored]:
    """Yield how good tags that lie still in the office are told at places left out of the map.

    Args:
        folder: Of the set.
        delay_s: Seconds.
        every: Each place is told with the map without it and every so many further ones.
        fold: Only those of this part; None = all parts.
        drift_db: Gateways are set off by so much since the map was made, standard deviation.
        moved_db: One of them moreover by so much anew at each place, as if it hung elsewhere.
    """
    zones = Zones(folder / "zones.csv", "zone")
    calibration = ble_tetam.Office.read(folder)
    heard = _stays(folder / "fingerprints_set_1_first60s.csv.gz", calibration.names)
    chance = np.random.default_rng(1)
    drifted_db = chance.normal(0.0, drift_db, len(calibration.names))
    parts = [list(heard)[part::every] for part in range(every)]
    followers, campaign = {}, Campaign()
    for left in parts if fold is None else parts[fold : fold + 1]:
        some = replace(calibration, stays=_without_places(calibration.stays, left))
        followers.update(dict.fromkeys(left, some.followers_without(None)))
    for x, y in sorted(followers, key=lambda place: heard[place].begin_s):
        packets, offset_db = heard[x, y], drifted_db.copy()
        offset_db[MOVED] += chance.normal(0.0, moved_db)
        packets = packets._replace(level_db=packets.level_db + offset_db[packets.gateway])
        moments = campaign.follow(followers[x, y], packets, delay_s)
        for seconds in STAYS_S:
            yield scored(moments, packets.begin_s + seconds, x, y, zones)


def _stays(path: Path, names: tuple[str, ...]) -> dict[tuple[float, float], Packets]:
    """Return what was heard of the first minute at each place, in the order of the file."""
    heard: dict[tuple[float, float], list[tuple[float, float, int, float]]] = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            at = heard.setdefault((float(row["x"]), float(row["y"])), [])
            t, gateway = float(row["t"]), names.index(row["gateway"])
            at.append((t, t, gateway, float(row["rssi"])))
    return {place: Packets.of(packets) for place, packets in heard.items()}


def _without_places(survey: Survey, left: list[tuple[float, float]]) -> Survey:
    x, y = survey.places_m[survey.place, 0], survey.places_m[survey.place, 1]
    stay = np.array([(a, b) not in left for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    return Survey(
        survey.places_m,
        survey.place[stay],
        survey.gateway[stay],
        survey.level_db[stay],
        survey.count[stay],
    )


def main() -> None:
    """Read the command line, tell what was left out, print how good that is."""
    parser = argparse.ArgumentParser(prog="python -m bench.locate.left_out", description=__doc__)
    parser.add_argument("--set", required=True, choices=("hybrid_apartment", "ble_tetam"))
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the set's folder")
    parser.add_argument("--delay", type=float, default=3.0, metavar="SECONDS")
    parser.add_argument("--runs", action="store_true", help="leave out whole runs")
    parser.add_argument("--every", type=int, default=9, metavar="N", help="ble_tetam: parts")
    parser.add_argument("--drift", type=float, default=0.0, metavar="DB", help="ble_tetam: sd")
    parser.add_argument("--moved", type=float, default=0.0, metavar="DB", help="ble_tetam: sd")
    parser.add_argument("--fold", type=int, metavar="K", help="only the part of this number")
    asked = parser.parse_args()
    if asked.set == "ble_tetam":
        told = office(
            asked.data,
            delay_s=asked.delay,
            every=asked.every,
            fold=asked.fold,
            drift_db=asked.drift,
            moved_db=asked.moved,
        )
        found = list(told)
    else:
        found = list(flat(asked.data, delay_s=asked.delay, whole_runs=asked.runs, fold=asked.fold))
    error, right, radius = (np.array(column) for column in zip(*found, strict=True))
    low, high = np.quantile(error, (0.5, 0.95))
    sys.stdout.write(
        f"{len(error)} places left out: median {low:.2f} m, 95 % {high:.2f} m, zone"
        f" {100 * right.mean():.1f} %, area holds {100 * np.mean(error <= radius):.0f} %\n"
    )


if __name__ == "__main__":
    main()
