"""How well locate names zones in a simulated hall, against the simulator's truth.

The hall's shadows are frozen into the place, so that a survey can learn them: a person carries one
tag from point to point, and what the gateways hear becomes a calibration of the site.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np

from tagtrail.simulator.direct import DirectLog
from tagtrail.simulator.radio import Radio
from tagtrail.simulator.scenario import f1
from tagtrail.simulator.siterun import rng_of
from tagtrail.simulator.tracks import AWAY, Track
from tagtrail.simulator.world import World
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import ConfigChanged
from tagtrail_locate.core.calibration_config import SECTION, Calibration, Point, values_of
from tagtrail_locate.core.engine import Engine

BATCH: Final = 1000
SETTLED_S: Final = 60
"""Changes of a still tag count as false from then on: its first zone may be corrected before."""

FOUND_S: Final = 5
"""What is told until then is the first zone; changes of still tags after it are corrections."""

FIRST_S: Final = 30
EVERY_S: Final = 5
"""The told zone is compared with the true one at these seconds of the run."""


STAYS_S: Final = 60
"""A tag that enters a zone and stays for so long is expected to be found there."""


class Survey(NamedTuple):
    """How a site is surveyed.

    Attributes:
        spacing_m: Distance between points, metres.
        stay_s: Time at each, seconds.
    """

    spacing_m: float
    stay_s: int


SURVEYS: Final[dict[str, Survey | None]] = {
    "plan": None,
    "walk": Survey(4.4, 5),
    "map": Survey(2.0, 60),
}
"""Nothing but what is registered; a walk of five minutes; a radio map, four hours with one tag."""


def points_of(world: World, spacing_m: float) -> list[tuple[float, float]]:
    """Return points on the floor of the first site's zones, row by row, back and forth, metres."""
    site = world.sites[0].site
    corners = np.array([corner for zone in site.zones for corner in zone.outline_m])
    (west, south), (east, north) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    found: list[tuple[float, float]] = []
    for n, y in enumerate(np.arange(south + spacing_m / 2, north, spacing_m).tolist()):
        xs = np.arange(west + spacing_m / 2, east, spacing_m).tolist()
        row = [(x, y) for x in xs if site.zone_id_at(x, y) is not None]
        found += row if n % 2 == 0 else row[::-1]
    return found


def surveyed(world: World, survey: Survey) -> Calibration:
    """Carry a tag through the first site of a world; returns the calibration of what was heard."""
    run, scenario = world.sites[0], world.scenario
    points = points_of(world, survey.spacing_m)
    walk, away = Track(), Track([0], [AWAY])
    for n, point in enumerate(points):
        walk.rest(n * survey.stay_s, point)
    assets = [
        replace(asset, track=away if asset.index else walk, dies_at_s=None)
        for asset in run.plan.assets
    ]
    receivers = [g for g in run.gateways if g.station.kind == "ble"]
    radio = Radio(
        run.site, assets, receivers, scenario.radio, scenario.cadence, rng_of(scenario, 0, 4)
    )
    heard: dict[tuple[int, str], list[float]] = defaultdict(list)
    for second in range(len(points) * survey.stay_s):
        step = radio.step(float(second))
        for tag, receiver, rssi in zip(
            step.tag.tolist(), step.receiver.tolist(), step.rssi_dbm.tolist(), strict=True
        ):
            if tag == 0:
                place = second // survey.stay_s
                heard[place, receivers[receiver].wire_id].append(round(rssi))
    found = []
    for n, (x, y) in enumerate(points):
        levels = {
            g.wire_id: (statistics.fmean(own), statistics.pstdev(own), len(own))
            for g in receivers
            if (own := heard.get((n, g.wire_id)))
        }
        found.append(Point(x_m=round(x, 2), y_m=round(y, 2), levels=levels))
    return Calibration(source="survey", points=tuple(p for p in found if p.levels))


def _calibrated(world: World, calibration: Calibration, position: int) -> Recorded:
    at = world.scenario.start_at
    data = ConfigChanged(
        section=SECTION + world.sites[0].site.site_id, values=values_of(calibration)
    )
    fact = Envelope(
        id=uuid8(at, b"survey"), subject="survey", source="bench", occurred_at=at, data=data
    )
    sealed = seal(fact)
    return Recorded(position, at, fact.id, fact.subject, sealed.type, sealed.body)


def _events(world: World, calibration: Calibration | None, seconds: float) -> Iterator[Recorded]:
    """Yield the log of the beginning of a run; a calibration stands before the first sighting."""
    moved, end = 0, world.scenario.start_at + timedelta(seconds=seconds)
    for event in DirectLog(world).events():
        if event.recorded_at > end:
            return
        if calibration is not None and not moved and event.type == "tag.sighted":
            moved = 1
            yield _calibrated(world, calibration, event.position)
        yield Recorded(
            event.position + moved, event.recorded_at, event.id, event.subject, event.type,
            event.body,
        )  # fmt: skip


Moves = dict[str, list[tuple[float, str | None]]]


def told(world: World, events: Iterator[Recorded]) -> Moves:
    """Fold a log; returns each tag's zone changes: seconds after the start, zone."""
    engine, moves = Engine(), defaultdict[str, list[tuple[float, str | None]]](list)
    start = world.scenario.start_at
    batch: list[Recorded] = []
    for event in chain(events, [None]):
        if event is not None:
            batch.append(event)
        if event is None or len(batch) == BATCH:
            engine.apply(batch)
            batch = []
            for fact in engine.taken().facts:
                if isinstance(fact.data, TagZoneChanged):
                    at_s = (fact.occurred_at - start).total_seconds()
                    moves[fact.data.tag_id].append((at_s, fact.data.zone_id))
    return moves


