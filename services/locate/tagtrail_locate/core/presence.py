"""Whether a tag is heard as often as it should be, in event time. Silence is not absence.

Time is the watermark of the tag's site: the newest event time heard from any of its gateways. A
tag's silence is observed only as long as one of the gateways that usually hear it was itself
heard, in its present stretch of life; a gateway that is down observes nothing.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from tagtrail_locate.core.registry import Tag
from tagtrail_locate.core.smoothing import quantile
from tagtrail_locate.core.state import GatewayState, TagState
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
"""Silence is judged again no sooner than this, watermark time."""


Presence = Literal["present", "overdue", "missing", "unobservable"]


class Verdict(NamedTuple):
    """What silence means now.

    Attributes:
        presence: "present", "overdue", "missing" or "unobservable".
        check_s: Watermark at which to judge again; None when only a sighting can change it.
        silent_s: Silence, seconds.
        observed_s: Part of it that a usual gateway witnessed, seconds.
    """

    presence: Presence
    check_s: float | None
    silent_s: float
    observed_s: float


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
    since_s = tag.active_s - max(USUAL_S, 10.0 * tag.interval_s)
    usual = [(-at_s, gateway_id) for gateway_id, at_s in tag.heard.items() if at_s >= since_s]
    return [gateway_id for _, gateway_id in sorted(usual)]


def observed_silence_s(tag: TagState, gateways: dict[str, GatewayState]) -> float:
    """Return how much of a tag's silence a usual gateway witnessed, seconds."""
    if tag.active_s is None:
        return 0.0
    longest = 0.0
    for gateway_id in usual_gateways(tag):
        gateway = gateways.get(gateway_id)
        if gateway is not None:
            longest = max(longest, gateway.last_s - max(tag.active_s, gateway.alive_since_s))
    return longest


def limits_s(tag: TagState, thresholds: Thresholds) -> tuple[float, float]:
    """Return the silence after which a tag is overdue, and missing, seconds."""
    overdue = max(thresholds.overdue_factor * tag.interval_s, thresholds.overdue_s)
    missing = max(thresholds.missing_factor * tag.interval_s, thresholds.missing_s, overdue)
    return overdue, missing


def judge(
    tag: TagState,
    watermark_s: float,
    gateways: dict[str, GatewayState],
    thresholds: Thresholds,
) -> Verdict:
    """Judge a tag's silence at a watermark.

    A verdict only gets worse by silence (present, then unobservable or overdue, then missing).
    What makes it better is a sighting, or a longer expected interval.

    Args:
        tag: `interval_s` MUST be up to date; it was heard at least once.
        watermark_s: Newest event time of its site, seconds.
        gateways: Health of all gateways.
        thresholds: Of the tenant.
    """
    silent = max(watermark_s - (tag.active_s or watermark_s), 0.0)
    observed = observed_silence_s(tag, gateways)
    overdue, missing = limits_s(tag, thresholds)
    if silent < overdue:
        return Verdict("present", watermark_s - silent + overdue, silent, observed)
    if observed >= missing or tag.presence == "missing":
        return Verdict("missing", None, silent, observed)
    if observed >= overdue or tag.presence == "overdue":
        return Verdict("overdue", _later(watermark_s, missing - observed), silent, observed)
    witnesses = [gateways[g] for g in usual_gateways(tag) if g in gateways]
    alive_for_s = max(
        (g.last_s + thresholds.gateway_timeout_s - watermark_s for g in witnesses), default=-1.0
    )
    wait_s = overdue - observed
    if alive_for_s < 0.0 or tag.presence != "present":
        return Verdict("unobservable", _later(watermark_s, wait_s), silent, observed)
    return Verdict("present", _later(watermark_s, min(wait_s, alive_for_s)), silent, observed)


def _later(watermark_s: float, wait_s: float) -> float:
    return watermark_s + max(wait_s, LEAST_RECHECK_S)
