"""Positions of other systems, zones by positions, and where to draw a tag that only has a zone."""

from __future__ import annotations

import math
from typing import Final

from tagtrail_locate.core.facts import Position
from tagtrail_locate.core.geometry import contains, depth_m, nearest_on_border, to_site_frame
from tagtrail_locate.core.registry import Registry, Site
from tagtrail_locate.core.state import Hold, Point, TagState

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
    event = track.recent[-1][3].bytes if track.recent else b""
    return Point(track.head_s, track.site_id, x_m, y_m, accuracy_m, event, None, radius_m)
