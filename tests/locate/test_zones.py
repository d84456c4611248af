"""Zones from signal strength: quick to enter, careful to leave."""

from __future__ import annotations

import math
import random

import pytest
from tests.support.locate_scene import (
    START,
    Scene,
    alive,
    envelope,
    rooms,
    sighting,
    two_zones,
)

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import (
    ConfigChanged,
    GatewayRegistered,
    TagRegistered,
    TagRetired,
    ZoneRegistered,
    ZoneRetired,
)
from tagtrail_kernel.events.sightings import TagAbsenceReported
from tagtrail_locate.core.facts import Sighting
from tagtrail_locate.core.levels import level_of, shift_of
from tagtrail_locate.core.plan import plan_of
from tagtrail_locate.core.state import Hold
from tagtrail_locate.core.thresholds import Fence, Thresholds
from tagtrail_locate.core.zones import View, decide, expire


def at_metres(metres: float) -> float:
    """Return the power at a distance in the default model, dBm."""
    return -59.0 - 27.0 * math.log10(metres)


def heard(
    start: float, end: float, a_m: float | None, b_m: float | None, *, every: float = 1.0
) -> list[Envelope]:
    """Return sightings by both gateways from given distances; None = not heard."""
    found = []
    for n in range(round((end - start) / every)):
        at_s = start + n * every
        if a_m is not None:
            found.append(sighting(at_s, "gw-a", at_metres(a_m)))
        if b_m is not None:
            found.append(sighting(at_s + 0.05, "gw-b", at_metres(b_m)))
    return found


def test_one_sighting_is_enough_to_enter() -> None:
    scene = Scene(two_zones())

    scene.give([sighting(0.0, "gw-a", -70.0)])

    assert scene.changes == [(0.0, "a")]
    place = scene.place()
    assert (place.zone_id, place.method, place.site_id) == ("a", "ble_zone", "hall")
    assert place.confidence is not None
    assert 0.5 <= place.confidence <= 0.95
    assert place.accuracy_m is not None
    assert place.accuracy_m >= 3.0
    assert place.radius_95_m is not None
    assert place.radius_95_m >= place.accuracy_m


def test_a_wrong_first_zone_is_corrected_within_two_seconds() -> None:
    scene = Scene(two_zones())

    scene.give([sighting(0.0, "gw-a", at_metres(3)), *heard(0.2, 5.0, 9.0, 2.0)])

    assert [zone for _, zone in scene.changes] == ["a", "b"]
    assert scene.changes[1][0] <= 2.0


def test_a_lead_below_the_margin_never_wins() -> None:
    scene = Scene(two_zones())
    scene.give(heard(0, 30, 4.0, 8.0))

    scene.give(heard(30, 300, 4.0, 4.0 * 0.85))

    assert [zone for _, zone in scene.changes] == ["a"]


@pytest.mark.parametrize(
    ("rested_s", "best", "leaves"),
    [(179.0, 0.7, True), (181.0, 0.7, False), (181.0, 0.79, False), (181.0, 0.81, True)],
)
def test_without_a_sign_of_a_move_a_rested_zone_is_left_only_when_that_is_nearly_sure(
    rested_s: float, best: float, leaves: bool
) -> None:
    hold, thresholds = Hold(zone_id="a", entered=True, reason="most_probable"), Thresholds()
    view = View("b", best, 1.0 - best, 0.0, rested_s=rested_s)
    fence = thresholds.fence_of("hall", "a")

    changed = [
        decide(hold, view, float(second), fence, thresholds, settling=False) for second in range(6)
    ]

    assert any(changed) == leaves
    assert hold.zone_id == ("b" if leaves else "a")


