"""Why a tag is said to be where it is: everything the decision looked at, with ages and margins."""

from __future__ import annotations

import math
from typing import Any, Final
from uuid import UUID

from tagtrail_locate.core import answers, fusion, presence, silence_report, zones
from tagtrail_locate.core.effects import at
from tagtrail_locate.core.state import (
    GatewayState,
    Hold,
    Link,
    Point,
    State,
    TagState,
    copy_of,
)

Explanation = dict[str, Any]

SENTENCES: Final = {
    "never_heard": "nothing was heard of it yet",
    "nothing_heard": "no gateway with a zone heard it within the window, so the zone stays",
    "first_zone": "the first zone is taken at once",
    "nearest": "its zone is also the nearest one",
    "holder_frozen": "the gateway of its zone is down; its last level is kept",
    "holder_silent": "the gateway of its former zone no longer hears it, but hears others",
    "one_reading_is_not_enough": "one reading elsewhere is not enough to leave",
    "margin_too_small": "another zone is nearer, but not by the margin",
    "candidate_waits": "another zone leads, but has not led for long enough",
    "corrected": "it had just appeared, so a lead of about a second corrected the zone",
    "candidate_confirmed": "another zone led by the margin for long enough",
    "inside": "the position lies in the zone",
    "outside_all_zones": "the position lies in no zone",
    "on_the_border": "the position is not far enough outside the zone to leave it",
    "crossed": "the position lay in another zone for consecutive fixes",
    "read": "it was read there",
    "claimed": "another system says so",
    "zone_retired": "its zone was retired",
}
"""Reasons of the sources as sentences; the codes are stable, the sentences are not."""


def explain(state: State, tag: TagState) -> Explanation:
    """Return the explanation of one tag, as JSON values; computing it changes nothing.

    Args:
        state: The memory at some position of the log.
        tag: One of its tags.
    """
    registry = state.registry
    tag = copy_of(tag)
    found = fusion.votes(tag, registry)
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
        "window_s": tag.window_s,
        "settling": tag.now_s - tag.settle_s < registry.thresholds.settle_s,
        "late_readings": tag.late,
        "sources": [_source(state, tag, vote) for vote in found],
        "conflict": _conflict(found),
        "candidates": _candidates(state, tag),
        "links": _links(state, tag),
        "ranging": _ranging(tag),
        "not_heard": _not_heard(state, tag),
        "presence": _presence(state, tag),
    }


def _because(tag: TagState, found: list[fusion.Vote]) -> str:
    winner = next((vote for vote in found if vote.counts), None)
    text = fusion.wording(tag, found)
    if winner is None:
        return text
    return f"{text}: {SENTENCES.get(winner.hold.reason, winner.hold.reason)}"


def _source(state: State, tag: TagState, vote: fusion.Vote) -> Explanation:
    return {
        "method": vote.method,
        "zone_id": vote.hold.zone_id,
        "age_s": round(vote.age_s, 3),
        "counts_for_s": vote.fresh_s,
        "votes": vote.counts,
        "confidence": vote.hold.confidence,
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


def _candidates(state: State, tag: TagState) -> list[Explanation]:
    """Return the zones that are heard, nearest first, each with its margin to the holder."""
    ranked = zones.rank(tag, state.registry, state.gateways)
    holder = next((lead for lead in ranked if lead.zone_id == tag.radio.zone_id), None)
    found = []
    for lead in ranked:
        nearer = ahead_db = None
        if holder is not None:
            nearer = 1.0 - lead.distance_m / max(holder.distance_m, 0.01)
            ahead_db = 27.0 * math.log10(max(holder.distance_m, 0.01) / max(lead.distance_m, 0.01))
        found.append(
            {
                "zone_id": lead.zone_id,
                "gateway_id": lead.gateway_id,
                "distance_m": round(lead.distance_m, 2),
                "level_db": round(lead.level_db, 2),
                "error_db": round(lead.error_db, 2),
                "samples": lead.kept,
                "share_nearer_than_holder": None if nearer is None else round(nearer, 4),
                "ahead_db": None if ahead_db is None else round(ahead_db, 2),
                "margin_needed": state.registry.thresholds.exit_margin,
                "frozen": lead.frozen,
                "probability": round(zones.confidence_of(lead.zone_id, ranked), 4),
            }
        )
    return found


def _links(state: State, tag: TagState) -> list[Explanation]:
    found = []
    for gateway_id, link in sorted(tag.links.items()):
        gateway = state.gateways.get(gateway_id)
        found.append(_link(state, tag, gateway_id, link, gateway))
    return found


def _link(
    state: State, tag: TagState, gateway_id: str, link: Link, gateway: GatewayState | None
) -> Explanation:
    registry = state.registry
    age_s = tag.now_s - link.last_s
    known_s = zones.horizon_s(tag, link, gateway, registry.thresholds)
    silent_s = max(known_s - link.last_s, 0.0)
    return {
        "gateway_id": gateway_id,
        "zone_id": registry.zone_of.get(gateway_id),
        "registered": gateway_id in registry.gateways,
        "smoothed_db": round(link.mean_db, 2) if link.kept else None,
        "spread_db": round(link.spread_db, 2) if link.kept else None,
        "samples": len(link.times_s),
        "samples_kept": link.kept,
        "readings_ever": link.count,
        "reference": link.reference,
        "age_s": round(age_s, 3),
        "interval_s": round(link.gap_s, 3),
        "silent": silent_s > max(registry.thresholds.silence_grace_s, 4.0 * link.gap_s),
        "gateway_behind_s": round(tag.now_s - known_s, 3),
        "event_id": str(UUID(bytes=link.last_event)),
    }


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
        "trouble": tag.ranging.trouble,
    }


def _not_heard(state: State, tag: TagState) -> list[Explanation]:
    """Return what should have been heard and was not: usual gateways that are silent about it."""
    limits = state.registry.thresholds
    found = []
    for gateway_id in presence.usual_gateways(tag):
        gateway = state.gateways.get(gateway_id)
        silent_s = tag.now_s - tag.heard[gateway_id]
        link = tag.links.get(gateway_id)
        expected_s = max(limits.silence_grace_s, 4.0 * link.gap_s if link is not None else 0.0)
        watermark_s = state.watermarks_s.get(tag.site_id or "", tag.now_s)
        if silent_s <= expected_s and watermark_s - tag.heard[gateway_id] <= expected_s:
            continue
        last_s = gateway.last_s if gateway is not None else None
        alive = last_s is not None and watermark_s - last_s <= limits.gateway_timeout_s
        found.append(
            {
                "gateway_id": gateway_id,
                "silent_s": round(max(watermark_s, tag.now_s) - tag.heard[gateway_id], 3),
                "expected_within_s": round(expected_s, 3),
                "gateway_alive": alive,
                "gateway_heard_at": None if last_s is None else at(last_s),
            }
        )
    return found


def _presence(state: State, tag: TagState) -> Explanation | None:
    """Return how the tag's silence is judged; None for tags whose silence means nothing."""
    watermark_s = state.watermarks_s.get(tag.site_id or "", tag.now_s)
    return silence_report.report(state, tag, watermark_s)
