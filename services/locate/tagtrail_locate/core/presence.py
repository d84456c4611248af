"""Whether a tag is heard as often as it should be, in event time. Silence is not absence.

Time is the watermark of the tag's site: the newest event time heard from any of its gateways. A
tag's silence is observed only as long as one of the gateways that usually hear it was itself
listening, in its present stretch of life; a gateway that is down or deaf observes nothing. What
the silence then comes from is weighed by `causes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from tagtrail_kernel.events.places import SilenceCause
from tagtrail_locate.core import causes, coverage, search
from tagtrail_locate.core.causes import Judgement
from tagtrail_locate.core.smoothing import quantile

if TYPE_CHECKING:
    from tagtrail_locate.core.registry import Tag
    from tagtrail_locate.core.state import State, TagState
    from tagtrail_locate.core.thresholds import Thresholds

GAPS_KEPT: Final = 32
"""Gaps that an interval is learned from: half a minute of a 1 Hz tag."""

GAPS_NEEDED: Final = 5
"""Fewer gaps than this say nothing about the cadence."""

GAP_SHARE: Final = 0.9
"""The learned interval is the 90th percentile: lost adverts are part of what is normal."""

LONGEST_LEARNED_S: Final = 360.0
LEAST_LEARNED_S: Final = 1.0
"""Bounds of a learned interval: a longer one would hide a loss, a shorter one is a burst."""

USUAL_S: Final = 600.0
"""Gateways that heard a tag within this time (or ten intervals) before its last word are usual."""

LEAST_RECHECK_S: Final = 1.0
"""Silence is judged again no sooner than this, watermark time ..."""

RECHECK_SHARE: Final = 0.1
"""... nor before it grew by this share, while only a longer one can change the judgement."""

USUAL_CHANCE: Final = 0.05
"""A silence that a tag with such links falls into more often than this is not overdue."""

DUE_INTERVALS: Final = 1.5
"""A tag that is silent for longer is due: its advert is late, as happens all the time."""

LOST_AFTER_MISSING: Final = 3.0
"""A missing tag is lost after so many times the silence that makes one missing, at least."""

Presence = Literal["present", "overdue", "missing", "unobservable"]
Grade = Literal["heard", "due", "overdue", "missing", "lost", "unobservable"]

EXPLAINED: Final = (causes.BATTERY, causes.LEFT, causes.BLIND)
"""Causes by which nobody could have heard the tag, though it is not missing."""


class Verdict(NamedTuple):
    """What silence means now.

    Attributes:
        presence: "present", "overdue", "missing" or "unobservable".
        check_s: Watermark at which to judge again; None when only a sighting can change it.
        silent_s: Silence, seconds.
        observed_s: Part of it that a usual gateway witnessed, seconds.
        cause: Most probable reason; None while the tag is present.
        gone_probability: That the tag is gone from its place; None while it is present.
        lost: Whether it has been missing for so long that nobody need wait for it any longer.
        look_first: Zones in the order in which to look for it.
    """

    presence: Presence
    check_s: float | None
    silent_s: float
    observed_s: float
    cause: SilenceCause | None = None
    gone_probability: float | None = None
    lost: bool = False
    look_first: tuple[str, ...] = ()


def learn_gap(tag: TagState, gap_s: float) -> None:
    """Note a time between two adverts at the gateway that hears the tag best."""
    if gap_s > 0.0:
        tag.gaps_s.append(gap_s)
        if len(tag.gaps_s) > GAPS_KEPT:
            del tag.gaps_s[0]


def expected_interval(
    tag: TagState, known: Tag | None, thresholds: Thresholds
) -> tuple[float, bool]:
    """Return the expected time between adverts, seconds, and whether it was learned.

    The registered interval of the tag's mode, else what was learned, else the mode's default.
    """
    if known is not None and known.interval_s is not None:
        return known.interval_s, False
    if len(tag.gaps_s) >= GAPS_NEEDED:
        typical = quantile(sorted(tag.gaps_s), GAP_SHARE)
        return min(max(typical, LEAST_LEARNED_S), LONGEST_LEARNED_S), True
    if known is not None and known.mode == "transit":
        return thresholds.transit_interval_s, False
    return thresholds.storage_interval_s, False


def usual_gateways(tag: TagState) -> list[str]:
    """Return the gateways that usually hear a tag, the newest first."""
    if tag.active_s is None:
        return []
    since_s = tag.active_s - max(USUAL_S, 10.0 * tag.interval_s, 3.0 * tag.span_s)
    usual = [(-at_s, gateway_id) for gateway_id, at_s in tag.heard.items() if at_s >= since_s]
    return [gateway_id for _, gateway_id in sorted(usual)]


def limits_s(tag: TagState, thresholds: Thresholds) -> tuple[float, float]:
    """Return the silence after which a tag is overdue, and missing at the earliest, seconds."""
    overdue = max(thresholds.overdue_factor * tag.interval_s, thresholds.overdue_s)
    missing = max(thresholds.missing_factor * tag.interval_s, thresholds.missing_s, overdue)
    return overdue, missing


def lost_after_s(tag: TagState, thresholds: Thresholds) -> float:
    """Return the observed silence after which a missing tag is lost, seconds."""
    return max(thresholds.lost_s, LOST_AFTER_MISSING * limits_s(tag, thresholds)[1])


def judge(state: State, tag: TagState, watermark_s: float) -> Verdict:
    """Judge a tag's silence at a watermark, after taking in how it was heard until now.

    A verdict only gets worse by silence (present, then unobservable or overdue, then missing);
    an overdue tag becomes unobservable when something explains its silence: a gateway turns out
    to be deaf, or it left. What makes a verdict better is a sighting, or a longer expected
    interval.

    Args:
        state: The memory of the tenant; what is known of the tag's reception is brought up to date.
        tag: `interval_s` MUST be up to date; it was heard at least once.
        watermark_s: Newest event time of its site, seconds.
    """
    coverage.learn(state, tag)
    thresholds = state.registry.thresholds
    overdue_s, missing_s = limits_s(tag, thresholds)
    silent_s = max(watermark_s - (tag.active_s or watermark_s), 0.0)
    if silent_s < overdue_s:
        return Verdict("present", watermark_s - silent_s + overdue_s, silent_s, 0.0)
    found = causes.weigh(state, tag, usual_gateways(tag), watermark_s)
    observed_s = found.observed_s
    if tag.presence == "missing":
        return _missing(state, tag, found, watermark_s)
    if observed_s >= missing_s and found.real_probability >= thresholds.missing_probability:
        cause = _strongest(found)
        if cause == causes.GONE:
            return _missing(state, tag, found, watermark_s)
        check_s = _later(watermark_s, RECHECK_SHARE * observed_s)
        return _verdict(state, tag, "unobservable", check_s, found, cause)
    if tag.presence == "unobservable" and tag.habits.cause in EXPLAINED:
        check_s = _later(watermark_s, RECHECK_SHARE * silent_s)
        cause = cast("SilenceCause", tag.habits.cause)
        return _verdict(state, tag, "unobservable", check_s, found, cause)
    if tag.presence == "present" and observed_s >= overdue_s and found.chance > USUAL_CHANCE:
        return Verdict("present", _later(watermark_s, tag.interval_s), silent_s, observed_s)
    if observed_s >= overdue_s or (tag.presence == "overdue" and not _deafened(state, found)):
        wait_s = max(missing_s - observed_s, RECHECK_SHARE * observed_s)
        cause = cause_of(state, tag, found)
        return _verdict(state, tag, "overdue", _later(watermark_s, wait_s), found, cause)
    return _unobserved(state, tag, found, watermark_s)


def _deafened(state: State, found: Judgement) -> bool:
    """Tell whether a gateway that usually hears the tag no longer hears anything."""
    gateways = (state.gateways.get(w.gateway_id) for w in found.witnesses)
    return any(g is not None and coverage.is_deaf(state, g) for g in gateways)


def _missing(state: State, tag: TagState, found: Judgement, watermark_s: float) -> Verdict:
    left_s = lost_after_s(tag, state.registry.thresholds) - found.observed_s
    lost = left_s <= 0.0 or tag.habits.lost
    check_s = None if lost else _later(watermark_s, left_s)
    return _verdict(state, tag, "missing", check_s, found, causes.GONE)._replace(lost=lost)


def _unobserved(state: State, tag: TagState, found: Judgement, watermark_s: float) -> Verdict:
    """Judge a silence of which too little was observed to call the tag overdue."""
    thresholds = state.registry.thresholds
    wait_s = limits_s(tag, thresholds)[0] - found.observed_s
    alive_for_s = -1.0
    for witness in found.witnesses:
        gateway = state.gateways.get(witness.gateway_id)
        if gateway is not None:
            until_s = coverage.listened_until_s(state, gateway) + thresholds.gateway_timeout_s
            alive_for_s = max(alive_for_s, until_s - watermark_s)
    if alive_for_s < 0.0 or tag.presence != "present":
        cause = cause_of(state, tag, found)
        check_s = _later(watermark_s, wait_s)
        return _verdict(state, tag, "unobservable", check_s, found, cause)
    check_s = _later(watermark_s, min(wait_s, alive_for_s))
    return Verdict("present", check_s, found.silent_s, found.observed_s)


def cause_of(state: State, tag: TagState, found: Judgement) -> SilenceCause:
    """Return the one word for why a tag is silent."""
    overdue_s, _ = limits_s(tag, state.registry.thresholds)
    if found.silent_s <= DUE_INTERVALS * tag.interval_s:
        return "storage_cadence"
    if found.observed_s < min(overdue_s, found.silent_s):
        return "gateways_deaf" if _deafened(state, found) else "gateways_down"
    cause = max(found.probabilities, key=lambda name: found.probabilities[name])
    if cause == causes.CHANCE and causes.heard_share(found.witnesses) < causes.WEAK_SHARE:
        return "link_weak"
    return cast("SilenceCause", cause)


def grade_of(tag: TagState, silent_s: float, thresholds: Thresholds) -> Grade:
    """Return how serious a silence is, from "heard" to "lost"."""
    if tag.presence == "missing":
        return "lost" if tag.habits.lost else "missing"
    if tag.presence == "unobservable":
        return "unobservable"
    if tag.presence == "overdue":
        return "overdue"
    return "due" if silent_s > DUE_INTERVALS * tag.interval_s else "heard"


def _strongest(found: Judgement) -> SilenceCause:
    """Return the most probable of the causes by which a tag no longer sends where it was."""
    return cast("SilenceCause", max(causes.REAL, key=lambda name: found.probabilities[name]))


def _verdict(
    state: State,
    tag: TagState,
    presence: Presence,
    check_s: float | None,
    found: Judgement,
    cause: SilenceCause,
) -> Verdict:
    """Return a verdict about a tag that is not present; where to look is said when it is new."""
    places = search.places(state, tag, found) if presence != tag.presence else []
    return Verdict(
        presence, check_s, found.silent_s, found.observed_s, cause,
        round(found.gone_probability, 4), look_first=tuple(zone_id for zone_id, _ in places),
    )  # fmt: skip


def _later(watermark_s: float, wait_s: float) -> float:
    return watermark_s + max(wait_s, LEAST_RECHECK_S)
