"""Why a tag is thought present, overdue, missing or unobservable: every figure of the judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tagtrail_locate.core import batteries, causes, coverage, presence, search
from tagtrail_locate.core.effects import at

if TYPE_CHECKING:
    from tagtrail_locate.core.causes import Judgement, Witness
    from tagtrail_locate.core.state import State, TagState

Report = dict[str, Any]

SENTENCES: Final = {
    "storage_cadence": "it speaks so seldom that this silence is normal",
    "adverts_lost": "a few adverts were lost by chance",
    "link_weak": "its gateways hear it badly, so several adverts were lost by chance",
    "shadowed": "something may stand between it and its gateways: a body, metal, a forklift",
    "gateways_down": "the gateways that usually hear it were not heard themselves",
    "gateways_deaf": "a gateway that usually hears it lives, but no longer hears any of its tags",
    "battery_expected_empty": "its battery was low or empty when it was last heard",
    "left_through_dock": "it was last at, or on the way to, a zone through which things leave",
    "out_of_coverage": "it may be in a zone next to it where no gateway would hear it now",
    "silent_while_heard": "gateways that hear it well were listening all the time and heard nothing",
}
"""Causes as sentences; the codes are stable, the sentences are not."""


def report(state: State, tag: TagState, watermark_s: float) -> Report | None:
    """Return how a tag's silence is judged, as JSON values; None for tags whose silence means nothing.

    Args:
        state: The memory; it is only read.
        tag: One of its tags.
        watermark_s: Newest event time of its site, seconds.
    """
    if tag.active_s is None:
        return None
    thresholds = state.registry.thresholds
    overdue_s, missing_s = presence.limits_s(tag, thresholds)
    found = causes.weigh(state, tag, presence.usual_gateways(tag), watermark_s)
    cause = _cause(state, tag, found)
    return {
        "state": tag.presence,
        "grade": presence.grade_of(tag, found.silent_s, thresholds),
        "since_at": at(tag.presence_since_s) if tag.presence_since_s else None,
        "last_heard_at": at(tag.active_s),
        "silent_s": round(found.silent_s, 3),
        "observed_silence_s": round(found.observed_s, 3),
        "expected_interval_s": round(tag.interval_s, 3),
        "interval_learned": tag.learned,
        "overdue_after_s": round(overdue_s, 3),
        "missing_after_s": round(missing_s, 3),
        "missing_probability_needed": thresholds.missing_probability,
        "lost_after_s": round(presence.lost_after_s(tag, thresholds), 3),
        "cause": cause,
        "because": SENTENCES[cause] if cause is not None else None,
        "gone_probability": round(found.gone_probability, 4),
        "silence_is_real_probability": round(found.real_probability, 4),
        "causes": _causes(found),
        "heard_share": round(causes.heard_share(found.witnesses), 4),
        "usual_gateways": [w.gateway_id for w in found.witnesses],
        "witnesses": [_witness(state, tag, w) for w in found.witnesses],
        "battery": _battery(tag),
        "look_first": [
            {"zone_id": zone_id, "reason": reason, "sentence": search.REASONS[reason]}
            for zone_id, reason in search.places(state, tag, found)
        ],
        "site_heard_at": at(watermark_s),
    }


def _cause(state: State, tag: TagState, found: Judgement) -> str | None:
    if tag.presence != "present":
        return tag.habits.cause
    if found.silent_s < state.registry.thresholds.overdue_s:
        return None
    return presence.cause_of(state, tag, found)


def _causes(found: Judgement) -> list[Report]:
    ranked = sorted(found.probabilities.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"cause": cause, "probability": round(probability, 4), "sentence": SENTENCES[cause]}
        for cause, probability in ranked
    ]


def _witness(state: State, tag: TagState, witness: Witness) -> Report:
    gateway = state.gateways.get(witness.gateway_id)
    rate = tag.habits.rates.get(witness.gateway_id)
    return {
        "gateway_id": witness.gateway_id,
        "heard_it_at": at(tag.heard[witness.gateway_id]),
        "listened_s": round(witness.listened_s, 3),
        "adverts_missed": witness.missed,
        "hears_share": round(witness.share, 4),
        "learned_from_adverts": round(rate.expected, 1) if rate is not None else 0.0,
        "deaf": gateway is not None and coverage.is_deaf(state, gateway),
    }


def _battery(tag: TagState) -> Report | None:
    battery = tag.habits.battery
    if battery is None:
        return None
    return {
        "charge_pct": round(100.0 * battery.share, 1),
        "told_at": at(battery.at_s),
        "falls_pct_per_day": round(batteries.slope_per_s(battery) * 100.0 * causes.DAY_S, 3),
    }
