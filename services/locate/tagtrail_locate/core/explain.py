"""Why a tag is said to be where it is: everything the decision looked at, with ages and margins."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import numpy as np

from tagtrail_locate.core import answers, fusion, presence, silence_report
from tagtrail_locate.core.effects import at
from tagtrail_locate.core.plan import heard_share
from tagtrail_locate.core.ranging_state import Ranging
from tagtrail_locate.core.rests import PATIENCE, SPANS_PATIENCE
from tagtrail_locate.core.site_model import SiteModel
from tagtrail_locate.core.state import Hold, Point, State, TagState

Explanation = dict[str, Any]

LEAST_SHOWN: Final = 0.001
"""Zones that are less probable are left out of an explanation, except the holder."""

LIKELY_HEARD: Final = 0.6
"""A gateway that the map lets hear this share of the adverts is missed if it hears none."""

SENTENCES: Final = {
    "never_heard": "nothing was heard of it yet",
    "undecided": "no zone is probable enough to be named",
    "first_zone": "the first zone is taken as soon as it is probable enough",
    "most_probable": "its zone is also the most probable one",
    "still_probable": "another zone is more probable, but its own is probable enough to stay",
    "within_tolerance": "another zone leads, but the tag may still be at the border of its own",
    "candidate_waits": "another zone leads, but has not led for long enough",
    "corrected": "it had just appeared, so a lead of about a second corrected the zone",
    "left_beyond_tolerance": "it was outside its zone by more than the tolerance for long enough",
    "left_after_timeout": "it was outside its zone, if only just, for the time of the tolerance",
    "timeout": "nothing was heard of it for the time that its zone allows",
    "inside": "the position lies in the zone",
    "outside_all_zones": "it lies in no zone",
    "on_the_border": "the position is not far enough outside the zone to leave it",
    "crossed": "the position lay in another zone for consecutive fixes",
    "read": "it was read there",
    "claimed": "another system says so",
    "zone_retired": "its zone was retired",
}
"""Reasons of the sources as sentences; the codes are stable, the sentences are not."""


def explain(state: State, tag: TagState, model: SiteModel | None) -> Explanation:
    """Return the explanation of one tag, as JSON values; computing it changes nothing.

    Args:
        state: The memory at some position of the log.
        tag: One of its tags.
        model: The filter of the site where it was heard last by radio; None without one.
    """
    registry = state.registry
    found = fusion.votes(tag, registry, tag.interval_s)
    if tag.track is None or model is None or tag.track.form != model.form:
        model = None
    return {
        "tag_id": tag.tag_id,
        "zone_id": tag.zone_id,
        "zone_since_at": at(tag.zone_since_s) if tag.method is not None else None,
        "method": tag.method,
        "confidence": tag.confidence,
        "reason": tag.reason,
        "because": _because(tag, found),
        "at": at(tag.now_s),
        "configuration": str(registry.version),
        "configuration_trouble": registry.trouble,
        "evidence": [str(i) for i in answers.evidence_of(tag)],
        "lag_s": registry.thresholds.lag_s,
        "settling": tag.now_s - tag.settle_s < registry.thresholds.settle_s,
        "late_readings": tag.late,
        "waiting_readings": len(tag.waits),
        "sources": [_source(tag, vote) for vote in found],
        "conflict": _conflict(found),
        "candidates": _candidates(state, tag, model),
        "belief": _belief(tag, model),
        "fence": _fence(state, tag),
        "links": _links(state, tag, model),
        "ranging": _ranging(tag),
        "not_heard": _not_heard(state, tag, model),
        "presence": _presence(state, tag),
    }


def _because(tag: TagState, found: list[fusion.Vote]) -> str:
    winner = next((vote for vote in found if vote.counts), None)
    text = fusion.wording(tag, found)
    if winner is None:
        return text
    return f"{text}: {SENTENCES.get(winner.hold.reason, winner.hold.reason)}"


def _source(tag: TagState, vote: fusion.Vote) -> Explanation:
    return {
        "method": vote.method,
        "zone_id": vote.hold.zone_id,
        "age_s": round(vote.age_s, 3),
        "counts_for_s": vote.fresh_s,
        "votes": vote.counts,
        "confidence": vote.hold.confidence,
        "source_class": vote.hold.foreign or "own",
        "reason": vote.hold.reason,
        "sentence": SENTENCES.get(vote.hold.reason, vote.hold.reason),
        "candidate": _candidate(vote.hold, tag),
        "position": _point(_point_of(tag, vote.method), tag),
        "by": _by(tag, vote.method),
    }


def _candidate(hold: Hold, tag: TagState) -> Explanation | None:
    if hold.candidate_count == 0:
        return None
    return {
        "zone_id": hold.candidate_id,
        "since_at": at(hold.candidate_since_s),
        "led_s": round(tag.now_s - hold.candidate_since_s, 3),
        "evaluations": hold.candidate_count,
    }


def _point_of(tag: TagState, method: str) -> Point | None:
    if method == "uwb":
        return tag.fix
    return tag.point if method in ("gps", "reported") else None


def _point(point: Point | None, tag: TagState) -> Explanation | None:
    if point is None:
        return None
    return {
        "site_id": point.site_id,
        "x_m": round(point.x_m, 3),
        "y_m": round(point.y_m, 3),
        "accuracy_m": round(point.accuracy_m, 3),
        "age_s": round(tag.now_s - point.at_s, 3),
        "event_id": str(UUID(bytes=point.event)),
    }


def _by(tag: TagState, method: str) -> Explanation | None:
    if method != "read_point" or tag.read_by is None:
        return None
    event, gateway_id, name = tag.read_by
    return {"gateway_id": gateway_id, "what": name, "event_id": str(UUID(bytes=event))}


def _conflict(found: list[fusion.Vote]) -> list[Explanation]:
    """Return the sources that may vote and contradict the winner."""
    winner = next((vote for vote in found if vote.counts), None)
    if winner is None:
        return []
    return [
        {"method": v.method, "zone_id": v.hold.zone_id, "age_s": round(v.age_s, 3)}
        for v in found
        if v.counts and v.hold.zone_id != winner.hold.zone_id
    ]


def _candidates(state: State, tag: TagState, model: SiteModel | None) -> list[Explanation]:
    """Return the zones of the plan, the most probable first, each with its lead over the holder."""
    track = tag.track
    if track is None or model is None:
        return []
    shares = np.frombuffer(track.zones, dtype=np.float32).tolist()
    held = model.zone_index.get(tag.radio.zone_id or "", len(model.zone_ids))
    ranked = sorted(enumerate(shares), key=lambda one: (-one[1], one[0]))
    found = []
    for index, share in ranked:
        zone_id = model.zone_ids[index] if index < len(model.zone_ids) else None
        if share < LEAST_SHOWN and index != held:
            continue
        found.append(
            {
                "zone_id": zone_id,
                "name": _name(state, zone_id),
                "probability": round(share, 4),
                "ahead_of_holder": round(share - shares[held], 4),
                "holds": index == held,
            }
        )
    return found


def _name(state: State, zone_id: str | None) -> str:
    zone = state.registry.zones.get(zone_id) if zone_id is not None else None
    return "outside all zones" if zone is None else zone.name


def _belief(tag: TagState, model: SiteModel | None) -> Explanation | None:
    track = tag.track
    if track is None or model is None:
        return None
    return {
        "site_id": track.site_id,
        "at": at(track.head_s),
        "age_s": round(tag.now_s - track.head_s, 3),
        "x_m": None if track.x_m is None else round(track.x_m, 2),
        "y_m": None if track.y_m is None else round(track.y_m, 2),
        "radius_95_m": None if track.radius_95_m is None else round(track.radius_95_m, 2),
        "interval_s": round(model.links(track.head).interval_s, 3),
        "placed": model.placed,
        "recomputable_from": at(track.anchor_s),
        "readings_kept": len(track.recent),
    }


def _fence(state: State, tag: TagState) -> Explanation:
    """Return the parameters that decide when its zone is left, in omlox's names."""
    limits = state.registry.thresholds
    fence = limits.fence_of(tag.site_id, tag.radio.zone_id)
    return {
        "exit_tolerance_m": fence.exit_tolerance_m,
        "tolerance_timeout_ms": round(fence.tolerance_timeout_s * 1000),
        "exit_delay_ms": round(fence.exit_delay_s * 1000),
        "timeout_ms": -1 if fence.timeout_s is None else round(fence.timeout_s * 1000),
        "exit_evaluations": fence.exit_evaluations,
        "enter_probability": limits.enter_probability,
        "exit_probability": limits.exit_probability,
        "outside_since_at": None
        if tag.radio.outside_since_s is None
        else at(tag.radio.outside_since_s),
    }


