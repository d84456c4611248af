"""Positions: from ranges, from other systems, and where to draw a tag that only has a zone."""

from __future__ import annotations

import math
from typing import Final

from tagtrail_locate.core.errors import DegenerateGeometryError, TooFewRangesError
from tagtrail_locate.core.facts import Position, Range
from tagtrail_locate.core.geometry import contains, depth_m, nearest_on_border, to_site_frame
from tagtrail_locate.core.multilateration import Fix, multilaterate
from tagtrail_locate.core.registry import Registry, Site
from tagtrail_locate.core.state import Anchored, Hold, Point, Ranging, TagState

FEWEST_ANCHORS: Final = 3
"""Three ranges fix a point of the plane."""

MOST_ANCHORS: Final = 32
"""Newest ranges kept per tag."""

REPORTED_ACCURACY_M: Final = 5.0
"""Assumed where a reporting system states none: between UWB vendors (0.3) and phones (10)."""

BLE_ACCURACY_M: Final = 3.0
"""No position from signal strength is drawn as better than this: a zone is what BLE knows."""

RAYLEIGH_68_TO_95: Final = 0.619
"""Radius of 68 % over that of 95 % of a round normal distribution: 1.5152 / 2.4477."""

FARTHEST_M: Final = 1000.0
"""No radius is told as larger."""

REACH_M: Final = 20_000.0
"""A WGS84 position further from every site's origin belongs to none of them."""


def take_range(
    tag: TagState, fact: Range, at_s: float, event: bytes, registry: Registry
) -> Point | None:
    """Take in one range; returns a fix when it completes a round of the anchors in reach.

    A round begins after a pause of half a window. It is complete when every anchor heard within
    the window has spoken in it, or when one of them speaks twice.

    Args:
        tag: Changed in place.
        fact: The range.
        at_s: Its event time, seconds.
        event: Its id.
        registry: Anchors and thresholds.
    """
    if tag.ranging is None:
        tag.ranging = Ranging()
    state, thresholds = tag.ranging, registry.thresholds
    anchor = registry.gateways.get(fact.gateway_id)
    if anchor is None or anchor.x_m is None or anchor.y_m is None:
        state.trouble = f"anchor {fact.gateway_id} has no registered position"
        return None
    known = state.ranges.get(fact.gateway_id)
    if known is not None and at_s < known.at_s:
        return None
    before_s = max((r.at_s for r in state.ranges.values()), default=at_s)
    if at_s - before_s > 0.5 * thresholds.range_window_s:
        state.pending = {}
    sigma = fact.sigma_m or thresholds.range_sigma_m
    state.ranges[fact.gateway_id] = Anchored(at_s, fact.range_m, sigma, event)
    if len(state.ranges) > MOST_ANCHORS:
        del state.ranges[min(state.ranges, key=lambda a: (state.ranges[a].at_s, a))]
    fresh = _completed(state, fact.gateway_id, anchor.site_id, registry)
    return None if fresh is None else _solve(state, fresh, anchor.site_id, registry, event)


def _completed(
    state: Ranging, anchor_id: str, site_id: str, registry: Registry
) -> list[str] | None:
    """Note that an anchor spoke; returns the anchors of the round if that completes it."""
    newest_s = max(r.at_s for r in state.ranges.values())
    oldest_s = newest_s - registry.thresholds.range_window_s
    fresh = [
        a
        for a, r in sorted(state.ranges.items())
        if r.at_s >= oldest_s and _is_placed(registry, a, site_id)
    ]
    again = anchor_id in state.pending
    state.pending[anchor_id] = 1
    if len(fresh) < FEWEST_ANCHORS:
        state.trouble = TooFewRangesError.code if again else state.trouble
        return None
    if not again and any(a not in state.pending for a in fresh):
        return None
    state.pending = {}
    return fresh


def _is_placed(registry: Registry, anchor_id: str, site_id: str) -> bool:
    anchor = registry.gateways.get(anchor_id)
    return anchor is not None and anchor.site_id == site_id and anchor.x_m is not None


def _solve(
    state: Ranging, fresh: list[str], site_id: str, registry: Registry, event: bytes
) -> Point | None:
    fix = None
    try:
        fix = _fix_of(state, fresh, registry)
    except (TooFewRangesError, DegenerateGeometryError) as error:
        state.trouble = error.code
    if fix is None:
        return None
    state.trouble = None
    state.rejected = {fresh[i]: round(fix.residuals_m[i], 3) for i in fix.rejected}
    at_s = max(state.ranges[a].at_s for a in fresh)
    return Point(at_s, site_id, fix.x_m, fix.y_m, fix.accuracy_m, event)


def _fix_of(state: Ranging, fresh: list[str], registry: Registry) -> Fix:
    thresholds = registry.thresholds
    anchors = [registry.gateways[a] for a in fresh]
    tall = all(a.z_m is not None for a in anchors)
    places = [
        (a.x_m or 0.0, a.y_m or 0.0, a.z_m or 0.0) if tall else (a.x_m or 0.0, a.y_m or 0.0)
        for a in anchors
    ]
    return multilaterate(
        places,
        [state.ranges[a].range_m for a in fresh],
        sigma_m=[state.ranges[a].sigma_m for a in fresh],
        height_m=thresholds.tag_height_m if tall else None,
    )


