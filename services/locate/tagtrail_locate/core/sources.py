"""What each kind of fact says about where its tag is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from tagtrail_kernel.events.places import LabelRead, TagReadContradicted
from tagtrail_locate.core import positions, presence, ranged, touches
from tagtrail_locate.core.effects import Effects, at, derived
from tagtrail_locate.core.facts import Claim, Position, Range, Sighting
from tagtrail_locate.core.fusion import FOREIGN
from tagtrail_locate.core.levels import STANDARD_DBM, level_of, shift_of
from tagtrail_locate.core.readings import Reading
from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.smoothing import distance_m
from tagtrail_locate.core.state import Hold, State, TagState
from tagtrail_locate.core.touches import Touch

PASSIVE: Final = frozenset({"rfid", "nfc", "optical"})
"""Technologies whose tags only answer: being read is being there, silence means nothing."""

READ_CONFIDENCE: Final = 0.99
"""Of a tap or portal read: what remains is a portal that reads through the wall of the next one."""

READ_WORDS: Final = {"rfid": "RFID read", "nfc": "NFC tap", "optical": "code scan"}
"""How explanations call reads."""


ECHO_S: Final = 0.05
"""Readings of one gateway closer than this are one advert."""

RELEARN_EVERY: Final = 4
"""Gaps after which the expected interval is computed again."""

BETTER_DB: Final = 6.0
PACER_SILENT_S: Final = 60.0
"""A gateway takes over the learning of intervals if it hears the tag so much better, or if the one
before is silent for so long."""


LAPSE_SPANS: Final = 3.0
"""A tag whose items span some time appears anew after a silence of so many spans, at least."""


def count(state: State, reason: str, times: int = 1) -> None:
    """Count something that was not used; reasons stand in alphabetical order."""
    if reason in state.counters:
        state.counters[reason] += times
    else:
        state.counters = dict(sorted([*state.counters.items(), (reason, times)]))


def refresh(state: State, tag: TagState) -> None:
    """Bring a tag's expected interval up to what is registered or was learned."""
    registry = state.registry
    tag.interval_s, tag.learned = presence.expected_interval(
        tag, registry.tags.get(tag.tag_id), registry.thresholds
    )
    tag.overdue_s, _ = presence.limits_s(tag, registry.thresholds)
    known = registry.tags.get(tag.tag_id)
    power_dbm = None if known is None else known.rssi_1m_dbm
    tag.power_db = 0.0
    if power_dbm is not None:
        tag.power_db = power_dbm - registry.thresholds.default_rssi_1m_dbm


def learn_gaps(tag: TagState, readings: Sequence[Reading]) -> bool:
    """Learn how often a tag speaks from the gateway that hears it best.

    An item of several readings tells the time between them; the time between items is the
    gateway's, and so is that of a single reading among them. Readings without a level teach
    nothing.

    Args:
        tag: Changed in place.
        readings: In the order in which they came.

    Returns:
        Whether the expected interval is worth computing again.
    """
    learned = False
    silent_s = max(PACER_SILENT_S, 2.0 * tag.span_s)
    best_id, better_dbm = tag.pacer_id, tag.pacer_db + BETTER_DB
    telling = [r for r in readings if r[1] == best_id or r[2] > better_dbm] or readings
    for at_s, name, level_dbm, _, count, span_s in telling:
        gap_s = at_s - tag.paced_s
        if not level_dbm:
            continue
        if name != tag.pacer_id:
            better = level_dbm > tag.pacer_db + BETTER_DB
            if better or gap_s > silent_s or tag.pacer_id is None:
                tag.pacer_id, tag.paced_s, tag.pacer_db = name, at_s, level_dbm
        elif gap_s > ECHO_S:
            if span_s or not tag.span_s:
                presence.learn_gap(tag, span_s / count if span_s else gap_s)
            tag.paced_s = at_s
            tag.pacer_db += 0.1 * (level_dbm - tag.pacer_db)
            tag.gaps_ever += 1
            enough = len(tag.gaps_s) == presence.GAPS_NEEDED
            learned = learned or enough or tag.gaps_ever % RELEARN_EVERY == 0
    return learned


def lapse_s(state: State, tag: TagState) -> float:
    """Return the silence after which a tag that is heard again counts as (re)appearing, seconds."""
    known = state.registry.tags.get(tag.tag_id)
    stated = tag.learned or (known is not None and known.interval_s is not None)
    interval_s = tag.interval_s if stated else 0.0
    return max(state.registry.thresholds.lapse_s, 10.0 * interval_s, LAPSE_SPANS * tag.span_s)


def forget_zone(tag: TagState, zone_id: str) -> None:
    """Take a zone that is no longer used out of all sources of a tag."""
    for name in ("radio", "ranged", "reported", "claimed", "read"):
        hold: Hold = getattr(tag, name)
        if zone_id in (hold.zone_id, hold.candidate_id):
            setattr(tag, name, Hold(reason="zone_retired"))


