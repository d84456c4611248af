"""Live positions from two-way ranges: rounds, corrections, the filter, and what is said of them.

Ranges gather until the anchors that are usually heard have spoken; then the round goes through the
tracking filter once, and one position comes out. All of it is a function of the order in the log,
and of nothing but elementwise arithmetic: no result depends on a machine or on a batch.
"""

from __future__ import annotations

import bisect
import math
from typing import Final

import numpy as np

from tagtrail_locate.core.calibration_config import Calibration
from tagtrail_locate.core.errors import DegenerateGeometryError, TooFewRangesError
from tagtrail_locate.core.facts import Range
from tagtrail_locate.core.geometry import contains
from tagtrail_locate.core.range_bias import UNSURVEYED as UNSURVEYED_ERRORS
from tagtrail_locate.core.range_bias import RangeErrorModel
from tagtrail_locate.core.range_posterior import FEWEST, Bounds, spot
from tagtrail_locate.core.range_survey import features_of
from tagtrail_locate.core.range_tracker import places, take
from tagtrail_locate.core.range_tracking import RangeModel
from tagtrail_locate.core.range_walk import Heard, Placement
from tagtrail_locate.core.ranging_state import Anchored, Measured, Ranging, Rest
from tagtrail_locate.core.registry import Gateway, Registry
from tagtrail_locate.core.state import Point, TagState
from tagtrail_locate.core.still_ranges import Reading

FIRST_ANCHORS: Final = 4
"""The first round of all is complete with these: fewer can not tell a blocked range."""

MOST_ROUNDS: Final = 2
"""Rounds that wait for an anchor whose message is late or lost."""

MOST_WAITING: Final = 128
"""Ranges that wait at most: four rounds of the most anchors."""

MOST_ANCHORS: Final = 32
"""Newest ranges kept per tag."""

HUBER_SIGMAS: Final = 1.5
GATE_SIGMAS: Final = 5.0
"""Anchors on walls see tags past people and racks, which lengthen one range in five: tails are
doubted earlier than on a measured walk in the open."""

SUSPECT_SIGMAS: Final = 3.5
"""A range that misses by this much is named."""

APART_M: Final = 1.0
"""Places nearer to each other are one."""

SURE: Final = 0.9
"""A place is told once it is so probable among the places that fit."""

RESTS: Final = (3, 6, 12, 24)
"""Rounds since the last move after which the place of rest is computed, then every so many as the
last: it costs some 20 ms and changes less and less."""

SHARED_M: Final = 0.08
"""What all ranges of a tag share (its delay, its height) does not average out at rest, metres."""

NEAR_M: Final = 12.0
"""The place of rest is looked for so far around that of the filter: half the width of a hall whose
ranges are blocked for the most part."""


def take_range(
    tag: TagState, fact: Range, at_s: float, event: bytes, registry: Registry
) -> Point | None:
    """Take in one range; returns the position that came out, None if it has to wait for others.

    A round is complete when every anchor of the two rounds before has spoken in it, the first one
    with `FIRST_ANCHORS`. One that stays incomplete is computed with the next that is complete, or
    when a third has begun.

    Args:
        tag: Changed in place.
        fact: The range.
        at_s: Its event time, seconds.
        event: Its id.
        registry: Anchors, calibrations and thresholds.
    """
    anchor = registry.gateways.get(fact.gateway_id)
    if anchor is None or anchor.x_m is None or anchor.y_m is None:
        site_id = "" if anchor is None else anchor.site_id
        tag.ranging = tag.ranging or Ranging(site_id)
        tag.ranging.trouble = f"anchor {fact.gateway_id} has no registered position"
        return None
    ranging = tag.ranging
    if ranging is None or ranging.site_id != anchor.site_id:
        ranging = tag.ranging = Ranging(anchor.site_id)
    sigma_m = fact.sigma_m or registry.thresholds.range_sigma_m
    _note(ranging, fact, at_s, sigma_m, event)
    measured = _measured(fact, at_s, sigma_m, anchor, (anchor.x_m, anchor.y_m), registry)
    bisect.insort(ranging.waiting, measured, key=_order)
    found = None
    while (count := _complete(ranging, registry.thresholds.range_window_s)) > 0:
        found = _evaluate(ranging, count, event, registry) or found
    return found


def _order(measured: Measured) -> tuple[float, str]:
    return measured.at_s, measured.anchor_id


def _note(ranging: Ranging, fact: Range, at_s: float, sigma_m: float, event: bytes) -> None:
    known = ranging.ranges.get(fact.gateway_id)
    if known is None or at_s >= known.at_s:
        ranging.ranges[fact.gateway_id] = Anchored(at_s, fact.range_m, sigma_m, event)
    if len(ranging.ranges) > MOST_ANCHORS:
        del ranging.ranges[min(ranging.ranges, key=lambda a: (ranging.ranges[a].at_s, a))]