def test_a_lead_above_the_margin_wins_after_its_time() -> None:
    scene = Scene(two_zones())
    scene.give(heard(0, 30, 4.0, 8.0))

    scene.give(heard(30, 300, 4.0, 4.0 * 0.6))

    assert [zone for _, zone in scene.changes] == ["a", "b"]
    fact = scene.facts[-1].data
    assert isinstance(fact, TagZoneChanged)
    assert fact.candidate_since_at is not None
    waited_s = (scene.facts[-1].occurred_at - fact.candidate_since_at).total_seconds()
    assert 3.0 <= waited_s <= 35.0
    assert fact.from_zone_id == "a"
    assert fact.configuration == "5"
    assert 1 <= len(fact.evidence) <= 16


IN_A = View("a", 0.9, 0.9, 1.0)
IN_B = View("b", 0.9, 0.1, 0.1, rested_s=90.0)
AT_THE_BORDER = View("b", 0.7, 0.3, 0.8, rested_s=90.0)


def _contested(
    rounds: list[View], *, every_s: float = 1.0, settling: bool = False, held_s: float = 30.0
) -> Hold:
    """Contest zone a, held for some time, once per round."""
    thresholds = Thresholds()
    fence = thresholds.fence_of("hall", "a")
    hold = Hold(zone_id="a", since_s=0.0, entered=True)
    for n, view in enumerate(rounds):
        decide(hold, view, held_s + n * every_s, fence, thresholds, settling=settling)
    return hold


def test_three_leads_and_three_seconds_without_a_break_change_the_zone() -> None:
    assert _contested([IN_B] * 3).zone_id == "a"
    assert _contested([IN_B] * 4).zone_id == "b"
    assert _contested([IN_B] * 9, every_s=0.3).zone_id == "a"
    assert _contested([IN_B] * 2, every_s=5.0).zone_id == "a"


def test_the_candidates_count_starts_anew_when_the_holder_leads_again() -> None:
    hold = _contested([IN_B, IN_B, IN_B, IN_A, IN_B, IN_B, IN_B])

    assert hold.zone_id == "a"
    assert (hold.candidate_id, hold.candidate_count) == ("b", 3)


def test_the_candidates_count_starts_anew_when_another_zone_leads() -> None:
    other = IN_B._replace(best_id="c")

    hold = _contested([IN_B, IN_B, IN_B, other, IN_B, IN_B, IN_B])

    assert hold.zone_id == "a"
    assert (hold.candidate_id, hold.candidate_count) == ("b", 3)


def test_the_candidates_count_starts_anew_when_the_holder_is_probable_enough() -> None:
    doubtful = View("b", 0.55, 0.45, 0.6)

    assert _contested([IN_B, IN_B, IN_B, doubtful, IN_B, IN_B, IN_B]).zone_id == "a"
    assert _contested([doubtful] * 200).zone_id == "a"


def test_a_tag_that_may_stand_at_the_border_leaves_after_the_tolerances_time() -> None:
    assert _contested([AT_THE_BORDER] * 45).reason == "within_tolerance"
    assert _contested([AT_THE_BORDER] * 45).zone_id == "a"
    assert _contested([AT_THE_BORDER] * 46).zone_id == "b"
    assert _contested([AT_THE_BORDER] * 46).reason == "left_after_timeout"


def test_a_tag_at_the_border_that_was_moved_a_minute_ago_or_less_leaves_after_ten_seconds() -> None:
    stirred = AT_THE_BORDER._replace(rested_s=60.0)

    assert _contested([stirred] * 10).zone_id == "a"
    assert _contested([stirred] * 11).zone_id == "b"
    assert _contested([stirred._replace(rested_s=60.1)] * 11).zone_id == "a"


def test_the_exit_delay_begins_when_the_tag_is_beyond_the_tolerance() -> None:
    rounds = [AT_THE_BORDER] * 20

    assert _contested([*rounds, *[IN_B] * 3]).zone_id == "a"
    assert _contested([*rounds, *[IN_B] * 4]).zone_id == "b"
    assert _contested([*rounds, IN_B, IN_B, AT_THE_BORDER, IN_B, IN_B]).zone_id == "a"