def is_read(registry: Registry, fact: Sighting, tag: TagState) -> bool:
    """Tell whether a sighting says by itself where its tag is.

    That is a read of a tag that only answers, or a person's phone close to the tag.
    """
    if fact.technology in PASSIVE:
        return True
    if fact.source_class != "own_phone":
        return False
    level = level_of(registry, fact, shift_of(registry, fact.gateway_id), tag.power_db)
    if level is None:
        return False
    limits = registry.thresholds
    return distance_m(level - STANDARD_DBM, limits.default_exponent) <= limits.phone_reach_m


def take_read(
    state: State, effects: Effects, tag: TagState, at_s: float, fact: Sighting, event: bytes
) -> None:
    """Take in a read: its tag is in the zone of the reader."""
    zone_id = state.registry.zone_of.get(fact.gateway_id)
    if fact.technology == "nfc" and at_s >= tag.labelled_s:
        _compare(state, effects, tag, at_s, fact, event)
    if zone_id is None:
        count(state, "read_point_without_zone")
        return
    phone = fact.source_class == "own_phone"
    name = "phone scan" if phone else READ_WORDS.get(fact.technology, "read")
    _witness(tag, at_s, zone_id, (event, fact.gateway_id, name))


def _compare(
    state: State, effects: Effects, tag: TagState, at_s: float, fact: Sighting, event: bytes
) -> None:
    """Compare a read of a label with the others; tell what cannot be of one label."""
    gateway = state.registry.gateways.get(fact.gateway_id)
    still = gateway is not None and fact.source_class != "own_phone"
    touch = Touch(
        at_s=at_s,
        event=event,
        gateway_id=fact.gateway_id,
        counter=fact.counter,
        zone_id=state.registry.zone_of.get(fact.gateway_id),
        site_id=gateway.site_id if gateway is not None and still else None,
    )
    for found in touches.take(tag.touches, touch, state.registry.sites):
        data = TagReadContradicted(
            tag_id=tag.tag_id,
            sign=found.sign,
            earlier=_label_read(state, found.earlier),
            later=_label_read(state, found.later),
            distance_m=found.distance_m,
        )
        effects.order += 1
        cause = UUID(bytes=found.later.event)
        effects.tell(effects.order, derived(cause, tag.tag_id, found.later.at_s, data))


def _label_read(state: State, touch: Touch) -> LabelRead:
    zone = state.registry.zones.get(touch.zone_id or "")
    return LabelRead(
        event_id=str(UUID(bytes=touch.event)),
        at=at(touch.at_s),
        gateway_id=touch.gateway_id,
        zone_id=touch.zone_id,
        site_id=touch.site_id or (zone.site_id if zone is not None else None),
        counter=touch.counter,
    )


def _witness(tag: TagState, at_s: float, zone_id: str | None, by: tuple[bytes, str, str]) -> None:
    hold = tag.read
    if hold.heard_s is not None and at_s < hold.heard_s:
        return
    if not hold.entered or zone_id != hold.zone_id:
        hold.zone_id, hold.since_s, hold.led_since_s, hold.entered = zone_id, at_s, at_s, True
    hold.heard_s, hold.confidence, hold.reason = at_s, READ_CONFIDENCE, "read"
    tag.read_by = by


def take_range(state: State, tag: TagState, at_s: float, fact: Range, event: bytes) -> None:
    """Take in a range; a completed round gives a position that contests the zone."""
    registry = state.registry
    late = 0 if tag.ranging is None else tag.ranging.tracker.late
    point = ranged.take_range(tag, fact, at_s, event, registry)
    if point is not None:
        tag.fix = point
        if registry.has_outlines(point.site_id):
            positions.contest_by_place(tag.ranged, point, point.at_s, registry)
    if tag.ranging is not None and tag.ranging.tracker.late > late:
        tag.late += tag.ranging.tracker.late - late
        count(state, "late", tag.ranging.tracker.late - late)


def take_position(
    state: State, tag: TagState, at_s: float, fact: Position, event: bytes, site_id: str | None
) -> None:
    """Take in another system's position; older ones than the newest are only counted."""
    registry = state.registry
    if tag.point is not None and at_s < tag.point.at_s:
        tag.late += 1
        count(state, "late")
        return
    tag.point, tag.reported_method = positions.take_position(
        fact, at_s, event, fact.site_id or site_id, registry
    )
    if tag.point is not None:
        tag.site_id = tag.site_id or tag.point.site_id
        if not registry.has_outlines(tag.point.site_id):
            return
    positions.contest_by_place(tag.reported, tag.point, at_s, registry)
    tag.reported.foreign = fact.source_class if fact.source_class in FOREIGN else None


def take_claim(
    state: State, tag: TagState, at_s: float, fact: Claim, event: bytes, site_id: str | None
) -> None:
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
        _witness(tag, at_s, zone_id, (event, fact.gateway_id, "phone scan"))
        return
    if hold.heard_s is not None and at_s < hold.heard_s:
        return
    if not hold.entered or hold.zone_id != zone_id:
        hold.zone_id, hold.since_s, hold.led_since_s, hold.entered = zone_id, at_s, at_s, True
    hold.heard_s, hold.reason, tag.claimed_by = at_s, "claimed", event
    hold.foreign = fact.source_class if fact.source_class in FOREIGN else None
    hold.confidence = None if fact.confidence_pct is None else fact.confidence_pct / 100.0
