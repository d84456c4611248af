"""Zone events from probabilities: entering is quick, leaving is careful.

The first zone is taken as soon as it is probable enough. It is left when the tag is probably in
another one: after a short time if it is outside by more than a tolerance, after a long one if it
may still stand at the border; in either case the same other zone must lead at every evaluation.
The four parameters are those of an omlox fence, see `thresholds.Fence`. The longer a tag rests the
more it takes: within a minute of a sign of a move, or of the zone's confirmation, the border is not
waited at for long; after some minutes the zone is left only when that is nearly sure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from tagtrail_locate.core.state import Hold
from tagtrail_locate.core.thresholds import FullFence, Thresholds


class View(NamedTuple):
    """What the filter says of one tag at one evaluation.

    Attributes:
        best_id: Most probable zone; None = outside all zones.
        best: Its probability.
        held: Probability of the confirmed zone.
        near: Probability of being in the confirmed zone or within its tolerance.
        readings: Readings that the newest item of a gateway stands for.
        span_s: Time that they span, seconds; 0 for one.
        rested_s: Time since the zone was confirmed and since the last sign of a move, seconds.
    """

    best_id: str | None
    best: float
    held: float
    near: float
    readings: int = 1
    span_s: float = 0.0
    rested_s: float = 0.0


STIRRED_S: Final = 60.0
"""A zone that was confirmed, or a tag that was moved, within this time may be corrected soon."""

STIRRED_TIMEOUT_S: Final = 10.0
"""Longest time at a border then; two of the time constants of bodies and doors."""


TENURE_SHARE: Final = 0.1
"""While a tag settles, what corrects its zone must lead for such a share of the zone's tenure."""


def decide(
    hold: Hold,
    view: View,
    now_s: float,
    fence: FullFence,
    thresholds: Thresholds,
    *,
    settling: bool,
) -> bool:
    """Let a zone's tenure be contested once; returns whether the confirmed zone changed.

    Args:
        hold: Changed in place.
        view: What the filter says.
        now_s: Event time of the evaluation, seconds.
        fence: Parameters of the confirmed zone.
        thresholds: Of the tenant.
        settling: Whether the tag has just (re)appeared, so that corrections are quick.
    """
    if not hold.entered or (hold.zone_id is None and hold.reason in UNKNOWN):
        if view.best < thresholds.enter_probability or view.best_id is None:
            dismiss(hold, "undecided" if view.best_id is not None else "outside_all_zones")
            return False
        _install(hold, view.best_id, now_s, now_s, "first_zone")
        return True
    if view.best_id == hold.zone_id:
        dismiss(hold, "most_probable")
        return False
    if view.rested_s >= thresholds.rest_s and not _is_sure(view, thresholds):
        dismiss(hold, "still_probable")
        return False
    if settling or view.rested_s <= STIRRED_S:
        timeout_s = min(fence.tolerance_timeout_s, STIRRED_TIMEOUT_S)
        fence = msgspec.structs.replace(fence, tolerance_timeout_s=timeout_s)
    if view.held >= thresholds.exit_probability or view.best < thresholds.lead_probability:
        return _doubt(hold, view, now_s, fence, thresholds)
    _count(hold, view, now_s)
    if settling and _settle(hold, view, now_s, thresholds):
        return True
    return _leave(hold, view, now_s, fence)


def _is_sure(view: View, thresholds: Thresholds) -> bool:
    """Tell whether a zone is to be left without a sign of a move: levels drift by themselves."""
    least = thresholds.rest_probability
    return view.best >= least and view.held <= 1.0 - least


UNKNOWN = frozenset({"undecided", "timeout", "zone_retired", "never_heard"})
"""Reasons for which there is no zone although the tag did not leave one."""


def revise(hold: Hold, view: View, now_s: float, thresholds: Thresholds) -> bool:
    """Choose the first zone anew, because readings came late; returns whether it is another one.

    Args:
        hold: Changed in place.
        view: What the filter says now of all that was ever heard.
        now_s: Event time of the evaluation, seconds.
        thresholds: Of the tenant.
    """
    better = view.best_id not in (None, hold.zone_id) and view.best > view.held
    if not better or not hold.entered or view.best < thresholds.enter_probability:
        return False
    _install(hold, view.best_id, now_s, now_s, "corrected")
    return True


def expire(hold: Hold, now_s: float) -> bool:
    """Give up a zone for want of evidence; returns whether there was one."""
    if hold.zone_id is None:
        return False
    _install(hold, None, now_s, now_s, "timeout")
    return True


def _settle(hold: Hold, view: View, now_s: float, thresholds: Thresholds) -> bool:
    led_s = now_s - hold.candidate_since_s
    least_s = max(thresholds.settle_lead_s, TENURE_SHARE * (now_s - hold.since_s))
    if hold.candidate_count < thresholds.settle_evaluations or led_s < least_s:
        return False
    _install(hold, view.best_id, now_s, hold.candidate_since_s, "corrected")
    return True


CLEAR_LEAD: Final = 2.0
"""Another zone that is so many times as probable for long replaces one that is not probable."""


def _doubt(hold: Hold, view: View, now_s: float, fence: FullFence, thresholds: Thresholds) -> bool:
    """Let a zone go slowly if another one is clearly more probable, though not by itself probable."""
    if view.best < max(CLEAR_LEAD * view.held, thresholds.enter_probability):
        dismiss(hold, "still_probable")
        return False
    _count(hold, view, now_s)
    led_s = now_s - hold.candidate_since_s
    if hold.candidate_count >= fence.exit_evaluations and led_s >= fence.tolerance_timeout_s:
        _install(hold, view.best_id, now_s, hold.candidate_since_s, "left_after_timeout")
        return True
    hold.reason = "still_probable"
    return False


def _leave(hold: Hold, view: View, now_s: float, fence: FullFence) -> bool:
    if view.near >= 0.5:
        hold.outside_since_s = None
    elif hold.outside_since_s is None:
        hold.outside_since_s = now_s - view.span_s
    enough = hold.candidate_count >= fence.exit_evaluations
    outside_s = -1.0 if hold.outside_since_s is None else now_s - hold.outside_since_s
    if enough and outside_s >= fence.exit_delay_s:
        _install(hold, view.best_id, now_s, hold.candidate_since_s, "left_beyond_tolerance")
        return True
    if enough and now_s - hold.candidate_since_s >= fence.tolerance_timeout_s:
        _install(hold, view.best_id, now_s, hold.candidate_since_s, "left_after_timeout")
        return True
    hold.reason = "within_tolerance" if hold.outside_since_s is None else "candidate_waits"
    return False


def _count(hold: Hold, view: View, now_s: float) -> None:
    zone_id = view.best_id
    out = zone_id is None
    if hold.candidate_count == 0 or hold.candidate_id != zone_id or hold.candidate_out != out:
        hold.candidate_id, hold.candidate_out = zone_id, out
        hold.candidate_since_s, hold.candidate_count = now_s - view.span_s, 0
        hold.outside_since_s = None
    hold.candidate_count += view.readings


def _install(
    hold: Hold, zone_id: str | None, now_s: float, led_since_s: float, reason: str
) -> None:
    hold.zone_id, hold.since_s, hold.led_since_s = zone_id, now_s, led_since_s
    hold.entered = True
    dismiss(hold, reason)


def dismiss(hold: Hold, reason: str) -> None:
    """Let the tenure stand for a reason; a candidate starts anew."""
    hold.candidate_id, hold.candidate_out, hold.candidate_count = None, False, 0
    hold.outside_since_s, hold.reason = None, reason