def test_a_tag_that_has_just_appeared_is_corrected_within_a_second() -> None:
    short = [AT_THE_BORDER] * 2

    assert _contested(short, settling=True, held_s=5.0).zone_id == "b"
    assert _contested(short, every_s=0.9, settling=True, held_s=5.0).zone_id == "a"


def test_the_longer_a_zone_was_held_the_longer_what_corrects_it_must_lead() -> None:
    assert _contested([AT_THE_BORDER] * 6, settling=True, held_s=50.0).zone_id == "a"
    assert _contested([AT_THE_BORDER] * 7, settling=True, held_s=50.0).zone_id == "b"


def test_a_tag_can_leave_all_zones() -> None:
    outside = View(None, 0.9, 0.05, 0.05)

    hold = _contested([outside] * 4)

    assert (hold.zone_id, hold.entered, hold.reason) == (None, True, "left_beyond_tolerance")


def test_no_zone_is_named_rather_than_guessed() -> None:
    thresholds, hold = Thresholds(enter_probability=0.5), Hold()
    fence = thresholds.fence_of("hall", None)

    decide(hold, View("a", 0.4, 0.0, 0.0), 0.0, fence, thresholds, settling=True)
    assert (hold.zone_id, hold.reason, hold.entered) == (None, "undecided", False)
    decide(hold, View("a", 0.6, 0.0, 0.0), 1.0, fence, thresholds, settling=True)
    assert (hold.zone_id, hold.reason) == ("a", "first_zone")


def test_fence_parameters_of_a_zone_go_before_those_of_its_site_and_tenant() -> None:
    thresholds = Thresholds(
        exit_delay_ms=4000,
        site_fences={"hall": Fence(exit_delay_ms=2000, exit_tolerance_m=3.0)},
        zone_fences={"a": Fence(exit_delay_ms=0, timeout_ms=60_000)},
    )

    inner = thresholds.fence_of("hall", "a")
    outer = thresholds.fence_of("hall", "b")

    assert (inner.exit_delay_s, inner.exit_tolerance_m, inner.timeout_s) == (0.0, 3.0, 60.0)
    assert (outer.exit_delay_s, outer.exit_tolerance_m, outer.timeout_s) == (2.0, 3.0, None)
    assert thresholds.fence_of("yard", "c").exit_delay_s == 4.0
    assert thresholds.fence_of("yard", "c").exit_evaluations == 3


def test_a_zone_without_evidence_expires_once() -> None:
    hold = Hold(zone_id="a", entered=True)

    assert expire(hold, 10.0)
    assert not expire(hold, 11.0)
    assert (hold.zone_id, hold.reason) == (None, "timeout")


def test_a_silent_holder_loses_the_tag_although_the_other_hears_it_no_better() -> None:
    scene = Scene(rooms(["gw-a", "gw-b"]))
    scene.give(heard(0, 60, 2.0, 9.0))

    scene.give(
        [f for n in range(40) for f in (alive(60.0 + n, "gw-a"), *heard(60 + n, 61 + n, None, 9.0))]
    )

    assert [zone for _, zone in scene.changes] == ["gw-a", "gw-b"]
    assert 65 <= scene.changes[1][0] <= 76
    told = scene.engine.explain(scene.engine.state.tags["tag-1"])
    assert [n["gateway_id"] for n in told["not_heard"]] == ["gw-a"]
    assert [link["silence_counts"] for link in told["links"]] == [True, False]


def test_a_gateway_that_went_down_keeps_its_tags() -> None:
    scene = Scene(two_zones())
    scene.give(
        [
            sighting(
                n + 0.1 * k, gateway, at_metres(2.0 if gateway == "gw-a" else 9.0), tag=f"t{k}"
            )
            for n in range(60)
            for k in range(4)
            for gateway in ("gw-a", "gw-b")
        ]
    )

    scene.give(
        [
            sighting(60 + n + 0.1 * k, "gw-b", at_metres(9.0), tag=f"t{k}")
            for n in range(120)
            for k in range(4)
        ]
    )

    assert {scene.zone(f"t{k}") for k in range(4)} == {"a"}


