"""hybrid_apartment by UWB: one tag's blinks at six anchors, rooms behind walls.

A run is never calibrated from itself: where both folders hold it, it is left out of the survey.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bench.locate.output import Fix, rows, runs
from tagtrail_locate.core.errors import UnusableBlinkError
from tagtrail_locate.core.geometry import Point, contains
from tagtrail_locate.core.grid import Grid, grid_over
from tagtrail_locate.core.tdoa import LIGHT_M_PER_S, BlinkClock, TdoaMap, spread_ticks
from tagtrail_locate.core.tdoa_filter import BlinkFilter, BlinkPlace, BlinkSettings
from tagtrail_locate.core.tdoa_map import TdoaSurvey, map_of_survey

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

CELL_M: Final = 0.2
"""A cell's own size then adds 6 cm to the error, of 14."""

TAG_HEIGHT_M: Final = 1.3
"""The pole of the survey's robot."""

EVERY_S: Final = 0.25
TICK_S: Final = 15.65e-12

LEAST_SHARE: Final = 0.2
"""A room with less of the belief only lies between the places that are likely."""

MOST_GAP_S: Final = 1.5
"""Longer gaps of the known way are not interpolated."""

BLINKS: Final = "*.uwb_blinks.csv"


@dataclass(frozen=True, slots=True, eq=False)
class Blinks:
    """One run: arrival and sending of n blinks (n,), seconds, and what was heard (n, A), metres."""

    arrival_s: Floats
    sent_s: Floats
    heard_m: Floats


def predict(
    calibrate: Path,
    evaluate: Path,
    label: str,
    *,
    delay_s: float,
    radio: str | None = None,
    anchors: Sequence[int] | None = None,
) -> Iterator[Fix]:
    """Yield a fix every `EVERY_S` for each run.

    Args:
        calibrate: Folder with anchors.csv, rooms.csv, layout.csv, and runs with known ways.
        evaluate: Folder with runs/RUN.uwb_blinks.csv.
        label: Name of the set in the output.
        delay_s: A fix for t uses blinks that arrived up to t + delay, seconds.
        radio: Only UWB is here.
        anchors: Which anchors are used; None = all.
    """
    del radio
    rooms, grid = rooms_of(calibrate), grid_of(calibrate)
    for path in runs(evaluate / "runs", BLINKS):
        run = path.name.removesuffix(".uwb_blinks.csv")
        table = map_without(calibrate, run, grid)
        tracker = BlinkFilter(grid, table, BlinkSettings())
        blinks = blinks_of(path, ids_of(calibrate), only=anchors)
        for at_s, place in followed(tracker, blinks, delay_s=delay_s):
            yield Fix(label, run, at_s, place.x_m, place.y_m, zone_of(place, rooms))


def rooms_of(folder: Path) -> dict[str, list[Point]]:
    """Return the rooms' corners by name."""
    rooms: dict[str, list[Point]] = {}
    for row in rows(folder / "rooms.csv"):
        x0, y0, x1, y1 = (float(row[c]) for c in ("x_min", "y_min", "x_max", "y_max"))
        rooms[row["room"]] = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return rooms


def zone_of(place: BlinkPlace, rooms: Mapping[str, Sequence[Point]]) -> str | None:
    """Return the room that the place lies in, unless hardly any of the belief is there.

    Cells are coarser than the place, which decides better at a door.
    """
    for index, (name, outline) in enumerate(rooms.items()):
        if contains(outline, place.x_m, place.y_m) and place.zones[index] > LEAST_SHARE:
            return name
    return place.zone(tuple(rooms))


def grid_of(folder: Path) -> Grid:
    """Return the cells of the flat, with its walls."""
    outline = [(float(r["x"]), float(r["y"])) for r in rows(folder / "layout.csv")]
    return grid_over(rooms_of(folder), cell_m=CELL_M, outline_m=outline)


def map_without(folder: Path, run: str, grid: Grid) -> TdoaMap:
    """Learn the map from all runs of a folder whose way is known, except the one named."""
    surveys = [
        survey
        for path in sorted((folder / "runs").glob(BLINKS))
        if not path.name.startswith(f"{run}.")
        and (survey := survey_of(path, ids_of(folder))) is not None
    ]
    anchors = anchors_of(folder)
    together = TdoaSurvey(
        np.concatenate([np.zeros((0, 2)), *(s.places_m for s in surveys)]),
        np.concatenate([np.zeros((0, len(anchors))), *(s.heard_m for s in surveys)]),
    )
    return map_of_survey(grid, anchors, together, tag_height_m=TAG_HEIGHT_M)


