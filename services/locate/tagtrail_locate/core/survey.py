"""Judges a walk with a tag: confusion of zones, dead spots, where a gateway is missing, go or not.

A stop is a place where a person says the tag was, and from when to when. What locate answered in
that time, and what gateways heard, is held against it. Pure: the same walk gives the same report.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tagtrail_locate.core.errors import TooFewMarksError

FEWEST_STOPS: Final = 3
"""A verdict over fewer stops is an anecdote."""

SHORTEST_S: Final = 10.0
"""Stops that are shorter cannot be told from the time that a decision takes."""

FEWEST_GATEWAYS: Final = 2
"""A place that one gateway alone hears cannot be told from its neighbours, and dies with it."""

LEAST_HEARD: Final = 0.5
"""A place where even the best gateway misses more than half of the adverts is a dead spot."""

CLOSE_DB: Final = 3.0
"""Places whose mean levels differ by less than the usual deviation of a reading look alike."""


class Stop(NamedTuple):
    """Where the tag was, by a person's word.

    Attributes:
        zone_id: The true zone.
        from_s: Beginning, seconds since 1970.
        until_s: End.
        x_m: East, metres; None if only the zone is known.
        y_m: North, metres.
        z_m: Height above the floor, metres; None = the usual height.
        floor: Floor number.
    """

    zone_id: str
    from_s: float
    until_s: float
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    floor: float = 0.0


class Reading(NamedTuple):
    """One level that a gateway heard.

    Attributes:
        at_s: Event time, seconds since 1970.
        gateway_id: Who heard it.
        level_dbm: How loud, dBm.
    """

    at_s: float
    gateway_id: str
    level_dbm: float


class Answer(NamedTuple):
    """What locate said from a moment on.

    Attributes:
        at_s: Since when, seconds since 1970.
        zone_id: The zone; None = unknown or outside.
        x_m: East, metres; None without a position.
        y_m: North, metres.
    """

    at_s: float
    zone_id: str | None
    x_m: float | None = None
    y_m: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a site must reach.

    Attributes:
        accuracy: Share of the time in the right zone, over all stops.
        zone_accuracy: The same for each zone.
        settle_s: Time after arrival that is not judged: a decision needs it.
        interval_s: Time between two adverts of the tag, seconds.
    """

    accuracy: float = 0.9
    zone_accuracy: float = 0.8
    settle_s: float = 10.0
    interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard at one stop.

    Attributes:
        stop: The stop.
        levels: Levels by gateway, dBm.
        share: Adverts that the best gateway heard, of those that were sent, 0 to 1.
        reasons: Why it is a dead spot; empty if it is none.
    """

    stop: Stop
    levels: Mapping[str, Sequence[float]]
    share: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """Where a gateway is missing.

    Attributes:
        zone_id: For whose sake.
        x_m: East, metres; None if the stops have no coordinates.
        y_m: North, metres.
        reason: For people.
    """

    zone_id: str
    x_m: float | None
    y_m: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """The judgement of a walk.

    Attributes:
        confusion_s: Seconds by true zone and answered zone; "unknown" where no zone was named.
        accuracy: Share of the judged time in the right zone, 0 to 1.
        zone_accuracy: The same by true zone.
        errors_m: Error of x/y per stop that has coordinates, metres: median over its answers.
        dead: Stops that are dead spots.
        advice: Where to put a gateway.
        reasons: Why the site is not fit for use; empty = go.
    """

    confusion_s: dict[str, dict[str, float]]
    accuracy: float
    zone_accuracy: dict[str, float]
    errors_m: dict[int, float]
    dead: tuple[Heard, ...]
    advice: tuple[Advice, ...]
    reasons: tuple[str, ...] = field(default=())

    @property
    def go(self) -> bool:
        """Whether the site is fit for use."""
        return not self.reasons

    @property
    def error_m(self) -> float | None:
        """Return the median error over the stops, metres; None without coordinates."""
        return statistics.median(self.errors_m.values()) if self.errors_m else None


def judge(
    stops: Sequence[Stop],
    readings: Sequence[Reading],
    answers: Sequence[Answer],
    limits: Limits,
) -> Report:
    """Judge a walk.

    Args:
        stops: In any order.
        readings: Of the carried tag, in any order.
        answers: What locate said, in order of time; each holds until the next.
        limits: What the site must reach.

    Raises:
        TooFewMarksError: fewer stops than `FEWEST_STOPS` lasted long enough.
    """
    judged = [s for s in stops if s.until_s - s.from_s >= SHORTEST_S + limits.settle_s]
    if len(judged) < FEWEST_STOPS:
        raise TooFewMarksError(
            f"{len(judged)} of {len(stops)} stops lasted {SHORTEST_S + limits.settle_s:.0f} s or "
            f"more; mark {FEWEST_STOPS} at least, and stay a little longer at each",
            stops=len(judged),
        )
    confusion = _confusion(judged, answers, limits)
    heard = [heard_at(stop, readings, limits) for stop in judged]
    dead = tuple(one for one in heard if one.reasons)
    zone_accuracy = {z: row.get(z, 0.0) / sum(row.values()) for z, row in confusion.items()}
    right_s = sum(row.get(zone, 0.0) for zone, row in confusion.items())
    accuracy = right_s / sum(sum(row.values()) for row in confusion.values())
    return Report(
        confusion_s=confusion,
        accuracy=accuracy,
        zone_accuracy=zone_accuracy,
        errors_m=_errors(judged, answers, limits),
        dead=dead,
        advice=_advice(heard, confusion, zone_accuracy, limits),
        reasons=_reasons(accuracy, zone_accuracy, dead, limits),
    )


def heard_at(stop: Stop, readings: Sequence[Reading], limits: Limits) -> Heard:
    """Return what was heard at a stop, and whether it is a dead spot."""
    levels: dict[str, list[float]] = {}
    for at_s, gateway_id, level_dbm in readings:
        if stop.from_s <= at_s <= stop.until_s:
            levels.setdefault(gateway_id, []).append(level_dbm)
    sent = max((stop.until_s - stop.from_s) / limits.interval_s, 1.0)
    share = min(max((len(values) for values in levels.values()), default=0) / sent, 1.0)
    often = [g for g, values in levels.items() if len(values) >= 0.1 * sent]
    reasons = []
    if not levels:
        reasons.append("no gateway hears the tag there")
    elif share < LEAST_HEARD:
        reasons.append(f"the best gateway hears {share:.0%} of the adverts")
    if levels and len(often) < FEWEST_GATEWAYS:
        reasons.append(f"{len(often)} gateway hears it regularly")
    return Heard(stop, levels, share, tuple(reasons))


def _confusion(
    stops: Sequence[Stop], answers: Sequence[Answer], limits: Limits
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for stop in stops:
        row = found.setdefault(stop.zone_id, {})
        for answer, spent_s in _during(answers, stop.from_s + limits.settle_s, stop.until_s):
            name = answer.zone_id if answer is not None and answer.zone_id else "unknown"
            row[name] = row.get(name, 0.0) + spent_s
    return found


def _during(
    answers: Sequence[Answer], from_s: float, until_s: float
) -> list[tuple[Answer | None, float]]:
    """Return the answers that held in a stretch of time, with how long each did, seconds."""
    found: list[tuple[Answer | None, float]] = []
    current, since_s = None, from_s
    for answer in answers:
        if answer.at_s >= until_s:
            break
        if answer.at_s > since_s:
            found.append((current, answer.at_s - since_s))
            since_s = answer.at_s
        current = answer
    found.append((current, until_s - since_s))
    return found


def _errors(stops: Sequence[Stop], answers: Sequence[Answer], limits: Limits) -> dict[int, float]:
    errors: dict[int, float] = {}
    for index, stop in enumerate(stops):
        if stop.x_m is None or stop.y_m is None:
            continue
        away = [
            ((a.x_m - stop.x_m) ** 2 + (a.y_m - stop.y_m) ** 2) ** 0.5
            for a, _ in _during(answers, stop.from_s + limits.settle_s, stop.until_s)
            if a is not None and a.x_m is not None and a.y_m is not None
        ]
        if away:
            errors[index] = statistics.median(away)
    return errors


def _reasons(
    accuracy: float,
    zone_accuracy: Mapping[str, float],
    dead: Sequence[Heard],
    limits: Limits,
) -> tuple[str, ...]:
    reasons = []
    if accuracy < limits.accuracy:
        reasons.append(
            f"the right zone is named {accuracy:.1%} of the time; {limits.accuracy:.0%} are asked"
        )
    reasons += [
        f"zone {zone}: right {share:.1%} of the time; {limits.zone_accuracy:.0%} are asked"
        for zone, share in sorted(zone_accuracy.items())
        if share < limits.zone_accuracy
    ]
    reasons += [
        f"dead spot in zone {one.stop.zone_id}{_at(one.stop)}: " + " and ".join(one.reasons)
        for one in dead
    ]
    return tuple(reasons)


def _at(stop: Stop) -> str:
    return f" at ({stop.x_m:.1f}, {stop.y_m:.1f}) m" if stop.x_m is not None and stop.y_m else ""


def _advice(
    heard: Sequence[Heard],
    confusion: Mapping[str, Mapping[str, float]],
    zone_accuracy: Mapping[str, float],
    limits: Limits,
) -> tuple[Advice, ...]:
    """Name the zones that need a gateway, the place for it, and why."""
    advice = []
    for zone_id in sorted(zone_accuracy):
        own = [one for one in heard if one.stop.zone_id == zone_id]
        dead = [one for one in own if one.reasons]
        if not dead and zone_accuracy[zone_id] >= limits.zone_accuracy:
            continue
        x_m, y_m = _middle([one.stop for one in dead or own])
        if dead:
            reason = "; ".join(sorted({text for one in dead for text in one.reasons}))
        else:
            reason = _taken_for(zone_id, confusion[zone_id], heard)
        advice.append(Advice(zone_id, x_m, y_m, reason))
    return tuple(advice)


def _taken_for(zone_id: str, row: Mapping[str, float], heard: Sequence[Heard]) -> str:
    wrong = {name: spent for name, spent in row.items() if name != zone_id}
    other = max(sorted(wrong), key=lambda name: wrong[name])
    share = wrong[other] / sum(row.values())
    text = f"taken for {other} {share:.0%} of the time"
    apart = _apart_db(zone_id, other, heard)
    if apart is not None and apart < CLOSE_DB:
        text += f": their levels differ by {apart:.1f} dB only, too little to tell them apart"
    return text


def _apart_db(one: str, other: str, heard: Sequence[Heard]) -> float | None:
    """Return the greatest difference of mean levels between two zones over the gateways, dB."""
    means = {}
    for zone in (one, other):
        levels: dict[str, list[float]] = {}
        for entry in heard:
            if entry.stop.zone_id == zone:
                for gateway, values in entry.levels.items():
                    levels.setdefault(gateway, []).extend(values)
        means[zone] = {gateway: statistics.fmean(values) for gateway, values in levels.items()}
    shared = means[one].keys() & means[other].keys()
    return max((abs(means[one][g] - means[other][g]) for g in shared), default=None)


def _middle(stops: Sequence[Stop]) -> tuple[float | None, float | None]:
    known = [(s.x_m, s.y_m) for s in stops if s.x_m is not None and s.y_m is not None]
    if not known:
        return None, None
    return (
        round(statistics.fmean(x for x, _ in known), 1),
        round(statistics.fmean(y for _, y in known), 1),
    )