def test_a_gateway_that_delivers_its_buffer_moves_no_tag() -> None:
    near, far = at_metres(2.0), at_metres(9.0)
    tags = [f"t{k}" for k in range(4)]

    def by(gateway: str, start: int, end: int, level: float) -> list[Envelope]:
        return [
            sighting(n + 0.1 * k, gateway, level, tag=tag)
            for n in range(start, end)
            for k, tag in enumerate(tags)
        ]

    scene = Scene(two_zones())
    scene.give(
        [f for n in range(90) for f in (*by("gw-b", n, n + 1, far), *by("gw-a", n, n + 1, near))]
    )
    scene.give(by("gw-b", 90, 200, far))

    scene.give(by("gw-a", 200, 201, near)[:1])
    scene.give(by("gw-b", 200, 201, far))
    scene.give(by("gw-a", 90, 200, near))
    for n in range(201, 230):
        scene.give([*by("gw-b", n, n + 1, far), *by("gw-a", n, n + 1, near)])

    late = [change for change in scene.changes if change[0] > 15]
    assert late == []
    assert {scene.zone(tag) for tag in tags} == {"a"}


def test_one_stray_reading_of_a_slow_tag_does_not_move_it() -> None:
    scene = Scene(two_zones())
    scene.give(heard(0, 1200, 2.0, 9.0, every=60.0))

    scene.give(heard(1200, 1260, 9.0, 2.0, every=60.0))
    scene.give(heard(1260, 2400, 2.0, 9.0, every=60.0))

    assert [zone for _, zone in scene.changes] == ["a"]


def test_several_gateways_of_one_zone_are_one_candidate() -> None:
    second = GatewayRegistered(gateway_id="gw-a2", site_id="hall", zone_id="a", x_m=1, y_m=1)
    scene = Scene([*two_zones(), envelope(-1.0, second)])
    near = {"gw-a": 3.0, "gw-a2": 2.0, "gw-b": 9.0}
    scene.give([sighting(n + 0.0, g, at_metres(d)) for n in range(60) for g, d in near.items()])

    near = {"gw-a": 2.0, "gw-a2": 3.0, "gw-b": 9.0}
    scene.give([sighting(60.0 + n, g, at_metres(d)) for n in range(60) for g, d in near.items()])

    assert [zone for _, zone in scene.changes] == ["a"]
    assert scene.place().gateway_id == "gw-a"


def test_a_gateway_without_zone_takes_the_one_it_stands_in() -> None:
    placed = GatewayRegistered(gateway_id="gw-p", site_id="hall", x_m=15, y_m=2)
    scene = Scene([*two_zones(), envelope(-1.0, placed)])

    scene.give([sighting(0.0, "gw-p", -60.0)])

    assert scene.zone() == "b"


@pytest.mark.parametrize(
    ("message_dbm", "gateway_dbm", "tag_dbm", "level_db"),
    [
        (-64.0, -71.0, None, -6.0),
        (None, -71.0, None, 1.0),
        (None, -71.0, -65.0, 7.0),
        (None, None, None, -11.0),
        (None, None, -65.0, -5.0),
    ],
)
def test_the_power_at_one_metre_comes_from_message_then_gateway_then_default(
    message_dbm: float | None,
    gateway_dbm: float | None,
    tag_dbm: float | None,
    level_db: float,
) -> None:
    gateway = GatewayRegistered(
        gateway_id="gw", site_id="hall", zone_id="a", rssi_1m_dbm=gateway_dbm
    )
    tag = TagRegistered(tag_id="tag-1", identities=("mac:1",), rssi_1m_dbm=tag_dbm)
    scene = Scene([*two_zones(), envelope(-2.0, gateway), envelope(-1.0, tag)])
    scene.give([sighting(0.0, "gw", -70.0)])
    registry, known = scene.engine.state.registry, scene.engine.state.tags["tag-1"]
    fact = Sighting(tag_id="tag-1", gateway_id="gw", rssi_dbm=-70.0, rssi_1m_dbm=message_dbm)

    level = level_of(registry, fact, shift_of(registry, "gw"), known.power_db)

    assert level == pytest.approx(level_db - 59.0)