def _share_right(world: World, moves: Moves, tags: Sequence[str], seconds: float) -> float:
    """Return the share of (tag, second) at which the told zone is the true one."""
    right = total = 0
    truth, dead, end = world.truth, world.truth.dead_tags, int(seconds)
    for tag in tags:
        own = moves.get(tag, [])
        for second in range(FIRST_S, end, EVERY_S):
            true = truth.zone_at(tag, second)
            if true is None or second > dead.get(tag, end):
                continue
            total += 1
            right += zone_at(own, second) == true
    return right / max(total, 1)


def _waits(world: World, moves: Moves, seconds: float) -> tuple[list[float], float]:
    """Tell how long tags that enter a zone and stay wait until they are told to be there.

    Returns:
        The waits in seconds, ascending, infinite for those that were never told before the tag left
        or the run ended; and the share of the first `STAYS_S` seconds of these stays in which the
        told zone was right.
    """
    truth, waits, right = world.truth, list[float](), 0
    for tag in truth.tag_ids:
        stays, own = truth.stays(tag), moves.get(tag, [])
        ends = [stay.from_s for stay in stays[1:]] + [seconds]
        for stay, end_s in list(zip(stays, ends, strict=True))[1:]:
            last_s = min(end_s, seconds, truth.dead_tags.get(tag, seconds))
            if stay.zone_id is None or last_s - stay.from_s < STAYS_S:
                continue
            since = [at_s for at_s, zone in own if at_s <= last_s and zone == stay.zone_id]
            found = [at_s - stay.from_s for at_s in since if at_s > stay.from_s]
            is_there = zone_at(own, stay.from_s) == stay.zone_id
            waits.append(0.0 if is_there else min(found, default=math.inf))
            right += sum(
                zone_at(own, stay.from_s + second) == stay.zone_id for second in range(STAYS_S)
            )
    return sorted(waits), right / max(STAYS_S * len(waits), 1)


def zone_at(own: Sequence[tuple[float, str | None]], at_s: float) -> str | None:
    """Return the zone told at a time, from a tag's changes; None before the first."""
    index = bisect_right(own, at_s, key=lambda change: change[0]) - 1
    return own[index][1] if index >= 0 else None


def _quantile(waits: Sequence[float], share: float) -> float | None:
    """Return a quantile of ascending waits, rounded; None if there are none or it is infinite."""
    value = waits[min(int(share * len(waits)), len(waits) - 1)] if waits else math.inf
    return round(value, 1) if math.isfinite(value) else None


def measure(
    *, survey: str = "map", seconds: float = 3600.0, tags: int = 200, seed: int = 1
) -> dict[str, Any]:
    """Measure zones in fixture F1.

    Args:
        survey: One of `SURVEYS`.
        seconds: How much of the hour is played, from its beginning.
        tags: Tags in the hall.
        seed: Of the world.

    Returns:
        `zone_accuracy` over all tags, `zone_accuracy_still`, false changes of still tags, and of
        tags that enter a zone and stay: seconds until it is told, and how often it is right in the
        first minute.
    """
    world = World(replace(f1(), tags_per_site=tags, seed=seed))
    how = SURVEYS[survey]
    calibration = None if how is None else surveyed(world, how)
    moves = told(world, _events(world, calibration, seconds))
    still = world.truth.still_tags
    false = sum(at_s > SETTLED_S for tag in still for at_s, _ in moves.get(tag, []))
    early = sum(FOUND_S < at_s <= SETTLED_S for tag in still for at_s, _ in moves.get(tag, []))
    waits, first = _waits(world, moves, seconds)
    days = len(still) * max(seconds - SETTLED_S, 1.0) / 86_400
    return {
        "survey": survey,
        "zone_accuracy": round(_share_right(world, moves, world.truth.tag_ids, seconds), 4),
        "zone_accuracy_still": round(_share_right(world, moves, still, seconds), 4),
        "false_changes": false,
        "false_changes_per_still_tag_day": round(false / days, 3),
        "corrections_in_first_minute": early,
        "still_tag_days": round(days, 2),
        "entries": len(waits),
        "entry_told_after_s_median": _quantile(waits, 0.5),
        "entry_told_after_s_p90": _quantile(waits, 0.9),
        "first_minute_accuracy": round(first, 4),
        "seconds": seconds,
        "tags": tags,
        "seed": seed,
    }


def measure_halls(
    *, survey: str, seconds: float, tags: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Measure zones in several halls of fixture F1, one per seed.

    Args:
        survey: One of `SURVEYS`.
        seconds: How much of each hour is played.
        tags: Tags in each hall.
        seeds: Of the worlds, at least one.

    Returns:
        `halls`, the figures of each as `measure` returns them, and over all of them the worst
        accuracy, the mean one, and the false changes per day of a still tag.
    """
    halls = [measure(survey=survey, seconds=seconds, tags=tags, seed=seed) for seed in seeds]
    right = [hall["zone_accuracy"] for hall in halls]
    days = sum(hall["still_tag_days"] for hall in halls)
    false = sum(hall["false_changes"] for hall in halls)
    return {
        "worst_zone_accuracy": min(right),
        "mean_zone_accuracy": round(statistics.fmean(right), 4),
        "worst_false_changes_per_still_tag_day": max(
            hall["false_changes_per_still_tag_day"] for hall in halls
        ),
        "false_changes_per_still_tag_day": round(false / max(days, 1e-9), 3),
        "halls": halls,
    }
