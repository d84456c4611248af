"""uwb_industrial: a still tag at known positions among racks, ranged by up to 19 anchors.

Each position is its own run; a fix for epoch k uses the ranges of epochs 0 to k, as a product does
with a tag that has not moved. Epochs have no clock, so a delay is not used. A position is never
calibrated from itself: where both folders hold it, it is left out of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.locate.output import Fix, rows
from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.range_bias import UNSURVEYED, RangeErrorModel, fit_range_errors
from tagtrail_locate.core.range_posterior import Spot
from tagtrail_locate.core.range_survey import Point, RangeSurvey, links_of, locate
from tagtrail_locate.core.still_ranges import Reading, StillRanges

Rounds = Mapping[int, list[Reading]]
FEWEST: Final = 3
"""Two ranges leave two places."""


def predict(
    calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None = None
) -> Iterator[Fix]:
    """Yield a fix for each position and epoch.

    Args:
        calibrate: Folder with anchors.csv, positions.csv (places with a truth) and ranges.csv.
        evaluate: Folder with ranges.csv; its anchors.csv, if any, replaces that of `calibrate`.
        label: Name of the set in the output.
        delay_s: Not used: epochs have no clock.
        radio: Only UWB is there.
    """
    del delay_s, radio
    anchors = anchors_of(evaluate if (evaluate / "anchors.csv").exists() else calibrate)
    whole = calibrated(calibrate, without=None)
    known = surveyed(calibrate, without=None).places
    for position, rounds in measured(evaluate).items():
        own = position in known
        model, height_m = calibrated(calibrate, without=position) if own else whole
        for k, found in followed(anchors, rounds, model, height_m=height_m):
            yield Fix(label, f"pos{position}", float(k), found.x_m, found.y_m)


def followed(
    anchors: Mapping[str, Point],
    rounds: Rounds,
    model: RangeErrorModel,
    *,
    height_m: float,
    single: bool = False,
) -> Iterator[tuple[int, Spot]]:
    """Yield where the tag is at each epoch at which three anchors have been heard.

    Args:
        anchors: Their places.
        rounds: Readings by epoch.
        model: Errors to expect.
        height_m: Of the tag, metres.
        single: Whether each epoch stands alone.
    """
    state = StillRanges()
    for k in sorted(rounds):
        if single:
            state = StillRanges()
        state.take(r for r in rounds[k] if r.anchor_id in anchors)
        medians = state.medians()
        if len(medians) >= FEWEST:
            yield k, locate(anchors, medians, model, height_m=height_m)


def calibrated(folder: Path, *, without: str | None) -> tuple[RangeErrorModel, float]:
    """Return the errors learned from a folder's places, save one, and the height of the tag."""
    survey = surveyed(folder, without=without)
    heights = sorted(p[2] for p in survey.places.values())
    height_m = heights[len(heights) // 2] if heights else 1.5
    try:
        return fit_range_errors(links_of(survey)[1]), height_m
    except RefusedCalibrationError:
        return UNSURVEYED, height_m


def surveyed(folder: Path, *, without: str | None) -> RangeSurvey:
    """Return the survey in a folder: medians of the first readings of each place."""
    places = {}
    path = folder / "positions.csv"
    if path.exists():
        places = {
            row["position"]: (float(row["x"]), float(row["y"]), float(row["z"]))
            for row in rows(path)
            if row["position"] != without
        }
    readings = {}
    for position, rounds in measured(folder).items():
        if position in places:
            readings[position] = tuple(_middles(rounds))
    return RangeSurvey(anchors_of(folder), places, readings)


def _middles(rounds: Rounds) -> Iterator[Reading]:
    """Yield the median reading of each anchor over all rounds."""
    by_anchor: dict[str, StillRanges] = {}
    for k in sorted(rounds):
        for reading in rounds[k]:
            by_anchor.setdefault(reading.anchor_id, StillRanges()).take([reading])
    for anchor_id in sorted(by_anchor):
        yield from by_anchor[anchor_id].medians()


def anchors_of(folder: Path) -> dict[str, Point]:
    """Return where the anchors stand, metres."""
    return {
        row["anchor"]: (float(row["x"]), float(row["y"]), float(row["z"]))
        for row in rows(folder / "anchors.csv")
    }


def measured(folder: Path) -> dict[str, dict[int, list[Reading]]]:
    """Return the readings by position and epoch."""
    found: dict[str, dict[int, list[Reading]]] = {}
    for row in rows(folder / "ranges.csv"):
        range_m = _number(row["range_m"])
        if math.isnan(range_m):
            continue
        reading = Reading(
            row["anchor"],
            range_m,
            _number(row["rx_power_dbm"]),
            _number(row["fp_power_dbm"]),
        )
        epochs = found.setdefault(row["position"], {})
        epochs.setdefault(int(row["k"]), []).append(reading)
    return found


def _number(text: str) -> float:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else math.nan