def test_the_path_loss_exponent_of_the_gateway_decides_what_is_expected() -> None:
    scene = Scene(two_zones())
    steep = plan_of(scene.engine.state.registry, "hall")
    flat = GatewayRegistered(
        gateway_id="gw-a", site_id="hall", zone_id="a", x_m=5.0, y_m=5.0, path_loss_exponent=2.0
    )
    scene.give([envelope(-1.0, flat)])
    gentle = plan_of(scene.engine.state.registry, "hall")

    assert steep is not None
    assert gentle is not None
    far = (steep.cells.x_m - 5.0) ** 2 + (steep.cells.y_m - 5.0) ** 2 > 25.0
    assert (gentle.mean_dbm[0][far] > steep.mean_dbm[0][far] + 4.0).all()
    assert (gentle.mean_dbm[1] == steep.mean_dbm[1]).all()


def test_an_absence_report_takes_that_gateway_out_at_once() -> None:
    scene = Scene(rooms(["gw-a", "gw-b"]))
    scene.give(heard(0, 30, 2.0, 9.0))
    gone = TagAbsenceReported(tag_id="tag-1", gateway_id="gw-a")

    scene.give([envelope(30.0, gone), *heard(30.1, 35, None, 9.0)])

    assert scene.zone() == "gw-b"


def test_configuration_takes_effect_from_its_position_on_and_wrong_ones_are_refused() -> None:
    scene = Scene(two_zones())
    scene.give([envelope(0.0, ConfigChanged(section="locate", values={"exit_probability": 5}))])
    refused = scene.engine.state.registry

    assert refused.thresholds.exit_probability == Thresholds().exit_probability
    assert "exit_probability" in str(refused.trouble)
    scene.give([envelope(1.0, ConfigChanged(section="locate", values={"exit_probability": 0.5}))])
    scene.give([envelope(2.0, ConfigChanged(section="rule", values={}))])
    assert refused.thresholds.exit_probability == 0.5
    assert str(refused.trouble) == "None"
    assert refused.version == 7


def test_a_retired_zone_is_left_at_the_next_sighting() -> None:
    scene = Scene(two_zones())
    scene.give(heard(0, 30, 2.0, 9.0))

    scene.give([envelope(30.0, ZoneRetired(zone_id="a")), *heard(30.5, 32, 2.0, 9.0)])

    assert scene.zone() == "b"


def test_a_retired_tag_is_forgotten() -> None:
    scene = Scene(two_zones())
    scene.give(heard(0, 10, 2.0, 9.0))

    scene.give([envelope(10.0, TagRetired(tag_id="tag-1"))])

    assert scene.places["tag-1"] is None
    assert "tag-1" not in scene.engine.state.tags


def test_a_zone_can_be_added_later() -> None:
    scene = Scene(two_zones())
    scene.give([sighting(n + 0.0, "gw-c", -60.0) for n in range(10)])
    assert scene.changes == []

    zone = ZoneRegistered(zone_id="c", site_id="hall", name="C")
    gateway = GatewayRegistered(gateway_id="gw-c", site_id="hall", zone_id="c")
    scene.give([envelope(10.0, zone), envelope(10.0, gateway), sighting(11.0, "gw-c", -60.0)])

    assert scene.changes == [(11.0, "c")]


