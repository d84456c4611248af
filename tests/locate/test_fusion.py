"""Several sources, one answer, with the reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.support.locate_scene import Scene, envelope, ranged, sighting, square, two_zones

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import (
    GatewayRegistered,
    SiteRegistered,
    ZoneRegistered,
    ZoneRetired,
)
from tagtrail_kernel.events.sightings import TagPositionReported, TagZoneReported
from tagtrail_locate.core.calm import GATHER_S

ANCHORS = {"u1": (0.0, 0.0), "u2": (20.0, 0.0), "u3": (20.0, 10.0), "u4": (0.0, 10.0)}


def near_b(start: float, end: float) -> list[Envelope]:
    """Return sightings by which signal strength says zone b."""
    return [
        sighting(start + n, gateway, level)
        for n in range(round(end - start))
        for gateway, level in (("gw-a", -85.0), ("gw-b", -60.0))
    ]


def reported(at_s: float, **fields: Any) -> Envelope:
    fact = TagPositionReported(tag_id="tag-1", gateway_id="hub", **fields)
    return envelope(at_s, fact, subject="tag-1")


def claimed(at_s: float, zone: str, claim: Any = "in", **fields: Any) -> Envelope:
    fact = TagZoneReported(tag_id="tag-1", gateway_id="hub", zone=zone, claim=claim, **fields)
    return envelope(at_s, fact, subject="tag-1")


def told(scene: Scene) -> dict[str, Any]:
    return scene.engine.explain(scene.engine.state.tags["tag-1"])


def with_anchors() -> list[Envelope]:
    facts = [
        GatewayRegistered(gateway_id=key, site_id="hall", x_m=x, y_m=y, zone_id=None)
        for key, (x, y) in ANCHORS.items()
    ]
    return [*two_zones(), *(envelope(-1.0, fact, salt=fact.gateway_id) for fact in facts)]


def round_at(
    at_s: float, x_m: float, y_m: float, *, bias: dict[str, float] | None = None
) -> list[Envelope]:
    """Return one range per anchor."""
    return [
        ranged(at_s + 0.01 * n, key, math.hypot(x_m - x, y_m - y) + (bias or {}).get(key, 0.0))
        for n, (key, (x, y)) in enumerate(ANCHORS.items())
    ]


def test_s17_a_phone_scan_of_three_minutes_ago_outranks_signal_strength() -> None:
    scene = Scene(two_zones())
    scene.give(near_b(0, 60))
    scan = sighting(60.0, "gw-a", None, technology="nfc", source_class="own_phone")

    scene.give([scan, *near_b(60, 241)])

    assert scene.zone() == "a"
    assert scene.place().method == "read_point"
    why = told(scene)
    assert why["reason"] == "outranks_contradiction"
    assert why["because"].startswith("phone scan 3 min ago outranks signal strength (b, 0 s ago)")
    assert why["conflict"] == [{"method": "ble_zone", "zone_id": "b", "age_s": 0.0}]
    assert why["sources"][0]["by"]["what"] == "phone scan"


def test_s17_after_three_minutes_the_gateways_decide_again() -> None:
    scene = Scene(two_zones())
    scan = sighting(60.0, "gw-a", None, technology="nfc", source_class="own_phone")
    scene.give([*near_b(0, 60), scan])

    scene.give(near_b(61, 250))

    assert [zone for _, zone in scene.changes][-3:] == ["b", "a", "b"]
    assert 241.0 <= scene.changes[-1][0] <= 242.0 + GATHER_S
    assert told(scene)["reason"] == "only_source"
    assert "too old or undecided: tap, portal read or phone scan" in told(scene)["because"]


def test_a_phone_that_hears_a_tag_from_afar_is_no_scan() -> None:
    scene = Scene(two_zones())
    scene.give(near_b(0, 60))

    scene.give([sighting(60.0, "gw-a", -95.0, source_class="own_phone"), *near_b(60, 70)])
    assert scene.zone() == "b"

    scene.give([sighting(70.0, "gw-a", -60.0, source_class="own_phone"), *near_b(70, 75)])
    assert scene.zone() == "a"


def test_a_portal_read_is_in_the_zone_of_its_reader_at_once() -> None:
    scene = Scene(two_zones())

    scene.give([sighting(0.0, "gw-b", -45.0, technology="rfid")])

    place = scene.place()
    assert (place.zone_id, place.method, place.confidence) == ("b", "read_point", 0.99)
    assert (place.x_m, place.y_m, place.accuracy_m) == (15.0, 5.0, 2.0)
    fact = scene.facts[-1].data
    assert isinstance(fact, TagZoneChanged)
    assert len(fact.evidence) == 1


def test_ranges_outrank_signal_strength_and_give_a_position() -> None:
    scene = Scene(with_anchors())
    scene.give(near_b(0, 20))

    for n in range(20, 30):
        scene.give([*round_at(n, 4.0, 6.0), *near_b(n + 0.5, n + 1)])

    place = scene.place()
    assert (place.zone_id, place.method) == ("a", "uwb")
    assert math.hypot(place.x_m - 4.0, place.y_m - 6.0) < 0.05  # type: ignore[operator]
    assert place.accuracy_m is not None
    assert 0.05 < place.accuracy_m < 0.5
    assert "ranged position" in told(scene)["because"]


def test_signal_strength_takes_over_when_ranging_ends() -> None:
    scene = Scene(with_anchors())
    scene.give([f for n in range(10) for f in round_at(n, 4.0, 6.0)])

    scene.give(near_b(10, 40))

    assert scene.zone() == "b"
    assert scene.place().method == "ble_zone"
    accuracy_m = scene.place().accuracy_m
    assert accuracy_m is not None
    assert accuracy_m >= 3.0


def test_a_tag_on_the_border_does_not_flap() -> None:
    scene = Scene(with_anchors())
    chance = np.random.default_rng(2)
    for n in range(200):
        x_m = 9.9 + chance.normal(0, 0.08)
        scene.give(round_at(float(n), x_m, 5.0))

    assert [zone for _, zone in scene.changes] == ["a"]


def test_a_walk_over_the_border_changes_the_zone_after_two_fixes() -> None:
    scene = Scene(with_anchors())
    for n in range(20):
        scene.give(round_at(float(n), 5.0 + 0.5 * n, 5.0))

    assert [zone for _, zone in scene.changes] == ["a", "b"]
    assert scene.changes[1][0] == pytest.approx(12.03, abs=0.1)


def test_a_blocked_anchor_is_named_in_the_explanation() -> None:
    scene = Scene(with_anchors())
    more = GatewayRegistered(gateway_id="u5", site_id="hall", x_m=10.0, y_m=10.0)
    scene.give([envelope(-0.5, more)])

    scene.give(
        [*round_at(0.0, 4.0, 6.0, bias={"u3": 2.0}), ranged(0.05, "u5", math.hypot(6.0, 4.0))]
    )
    scene.give(
        [*round_at(1.0, 4.0, 6.0, bias={"u3": 2.0}), ranged(1.05, "u5", math.hypot(6.0, 4.0))]
    )

    rejected = told(scene)["ranging"]["rejected"]
    assert [r["gateway_id"] for r in rejected] == ["u3"]
    assert rejected[0]["residual_m"] == pytest.approx(2.0, abs=0.2)


def test_anchors_on_one_line_fall_back_to_the_zone_and_name_both_places() -> None:
    line = [
        envelope(-1.0, GatewayRegistered(gateway_id=k, site_id="hall", x_m=x, y_m=5.0), salt=k)
        for k, x in (("u1", 0.0), ("u2", 8.0), ("u3", 16.0))
    ]
    scene = Scene([*two_zones(), *line])
    scene.give(near_b(0, 5))

    scene.give(
        ranged(5.0 + n + 0.01 * x, k, math.hypot(6.0 - x, 3.0))
        for n in range(2)
        for k, x in (("u1", 0.0), ("u2", 8.0), ("u3", 16.0))
    )

    assert scene.place().method == "ble_zone"
    ranging = told(scene)["ranging"]
    assert ranging["trouble"] == "degenerate-geometry"
    assert sorted(round(c["y_m"]) for c in ranging["candidates"]) == [2, 8]
    assert [round(c["x_m"]) for c in ranging["candidates"]] == [6, 6]


def test_of_two_places_that_fit_the_one_on_the_plan_is_told() -> None:
    line = [
        envelope(-1.0, GatewayRegistered(gateway_id=k, site_id="hall", x_m=x, y_m=0.0), salt=k)
        for k, x in (("u1", 0.0), ("u2", 8.0), ("u3", 16.0))
    ]
    scene = Scene([*two_zones(), *line])

    scene.give(
        ranged(n + 0.01 * x, k, math.hypot(6.0 - x, 3.0))
        for n in range(2)
        for k, x in (("u1", 0.0), ("u2", 8.0), ("u3", 16.0))
    )

    place = scene.place()
    assert place.method == "uwb"
    assert place.x_m == pytest.approx(6.0, abs=0.3)
    assert place.y_m == pytest.approx(3.0, abs=0.3)


def test_an_anchor_without_a_place_is_named() -> None:
    scene = Scene(two_zones())

    scene.give([ranged(0.0, "u9", 3.0)])

    assert told(scene)["ranging"]["trouble"] == "anchor u9 has no registered position"


def test_vendor_coordinates_pass_through_with_their_accuracy() -> None:
    scene = Scene(two_zones())

    scene.give([reported(0.0, x_m=13.0, y_m=4.0, accuracy_m=0.4, site_id="hall")])

    place = scene.place()
    assert (place.x_m, place.y_m, place.accuracy_m) == (13.0, 4.0, 0.4)
    assert (place.zone_id, place.method) == ("b", "reported")


def test_gps_is_turned_into_the_frame_of_the_site() -> None:
    site = SiteRegistered(
        site_id="hall", name="Hall", latitude_deg=45.0, longitude_deg=9.0, bearing_deg=0.0
    )
    scene = Scene([*two_zones(), envelope(-1.0, site)])

    fields = {"latitude_deg": 45.0 + 5.0 / 111_195.0, "longitude_deg": 9.0 + 15.0 / 78_626.7}
    scene.give([reported(0.0, accuracy_m=4.0, technology="gps", **fields)])

    place = scene.place()
    assert place.x_m == pytest.approx(15.0, abs=0.05)
    assert place.y_m == pytest.approx(5.0, abs=0.05)
    assert (place.zone_id, place.method, place.accuracy_m) == ("b", "gps", 4.0)
    assert place.confidence is not None
    assert 0.5 < place.confidence < 0.95


def test_gps_that_left_the_site_leaves_all_zones() -> None:
    site = SiteRegistered(site_id="hall", name="Hall", latitude_deg=45.0, longitude_deg=9.0)
    scene = Scene([*two_zones(), envelope(-1.0, site)])
    here = {"latitude_deg": 45.0 + 5.0 / 111_195.0, "longitude_deg": 9.0 + 15.0 / 78_626.7}
    scene.give([reported(0.0, accuracy_m=3.0, **here)])

    scene.give([reported(t, latitude_deg=46.0, longitude_deg=9.5) for t in (60.0, 120.0)])

    assert [zone for _, zone in scene.changes] == ["b", None]
    assert scene.place().x_m is None


def test_a_claim_is_matched_by_name_whatever_its_case() -> None:
    scene = Scene(two_zones())

    scene.give([claimed(0.0, "ZONE_B", confidence_pct=80.0)])

    place = scene.place()
    assert (place.zone_id, place.method, place.confidence) == ("b", "claimed", 0.8)
    scene.give([claimed(1.0, "nowhere")])
    assert scene.engine.state.counters == {"unknown_claimed_zone": 1}
    scene.give([claimed(2.0, "b", "left")])
    assert [zone for _, zone in scene.changes] == ["b", None]


def test_sources_that_agree_are_said_to() -> None:
    scene = Scene(two_zones())

    scene.give([*near_b(0, 20), claimed(20.0, "b")])

    assert told(scene)["reason"] == "sources_agree"
    assert told(scene)["conflict"] == []


def test_where_zones_overlap_the_smaller_one_wins() -> None:
    inner = ZoneRegistered(
        zone_id="cage", site_id="hall", name="Cage", outline_m=square(1.0, 1.0, 3.0)
    )
    scene = Scene([*two_zones(), envelope(-1.0, inner)])

    scene.give([reported(0.0, x_m=2.0, y_m=2.0, accuracy_m=0.2, site_id="hall")])

    assert scene.zone() == "cage"
    scene.give([envelope(1.0, ZoneRetired(zone_id="cage"))])
    scene.give([reported(2.0, x_m=2.0, y_m=2.0, accuracy_m=0.2, site_id="hall")])
    assert scene.zone() == "a"


def test_a_tag_known_by_signal_strength_is_drawn_inside_its_zone() -> None:
    scene = Scene(two_zones())

    scene.give(
        [
            sighting(n + 0.0, gateway, level)
            for n in range(20)
            for gateway, level in (("gw-a", -66.0), ("gw-b", -68.0))
        ]
    )

    place = scene.place()
    assert place.zone_id == "a"
    assert place.x_m is not None
    assert place.accuracy_m is not None
    assert place.x_m <= 10.0
    assert place.accuracy_m >= 3.0
