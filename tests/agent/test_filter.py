"""The edge filter: what is dropped, folded and passed, one rule at a time."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tagtrail_agent.filtering import (
    EdgeFilter,
    Match,
    Profile,
    Rules,
    Traits,
    default_rules,
    enrolled_traits,
)
from tagtrail_agent.filtering.rules import Override
from tagtrail_agent.identity.enrolment import Enrolment
from tagtrail_agent.readings import Reading

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TAG = "mac:58b1294494d3"


def heard(at_s: float, rssi_dbm: float | None = -60.0, tag: str = TAG, **members: Any) -> Reading:
    """Return a reading of some seconds after the start."""
    level = {} if rssi_dbm is None else {"rssi_dbm": rssi_dbm}
    return Reading(tag, START + timedelta(seconds=at_s), at_s, {**level, **members})


def passed(edge: EdgeFilter, readings: Iterable[Reading]) -> list[Reading]:
    """Give readings one by one, a second's `due` after each; returns what came out."""
    out = []
    for reading in readings:
        out += edge.take([reading], reading.elapsed_s)
        out += edge.due(reading.elapsed_s + 0.5)
        assert edge.counts.balanced
    return out


def settled(edge: EdgeFilter, level_dbm: float = -60.0, until_s: int = 200) -> None:
    """Let the filter hear a tag at one level for a while."""
    passed(edge, [heard(s, level_dbm + (-1, 0, 1)[s % 3]) for s in range(until_s)])


@pytest.fixture
def edge() -> EdgeFilter:
    return EdgeFilter(Rules())


def test_the_first_reading_of_a_tag_passes_at_once(edge: EdgeFilter) -> None:
    first = heard(0.0, -71.0, sequence=4)

    assert edge.take([first], 0.0) == [first]


def test_the_three_advertising_channels_are_one_advert(edge: EdgeFilter) -> None:
    channels = [heard(0.0, -60, channel=37), heard(0.001, -64, channel=38), heard(0.002, -59)]

    assert len(edge.take(channels, 0.1)) == 1
    assert edge.counts.dropped["duplicate"] == 2


@pytest.mark.parametrize(("gap_s", "doubles"), [(0.029, 1), (0.031, 0)])
def test_equal_content_is_a_duplicate_only_within_the_window(gap_s: float, doubles: int) -> None:
    edge = EdgeFilter(Rules())
    edge.take([heard(0.0, sequence=7), heard(gap_s, sequence=7)], 1.0)

    assert edge.counts.dropped["duplicate"] == doubles


def test_another_sequence_is_another_advert_however_soon(edge: EdgeFilter) -> None:
    edge.take([heard(0.0, sequence=7), heard(0.001, sequence=8)], 1.0)

    assert edge.counts.dropped["duplicate"] == 0


def test_gateways_do_not_double_each_other(edge: EdgeFilter) -> None:
    other = heard(0.001)
    other.gateway_id = "far"

    assert len(edge.take([heard(0.0), other], 1.0)) == 2


def test_a_still_tag_is_sent_at_its_heartbeat_with_everything_that_was_heard(
    edge: EdgeFilter,
) -> None:
    levels = [-60 + (-2, 0, 2, 1, -1)[s % 5] for s in range(400)]
    items = passed(edge, [heard(s, level) for s, level in enumerate(levels)])

    late = [i for i in items if i.elapsed_s > 100]
    gaps = [b.elapsed_s - a.elapsed_s for a, b in itertools.pairwise(late)]
    assert gaps
    assert all(gap == pytest.approx(45.0, abs=1.0) for gap in gaps)
    assert all(i.members["samples"] == pytest.approx(45, abs=1) for i in late)
    assert all(i.members["rssi_dbm"] == pytest.approx(-60.0, abs=0.11) for i in late)
    assert all(i.members["rssi_variance_db2"] == pytest.approx(2.0, abs=0.11) for i in late)
    assert all(i.members["interval_ms"] == 1000 for i in late)


def test_after_a_change_items_follow_closely_and_then_ever_more_rarely(edge: EdgeFilter) -> None:
    items = passed(edge, [heard(s) for s in range(100)])

    gaps = [b.elapsed_s - a.elapsed_s for a, b in itertools.pairwise(items)]
    assert gaps[0] <= 3.0
    assert max(gaps[:3]) < 45.0