def test_a_gateway_whose_clock_runs_ahead_does_not_move_time() -> None:
    scene = Scene(two_zones())
    scene.give(heard(0, 20, 2.0, 9.0))
    ahead = sighting(20.0 + 3600.0, "gw-b", at_metres(9.0))

    scene.give([ahead], recorded_at=START.replace(second=20))
    scene.give(heard(21, 30, 2.0, 9.0))

    state = scene.engine.state
    assert state.counters == {"clock_ahead": 1}
    assert state.tags["tag-1"].late == 0
    assert state.watermarks_s["hall"] < START.timestamp() + 60


def test_s10_a_still_tag_between_noise_and_bodies_stays_in_its_zone() -> None:
    chance = random.Random(5)
    scene = Scene(two_zones())
    blocked = {"gw-a": False, "gw-b": False}
    for second in range(1800):
        for gateway, metres in (("gw-a", 4.0), ("gw-b", 7.0)):
            if chance.random() < (0.25 if blocked[gateway] else 0.03):
                blocked[gateway] = not blocked[gateway]
            level = at_metres(metres) + chance.gauss(0, 2.8) - 6.0 * blocked[gateway]
            scene.give([sighting(second + chance.random() * 0.9, gateway, round(level))])

    after_entry = [change for change in scene.changes if change[0] > 15]
    assert after_entry == []
    assert scene.zone() == "a"


def test_a_zone_expires_when_its_fence_says_so_and_is_found_again() -> None:
    values = {"zone_fences": {"a": {"timeout_ms": 60_000}}}
    scene = Scene([envelope(-5.0, ConfigChanged(section="locate", values=values)), *two_zones()])
    scene.give(heard(0, 10, 2.0, 9.0))

    scene.give([alive(10.0 + n, "gw-b") for n in range(60)])
    assert scene.zone() == "a"
    scene.give([alive(70.0 + n, "gw-b") for n in range(3)])
    assert scene.zone() is None
    assert scene.engine.state.tags["tag-1"].radio.reason == "timeout"
    scene.give(heard(80, 83, 2.0, 9.0))

    assert [zone for _, zone in scene.changes] == ["a", None, "a"]
    assert scene.changes[1][0] == pytest.approx(69.1, abs=1.1)


def test_a_zone_with_a_shorter_time_out_than_the_one_before_expires_by_its_own() -> None:
    values = {"zone_fences": {"a": {"timeout_ms": 600_000}, "b": {"timeout_ms": 60_000}}}
    scene = Scene([envelope(-5.0, ConfigChanged(section="locate", values=values)), *two_zones()])
    scene.give([*heard(0, 100, 2.0, 9.0), *heard(100, 130, 9.0, 2.0)])
    assert scene.zone() == "b"

    scene.give([alive(130.0 + n, "gw-a") for n in range(65)])

    assert scene.zone() is None
    assert scene.changes[-1][0] == pytest.approx(189.1, abs=1.1)


def test_a_tag_that_is_heard_again_and_again_is_looked_at_once_per_time_out() -> None:
    config = envelope(-5.0, ConfigChanged(section="locate", values={"timeout_ms": 30_000}))
    scene = Scene([config, *two_zones()])
    posted = []
    for minute in range(5):
        scene.give(heard(60 * minute, 60 * minute + 60, 2.0, 9.0))
        posted.append([len(c.expiries) for c in scene.engine._clocks.sites.values()])

    assert max(max(counts) for counts in posted) == 1
    assert scene.zone() == "a"


@pytest.mark.parametrize("lag_s", [1, 3, 10])
def test_a_lag_tells_where_the_tag_was_so_long_ago(lag_s: int) -> None:
    config = envelope(-5.0, ConfigChanged(section="locate", values={"lag_s": lag_s}))
    later = Scene([config, *two_zones()])

    later.give([*heard(0, 60, 2.0, 9.0), *heard(60, 120, 9.0, 2.0)])

    assert [zone for _, zone in later.changes] == ["a", "b"]
    assert 60 + lag_s <= later.changes[1][0] <= 60 + lag_s + 9
    assert later.engine.explain(later.engine.state.tags["tag-1"])["lag_s"] == lag_s