def anchors_of(folder: Path) -> Floats:
    """Return where the anchors stand, shape (A, 3), metres, in the order of their numbers."""
    found = sorted(rows(folder / "anchors.csv"), key=lambda row: int(row["id"]))
    return np.array([[float(row[c]) for c in "xyz"] for row in found])


def ids_of(folder: Path) -> list[int]:
    """Return the anchors' numbers, ascending."""
    return sorted(int(row["id"]) for row in rows(folder / "anchors.csv"))


def survey_of(path: Path, ids: Sequence[int]) -> TdoaSurvey | None:
    """Return the blinks of a run whose places are known; None without a known way."""
    way_path = path.with_name(path.name.replace("uwb_blinks", "vectors_3hz"))
    with way_path.open(newline="") as file:
        if "x" not in (csv.DictReader(file).fieldnames or ()):
            return None
    way = np.array([_numbers(row, ("t", "x", "y")) for row in rows(way_path)])
    way = way[~np.isnan(way).any(axis=1)]
    if not len(way):
        return None
    way = way[np.argsort(way[:, 0], kind="stable")]
    blinks = blinks_of(path, ids)
    after = np.clip(np.searchsorted(way[:, 0], blinks.sent_s), 1, len(way) - 1)
    known = (blinks.sent_s > way[0, 0]) & (blinks.sent_s < way[-1, 0])
    known &= way[after, 0] - way[after - 1, 0] < MOST_GAP_S
    at = blinks.sent_s[known]
    places = np.stack([np.interp(at, way[:, 0], way[:, i]) for i in (1, 2)], axis=1)
    return TdoaSurvey(places, blinks.heard_m[known])


def blinks_of(path: Path, ids: Sequence[int], *, only: Sequence[int] | None = None) -> Blinks:
    """Read a run.

    Args:
        path: The file.
        ids: Anchors of the map, in its order; the file may have others, or lack some.
        only: Anchors that are heard; None = all.
    """
    arrivals, sent, heard = [], [], []
    clock = BlinkClock(TICK_S)
    for row in sorted(rows(path), key=lambda r: float(r["t"])):
        ticks = np.array(_numbers(row, [f"toa_{i}" for i in ids]))
        if only is not None:
            ticks[[at for at, i in enumerate(ids) if i not in only]] = np.nan
        if np.isnan(ticks).all():
            continue
        ticks = spread_ticks(ticks)
        arrivals.append(float(row["t"]))
        sent.append(clock.sent(arrivals[-1], float(np.nanmin(ticks))))
        heard.append((ticks - np.nanmin(ticks)) * TICK_S * LIGHT_M_PER_S)
    return Blinks(np.array(arrivals), np.array(sent), np.array(heard).reshape(-1, len(ids)))


def _numbers(row: Mapping[str, str], names: Sequence[str]) -> list[float]:
    return [float(value) if (value := row.get(name)) else np.nan for name in names]


def _weighed(tracker: BlinkFilter, heard_m: Floats) -> Singles:
    """Weigh a blink; one whose times cannot be of one blink says nothing."""
    try:
        return tracker.weigh(heard_m)
    except UnusableBlinkError:
        return tracker.weigh(np.full_like(heard_m, np.nan))


def followed(
    tracker: BlinkFilter, blinks: Blinks, *, delay_s: float
) -> Iterator[tuple[float, BlinkPlace]]:
    """Yield time and place every `EVERY_S` from the first arrival to the last."""
    if not len(blinks.sent_s):
        return
    sent, fits = blinks.sent_s, [_weighed(tracker, row[None]) for row in blinks.heard_m]
    beliefs = [tracker.start(1)]
    for i, fit in enumerate(fits):
        passed = np.array([sent[i] - sent[i - 1] if i else 0.0])
        beliefs.append(tracker.take(tracker.predict(beliefs[-1], passed), fit))
    count = int((blinks.arrival_s[-1] - blinks.arrival_s[0]) / EVERY_S) + 2
    for at_s in (blinks.arrival_s[0] + EVERY_S * np.arange(count)).tolist():
        known = int(np.searchsorted(blinks.arrival_s, at_s + delay_s, side="right"))
        past = min(int(np.searchsorted(sent, at_s, side="right")), known)
        if known == 0:
            continue
        before = at_s - sent[past - 1] if past else 0.0
        mass = tracker.predict(beliefs[past], np.array([before]))
        times = [at_s, *sent[past:known].tolist()]
        later = [(np.array([times[j + 1] - times[j]]), fits[past + j]) for j in range(known - past)]
        yield at_s, tracker.summary(tracker.smoothed(mass, later))