def _measured(
    fact: Range,
    at_s: float,
    sigma_m: float,
    anchor: Gateway,
    place_m: tuple[float, float],
    registry: Registry,
) -> Measured:
    calibration = registry.calibrations.get(anchor.site_id)
    fit = None if calibration is None else calibration.anchors.get(anchor.gateway_id)
    height_m = registry.thresholds.tag_height_m if anchor.z_m is None else anchor.z_m
    range_m = max(fact.range_m - (0.0 if fit is None else fit.offset_m), 0.0)
    return Measured(
        at_s, anchor.gateway_id, *place_m, height_m, range_m, sigma_m,
        fact.rssi_dbm, fact.first_path_dbm,
    )  # fmt: skip


def _complete(ranging: Ranging, window_s: float) -> int:
    """Return how many of the waiting ranges need to wait no more: those of the oldest rounds."""
    ends = _rounds(ranging.waiting, window_s)
    choir = set(ranging.choir)
    for i in range(len(ends) - 1, -1, -1):
        names = {m.anchor_id for m in ranging.waiting[ends[i - 1] if i else 0 : ends[i]]}
        if choir <= names if choir else len(names) >= FIRST_ANCHORS:
            return ends[i]
    if len(ends) > (MOST_ROUNDS if choir else 1):
        return ends[0]
    return len(ranging.waiting) if len(ranging.waiting) > MOST_WAITING else 0


def _rounds(waiting: list[Measured], window_s: float) -> list[int]:
    """Cut ranges in order of time into rounds; returns the index after the last of each.

    A round ends before an anchor speaks again, after a window, and at a pause of half a window.
    """
    ends: list[int] = []
    names: set[str] = set()
    first_s = last_s = 0.0
    for i, m in enumerate(waiting):
        over = m.at_s - first_s > window_s or m.at_s - last_s > 0.5 * window_s
        if names and (over or m.anchor_id in names):
            ends.append(i)
            names = set()
        if not names:
            first_s = m.at_s
        names.add(m.anchor_id)
        last_s = m.at_s
    return [*ends, len(waiting)] if waiting else []


def _evaluate(ranging: Ranging, count: int, event: bytes, registry: Registry) -> Point | None:
    """Compute the oldest ranges that wait; returns the position, None if there is none to tell."""
    waiting, ranging.waiting = ranging.waiting[:count], ranging.waiting[count:]
    names = {m.anchor_id for m in waiting}
    both = names & set(ranging.before) if ranging.before else names
    ranging.choir, ranging.before = sorted(both or names), sorted(names)
    limits, calibration = registry.thresholds, registry.calibrations.get(ranging.site_id)
    model = _model(calibration, limits.tag_height_m)
    verdicts = take(ranging.tracker, _corrected(waiting, calibration), model, keep_s=limits.keep_s)
    for anchor_id, verdict in sorted(verdicts.items()):
        ranging.rejected.pop(anchor_id, None)
        if verdict.sigmas > SUSPECT_SIGMAS:
            ranging.rejected[anchor_id] = round(verdict.residual_m, 3)
    newest_s = ranging.tracker.head.at_s
    if newest_s is None:
        return None
    at_s = newest_s - limits.lag_s
    chosen = _chosen(ranging, places(ranging.tracker, at_s, model), registry)
    _gather(ranging, waiting)
    if chosen is None:
        return None
    if _is_rest_due(ranging):
        ranging.rest = _rest(ranging, chosen, calibration, registry)
    told = chosen if ranging.rest is None else ranging.rest
    return Point(newest_s, ranging.site_id, told.x_m, told.y_m, told.accuracy_m, event)


def _model(calibration: Calibration | None, tag_height_m: float) -> RangeModel:
    known = calibration is not None and bool(calibration.anchors or calibration.range_errors)
    return RangeModel(
        huber=HUBER_SIGMAS,
        gate=GATE_SIGMAS,
        tag_height_m=tag_height_m,
        systematic_m=0.02 if known else 0.05,
        shared_m=0.1 if known else 0.25,
    )


def errors_of(calibration: Calibration | None) -> RangeErrorModel:
    """Return what errors to expect of ranges whose anchor's own offset is taken off already."""
    known = None if calibration is None else calibration.range_errors
    if known is None:
        return UNSURVEYED_ERRORS
    return RangeErrorModel(known.gates, known.means_m, known.scales_m, {})