def _links(state: State, tag: TagState, model: SiteModel | None) -> list[Explanation]:
    """Return what each gateway heard lately, against what the belief lets expect."""
    track = tag.track
    if track is None or model is None:
        return []
    links = model.links(track.head)
    newest = {reading[1]: reading[3] for reading in track.recent}
    found = []
    for column, gateway_id in enumerate(model.gateways):
        if links.readings[column] == 0.0:
            continue
        newest_s = float(links.newest_s[column])
        event = newest.get(gateway_id)
        found.append(
            {
                "gateway_id": gateway_id,
                "zone_id": state.registry.zone_of.get(gateway_id),
                "smoothed_dbm": round(float(links.mean_dbm[column]), 2),
                "expected_dbm": round(float(links.expected_dbm[column]), 2),
                "readings_ever": int(links.readings[column]),
                "readings_kept": sum(1 for r in track.recent if r[1] == gateway_id),
                "age_s": round(tag.now_s - newest_s, 3) if newest_s > 0.0 else None,
                "silence_counts": gateway_id in track.unheard,
                "event_id": None if event is None else str(event),
            }
        )
    return found


def _ranging(tag: TagState) -> Explanation | None:
    if tag.ranging is None:
        return None
    return {
        "anchors": [
            {
                "gateway_id": anchor,
                "range_m": r.range_m,
                "age_s": round(tag.now_s - r.at_s, 3),
                "event_id": str(UUID(bytes=r.event)),
            }
            for anchor, r in sorted(tag.ranging.ranges.items())
        ],
        "rejected": [
            {"gateway_id": anchor, "residual_m": residual}
            for anchor, residual in sorted(tag.ranging.rejected.items())
        ],
        "candidates": [
            {"x_m": x_m, "y_m": y_m, "probability": probability}
            for x_m, y_m, probability in tag.ranging.places
        ],
        "rest": _rest(tag.ranging),
        "late_ranges": tag.ranging.tracker.late,
        "trouble": tag.ranging.trouble,
    }


