"""What each kind of fact says about where its tag is."""

from __future__ import annotations

from typing import Final

from tagtrail_locate.core import positions, presence, zones
from tagtrail_locate.core.facts import Claim, Position, Range, Sighting
from tagtrail_locate.core.smoothing import distance_m, level_db
from tagtrail_locate.core.state import Hold, State, TagState

PASSIVE: Final = frozenset({"rfid", "nfc", "optical"})
"""Technologies whose tags only answer: being read is being there, silence means nothing."""

READ_CONFIDENCE: Final = 0.99
"""Of a tap or portal read: what remains is a portal that reads through the wall of the next one."""

READ_WORDS: Final = {"rfid": "RFID read", "nfc": "NFC tap", "optical": "code scan"}
"""How explanations call reads."""


def count(state: State, reason: str) -> None:
    """Count something that was not used."""
    state.counters[reason] = state.counters.get(reason, 0) + 1


def refresh(state: State, tag: TagState) -> None:
    """Bring a tag's expected interval and averaging window up to what was learned."""
    registry = state.registry
    thresholds = registry.thresholds
    tag.interval_s, tag.learned = presence.expected_interval(
        tag, registry.tags.get(tag.tag_id), thresholds
    )
    tag.window_s = thresholds.window_s
    if len(tag.gaps_s) >= presence.GAPS_NEEDED:
        typical = sorted(tag.gaps_s)[len(tag.gaps_s) // 2]
        longest = max(zones.LONGEST_WINDOW_S, thresholds.window_s)
        wanted = thresholds.window_intervals * typical
        tag.window_s = min(max(thresholds.window_s, wanted), longest)


def forget_zone(tag: TagState, zone_id: str) -> None:
    """Take a zone that is no longer used out of all sources of a tag."""
    for name in ("radio", "ranged", "reported", "claimed", "read"):
        hold: Hold = getattr(tag, name)
        if zone_id in (hold.zone_id, hold.candidate_id):
            setattr(tag, name, Hold(reason="zone_retired"))


def take_sighting(state: State, tag: TagState, at_s: float, fact: Sighting) -> None:
    """Take in a sighting: a read of a passive tag or a phone scan, else signal strength."""
    if fact.technology in PASSIVE:
        _take_read(state, tag, at_s, fact)
        return
    level = _level(state, tag, fact)
    if level is None:
        return
    if fact.source_class == "own_phone" and _is_scan(state, level[0]):
        _take_read(state, tag, at_s, fact)
        return
    link = tag.links.get(fact.gateway_id)
    if link is not None and fact.gateway_id == (tag.nearest_id or fact.gateway_id):
        presence.learn_gap(tag, at_s - link.last_s)
    gateway = state.gateways.get(fact.gateway_id)
    known_s = zones.horizon_s(tag, link, gateway, state.registry.thresholds)
    if not zones.listen(
        tag, fact.gateway_id, at_s, level[0], known_s=known_s, reference=level[1], event=tag.event
    ):
        tag.late += 1
        count(state, "late")
        return
    _contest_by_level(state, tag)


def _contest_by_level(state: State, tag: TagState) -> None:
    thresholds = state.registry.thresholds
    ranked = zones.rank(tag, state.registry, state.gateways)
    if not ranked:
        return
    hold = tag.radio
    settling = tag.now_s - tag.settle_s < thresholds.settle_s
    zones.decide(hold, ranked, tag.now_s, thresholds, settling=settling)
    hold.heard_s = tag.now_s
    hold.confidence = zones.confidence_of(hold.zone_id, ranked)
    held = next((lead for lead in ranked if lead.zone_id == hold.zone_id), ranked[0])
    tag.nearest_id = held.gateway_id


def _level(state: State, tag: TagState, fact: Sighting) -> tuple[float, str] | None:
    """Return the level against the power at 1 m, dB, and where that power came from."""
    registry = state.registry
    thresholds = registry.thresholds
    gateway = registry.gateways.get(fact.gateway_id)
    if fact.rssi_dbm is None:
        if fact.distance_m is None:
            return None
        exponent = gateway.path_loss_exponent if gateway is not None else None
        return level_db(fact.distance_m, exponent or thresholds.default_exponent), "distance"
    if fact.rssi_1m_dbm is not None:
        return fact.rssi_dbm - fact.rssi_1m_dbm, "message"
    known = registry.tags.get(tag.tag_id)
    default = thresholds.default_rssi_1m_dbm
    power = 0.0
    if known is not None and known.rssi_1m_dbm is not None:
        power = known.rssi_1m_dbm - default
    if gateway is not None and gateway.rssi_1m_dbm is not None:
        return fact.rssi_dbm - gateway.rssi_1m_dbm - power, "gateway"
    return fact.rssi_dbm - default - power, "default"


def _is_scan(state: State, level: float) -> bool:
    thresholds = state.registry.thresholds
    return distance_m(level, thresholds.default_exponent) <= thresholds.phone_reach_m


def _take_read(state: State, tag: TagState, at_s: float, fact: Sighting) -> None:
    zone_id = state.registry.zone_of.get(fact.gateway_id)
    if zone_id is None:
        count(state, "read_point_without_zone")
        return
    phone = fact.source_class == "own_phone"
    name = "phone scan" if phone else READ_WORDS.get(fact.technology, "read")
    _witness(tag, at_s, zone_id, (tag.event, fact.gateway_id, name))


def _witness(tag: TagState, at_s: float, zone_id: str | None, by: tuple[bytes, str, str]) -> None:
    hold = tag.read
    if hold.heard_s is not None and at_s < hold.heard_s:
        return
    if not hold.entered or zone_id != hold.zone_id:
        hold.zone_id, hold.since_s, hold.led_since_s, hold.entered = zone_id, at_s, at_s, True
    hold.heard_s, hold.confidence, hold.reason = at_s, READ_CONFIDENCE, "read"
    tag.read_by = by


def take_range(state: State, tag: TagState, at_s: float, fact: Range) -> None:
    """Take in a range; a completed round gives a fix that contests the zone."""
    registry = state.registry
    point = positions.take_range(tag, fact, at_s, tag.event, registry)
    if point is None or (tag.fix is not None and point.at_s < tag.fix.at_s):
        return
    tag.fix = point
    if registry.has_outlines(point.site_id):
        positions.contest_by_place(tag.ranged, point, point.at_s, registry)


def take_position(
    state: State, tag: TagState, at_s: float, fact: Position, site_id: str | None
) -> None:
    """Take in another system's position; older ones than the newest are only counted."""
    registry = state.registry
    if tag.point is not None and at_s < tag.point.at_s:
        tag.late += 1
        count(state, "late")
        return
    tag.point, tag.reported_method = positions.take_position(
        fact, at_s, tag.event, fact.site_id or site_id, registry
    )
    if tag.point is not None:
        tag.site_id = tag.site_id or tag.point.site_id
        if not registry.has_outlines(tag.point.site_id):
            return
    positions.contest_by_place(tag.reported, tag.point, at_s, registry)


def take_claim(state: State, tag: TagState, at_s: float, fact: Claim, site_id: str | None) -> None:
    """Take in another system's claim about a zone; a person's phone counts as a scan."""
    zone = state.registry.zone_named(fact.zone, fact.site_id or site_id)
    if zone is None:
        count(state, "unknown_claimed_zone")
        return
    phone = fact.source_class == "own_phone"
    hold = tag.read if phone else tag.claimed
    zone_id: str | None = zone.zone_id
    if fact.claim == "left":
        if hold.zone_id != zone_id:
            return
        zone_id = None
    if phone:
        _witness(tag, at_s, zone_id, (tag.event, fact.gateway_id, "phone scan"))
        return
    if hold.heard_s is not None and at_s < hold.heard_s:
        return
    if not hold.entered or hold.zone_id != zone_id:
        hold.zone_id, hold.since_s, hold.led_since_s, hold.entered = zone_id, at_s, at_s, True
    hold.heard_s, hold.reason = at_s, "claimed"
    hold.confidence = None if fact.confidence_pct is None else fact.confidence_pct / 100.0
