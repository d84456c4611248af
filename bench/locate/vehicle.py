"""uwb_vehicle: a walker followed by four anchors on a parked car.

A run is never calibrated from itself: where both folders hold it, it is left out of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.locate.output import Fix, rows, runs
from tagtrail_locate.core.errors import TooFewRangesError
from tagtrail_locate.core.range_calibration import RangeCalibration, SurveyedRanges, fit_ranges
from tagtrail_locate.core.range_follow import follow
from tagtrail_locate.core.range_tracking import UNSURVEYED, RangeModel
from tagtrail_locate.core.range_walk import Heard, Placement

EVERY_S: Final = 0.1
"""A walker moves 12 cm in this time: the age of a fix hardly shows in its error."""

OFFLINE_S: Final = 60.0
"""A delay of this or more means that the whole run may be used."""

Anchors = Mapping[str, tuple[float, float, float]]


def predict(
    calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None = None
) -> Iterator[Fix]:
    """Yield a fix every `EVERY_S` for each run.

    Args:
        calibrate: Folder with anchors.csv, RUN/ranges.csv and RUN/truth.csv.
        evaluate: Folder with anchors.csv and RUN/ranges.csv.
        label: Name of the set in the output.
        delay_s: A fix for t uses ranges that arrived up to t + delay, seconds.
        radio: Only UWB is there.
    """
    del radio
    for path in runs(evaluate, "*/ranges.csv"):
        run = path.parent.name
        for place in places(calibrate, path.parent, delay_s=delay_s):
            yield Fix(label, run, place.at_s, place.x_m, place.y_m)


def places(calibrate: Path, folder: Path, *, delay_s: float) -> Iterator[Placement]:
    """Yield the places of one run, with their stated errors."""
    anchors = _anchors_seen_from(folder, calibrate)
    model = RangeModel(slots=max(len(anchors), 1))
    calibration = calibrated(calibrate, folder.name, model)
    if calibration == RangeCalibration():
        model = replace(UNSURVEYED, slots=model.slots)
    heard = sorted(
        (
            Heard(at_s - calibration.latency_s, a, *anchors[a], calibration.corrected_m(a, range_m))
            for at_s, a, range_m in _ranges(folder)
            if a in anchors
        ),
        key=lambda h: (h.at_s, h.anchor_id),
    )
    if not heard:
        return
    count = math.ceil((heard[-1].at_s - heard[0].at_s + calibration.latency_s) / EVERY_S)
    moments = [heard[0].at_s + i * EVERY_S for i in range(count + 1)]
    lag_s = math.inf if delay_s >= OFFLINE_S else delay_s - calibration.latency_s
    yield from follow(heard, moments, model, lag_s=lag_s)


def calibrated(folder: Path, without: str, model: RangeModel) -> RangeCalibration:
    """Fit the runs of a folder that have a truth, except the one named; none = no correction."""
    surveys = [
        _surveyed(path.parent, model)
        for path in sorted(folder.glob("*/truth.csv"))
        if path.parent.name != without
    ]
    try:
        return fit_ranges(surveys)
    except TooFewRangesError:
        return RangeCalibration()


def _surveyed(folder: Path, model: RangeModel) -> SurveyedRanges:
    anchors = _anchors(folder)
    ids = tuple(sorted(anchors))
    ranges = [r for r in _ranges(folder) if r[1] in anchors]
    way = np.array(
        [[float(r[c]) for c in ("t", "x", "y", "z")] for r in rows(folder / "truth.csv")]
    )
    return SurveyedRanges(
        np.array([r[0] for r in ranges]),
        np.array([ids.index(r[1]) for r in ranges], dtype=np.intp),
        np.array([r[2] for r in ranges]),
        np.array([anchors[i] for i in ids]),
        ids,
        way[:, 0],
        way[:, 1:] + np.array([0.0, 0.0, model.tag_height_m]),
    )


def _anchors_seen_from(folder: Path, calibrate: Path) -> Anchors:
    """Return the anchors of a run: of the list beside it, or else of the calibration's.

    Runs of one series, whose names differ in the last number only, have the same set-up.

    Raises:
        FileNotFoundError: neither list has the run or its series.
    """
    lists = [beside for beside in (folder.parent, calibrate) if (beside / "anchors.csv").exists()]
    for wanted in (folder.name, folder.name.rpartition("_")[0] + "_"):
        for beside in lists:
            if found := _listed(beside, wanted):
                return found
    raise FileNotFoundError(
        f"no anchors of run {folder.name}: put an anchors.csv with its rows into {folder.parent}"
    )


def _anchors(folder: Path) -> Anchors:
    return _listed(folder.parent, folder.name)


def _listed(folder: Path, wanted: str) -> Anchors:
    """Return the anchors of a run, or of the first run of a series (which ends in "_")."""
    series = wanted.endswith("_") and len(wanted) > 1
    listed = [
        row
        for row in rows(folder / "anchors.csv")
        if row["run"] == wanted or (series and row["run"].startswith(wanted))
    ]
    return {
        row["anchor"]: (float(row["x"]), float(row["y"]), float(row["z"]))
        for row in listed
        if row["run"] == listed[0]["run"]
    }


def _ranges(folder: Path) -> list[tuple[float, str, float]]:
    return [
        (float(row["t"]), row["anchor"], float(row["range_m"]))
        for row in rows(folder / "ranges.csv")
        if row["range_m"]
    ]