def test_all_gateways_report_a_still_tag_at_about_the_same_time() -> None:
    beats = []
    for started_s in (0, 17):
        edge = EdgeFilter(Rules())
        items = passed(edge, [heard(s + 0.01 * started_s) for s in range(started_s, 400)])
        beats.append([i.elapsed_s for i in items if i.elapsed_s > 200])

    assert len(beats[0]) >= 4
    assert beats[0] == pytest.approx(beats[1], abs=1.5)


def test_a_blip_is_dropped_and_counted(edge: EdgeFilter) -> None:
    settled(edge)
    items = passed(edge, [heard(200, -30.0), heard(201, -60.0), heard(202, -59.0)])

    assert edge.counts.dropped["outlier"] == 1
    assert all(i.members["rssi_dbm"] < -55 for i in [*items, *edge.flush()])


def test_a_change_that_stays_passes_after_three_readings_by_itself(edge: EdgeFilter) -> None:
    settled(edge)
    first, second = passed(edge, [heard(200, -80.0)]), passed(edge, [heard(201, -81.0)])
    third = passed(edge, [heard(202, -82.0)])

    assert (first, second) == ([], [])
    assert [i.members["rssi_dbm"] for i in third][-1] == -81.0
    assert third[-1].members["samples"] == 3
    assert third[0].members["rssi_dbm"] == pytest.approx(-60, abs=1)
    assert edge.counts.dropped["outlier"] == 0


def test_a_smaller_step_that_stays_passes_before_the_heartbeat(edge: EdgeFilter) -> None:
    settled(edge)
    sent = edge.counts.sent
    for second in range(200, 230):
        passed(edge, [heard(second, -68.0 + (-1, 0, 1)[second % 3])])
        if edge.counts.sent > sent and second >= 201:
            break

    assert second <= 205


@pytest.mark.parametrize(("level_dbm", "let_in"), [(-98.0, True), (-98.5, False)])
def test_a_tag_below_the_gate_is_not_let_in(level_dbm: float, let_in: bool) -> None:
    edge = EdgeFilter(Rules())

    assert bool(edge.take([heard(0.0, level_dbm)], 0.0)) is let_in
    assert edge.counts.dropped["weak"] == (not let_in)


@pytest.mark.parametrize(("level_dbm", "weak"), [(-102.0, 0), (-102.5, 1)])
def test_a_tag_that_is_in_may_become_weaker_than_the_gate(level_dbm: float, weak: int) -> None:
    edge = EdgeFilter(Rules())
    edge.take([heard(0.0, -97.0), heard(1.0, level_dbm)], 1.0)

    assert edge.counts.dropped["weak"] == weak


def test_a_power_that_the_radio_does_not_know_is_left_out_but_the_tag_is_heard(
    edge: EdgeFilter,
) -> None:
    items = edge.take([heard(0.0, 127)], 0.0)

    assert [i.members for i in items] == [{}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"motion": False}, {"motion": True}),
        ({"tampered": False}, {"tampered": True}),
        ({"battery_pct": 80}, {"battery_pct": 77}),
        ({"temperature_c": 20.0}, {"temperature_c": 21.1}),
        ({}, {"button": 1}),
    ],
)
def test_a_change_of_what_the_tag_says_passes_at_once(
    edge: EdgeFilter, before: dict[str, Any], after: dict[str, Any]
) -> None:
    passed(edge, [heard(s, **before) for s in range(100)])
    edge.flush()
    items = edge.take([heard(100, **after)], 100.0)

    assert len(items) == 1
    assert items[0].members.items() >= after.items()


@pytest.mark.parametrize("step", [{"battery_pct": 78}, {"temperature_c": 20.9}])
def test_a_smaller_change_waits_for_the_heartbeat(edge: EdgeFilter, step: dict[str, Any]) -> None:
    same: dict[str, Any] = {"battery_pct": 80, "temperature_c": 20.0}
    passed(edge, [heard(s, **same) for s in range(100)])
    edge.flush()

    assert edge.take([heard(100, **{**same, **step})], 100.0) == []
    assert edge.flush()[0].members.items() >= step.items()


def test_a_press_that_is_repeated_under_one_sequence_passes_once(edge: EdgeFilter) -> None:
    passed(edge, [heard(s) for s in range(50)])
    press = [heard(50 + 0.1 * n, sequence=9, button=1) for n in range(8)]

    assert len(edge.take(press, 51.0)) == 1


