"""Explanations that locate itself gives, for tags that are known in every way."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import orjson
from tests.support.locate_scene import Scene, envelope, ranged, rooms, sighting, two_zones
from tests.support.silence_world import Traveller, World, company, played

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import GatewayRegistered
from tagtrail_kernel.events.sightings import TagZoneReported

Json = dict[str, Any]

TAG: Final = "tag-1"
ANCHORS: Final = {"u1": (0.0, 0.0), "u2": (20.0, 0.0), "u3": (20.0, 10.0), "u4": (0.0, 10.0)}
WELL_S: Final = 600.0
"""Until then a tag that falls silent is heard."""

END_S: Final = 1300.0


def _near(zone: str, start_s: float, end_s: float) -> list[Envelope]:
    """Return readings once a second by which signal strength says this zone."""
    return [
        sighting(start_s + n, f"gw-{other}", -60.0 if other == zone else -85.0)
        for n in range(round(end_s - start_s))
        for other in "ab"
    ]


def _by_strength() -> Scene:
    return Scene([*two_zones(), *_near("b", 0, 60)])


def _wanting_to_leave() -> Scene:
    scene = _by_strength()
    for at_s in range(60, 90):
        scene.give(_near("a", at_s, at_s + 1))
        if scene.engine.state.tags[TAG].radio.candidate_count:
            break
    return scene


def _without_coordinates() -> Scene:
    return Scene(
        [
            *rooms("xyz"),
            *(
                sighting(n, g, level)
                for n in range(30)
                for g, level in (("x", -85.0), ("y", -60.0))
            ),
        ]
    )


def _read_only() -> Scene:
    return Scene([*two_zones(), sighting(0.0, "gw-b", -45.0, technology="rfid")])


def _scanned_elsewhere() -> Scene:
    scan = sighting(60.0, "gw-a", None, technology="nfc", source_class="own_phone")
    return Scene([*two_zones(), *_near("b", 0, 60), scan, *_near("b", 61, 70)])


def _told_by_a_partner() -> Scene:
    """Return a tag that a partner claims to have seen, and that is heard by one's own afterwards."""
    claim = TagZoneReported(tag_id=TAG, gateway_id="hub", zone="a", source_class="partner_network")
    return Scene(
        [*two_zones(), *_near("b", 0, 60), envelope(60.0, claim, subject=TAG), *_near("b", 61, 65)]
    )


def _anchors() -> list[Envelope]:
    facts = [
        GatewayRegistered(gateway_id=name, site_id="hall", x_m=x, y_m=y)
        for name, (x, y) in ANCHORS.items()
    ]
    return [*two_zones(), *(envelope(-1.0, fact, salt=fact.gateway_id) for fact in facts)]


def _by_ranges() -> Scene:
    """Return a tag 3 m of whose distance to one anchor is a detour."""
    detour_m = {"u1": 3.0}
    rounds = [
        ranged(0.3 * n + 0.01 * k, name, math.dist((12.0, 4.0), ANCHORS[name]) + detour_m.get(name, 0.0))
        for n in range(20)
        for k, name in enumerate(ANCHORS)
    ]  # fmt: skip
    return Scene([*_anchors(), *rounds])


def _too_few_ranges() -> Scene:
    return Scene([*_anchors(), *(ranged(float(n), "u1", 5.0) for n in range(5))])


def _silent(tag: Traveller, **faults: Any) -> Scene:
    return played(World(tags=(tag, *company("a", "b", "out")), until_s=END_S, **faults))


def _discharging(at_s: float) -> float:
    return max(14.0 - 12.0 * at_s / WELL_S, 0.0) if at_s < WELL_S else 0.0


KINDS: Final[dict[str, Callable[[], Scene]]] = {
    "by signal strength": _by_strength,
    "about to leave": _wanting_to_leave,
    "in rooms without coordinates": _without_coordinates,
    "read at a door": _read_only,
    "scanned elsewhere": _scanned_elsewhere,
    "told by a partner": _told_by_a_partner,
    "by ranges": _by_ranges,
    "too few ranges": _too_few_ranges,
    "gone": lambda: _silent(Traveller(route=((0.0, "a"), (WELL_S, None)))),
    "battery empty": lambda: _silent(Traveller(battery_pct=_discharging)),
    "gateways down": lambda: _silent(
        Traveller(), dark={"gw-a": ((WELL_S, 9e9),), "gw-b": ((WELL_S, 9e9),)}
    ),
}
"""Ways in which a tag is known, or no longer known."""


@cache
def explained(kind: str) -> Json:
    """Return what `GET /v1/tags/{id}/explain` answers about a tag of this kind.

    Args:
        kind: A key of `KINDS`.
    """
    engine = KINDS[kind]().engine
    body = engine.explain(engine.state.tags[TAG])
    found: Json = orjson.loads(orjson.dumps(body, default=str))
    return found | {"age_s": 1.5, "as_of_position": engine.state.position}
