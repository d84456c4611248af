"""Coverage is learned from what was heard: who hears which tag and zone, and who only lives."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.support.locate_desk import LocateDesk
from tests.support.locate_scene import START, Scene, alive, envelope, sighting, two_zones
from tests.support.silence_world import HOUR, RECEPTION, Traveller, World, company, played

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.registrations import TagRegistered
from tagtrail_locate.core import batteries, coverage, ears
from tagtrail_locate.core.coverage_report import report
from tagtrail_locate.core.hearing import Battery, Ear, Habits

DAY = 24 * HOUR
STAYING = company("a", "b", "out", interval_s=10.0)
CALM = World(tags=STAYING, until_s=HOUR)


@pytest.fixture(scope="module")
def calm() -> Scene:
    """An hour of nine tags that stay, all gateways well."""
    return played(CALM)


def test_the_share_of_a_zones_adverts_that_a_gateway_hears_is_learned(calm: Scene) -> None:
    state = calm.engine.state

    for zone in ("a", "b", "out"):
        for gateway, share in RECEPTION[zone].items():
            learned = coverage.zone_share(state, zone, gateway)
            assert learned == pytest.approx(share, abs=0.06), (zone, gateway)
    assert coverage.zone_share(state, "a", "gw-out") == 0.0


def test_a_tags_own_reception_is_learned_per_gateway(calm: Scene) -> None:
    for tag_id in ("a-0", "a-1", "b-2", "out-0"):
        tag = calm.engine.state.tags[tag_id]
        for gateway, share in RECEPTION[tag_id.partition("-")[0]].items():
            heard, missed = coverage.evidence(calm.engine.state, tag, gateway)
            assert heard / (heard + missed) == pytest.approx(share, abs=0.25), (tag_id, gateway)


def test_weak_links_are_not_flattered_by_counting_from_a_hearing() -> None:
    shares = []
    for seed in range(8):
        tag = Traveller(route=((0.0, "far"),))
        scene = played(World(tags=(tag,), until_s=2 * HOUR, seed=seed))
        heard, missed = coverage.evidence(
            scene.engine.state, scene.engine.state.tags["tag-1"], "gw-b"
        )
        shares.append(heard / (heard + missed))

    assert sum(shares) / len(shares) == pytest.approx(RECEPTION["far"]["gw-b"], abs=0.05)


def test_time_in_which_a_gateway_was_down_is_not_held_against_it(calm: Scene) -> None:
    world = replace(CALM, dark={"gw-a": ((900.0, 2700.0),)})

    state = played(world).engine.state

    learned = coverage.zone_share(state, "a", "gw-a")
    assert learned == pytest.approx(coverage.zone_share(calm.engine.state, "a", "gw-a"), abs=0.08)
    assert state.coverage["a"].dark["gw-a"] > 100.0


def test_a_tag_that_moved_is_known_anew_within_minutes() -> None:
    tag = Traveller(route=((0.0, "a"), (HOUR, "out")))
    state = played(World(tags=(tag, *STAYING), until_s=HOUR + 900)).engine.state

    heard, missed = coverage.evidence(state, state.tags["tag-1"], "gw-a")

    assert heard / (heard + missed) < 0.25


def test_the_map_says_which_zones_a_dead_gateway_leaves_blind(calm: Scene) -> None:
    told = report(calm.engine.state, "hall")

    zones = {z["zone_id"]: z for z in told["zones"]}
    assert zones["a"]["coverage"] == "good"
    assert zones["a"]["blind_without"] == []
    assert zones["a"]["gateways"][0]["gateway_id"] == "gw-a"
    assert zones["far"]["coverage"] == "unknown"
    gateways = {g["gateway_id"]: g for g in told["gateways"]}
    assert {g["state"] for g in gateways.values()} == {"listening"}


def test_a_zone_that_one_gateway_hears_alone_is_blind_when_it_dies() -> None:
    scene = Scene(two_zones())
    for n in range(120):
        scene.give([sighting(10.0 * n, "gw-a", -60.0, tag="t"), alive(10.0 * n + 1, "gw-b")])
    before = report(scene.engine.state, "hall")

    scene.give([alive(1200.0 + 10 * n, "gw-b") for n in range(10)])

    after = report(scene.engine.state, "hall")
    assert before["zones"][0]["blind_without"] == ["gw-a"]
    assert before["gateways"][0]["blind_without_it"] == ["a"]
    assert after["zones"][0]["coverage"] == "good"
    assert after["zones"][0]["coverage_now"] == "blind"
    assert after["zones"][0]["blind_without"] == []
    assert after["gateways"][0]["state"] == "silent"


def test_a_gateway_that_lives_and_hears_none_of_its_tags_is_deaf() -> None:
    world = replace(CALM, deaf={"gw-a": ((1800.0, 9e9),)})

    told = report(played(world).engine.state, "hall")

    states = {g["gateway_id"]: g["state"] for g in told["gateways"]}
    assert states == {"gw-a": "deaf", "gw-b": "listening", "gw-out": "listening"}


def test_two_tags_that_are_silent_do_not_make_a_gateway_deaf_and_three_do() -> None:
    for count, deaf in ((2, False), (3, True)):
        scene = Scene(two_zones())
        scene.give(
            sighting(10.0 * n + k, "gw-a", -60.0, tag=f"t{k}")
            for n in range(10)
            for k in range(count)
        )
        scene.give(alive(100.0 + 15 * n, "gw-a") for n in range(20))

        gateway = scene.engine.state.gateways["gw-a"]
        assert coverage.is_deaf(scene.engine.state, gateway) is deaf, count


def figures(at_s: float, gateway: str, **values: float) -> Envelope:
    fact = GatewayReported(gateway_id=gateway, kind="telemetry", values=dict(values))
    return envelope(at_s, fact, subject=gateway)


def _room_of_three(adverts_after: int) -> Scene:
    """Three tags go at once; the gateway tells how many adverts of anything it hears."""
    scene = Scene(two_zones())
    for n in range(30):
        scene.give(sighting(10.0 * n + k, "gw-a", -60.0, tag=f"t{k}") for k in range(3))
        scene.give([figures(10.0 * n + 5, "gw-a", adverts=40 * n)])
    for n in range(30, 60):
        scene.give([figures(10.0 * n + 5, "gw-a", adverts=40 * 29 + adverts_after * (n - 29))])
    return scene


def test_a_gateway_that_hears_strangers_is_not_deaf_and_its_room_was_emptied() -> None:
    hearing, deaf = _room_of_three(40), _room_of_three(0)

    for scene, expected in ((hearing, False), (deaf, True)):
        state = scene.engine.state
        assert coverage.is_deaf(state, state.gateways["gw-a"]) is expected


def test_restarts_and_rates_are_taken_from_a_gateways_own_figures() -> None:
    known: dict[str, Ear] = {}

    for at_s, adverts, uptime_s in ((10, 100, 10), (20, 300, 20), (15, 1, 1), (30, 20, 4)):
        ears.note(known, "gw", at_s, {"adverts": adverts, "uptime": uptime_s, "clock_skew_s": 0.5})
    ears.note(known, "other", 5.0, {"adverts": "many", "uptime": True, "temperature_c": 40.0})

    assert known.keys() == {"gw"}
    ear = known["gw"]
    assert (ear.restarts, ear.restarted_s, ear.skew_s) == (1, 30, 0.5)
    assert ear.adverts_per_s == 20.0


@pytest.mark.parametrize(
    ("pct", "mv", "share"),
    [
        (40.0, None, 0.4),
        (40.0, 3000.0, 0.4),
        (None, 3000.0, 1.0),
        (None, 2500.0, 0.5),
        (None, 1900.0, 0.0),
        (None, 3600.0, None),
        (None, 0.0, None),
    ],
)
def test_charge_is_read_from_percent_or_from_the_voltage_of_small_cells(
    pct: float | None, mv: float | None, share: float | None
) -> None:
    assert batteries.share_of(pct, mv) == share


def test_a_battery_that_falls_is_forecast_by_its_slope_and_a_new_one_begins_anew() -> None:
    habits = Habits()
    for day in range(80):
        batteries.learn(habits, day * DAY, 0.9 - 0.01 * day)
    assert habits.battery is not None

    slope = batteries.slope_per_s(habits.battery)
    hazard = batteries.hazard_per_s(habits.battery, 79 * DAY)
    batteries.learn(habits, 80 * DAY, 1.0)

    assert slope * DAY == pytest.approx(0.01, rel=0.05)
    assert 1.0 / hazard == pytest.approx((0.11 - batteries.EMPTY_SHARE) / 0.01 * DAY, rel=0.1)
    assert batteries.slope_per_s(habits.battery) == 0.0


def test_a_battery_ends_sooner_the_lower_it_is() -> None:
    levels = [0.9, 0.5, 0.25, 0.1, 0.05, 0.02]
    at_s = 100 * DAY

    hazards = [
        batteries.hazard_per_s(Battery(at_s, s, at_s, s, 90 * DAY, s + 0.1), at_s) for s in levels
    ]

    assert hazards == sorted(hazards)
    assert hazards[-1] == pytest.approx(1.0 / HOUR)
    assert batteries.hazard_per_s(None, at_s) < hazards[1]


def test_what_is_learned_fades_with_the_adverts_of_a_zone() -> None:
    rng = random.Random(3)
    scene = Scene(two_zones())
    fact = TagRegistered(tag_id="tag-1", identities=("mac:1",), interval_s=1.0)
    scene.give([envelope(-1.0, fact)])
    scene.give(sighting(float(n), "gw-a", -60.0) for n in range(60))
    zone = scene.engine.state.coverage["a"]
    zone.expected, zone.heard["gw-a"] = 2.0 * coverage.ZONE_HALF_LIFE, 2.0 * coverage.ZONE_HALF_LIFE

    for n in range(60, 4000):
        if rng.random() < 0.5:
            scene.give([sighting(float(n), "gw-a", -60.0)])

    assert zone.expected < 1.2 * coverage.ZONE_HALF_LIFE
    assert zone.heard["gw-a"] / zone.expected == pytest.approx(0.91, abs=0.02)


async def test_the_coverage_of_a_site_is_served_with_ages(desk: LocateDesk) -> None:
    facts = [sighting(10.0 * n, "gw-a", -60.0, tag="t") for n in range(200)]
    await desk.give([*two_zones(), *facts])
    desk.clock.forward((START.replace(hour=9) - desk.clock.now()).total_seconds())

    told = await desk.get("/v1/sites/hall/coverage")

    zone = next(z for z in told["zones"] if z["zone_id"] == "a")
    assert zone["coverage"] == "good"
    assert zone["adverts"] >= 50
    assert zone["gateways"][0]["gateway_id"] == "gw-a"
    assert zone["gateways"][0]["age_s"] == pytest.approx(3600 - 1990, abs=120)
    assert told["age_s"] == pytest.approx(3600 - 1990)
    assert told["as_of_position"] > 200
    gateways = {g["gateway_id"]: g for g in told["gateways"]}
    assert gateways["gw-b"]["state"] == "never_heard"
    assert gateways["gw-a"]["blind_without_it"] == ["a"]


async def test_the_coverage_of_an_unknown_site_is_not_found(desk: LocateDesk) -> None:
    await desk.give(two_zones())

    reply = await desk.http.get("/v1/sites/elsewhere/coverage")

    assert reply.status_code == 404
    assert "elsewhere" in reply.json()["detail"]