def test_a_value_that_comes_in_one_advert_of_many_is_in_the_next_item(edge: EdgeFilter) -> None:
    passed(edge, [heard(s) for s in range(100)])
    edge.flush()
    passed(edge, [heard(100), heard(101, battery_pct=55), heard(102), heard(103)])

    assert edge.flush()[0].members["battery_pct"] == 55


def test_a_value_that_does_not_change_is_sent_again_after_the_refresh_time() -> None:
    edge = EdgeFilter(Rules(base=Profile(refresh_s=120.0)))
    items = passed(edge, [heard(s, battery_pct=70) for s in range(400)])

    with_battery = [i.elapsed_s for i in items if "battery_pct" in i.members]
    assert len(items) > 2 * len(with_battery)
    assert with_battery[0] == 0
    gaps = [b - a for a, b in itertools.pairwise(with_battery)]
    assert gaps
    assert all(120 <= gap <= 170 for gap in gaps)


def test_a_tag_that_falls_silent_has_its_last_readings_sent(edge: EdgeFilter) -> None:
    settled(edge)
    edge.flush()
    passed(edge, [heard(200.0), heard(201.0)])
    waiting, due = edge.due(210.9), edge.due(211.0)

    assert waiting == []
    assert [i.elapsed_s for i in due] == [201.0]


def test_doubted_readings_are_the_last_word_of_a_tag_that_falls_silent(edge: EdgeFilter) -> None:
    settled(edge)
    passed(edge, [heard(200.0, -85.0), heard(201.0, -86.0)])
    items = edge.due(220.0)

    assert items[-1].members["rssi_dbm"] == -85.5
    assert edge.counts.dropped["outlier"] == 0


def test_a_tag_that_comes_back_passes_at_once(edge: EdgeFilter) -> None:
    settled(edge)
    edge.due(230.0)
    back = heard(300.0, -85.0)

    assert edge.take([back], 300.0) == [back]


def test_slow_tags_are_never_doubted(edge: EdgeFilter) -> None:
    levels = [-60, -60, -60, -60, -60, -60, -90, -60]
    passed(edge, [heard(30 * n, level) for n, level in enumerate(levels)])

    assert edge.counts.dropped["outlier"] == 0


def test_a_level_that_stands_still_for_a_minute_is_suspect_and_reported(edge: EdgeFilter) -> None:
    items = passed(edge, [heard(s, -64) for s in range(120)])

    assert not any("frozen" in i.members for i in items if i.elapsed_s < 60)
    assert any(i.members.get("frozen") for i in items)
    assert edge.figures()["frozen_links"] == [{"tag": TAG}]
    passed(edge, [heard(120, -65)])
    assert edge.figures()["frozen_now"] == 0


def test_a_level_that_moves_by_one_decibel_is_not_suspect(edge: EdgeFilter) -> None:
    passed(edge, [heard(s, -64 - (s % 50 == 49)) for s in range(200)])

    assert edge.counts.frozen == 0


@pytest.mark.parametrize(
    "kind",
    [
        {"technology": "rfid", "antenna": 1},
        {"technology": "nfc"},
        {"technology": "uwb", "range_m": 4.2},
        {"source_class": "own_phone"},
        {"x_m": 1.0, "y_m": 2.0},
        {"zone": "dock"},
    ],
)
def test_reads_ranges_positions_and_phones_are_never_folded(
    edge: EdgeFilter, kind: dict[str, Any]
) -> None:
    reads = [heard(2.0 * n, -60, **kind) for n in range(20)]

    assert edge.take(reads, 40.0) == reads


def test_an_rfid_tag_that_is_read_again_at_once_by_the_same_antenna_is_a_duplicate(
    edge: EdgeFilter,
) -> None:
    reads = [
        heard(0.0, -50, technology="rfid", antenna=1),
        heard(0.2, -52, technology="rfid", antenna=1),
        heard(0.4, -51, technology="rfid", antenna=2),
    ]

    assert edge.take(reads, 1.0) == [reads[0], reads[2]]


def test_one_of_so_many_readings_passes_as_heard_if_the_rules_say_so() -> None:
    edge = EdgeFilter(Rules(base=Profile(raw_every=10)))
    items = passed(edge, [heard(s, -60 - s % 2, sequence=s) for s in range(101)])

    raw = [i for i in items if i.members.get("raw")]
    assert len(raw) == 10
    assert all("sequence" in i.members and "samples" not in i.members for i in raw)
    assert edge.counts.balanced