def _corrected(waiting: list[Measured], calibration: Calibration | None) -> list[Heard]:
    """Return ranges as the filter takes them: where powers are known, less what they let expect."""
    powers = [m for m in waiting if m.rssi_dbm is not None]
    expected: dict[tuple[float, str], tuple[float, float]] = {}
    if powers:
        errors = errors_of(calibration).mixture(
            [m.anchor_id for m in powers], features_of([_reading(m) for m in powers])
        )
        mean, spread = errors.moments()
        known = calibration is not None and calibration.range_errors is not None
        sight = 0.0 if known else UNSURVEYED_ERRORS.means_m[0]
        for m, bias, sd in zip(powers, mean.tolist(), spread.tolist(), strict=True):
            expected[m.at_s, m.anchor_id] = (bias - sight, max(sd, m.sigma_m))
    found = []
    for m in waiting:
        bias, noise = expected.get((m.at_s, m.anchor_id), (0.0, m.sigma_m))
        range_m = max(m.range_m - bias, 0.0)
        found.append(Heard(m.at_s, m.anchor_id, m.x_m, m.y_m, m.z_m, range_m, noise))
    return found


def _reading(measured: Measured) -> Reading:
    rssi, first = measured.rssi_dbm, measured.first_path_dbm
    return Reading(
        measured.anchor_id,
        measured.range_m,
        math.nan if rssi is None else rssi,
        math.nan if first is None else first,
    )


def _chosen(ranging: Ranging, found: list[Placement], registry: Registry) -> Placement | None:
    """Choose among the places that fit; None if there is none, or no way to tell."""
    ranging.places, ranging.trouble = [], None
    if not found:
        ranging.trouble = TooFewRangesError.code
        return None
    first = found[0]
    rivals = [p for p in found if math.dist((p.x_m, p.y_m), (first.x_m, first.y_m)) > APART_M]
    if not rivals:
        return first
    likely = [first, *rivals]
    inside = [p for p in likely if _on_plan(registry, ranging.site_id, p)] or likely
    total = sum(p.probability for p in inside)
    if inside[0].probability >= SURE * total:
        return inside[0]
    ranging.places = [
        (round(p.x_m, 3), round(p.y_m, 3), round(p.probability / total, 4)) for p in inside
    ]
    ranging.trouble = DegenerateGeometryError.code
    return None


def _on_plan(registry: Registry, site_id: str, place: Placement) -> bool:
    site = registry.sites.get(site_id)
    if site is not None and site.outline_m is not None:
        return contains(site.outline_m, place.x_m, place.y_m)
    return registry.zone_at(site_id, place.x_m, place.y_m) is not None


def _gather(ranging: Ranging, waiting: list[Measured]) -> None:
    """Gather ranges with powers for as long as the tag rests."""
    readings = [_reading(m) for m in waiting if m.rssi_dbm is not None]
    if not readings:
        return
    still, moves = ranging.still, ranging.still.moves
    still.take(readings)
    if still.moves != moves:
        ranging.rest, ranging.rests_from = None, still.rounds - 1


def _is_rest_due(ranging: Ranging) -> bool:
    rounds = ranging.still.rounds - ranging.rests_from
    known = ranging.rest.rounds if ranging.rest is not None else 0
    return rounds > known and (rounds in RESTS or (rounds > 0 and rounds % RESTS[-1] == 0))


def _rest(
    ranging: Ranging, near: Placement, calibration: Calibration | None, registry: Registry
) -> Rest | None:
    """Compute where a tag rests from all its ranges since it came there."""
    medians = [r for r in ranging.still.medians() if r.anchor_id in registry.gateways]
    if len(medians) < FEWEST:
        return None
    anchors = [registry.gateways[r.anchor_id] for r in medians]
    height_m = registry.thresholds.tag_height_m
    stands = np.array(
        [(a.x_m or 0.0, a.y_m or 0.0, height_m if a.z_m is None else a.z_m) for a in anchors]
    )
    errors = errors_of(calibration).mixture([r.anchor_id for r in medians], features_of(medians))
    ranges = np.array([r.range_m for r in medians])
    bounds = Bounds(near.x_m - NEAR_M, near.y_m - NEAR_M, near.x_m + NEAR_M, near.y_m + NEAR_M)
    found = spot(stands, ranges, errors, height_m=height_m, bounds=bounds)
    blocked = {r.anchor_id: round(b, 3) for r, b in zip(medians, found.blocked, strict=True)}
    rounds = ranging.still.rounds - ranging.rests_from
    accuracy_m = math.hypot(found.accuracy_m, SHARED_M)
    return Rest(rounds, found.x_m, found.y_m, accuracy_m, found.elsewhere, blocked)
