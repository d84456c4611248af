"""Zones from signal strength: the nearest gateway wins, entering is quick and leaving careful.

Every gateway's readings of the last seconds become one Tukey mean against the power at 1 m; the
log-distance model makes it a distance; a zone is as far away as its nearest gateway. The first
zone is taken at once. To replace it, another zone must lead by a margin, without a break, for a
number of evaluations and a time; every evaluation that it does not lead starts its count anew.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.smoothing import distance_m, tukey_mean
from tagtrail_locate.core.state import GatewayState, Hold, Link, TagState
from tagtrail_locate.core.thresholds import Thresholds

MOST_READINGS: Final = 200
"""Readings of one link that are kept: 15 s of a tag that shouts 13 times a second."""

MOST_LINKS: Final = 48
"""Gateways remembered per tag; beyond that the longest silent one is forgotten."""

SCALE_DB: Final = 3.0
"""Scale of the logistic confidence: smoothed levels at a fixed place differ by about 5 dB from
the model (shadowing 3 to 4, tag and gateway offsets 2 each), and a normal of 5 is a logistic of 3."""

LEAST_SPREAD_DB: Final = 1.5
"""Spread assumed for windows that are too short to show their own; the quietest measured was 1.1."""

TELLING_TAGS: Final = 3
"""From so many tags on, the silence of a gateway about all of them says that it is down."""

REST_S: Final = 60.0
"""Time constant of the level that a link has at rest: four times the averaging window."""

LONGEST_WINDOW_S: Final = 600.0
"""Longest averaging window: what was heard before is history, however slow the tag."""


class Lead(NamedTuple):
    """How near one zone seems.

    Attributes:
        distance_m: Distance to its nearest gateway, metres, silence held against it.
        zone_id: The zone.
        gateway_id: That gateway.
        level_db: Its smoothed level after the silence, dB below the power at 1 m.
        error_db: Standard error of the level, dB.
        kept: Readings that survived the fence.
        frozen: Whether the gateway is behind or down, and its last level stands.
        shift_db: How far the level is from what it was for the last minute, dB.
    """

    distance_m: float
    zone_id: str
    gateway_id: str
    level_db: float
    error_db: float
    kept: int
    frozen: bool
    shift_db: float


def listen(
    tag: TagState,
    gateway_id: str,
    at_s: float,
    level_db: float,
    *,
    known_s: float,
    reference: str,
    event: bytes,
) -> bool:
    """Put a reading into its link's window; returns False if it came too late to count.

    Args:
        tag: Changed in place; `now_s` MUST already include `at_s`.
        gateway_id: Who heard it.
        at_s: Event time, seconds since 1970.
        level_db: Received power minus the power expected at 1 m, dB.
        known_s: The gateway's horizon, see `horizon_s`: the window ends there.
        reference: Where the power at 1 m came from.
        event: Id of the sighting.
    """
    if at_s < known_s - tag.window_s:
        return False
    link = tag.links.get(gateway_id)
    if link is None:
        if len(tag.links) >= MOST_LINKS:
            del tag.links[min(tag.links, key=lambda g: (tag.links[g].last_s, g))]
        link = tag.links[gateway_id] = Link([], [], at_s, event, reference)
    _put(link, at_s, level_db)
    if link.count == 0:
        link.rest_db = level_db
    elif at_s > link.last_s:
        share = min((at_s - link.last_s) / REST_S, 1.0)
        link.rest_db += share * (level_db - link.rest_db)
    if at_s >= link.last_s:
        link.last_s, link.last_event, link.reference = at_s, event, reference
    link.count += 1
    _trim(link, known_s - tag.window_s)
    _smooth(link)
    return True


def _put(link: Link, at_s: float, level_db: float) -> None:
    times, levels = link.times_s, link.levels_db
    if not times or at_s >= times[-1]:
        times.append(at_s)
        levels.append(level_db)
    else:
        place = bisect.bisect_right(times, at_s)
        times.insert(place, at_s)
        levels.insert(place, level_db)


def _trim(link: Link, oldest_s: float) -> bool:
    keep_from = bisect.bisect_left(link.times_s, oldest_s)
    keep_from = max(keep_from, len(link.times_s) - MOST_READINGS)
    if keep_from <= 0:
        return False
    del link.times_s[:keep_from]
    del link.levels_db[:keep_from]
    return True


def _smooth(link: Link) -> None:
    readings = len(link.times_s)
    if not readings:
        link.kept, link.gap_s = 0, 0.0
        return
    link.mean_db, link.spread_db, link.kept = tukey_mean(link.levels_db)
    link.gap_s = (link.times_s[-1] - link.times_s[0]) / (readings - 1) if readings > 1 else 0.0


def horizon_s(
    tag: TagState, link: Link | None, gateway: GatewayState | None, thresholds: Thresholds
) -> float:
    """Return the time up to which a gateway has told what it hears of a tag, seconds.

    A gateway that said nothing lately (of any tag, nor of itself) although it used to hear
    several tags is down, or keeps what it hears for later: until it speaks again, it knows the
    world as of its last word. When it does, its pause is not held against the tags that it has
    not yet had the time to hear. With fewer tags nothing tells a gateway's silence from the
    tag's own, and the tag is doubted: then it is the tag's present moment.

    Args:
        tag: Its present moment counts, not the clock.
        link: What the gateway heard of the tag; None = nothing yet.
        gateway: The gateway, if it is known.
        thresholds: Of the tenant.
    """
    now_s = tag.now_s
    if gateway is None or link is None or now_s - link.last_s <= thresholds.silence_grace_s:
        return now_s
    if max(len(gateway.tags), gateway.usual_tags) < TELLING_TAGS:
        return now_s
    pause_end_s = max(gateway.resumed_s, link.last_s)
    if now_s - link.last_s > thresholds.gateway_hold_s:
        return now_s
    if now_s - gateway.last_s > thresholds.silence_grace_s:
        return min(now_s, link.last_s + max(gateway.last_s - pause_end_s, 0.0))
    return min(now_s, link.last_s + max(now_s - pause_end_s, 0.0))


def level_of(
    tag: TagState, link: Link, gateway: GatewayState | None, thresholds: Thresholds
) -> tuple[float, bool] | None:
    """Return the level of a link now, with its silence held against it.

    Readings that left the window are forgotten; window and silence are measured up to the
    gateway's horizon, so that the last level of a gateway that is down stands.

    Returns:
        (level in dB, whether it is frozen); None if nothing is left.
    """
    known_s = horizon_s(tag, link, gateway, thresholds)
    if link.times_s and link.times_s[0] < known_s - tag.window_s:
        _trim(link, known_s - tag.window_s)
        _smooth(link)
    if not link.kept:
        return None
    excess_s = known_s - link.last_s - max(thresholds.silence_grace_s, 4.0 * link.gap_s)
    level_db = link.mean_db
    if excess_s > 0.0:
        level_db -= thresholds.silence_db_per_s * excess_s
    return level_db, known_s < tag.now_s


def rank(tag: TagState, registry: Registry, gateways: dict[str, GatewayState]) -> list[Lead]:
    """Return the zones that are heard, nearest first.

    Args:
        tag: Its windows are trimmed to its present moment.
        registry: Gateways and zones.
        gateways: Health of the gateways.
    """
    thresholds = registry.thresholds
    best: dict[str, Lead] = {}
    for gateway_id, link in tag.links.items():
        zone_id = registry.zone_of.get(gateway_id)
        if zone_id is None:
            continue
        level = level_of(tag, link, gateways.get(gateway_id), thresholds)
        if level is None:
            continue
        exponent = registry.gateways[gateway_id].path_loss_exponent or thresholds.default_exponent
        metres = distance_m(level[0], exponent)
        rival = best.get(zone_id)
        if rival is not None and (rival.distance_m, rival.gateway_id) <= (metres, gateway_id):
            continue
        error = max(link.spread_db, LEAST_SPREAD_DB) / math.sqrt(link.kept)
        shift = abs(link.mean_db - link.rest_db)
        best[zone_id] = Lead(
            metres, zone_id, gateway_id, level[0], error, link.kept, level[1], shift
        )
    return sorted(best.values(), key=_order)


def _order(lead: Lead) -> tuple[float, str]:
    return (lead.distance_m, lead.zone_id)


def confidence_of(zone_id: str | None, ranked: Sequence[Lead]) -> float:
    """Return the probability of a zone among those heard.

    A softmax over 27 dB per decade of distance with scale `SCALE_DB`, times n / (n + 1) for the n
    readings behind the zone: one reading alone is never worth more than one half.
    """
    if not ranked:
        return 0.0
    total, own = 0.0, 0.0
    nearest = max(ranked[0].distance_m, 0.01)
    for lead in ranked:
        behind_db = 27.0 * math.log10(max(lead.distance_m, 0.01) / nearest)
        weight = math.exp(-behind_db / SCALE_DB)
        total += weight
        if lead.zone_id == zone_id:
            own = weight * lead.kept / (lead.kept + 1)
    return own / total


def decide(
    hold: Hold, ranked: Sequence[Lead], now_s: float, thresholds: Thresholds, *, settling: bool
) -> bool:
    """Let a zone's tenure be contested once; returns whether the confirmed zone changed.

    Args:
        hold: Changed in place.
        ranked: Zones heard, nearest first.
        now_s: Event time of the evaluation, seconds.
        thresholds: Of the tenant.
        settling: Whether the tag has just (re)appeared, so that corrections are quick.
    """
    if not ranked:
        hold.reason, hold.candidate_count, hold.candidate_id = "nothing_heard", 0, None
        return False
    best = ranked[0]
    if hold.zone_id is None:
        _install(hold, best.zone_id, now_s, now_s, "first_zone")
        return True
    if best.zone_id == hold.zone_id:
        _dismiss(hold, "holder_frozen" if best.frozen else "nearest")
        return False
    holder = next((lead for lead in ranked if lead.zone_id == hold.zone_id), None)
    if holder is None:
        if best.kept < 2 and now_s - hold.since_s < thresholds.settle_s:
            _dismiss(hold, "one_reading_is_not_enough")
            return False
        _install(hold, best.zone_id, now_s, now_s, "holder_silent")
        return True
    if settling:
        needed = (thresholds.settle_evaluations, thresholds.settle_lead_s)
        return _count(hold, best.zone_id, now_s, needed, "corrected")
    return _contest(hold, best, holder, now_s, thresholds)


def _contest(hold: Hold, best: Lead, holder: Lead, now_s: float, thresholds: Thresholds) -> bool:
    """Let the nearest zone contest the tenure of another one; returns whether it won."""
    ahead_db = 27.0 * math.log10(holder.distance_m / max(best.distance_m, 0.01))
    error_db = math.hypot(best.error_db, holder.error_db)
    margin_met = best.distance_m < holder.distance_m * (1.0 - thresholds.exit_margin)
    if not margin_met or ahead_db < thresholds.exit_sigmas * error_db:
        _dismiss(hold, "margin_too_small")
        return False
    resident = now_s - hold.since_s >= thresholds.resident_s
    moved = max(best.shift_db, holder.shift_db) >= thresholds.moved_db
    lead_s = thresholds.resident_lead_s if resident and not moved else thresholds.exit_lead_s
    needed = (thresholds.exit_evaluations, lead_s)
    return _count(hold, best.zone_id, now_s, needed, "candidate_confirmed")


def _count(hold: Hold, zone_id: str, now_s: float, needed: tuple[int, float], reason: str) -> bool:
    if hold.candidate_id != zone_id:
        hold.candidate_id, hold.candidate_since_s, hold.candidate_count = zone_id, now_s, 0
    hold.candidate_count += 1
    enough, lead_s = needed
    if hold.candidate_count < enough or now_s - hold.candidate_since_s < lead_s:
        hold.reason = "candidate_waits"
        return False
    _install(hold, zone_id, now_s, hold.candidate_since_s, reason)
    return True


def _install(hold: Hold, zone_id: str, now_s: float, led_since_s: float, reason: str) -> None:
    hold.zone_id, hold.since_s, hold.led_since_s = zone_id, now_s, led_since_s
    hold.entered = True
    _dismiss(hold, reason)


def _dismiss(hold: Hold, reason: str) -> None:
    hold.candidate_id, hold.candidate_count, hold.reason = None, 0, reason