def test_tags_in_storage_are_sent_more_rarely_than_tags_in_transit() -> None:
    modes = {"a": "transit", "b": "storage"}
    edge = EdgeFilter(default_rules(), lambda tag: Traits(None, modes[tag], None))
    chance = random.Random(1)
    readings = [heard(s, -60 + chance.gauss(0, 2), tag) for s in range(1800) for tag in modes]
    items = passed(edge, readings)

    sent = {tag: sum(i.tag == tag for i in items) for tag in modes}
    assert sent["b"] * 4 < sent["a"]


def test_the_heartbeat_is_never_rarer_than_the_server_expects_the_tag() -> None:
    edge = EdgeFilter(default_rules(), lambda _: Traits(None, "storage", 1.0))
    items = passed(edge, [heard(s, -60 - s % 2) for s in range(300)])

    gaps = [b.elapsed_s - a.elapsed_s for a, b in itertools.pairwise(items)]
    assert max(gaps) <= 23.0


def test_the_mode_comes_from_the_enrolment() -> None:
    enrolment = Enrolment.parse(
        {"tags": [{"tag_id": "t", "identities": [TAG], "model": "m", "mode": "transit"}]}
    )
    traits_of = enrolled_traits(enrolment)

    assert traits_of(enrolment.tags[0].name) == Traits("m", "transit", None)
    assert traits_of("mac:000000000000") == Traits()


def test_new_rules_hold_from_the_next_reading_on_and_lose_nothing(edge: EdgeFilter) -> None:
    settled(edge)
    held = edge.counts.held
    often = Override(Match(tag=("mac:*",)), {"heartbeat_s": 5.0}, "profiles[0].set")
    edge.adopt(Rules(revision=2, overrides=(often,)))
    items = passed(edge, [heard(200 + s) for s in range(60)])

    assert held > 0
    assert len(items) >= 11
    assert edge.figures()["rules_revision"] == 2
    assert sum(i.members.get("samples", 1) for i in [*items, *edge.flush()]) == held + 60


def test_more_links_than_may_be_followed_push_out_the_longest_silent_one() -> None:
    edge = EdgeFilter(Rules(), most_links=10)
    items = []
    for second in range(3):
        items += edge.take([heard(second + n / 100, tag=f"t{n}") for n in range(10)], second + 1.0)
    items += edge.take([heard(5.0, tag="new")], 5.0)

    assert "new" in [i.tag for i in items]
    assert sum(i.members.get("samples", 1) for i in items if i.tag == "t0") == 3
    assert edge.figures()["links"] == 10
    assert edge.counts.balanced


def test_a_link_that_is_silent_for_hours_is_forgotten(edge: EdgeFilter) -> None:
    settled(edge)
    edge.due(199 + 7201.0)

    assert edge.figures()["links"] == 0
    assert edge.counts.held == 0


def test_a_reading_that_comes_late_passes_and_disturbs_nothing(edge: EdgeFilter) -> None:
    settled(edge)
    late = heard(150.5, -61.0)

    assert edge.take([late], 200.0) == [late]
    assert edge.counts.balanced


def test_an_average_made_by_the_receiver_counts_with_its_own_samples(edge: EdgeFilter) -> None:
    edge.take([heard(0.0)], 0.0)
    edge.take([heard(1.0, -60.0, samples=3, rssi_variance_db2=4.0), heard(1.2, -64.0)], 1.2)
    item = edge.flush()[0]

    assert item.members["samples"] == 4
    assert item.members["rssi_dbm"] == -61.0
    assert item.members["rssi_variance_db2"] == 6.0


def test_two_hundred_adverts_a_second_take_a_few_percent_of_a_core() -> None:
    edge, chance = EdgeFilter(default_rules()), random.Random(1)
    readings = [
        heard(n / 200, -70 + chance.gauss(0, 3), f"mac:{n % 200:012x}", sequence=n)
        for n in range(20_000)
    ]
    began = time.process_time()
    for n in range(0, len(readings), 200):
        edge.take(readings[n : n + 200], n / 200 + 1)
    share = (time.process_time() - began) / 100.0

    assert share < 0.03


def test_a_link_takes_less_than_four_kilobytes() -> None:
    chance = random.Random(1)
    seconds = [
        [heard(s + n / 500, -70 + chance.gauss(0, 3), f"mac:{n:012x}") for n in range(200)]
        for s in range(60)
    ]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    edge = EdgeFilter(default_rules())
    for s, readings in enumerate(seconds):
        edge.take(readings, s + 1.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (after - before) / 200 < 4096