def take_position(
    fact: Position, at_s: float, event: bytes, site_id: str | None, registry: Registry
) -> tuple[Point | None, str]:
    """Translate another system's position.

    WGS84 goes to the frame of the named site, else of the site whose origin is nearest. Plain
    x and y are taken to be in the frame of the site that the message or its gateway belongs to.

    Returns:
        (the position, or None if it lies at no site; "gps" or "reported").
    """
    accuracy = fact.accuracy_m or REPORTED_ACCURACY_M
    if fact.x_m is not None and fact.y_m is not None:
        if site_id is None and len(registry.sites) == 1:
            site_id = next(iter(registry.sites))
        if site_id is None:
            return None, "reported"
        return Point(
            at_s, site_id, fact.x_m, fact.y_m, accuracy, event, fact.gateway_id
        ), "reported"
    if fact.latitude_deg is None or fact.longitude_deg is None:
        return None, "gps"
    found = [
        (math.hypot(*place), site.site_id, place)
        for site in registry.sites.values()
        if (place := _placed(site, fact.latitude_deg, fact.longitude_deg)) is not None
    ]
    here = [f for f in found if f[1] == site_id] or found
    away, where, (x_m, y_m) = min(here, default=(math.inf, "", (0.0, 0.0)))
    if away > REACH_M:
        return None, "gps"
    return Point(at_s, where, x_m, y_m, accuracy, event, fact.gateway_id), "gps"


def _placed(site: Site, latitude_deg: float, longitude_deg: float) -> tuple[float, float] | None:
    if site.latitude_deg is None or site.longitude_deg is None:
        return None
    return to_site_frame(
        latitude_deg,
        longitude_deg,
        origin_latitude_deg=site.latitude_deg,
        origin_longitude_deg=site.longitude_deg,
        bearing_deg=site.bearing_deg,
    )


def contest_by_place(hold: Hold, point: Point | None, at_s: float, registry: Registry) -> bool:
    """Let a position contest a zone once; returns whether the confirmed zone changed.

    The first zone is taken at once. Afterwards the position must lie outside the zone by the
    border (or half of its accuracy, if that is more) for consecutive evaluations.

    Args:
        hold: Changed in place.
        point: The position; None = at no site at all.
        at_s: Event time of the evaluation, seconds.
        registry: Zones and thresholds.
    """
    hold.heard_s = at_s
    zone = None if point is None else registry.zone_at(point.site_id, point.x_m, point.y_m)
    zone_id = None if zone is None else zone.zone_id
    if zone_id == hold.zone_id or (zone_id is None and not hold.entered):
        hold.candidate_count, hold.candidate_id, hold.candidate_out = 0, None, False
        hold.reason = "inside" if zone_id is not None else "outside_all_zones"
        hold.confidence = _sureness(hold.zone_id, point, registry)
        return False
    if hold.zone_id is not None and not _is_outside(hold.zone_id, point, registry):
        hold.candidate_count, hold.candidate_id, hold.candidate_out = 0, None, False
        hold.reason = "on_the_border"
        return False
    if hold.candidate_id != zone_id or hold.candidate_out != (zone_id is None):
        hold.candidate_id, hold.candidate_out = zone_id, zone_id is None
        hold.candidate_since_s, hold.candidate_count = at_s, 0
    hold.candidate_count += 1
    if hold.entered and hold.candidate_count < registry.thresholds.border_evaluations:
        hold.reason = "candidate_waits"
        return False
    hold.reason = "crossed" if hold.entered else "first_zone"
    hold.led_since_s, hold.since_s = hold.candidate_since_s, at_s
    hold.zone_id, hold.entered = zone_id, True
    hold.candidate_count, hold.candidate_id, hold.candidate_out = 0, None, False
    hold.confidence = _sureness(zone_id, point, registry)
    return True


def _is_outside(zone_id: str, point: Point | None, registry: Registry) -> bool:
    zone = registry.zones.get(zone_id)
    if zone is None or zone.outline_m is None or point is None or zone.site_id != point.site_id:
        return True
    border = max(registry.thresholds.border_m, 0.5 * point.accuracy_m)
    return depth_m(zone.outline_m, point.x_m, point.y_m) < -border


def _sureness(zone_id: str | None, point: Point | None, registry: Registry) -> float | None:
    """Return how likely a position inside a zone is really inside: 1/2 on the border."""
    zone = registry.zones.get(zone_id) if zone_id is not None else None
    if zone is None or zone.outline_m is None or point is None:
        return None
    inwards = depth_m(zone.outline_m, point.x_m, point.y_m) / max(point.accuracy_m, 0.01)
    return 0.5 * (1.0 + math.erf(inwards / math.sqrt(2.0)))


def drawn_place(tag: TagState, registry: Registry) -> Point | None:
    """Return where to draw a tag that only signal strength knows, with an honest large radius.

    The mean of what the filter believes, moved into the confirmed zone if it lies outside; the
    radii grow by how far it was moved.
    """
    track = tag.track
    if track is None or track.x_m is None or track.y_m is None or track.radius_95_m is None:
        return None
    x_m, y_m, moved_m = track.x_m, track.y_m, 0.0
    zone = registry.zones.get(tag.zone_id) if tag.zone_id is not None else None
    if zone is not None and zone.outline_m is not None and not contains(zone.outline_m, x_m, y_m):
        near = nearest_on_border(zone.outline_m, x_m, y_m)
        moved_m = math.hypot(near[0] - x_m, near[1] - y_m)
        x_m, y_m = near
    radius_m = min(track.radius_95_m + moved_m, FARTHEST_M)
    accuracy_m = max(radius_m * RAYLEIGH_68_TO_95, BLE_ACCURACY_M)
    event = track.recent[-1][3] if track.recent else b""
    return Point(track.head_s, track.site_id, x_m, y_m, accuracy_m, event, None, radius_m)
