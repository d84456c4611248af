"""uwb_room: tags on a trolley that drives between eight anchors.

With a truth to calibrate from, each tag's errors by anchor, distance and side are taken off its
ranges before they are followed. Without one, the errors of the anchors are found on the way: they
are part of the filter's state. A run is never calibrated from itself: where both folders hold it,
each half is calibrated from the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.locate.output import Fix, rows, runs
from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.range_follow import follow
from tagtrail_locate.core.range_pattern import (
    SLOWEST_MPS,
    SurveyedTag,
    TagRangeBias,
    fit_tag,
    latency_s,
    seen_aside,
)
from tagtrail_locate.core.range_tracking import RangeModel
from tagtrail_locate.core.range_walk import Heard, Placement

Point = tuple[float, float, float]
Range = tuple[float, str, float]
"""Stamp (seconds), anchor, distance (metres)."""

TROLLEY_M2S3: Final = 0.06
"""Acceleration of pushed and driven carriers: less than of people, who turn on the spot. Less would
still be better at 0.23 m/s, and at twice that speed (the same run played faster)."""

LONGEST_STEP_S: Final = 0.25
"""Where ranges are missing for longer, places in between are told nevertheless."""

UNCALIBRATED: Final = RangeModel(
    acceleration_m2s3=TROLLEY_M2S3,
    noise_m=0.1,
    wander_m=0.2,
    wander_s=3000.0,
    systematic_m=0.08,
)
"""Range errors of 0.2 m that stay: what DW1000 radios have without antenna calibration."""

CALIBRATED: Final = RangeModel(acceleration_m2s3=TROLLEY_M2S3, systematic_m=0.02, huber=1.5)
"""What a survey leaves is mostly multipath, whose tails are heavier than the default expects."""

Calibrated = tuple[float, Mapping[str, TagRangeBias], float | None]
"""Latency (seconds), errors by tag, and height of the tags (metres); None = not known."""


def predict(
    calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None = None
) -> Iterator[Fix]:
    """Yield a fix at each moment of ranges, for each run and tag.

    Args:
        calibrate: Folder with anchors.csv, RUN.ranges.csv and RUN.truth.csv.
        evaluate: Folder with anchors.csv and RUN.ranges.csv.
        label: Name of the set in the output.
        delay_s: A fix for t uses ranges stamped up to t + delay, seconds.
        radio: Only UWB is there.
    """
    del radio
    anchors = anchors_of(evaluate if (evaluate / "anchors.csv").exists() else calibrate)
    known = calibrated(calibrate)
    for path in runs(evaluate, "*.ranges.csv"):
        stem = path.name.removesuffix(".ranges.csv")
        by_tag = ranges_of(path, anchors)
        pieces = [(-math.inf, math.inf, known)]
        if by_tag and (calibrate / f"{stem}.truth.csv").exists():
            pieces = _halves(calibrate, sorted(r[0] for rs in by_tag.values() for r in rs))
        for tag, (since_s, until_s, (latency, biases, height_m)) in itertools.product(
            by_tag, pieces
        ):
            some = [r for r in by_tag[tag] if since_s <= r[0] < until_s]
            found = places(some, anchors, biases.get(tag), latency, height_m, delay_s=delay_s)
            for place in found:
                yield Fix(label, f"{stem}_tag{tag}", place.at_s, place.x_m, place.y_m)


def _halves(folder: Path, stamps: Sequence[float]) -> list[tuple[float, float, Calibrated]]:
    """Return both halves of a run, each with what the other half says."""
    middle = stamps[len(stamps) // 2]
    return [
        (-math.inf, middle, calibrated(folder, since_s=middle)),
        (middle, math.inf, calibrated(folder, until_s=middle)),
    ]


def places(
    ranges: Sequence[Range],
    anchors: Mapping[str, Point],
    bias: TagRangeBias | None,
    latency: float,
    height_m: float | None,
    *,
    delay_s: float,
) -> Iterator[Placement]:
    """Yield where a tag was at each moment of its ranges, with the stated error."""
    if height_m is None:
        height_m = sum(a[2] for a in anchors.values()) / len(anchors)
    moments = list(_filled(sorted({at_s for at_s, _, _ in ranges})))
    if bias is None:
        model = replace(UNCALIBRATED, tag_height_m=height_m)
        yield from follow(_plain(ranges, anchors, None, 0.0), moments, model, lag_s=delay_s)
        return
    model = replace(
        CALIBRATED,
        tag_height_m=height_m,
        noise_m=bias.noise_m,
        wander_m=bias.wander_m,
        wander_s=bias.wander_s,
    )
    # The first pass looks back only, so that what it takes off a range is known at its stamp.
    plain = _plain(ranges, anchors, bias, latency)
    first = list(follow(plain, moments, model, lag_s=-latency))
    second = _sided(ranges, anchors, bias, latency, height_m, first)
    yield from follow(second, moments, model, lag_s=delay_s - latency)


def _filled(moments: Sequence[float]) -> Iterator[float]:
    """Yield ascending moments, and more in between where they are too far apart."""
    for before, at_s in zip([*moments[:1], *moments], moments, strict=False):
        parts = math.ceil((at_s - before) / LONGEST_STEP_S)
        yield from (before + (at_s - before) * part / parts for part in range(1, parts))
        yield at_s


def _plain(
    ranges: Sequence[Range], anchors: Mapping[str, Point], bias: TagRangeBias | None, latency: float
) -> list[Heard]:
    """Return the ranges less their error by anchor and distance."""
    return [
        Heard(
            at_s - latency,
            anchor,
            *anchors[anchor],
            max(r - bias.expected_m(anchor, r, (0.0, 0.0)), 0.0) if bias else r,
        )
        for at_s, anchor, r in ranges
    ]


def _sided(
    ranges: Sequence[Range],
    anchors: Mapping[str, Point],
    bias: TagRangeBias,
    latency: float,
    height_m: float,
    known: Sequence[Placement],
) -> list[Heard]:
    """Return the ranges less their error by anchor, distance and side, as the first pass saw it."""
    by_time = {p.at_s: p for p in known}
    corrected = []
    course: tuple[float, float] | None = None
    for at_s, round_ in itertools.groupby(ranges, key=lambda r: r[0]):
        place = by_time.get(at_s)
        if place is not None and math.hypot(place.vx_mps, place.vy_mps) > SLOWEST_MPS:
            course = place.vx_mps, place.vy_mps
        for _, anchor, range_m in round_:
            x, y, z = anchors[anchor]
            distance, aside = range_m, (0.0, 0.0)
            if place is not None:
                distance = math.dist((x, y, z), (place.x_m, place.y_m, height_m))
                aside = seen_aside((x, y), (place.x_m, place.y_m), course)
            less = max(range_m - bias.expected_m(anchor, distance, aside), 0.0)
            corrected.append(Heard(at_s - latency, anchor, x, y, z, less))
    return corrected


def calibrated(
    folder: Path, *, since_s: float = -math.inf, until_s: float = math.inf
) -> Calibrated:
    """Return what a folder says of the ranges.

    Args:
        folder: Runs without a truth are passed over; without any, nothing is known.
        since_s: Ranges stamped earlier are not learned from.
        until_s: Ranges stamped then or later are not learned from.
    """
    surveys = surveyed(folder, since_s, until_s)
    if not surveys:
        return 0.0, {}, None
    latency = latency_s(list(surveys.values()))
    biases = {}
    for tag, survey in surveys.items():
        try:
            biases[tag] = fit_tag(survey, latency=latency)
        except RefusedCalibrationError:
            continue
    heights = np.concatenate([s.way_m[:, 2] for s in surveys.values()])
    return latency, biases, float(np.median(heights))


def surveyed(folder: Path, since_s: float, until_s: float) -> dict[str, SurveyedTag]:
    """Return what the first run with a truth says of each tag."""
    truths = sorted(folder.glob("*.truth.csv"))
    if not truths:
        return {}
    way: dict[str, list[tuple[float, ...]]] = {}
    for row in rows(truths[0]):
        way.setdefault(row["tag"], []).append(tuple(float(row[c]) for c in ("t", "x", "y", "z")))
    anchors = anchors_of(folder)
    ids = tuple(sorted(anchors))
    ranges_path = truths[0].with_name(truths[0].name.replace(".truth.", ".ranges."))
    ranges = ranges_of(ranges_path, anchors)
    found = {}
    for tag, known in ranges.items():
        kept = [r for r in known if since_s <= r[0] < until_s]
        if kept and tag in way:
            track = np.array(way[tag])
            found[tag] = SurveyedTag(
                np.array([r[0] for r in kept]),
                np.array([ids.index(r[1]) for r in kept], dtype=np.intp),
                np.array([r[2] for r in kept]),
                np.array([anchors[i] for i in ids]),
                ids,
                track[:, 0],
                track[:, 1:],
            )
    return found


def anchors_of(folder: Path) -> dict[str, Point]:
    """Return where the anchors stand, metres."""
    return {
        row["anchor"]: (float(row["x"]), float(row["y"]), float(row["z"]))
        for row in rows(folder / "anchors.csv")
    }


def ranges_of(path: Path, anchors: Mapping[str, Point]) -> dict[str, list[Range]]:
    """Return the ranges of each tag to anchors whose place is known, in order of time."""
    found: dict[str, list[Range]] = {}
    for row in rows(path):
        range_m = float(row["range_m"]) if row["range_m"] else math.nan
        if row["anchor"] in anchors and math.isfinite(range_m) and range_m >= 0.0:
            found.setdefault(row["tag"], []).append((float(row["t"]), row["anchor"], range_m))
    return {tag: sorted(found[tag]) for tag in sorted(found)}
