"""Turns decisions into rows and facts: confirmed zones, places to draw, presence, gateways."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, cast
from uuid import UUID

import msgspec

from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.places import TagPresenceChanged, TagZoneChanged
from tagtrail_locate.core import coverage, positions, presence
from tagtrail_locate.core.effects import (
    Effects,
    GatewayRow,
    HistoryRow,
    Method,
    PlaceRow,
    PresenceRow,
    at,
    derived,
)
from tagtrail_locate.core.fusion import foreign_class, fuse
from tagtrail_locate.core.state import GatewayState, Hold, Point, State, TagState

PLACE_WRITE_S: Final = 2.0
"""Event time between two rows of a tag that rests: its age is then known to two seconds."""

MOVE_WRITE_S: Final = 0.25
MOVE_WRITE_M: Final = 0.25
"""A tag that moves is written at most four times a second, for a quarter of a metre or more."""

GATEWAY_WRITE_S: Final = 5.0
"""Event time between two rows of a gateway."""

READ_ACCURACY_M: Final = 2.0
"""Radius of a tap or portal read around its reader."""

RAYLEIGH_95_TO_68: Final = 1.6155
"""Radius of 95 % over that of 68 % of a round normal distribution: 2.4477 / 1.5152."""

MOST_EVIDENCE: Final = 16
"""Event ids in a zone change; the field's own bound."""


class Cause(msgspec.Struct, frozen=True, gc=False):
    """What led to an answer, as it was when it became due.

    Attributes:
        order: Running number of what came out of the log.
        position: Log position at which it became due.
        caused_at: Log position of the newest event it rests on.
        event_id: Id of that event.
        site_id: Site whose gateways heard the tag.
        last_heard_s: Newest event time at which it was heard.
        interval_s: Its expected interval, seconds.
    """

    order: int
    position: int
    caused_at: int
    event_id: UUID
    site_id: str | None
    last_heard_s: float
    interval_s: float


def settle(state: State, effects: Effects, tag: TagState, cause: Cause) -> None:
    """Decide over all sources, and write what changed or is due."""
    winner = fuse(tag, state.registry, cause.interval_s)
    if winner is not None and winner.zone_id != tag.zone_id:
        change_zone(state, effects, tag, winner, cause)
        write_place(state, effects, tag, cause)
    elif is_due(tag):
        write_place(state, effects, tag, cause)


def is_due(tag: TagState) -> bool:
    """Tell whether a tag's row must be written although its zone is the same."""
    if tag.written_s is None:
        return True
    since_s = tag.now_s - tag.written_s
    if since_s >= PLACE_WRITE_S:
        return True
    if since_s < MOVE_WRITE_S:
        return False
    point = tag.fix if tag.method == "uwb" else tag.point
    if point is None or tag.written_x_m is None or tag.written_y_m is None:
        return False
    return math.hypot(point.x_m - tag.written_x_m, point.y_m - tag.written_y_m) >= MOVE_WRITE_M


def point_of(state: State, tag: TagState, interval_s: float) -> Point | None:
    """Return the position that goes with a tag's answer.

    The winner's own, else the best that is fresh: ranged, reported, the reader's place, and last
    the mean of what the filter believes.
    """
    if tag.method == "ble_zone" and tag.fix is None and tag.point is None:
        return positions.drawn_place(tag, state.registry)
    limits = state.registry.thresholds
    fix = _fresh(tag.fix, tag, max(limits.uwb_s, 3.0 * interval_s))
    point = _fresh(tag.point, tag, max(limits.reported_s, 3.0 * interval_s))
    if tag.method == "read_point":
        reader = _reader(state, tag)
        if reader is not None:
            return reader
    return fix or point or positions.drawn_place(tag, state.registry)


def _fresh(point: Point | None, tag: TagState, age_s: float) -> Point | None:
    return point if point is not None and tag.now_s - point.at_s <= age_s else None


def _reader(state: State, tag: TagState) -> Point | None:
    if tag.read_by is None or tag.read.heard_s is None:
        return None
    event, gateway_id, _ = tag.read_by
    gateway = state.registry.gateways.get(gateway_id)
    if gateway is None or gateway.x_m is None or gateway.y_m is None:
        return None
    return Point(
        tag.read.heard_s,
        gateway.site_id,
        gateway.x_m,
        gateway.y_m,
        READ_ACCURACY_M,
        event,
        gateway_id,
    )


def evidence_of(tag: TagState) -> list[UUID]:
    """Return the ids of the newest events behind a tag's answer, newest first, at most 16."""
    found: Iterable[tuple[float, bytes]]
    if tag.method == "ble_zone":
        found = ((r[0], r[3].bytes) for r in (tag.track.recent if tag.track else ()))
    elif tag.method == "uwb" and tag.ranging is not None:
        found = ((r.at_s, r.event) for r in tag.ranging.ranges.values())
    elif tag.method == "read_point" and tag.read_by is not None:
        found = ((0.0, tag.read_by[0]),)
    elif tag.method == "claimed":
        found = ((0.0, tag.claimed_by),)
    else:
        found = () if tag.point is None else ((0.0, tag.point.event),)
    newest = sorted(found, reverse=True)[:MOST_EVIDENCE]
    return [UUID(bytes=event) for _, event in newest]


