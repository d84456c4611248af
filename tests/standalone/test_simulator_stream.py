"""What is sent: counts that add up, outages, late and repeated messages, clocks."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tagtrail.simulator.links import Link, Outage
from tagtrail.simulator.scenario import Faults, Format, Scenario, f1, preset, quiet, small
from tagtrail.simulator.siterun import STATUS_EVERY_S
from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.world import World

FLAWLESS = quiet(f1()).faults


def items_of(t: Transmission) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(t.payload)["sightings"]
    return found


def played(scenario: Scenario) -> tuple[World, list[Transmission]]:
    world = World(scenario)
    return world, list(world.stream())


@pytest.fixture(scope="module")
def noisy() -> tuple[World, list[Transmission]]:
    """Ten minutes of F1."""
    return played(replace(f1(), duration_s=600.0))


Played = tuple[World, list[Transmission]]


def test_transmissions_come_in_order_of_arrival_and_each_has_its_number(noisy: Played) -> None:
    times = [t.deliver_s for t in noisy[1]]
    gateways = [t for t in noisy[1] if t.kind != "fact"]

    assert times == sorted(times)
    assert len({t.serial for t in gateways}) == len(gateways)


def test_different_identities_in_the_stream_are_the_unique_sightings_counted(
    noisy: Played,
) -> None:
    world, stream = noisy
    sent = [item["id"] for t in stream if t.kind == "sightings" for item in items_of(t)]
    counts = world.truth.counts()["native"]

    assert len(sent) == counts.sent
    assert len(set(sent)) == counts.unique
    assert counts.unique + counts.duplicates == counts.sent
    assert sum(t.kind == "sightings" for t in stream) == counts.messages
    assert sum(t.sightings for t in stream) == counts.sent


def test_repeats_of_an_identity_are_equal_in_every_member(noisy: Played) -> None:
    said: dict[str, dict[str, Any]] = {}
    for t in noisy[1]:
        if t.kind == "sightings":
            for item in items_of(t):
                assert said.setdefault(item["id"], item) == item


@pytest.mark.parametrize("form", ["espresense", "openmqttgateway", "ruuvi", "minew"])
def test_the_counts_of_foreign_formats_add_up(form: Format) -> None:
    world, stream = played(replace(f1(), duration_s=90.0, formats=(form,)))
    counts = world.truth.counts()[form]

    assert counts.unique + counts.duplicates == counts.sent == sum(t.sightings for t in stream)
    assert counts.duplicates / counts.unique == pytest.approx(0.035, abs=0.012)


def test_shares_of_duplicates_echoes_and_late_messages_are_as_configured() -> None:
    faults = Faults(
        dead_batteries=0, dead_gateways=0, link_outages=0, skewed_gateways=0,
        duplicate_share=0.04, echo_share=0.02, resend_share=0.01, late_share=0.05,
    )  # fmt: skip
    world, _ = played(replace(quiet(f1()), faults=faults, duration_s=600.0))
    c = world.truth.counts()["native"]

    assert c.echoes / (c.unique - c.echoes) == pytest.approx(0.02, abs=0.002)
    assert c.duplicates / c.unique == pytest.approx(0.04 / 1.02 + 0.01, abs=0.01)
    assert c.late / c.sent == pytest.approx(0.05, abs=0.015)


def test_an_echo_is_another_reading_of_the_same_advert_milliseconds_later() -> None:
    faults = replace(FLAWLESS, echo_share=0.05)
    world, stream = played(replace(quiet(f1()), faults=faults, duration_s=120.0))
    times: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for t in stream:
        if t.kind == "sightings":
            for item in items_of(t):
                times[t.gateway_id, item["tag"]].append(datetime.fromisoformat(item["at"]))
    close = sum(
        (np.diff(np.array(sorted(v), dtype="datetime64[ms]")) <= np.timedelta64(5, "ms")).sum()
        for v in ([a.replace(tzinfo=None) for a in w] for w in times.values())
    )

    assert close == world.truth.counts()["native"].echoes > 0


def test_a_dead_gateway_hears_nothing_and_its_last_will_comes_after_the_keep_alive(
    noisy: Played,
) -> None:
    world, stream = noisy
    (dead,) = [o for o in world.sites[0].outages if o.kind == "dead"]
    at_s = _times_of(world, stream, dead.gateway_id)
    states = _states(stream, dead)

    assert not [a for a in at_s if dead.start_s <= a < dead.end_s]
    assert [a for a in at_s if a < dead.start_s]
    assert [a for a in at_s if a >= dead.end_s]
    assert [online for online, _ in states[:2]] == [False, True]
    assert states[0][1] == pytest.approx(20, abs=1)
    assert states[1][1] == pytest.approx(dead.end_s + 1 - dead.start_s, abs=1)


def test_a_gateway_without_network_is_silent_and_then_sends_its_buffer_in_a_burst(
    noisy: Played,
) -> None:
    world, stream = noisy
    (down,) = [o for o in world.sites[0].outages if o.kind == "link"]
    mine = [t for t in stream if t.gateway_id == down.gateway_id and t.kind == "sightings"]
    during = [t for t in mine if down.start_s <= t.deliver_s < down.end_s]
    burst = [t for t in mine if down.end_s <= t.deliver_s < down.end_s + 10]
    heard = [a for a in _times_of(world, stream, down.gateway_id) if down.start_s <= a < down.end_s]

    assert all(_sent_s(world, t) < down.start_s for t in during)
    assert len(burst) > 0.9 * (down.end_s - down.start_s)
    assert len(heard) > 10 * (down.end_s - down.start_s)


def _sent_s(world: World, t: Transmission) -> float:
    (gateway,) = [g for g in world.sites[0].gateways if g.wire_id == t.gateway_id]
    sent_at = datetime.fromisoformat(json.loads(t.payload)["sent_at"])
    return (sent_at - world.scenario.start_at).total_seconds() - gateway.skew_s


def _times_of(world: World, stream: list[Transmission], gateway_id: str) -> list[float]:
    (gateway,) = [g for g in world.sites[0].gateways if g.wire_id == gateway_id]
    zero = world.scenario.start_at + timedelta(seconds=gateway.skew_s)
    return [
        (datetime.fromisoformat(item["at"]) - zero).total_seconds()
        for t in stream
        if t.gateway_id == gateway_id and t.kind == "sightings"
        for item in items_of(t)
    ]


def _states(stream: list[Transmission], outage: Outage) -> list[tuple[bool, float]]:
    return [
        (json.loads(t.payload)["online"], t.deliver_s - outage.start_s)
        for t in stream
        if t.kind == "status"
        and t.gateway_id == outage.gateway_id
        and t.deliver_s > outage.start_s + 0.1
    ]


def test_gateways_that_cannot_buffer_lose_what_they_hear_without_network() -> None:
    scenario = replace(
        quiet(f1()), faults=replace(FLAWLESS, link_outages=1), duration_s=300.0, formats=("ruuvi",)
    )
    world, stream = played(scenario)
    (down,) = world.sites[0].outages
    mine = [t for t in stream if t.gateway_id == down.gateway_id and t.kind == "sightings"]

    assert world.truth.counts()["ruuvi"].lost > 100
    assert not [t for t in mine if down.start_s + 0.5 < t.deliver_s < down.end_s]
    assert world.truth.counts()["ruuvi"].late == 0


def test_a_wrong_clock_shifts_all_times_of_its_gateway_and_nobody_else(noisy: Played) -> None:
    world, stream = noisy
    skew = {g.wire_id: g.skew_s for g in world.sites[0].gateways}
    ahead: dict[str, list[float]] = defaultdict(list)
    for t in stream:
        if t.kind == "sightings":
            sent_at = datetime.fromisoformat(json.loads(t.payload)["sent_at"])
            ahead[t.gateway_id].append(
                (sent_at - world.scenario.start_at).total_seconds() - t.deliver_s
            )

    assert sum(1 for s in skew.values() if s) == 1
    for gateway_id, shifts in ahead.items():
        assert np.median(shifts) == pytest.approx(skew[gateway_id] - 0.04, abs=0.02)


def test_gateways_say_every_half_minute_that_they_are_there() -> None:
    _, stream = played(replace(quiet(small()), duration_s=300.0))
    said = Counter(t.gateway_id for t in stream if t.kind == "status")

    assert len(said) == 12
    assert set(said.values()) == {300 // STATUS_EVERY_S}
    assert all(t.retained for t in stream if t.kind == "status")


def test_anchors_send_ranges_with_their_sigma_in_the_native_format() -> None:
    world, stream = played(replace(quiet(preset("uwb")), duration_s=30.0))
    anchors = {g.wire_id for g in world.sites[0].gateways if g.station.kind == "uwb"}
    ranged = [
        (t.gateway_id, item)
        for t in stream
        if t.kind == "sightings"
        for item in items_of(t)
        if "range_m" in item
    ]

    assert {gateway for gateway, _ in ranged} == anchors
    assert len(anchors) == 6
    assert {item["sigma_m"] for _, item in ranged} == {0.1}
    assert len({item["tag"] for _, item in ranged}) == 20


def test_facts_reach_the_api_a_second_after_they_happened() -> None:
    world, stream = played(replace(small(), duration_s=300.0))
    facts = [t for t in stream if t.kind == "fact"]

    assert len(facts) == len(world.facts()) > 5
    for t in facts:
        body = json.loads(t.payload)
        at = datetime.fromisoformat(body["occurred_at"]) - world.scenario.start_at
        assert t.deliver_s == pytest.approx(at.total_seconds() + 1.0, abs=1e-3)


def test_two_sites_are_simulated_independently_and_merged_in_order() -> None:
    scenario = replace(preset("big"), duration_s=20.0, tags_per_site=60)
    world, stream = played(scenario)
    alone = World(replace(scenario, sites=scenario.sites[:1]))

    north = [t.payload for t in stream if t.site_id == "north"]
    assert north == [t.payload for t in alone.stream() if t.site_id == "north"]
    assert [t.deliver_s for t in stream] == sorted(t.deliver_s for t in stream)
    assert {t.site_id for t in stream if t.kind == "sightings"} == {"north", "south"}
    assert world.scenario.start_at.tzinfo is UTC


def test_a_link_keeps_the_order_of_what_it_does_not_hold_back() -> None:
    run = World(replace(f1(), duration_s=10.0)).sites[0]
    link = Link(run.gateways[0], [], FLAWLESS, np.random.default_rng(1))
    arrivals = [link.deliver(n * 0.001)[0][0] for n in range(2000)]

    assert arrivals == sorted(arrivals)
    assert min(a - n * 0.001 for n, a in enumerate(arrivals)) >= 0.02