def _rest(ranging: Ranging) -> Explanation | None:
    """Return where a tag that has not moved is by all its ranges, and who is probably blocked."""
    rest = ranging.rest
    if rest is None:
        return None
    return {
        "x_m": round(rest.x_m, 3),
        "y_m": round(rest.y_m, 3),
        "accuracy_m": round(rest.accuracy_m, 3),
        "rounds": rest.rounds,
        "elsewhere": round(rest.elsewhere, 4),
        "blocked": dict(sorted(rest.blocked.items())),
    }


def _not_heard(state: State, tag: TagState, model: SiteModel | None) -> list[Explanation]:
    """Return who should have heard it and did not: by habit, or by the map at its place."""
    limits = state.registry.thresholds
    watermark_s = max(state.watermarks_s.get(tag.site_id or "", tag.now_s), tag.now_s)
    wait_s, shares = limits.silence_grace_s, dict[str, float]()
    if model is not None and tag.track is not None:
        links = model.links(tag.track.head)
        wait_s = max(wait_s, PATIENCE * links.interval_s, SPANS_PATIENCE * tag.span_s)
        expected = heard_share(links.expected_dbm).tolist()
        shares = dict(zip(model.gateways, expected, strict=True))
    usual = presence.usual_gateways(tag)
    likely = [g for g, share in shares.items() if share >= LIKELY_HEARD and g not in usual]
    found = []
    for gateway_id in [*usual, *likely]:
        gateway = state.gateways.get(gateway_id)
        heard_s = tag.heard.get(gateway_id)
        silent_s = None if heard_s is None else watermark_s - heard_s
        if silent_s is not None and silent_s <= wait_s:
            continue
        last_s = gateway.last_s if gateway is not None and gateway.last_s else None
        found.append(
            {
                "gateway_id": gateway_id,
                "why": "usual" if gateway_id in usual else "expected_by_map",
                "share_expected": round(shares[gateway_id], 3) if gateway_id in shares else None,
                "silent_s": None if silent_s is None else round(silent_s, 3),
                "expected_within_s": round(wait_s, 3),
                "gateway_alive": last_s is not None
                and watermark_s - last_s <= limits.gateway_timeout_s,
                "gateway_heard_at": None if last_s is None else at(last_s),
            }
        )
    return found


def _presence(state: State, tag: TagState) -> Explanation | None:
    """Return how the tag's silence is judged; None for tags whose silence means nothing."""
    watermark_s = state.watermarks_s.get(tag.site_id or "", tag.now_s)
    return silence_report.report(state, tag, watermark_s)