def change_zone(state: State, effects: Effects, tag: TagState, winner: Hold, cause: Cause) -> None:
    """Confirm another zone: memory, history and a fact for the log."""
    before, registry = tag.zone_id, state.registry
    tag.zone_id, tag.zone_since_s = winner.zone_id, tag.now_s
    zone = registry.zones.get(winner.zone_id or before or "")
    if zone is not None and winner.zone_id is not None:
        tag.site_id = tag.site_id or zone.site_id
    point, method = point_of(state, tag, cause.interval_s), cast("Method", tag.method)
    since_s = min(winner.led_since_s, tag.now_s) if winner.since_s == tag.now_s else tag.now_s
    evidence = evidence_of(tag)
    data = TagZoneChanged(
        tag_id=tag.tag_id,
        zone_id=winner.zone_id,
        from_zone_id=before,
        site_id=zone.site_id if zone is not None else cause.site_id,
        method=method,
        confidence=winner.confidence,
        x_m=None if point is None else round(point.x_m, 3),
        y_m=None if point is None else round(point.y_m, 3),
        accuracy_m=None if point is None else round(point.accuracy_m, 3),
        evidence=tuple(str(i) for i in evidence),
        candidate_since_at=at(since_s),
        configuration=str(registry.version),
    )
    fact = derived(cause.event_id, tag.tag_id, tag.now_s, data)
    effects.tell(cause.order, fact)
    effects.record(
        cause.order,
        HistoryRow(
            tag.tag_id, cause.caused_at, at(tag.now_s), data.zone_id, before, data.site_id, method,
            data.confidence, data.x_m, data.y_m, data.accuracy_m, radius_95_m(point),
            winner.reason, at(since_s), registry.version, evidence, fact.id,
        ),
    )  # fmt: skip


def radius_95_m(point: Point | None) -> float | None:
    """Return the radius that holds the tag with 95 % probability, metres."""
    if point is None:
        return None
    return round(point.radius_95_m or point.accuracy_m * RAYLEIGH_95_TO_68, 3)


def write_place(state: State, effects: Effects, tag: TagState, cause: Cause) -> None:
    """Write a tag's latest place."""
    point = point_of(state, tag, cause.interval_s)
    zone = state.registry.zones.get(tag.zone_id) if tag.zone_id is not None else None
    site_id = zone.site_id if zone is not None else cause.site_id
    if point is not None and zone is None:
        site_id = point.site_id
    tag.written_s = tag.now_s
    x_m = y_m = accuracy_m = None
    if point is not None:
        x_m, y_m, accuracy_m = round(point.x_m, 3), round(point.y_m, 3), round(point.accuracy_m, 3)
    tag.written_x_m, tag.written_y_m = x_m, y_m
    effects.places[tag.tag_id] = PlaceRow(
        tag.tag_id,
        site_id,
        tag.zone_id,
        at(tag.zone_since_s) if tag.method is not None else None,
        None if zone is None else zone.floor,
        x_m,
        y_m,
        accuracy_m,
        radius_95_m(point),
        tag.method,
        None if tag.confidence is None else round(tag.confidence, 4),
        tag.presence,
        at(cause.last_heard_s),
        tag.nearest_id,
        state.registry.version,
        cause.position,
        cause.event_id,
        foreign_class(tag),
    )


def change_presence(
    state: State,
    effects: Effects,
    tag: TagState,
    verdict: presence.Verdict,
    at_s: float,
    event: Recorded,
) -> None:
    """Change a tag's presence: memory, rows and a fact for the log."""
    if verdict.presence != tag.presence:
        tag.presence, tag.presence_since_s = verdict.presence, at_s
    coverage.note_verdict(tag, verdict.cause, lost=verdict.lost)
    zone = state.registry.zones.get(tag.zone_id) if tag.zone_id is not None else None
    usual = presence.usual_gateways(tag)
    data = TagPresenceChanged(
        tag_id=tag.tag_id,
        state=verdict.presence,
        last_heard_at=at(tag.active_s if tag.active_s is not None else at_s),
        silent_s=round(verdict.silent_s, 3),
        expected_interval_s=round(tag.interval_s, 3),
        zone_id=tag.zone_id,
        site_id=zone.site_id if zone is not None else tag.site_id,
        gateway_ids=tuple(usual),
        cause=verdict.cause,
        gone_probability=verdict.gone_probability,
        lost=verdict.lost,
        look_first=verdict.look_first,
    )
    effects.order += 1
    effects.tell(effects.order, derived(event.id, tag.tag_id, at_s, data))
    effects.presence[tag.tag_id] = PresenceRow(
        tag.tag_id, data.state, at(tag.presence_since_s), data.last_heard_at, data.silent_s,
        round(verdict.observed_s, 3), data.expected_interval_s, tag.learned, data.zone_id,
        data.site_id, usual, event.position, verdict.cause, verdict.gone_probability,
        verdict.lost, list(verdict.look_first),
    )  # fmt: skip
    cause = Cause(
        effects.order, event.position, event.position, event.id, tag.site_id,
        tag.last_heard_s or tag.now_s, tag.interval_s,
    )  # fmt: skip
    write_place(state, effects, tag, cause)


def write_gateway(state: State, effects: Effects, gateway: GatewayState) -> None:
    """Write how a gateway is."""
    registry = state.registry
    gateway.written_s = gateway.last_s
    effects.gateways[gateway.gateway_id] = GatewayRow(
        gateway.gateway_id,
        gateway.site_id,
        gateway.gateway_id in registry.gateways,
        registry.zone_of.get(gateway.gateway_id),
        at(gateway.last_s) if gateway.last_s else None,
        at(gateway.alive_since_s) if gateway.last_s else None,
        None if gateway.sighted_s is None else at(gateway.sighted_s),
        max(gateway.minute_count, gateway.last_count),
        max(len(gateway.tags), gateway.last_tags),
        gateway.count,
        gateway.online,
        gateway.ahead_s,
        gateway.position,
    )
