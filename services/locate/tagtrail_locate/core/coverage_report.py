"""The coverage map of a site as JSON values: who hears which zone, and what a dead gateway costs."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from tagtrail_locate.core import coverage
from tagtrail_locate.core.effects import at

if TYPE_CHECKING:
    from tagtrail_locate.core.registry import Zone
    from tagtrail_locate.core.state import GatewayState, State

Report = dict[str, Any]

BLIND_SHARE: Final = 0.1
"""A zone of which less than this share of adverts is heard is blind: silence there means nothing."""

WEAK_SHARE: Final = 0.5
"""One of which less than this is heard is weak: silence there takes long to mean something."""


def report(state: State, site_id: str) -> Report:
    """Return the coverage map of a site.

    Args:
        state: The memory; it is only read.
        site_id: A site that is registered.
    """
    watermark_s = state.watermarks_s.get(site_id)
    gateways = {
        name: gateway
        for name, gateway in sorted(state.gateways.items())
        if gateway.site_id == site_id
    }
    words = {name: word_of(state, gateway, watermark_s) for name, gateway in gateways.items()}
    listening = {name for name, word in words.items() if word == "listening"}
    zones = [z for _, z in sorted(state.registry.zones.items()) if z.site_id == site_id]
    told = [_zone(state, zone, list(gateways), listening) for zone in zones]
    needed = {name: [z["zone_id"] for z in told if name in z["blind_without"]] for name in gateways}
    return {
        "site_id": site_id,
        "at": at(watermark_s) if watermark_s is not None else None,
        "zones": told,
        "gateways": [
            _gateway(state, gateway, words[name], needed[name])
            for name, gateway in gateways.items()
        ],
    }


def word_of(state: State, gateway: GatewayState, watermark_s: float | None) -> str:
    """Return "listening", "silent", "deaf" or "never_heard", at a watermark of the site."""
    if not gateway.last_s:
        return "never_heard"
    silent_s = (watermark_s or gateway.last_s) - gateway.last_s
    if silent_s > state.registry.thresholds.gateway_timeout_s or gateway.online is False:
        return "silent"
    return "deaf" if coverage.is_deaf(state, gateway) else "listening"


def _zone(state: State, zone: Zone, gateways: list[str], listening: Collection[str]) -> Report:
    heard = state.coverage.get(zone.zone_id)
    shares = {name: coverage.zone_share(state, zone.zone_id, name) for name in gateways}
    known = {name: share for name, share in shares.items() if share is not None}
    always, now = _together(known, known), _together(known, listening)
    return {
        "zone_id": zone.zone_id,
        "name": zone.name,
        "kind": zone.kind,
        "adverts": round(heard.expected, 1) if heard is not None else 0.0,
        "learned_at": at(heard.at_s) if heard is not None and heard.at_s else None,
        "heard_share": _rounded(always),
        "heard_share_now": _rounded(now),
        "coverage": _word(always),
        "coverage_now": _word(now),
        "blind_without": [
            name
            for name in known
            if _word(now) not in ("blind", "unknown")
            and _word(_together(known, set(listening) - {name})) == "blind"
        ],
        "gateways": [
            {
                "gateway_id": name,
                "heard_share": _rounded(share),
                "listening": name in listening,
                "heard_at": at(heard.heard_s[name])
                if heard is not None and name in heard.heard_s
                else None,
            }
            for name, share in sorted(known.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


def _together(shares: dict[str, float], names: Collection[str]) -> float | None:
    """Return the share that at least one of some gateways hears; None if nothing is known."""
    if not shares:
        return None
    return 1.0 - math.prod(1.0 - share for name, share in shares.items() if name in names)


def _word(share: float | None) -> str:
    if share is None:
        return "unknown"
    if share < BLIND_SHARE:
        return "blind"
    return "weak" if share < WEAK_SHARE else "good"


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _gateway(state: State, gateway: GatewayState, word: str, needed_by: list[str]) -> Report:
    ear = state.ears.get(gateway.gateway_id)
    return {
        "gateway_id": gateway.gateway_id,
        "zone_id": state.registry.zone_of.get(gateway.gateway_id),
        "state": word,
        "last_heard_at": at(gateway.last_s) if gateway.last_s else None,
        "alive_since_at": at(gateway.alive_since_s) if gateway.last_s else None,
        "last_sighting_at": None if gateway.sighted_s is None else at(gateway.sighted_s),
        "sightings": gateway.count,
        "adverts_per_s": None if ear is None or ear.adverts_per_s is None
        else round(ear.adverts_per_s, 3),
        "restarts": None if ear is None else ear.restarts,
        "restarted_at": at(ear.restarted_s) if ear is not None and ear.restarted_s else None,
        "clock_skew_s": None if ear is None else ear.skew_s,
        "clock_ahead_s": gateway.ahead_s,
        "blind_without_it": needed_by,
    }  # fmt: skip
