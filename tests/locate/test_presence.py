"""Presence in event time: silence is not absence, and a dead gateway proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.support.locate_scene import START, Scene, alive, envelope, sighting, two_zones

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.places import TagPresenceChanged
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered

HOUR = 3600.0


def registered(mode: Any, interval_s: float | None, *, at_s: float = -1.0) -> Envelope:
    fact = TagRegistered(tag_id="tag-1", identities=("mac:1",), mode=mode, interval_s=interval_s)
    return envelope(at_s, fact)


def beat(start: float, end: float, *gateways: str, every: float = 15.0) -> list[Envelope]:
    """Return telemetry of gateways, in order of time."""
    count = round((end - start) / every)
    return [alive(start + n * every + 0.001, g) for n in range(1, count + 1) for g in gateways]


def adverts(
    start: float, end: float, *, every: float = 1.0, gateway: str = "gw-a"
) -> list[Envelope]:
    count = round((end - start) / every)
    return [sighting(start + n * every, gateway, -60.0) for n in range(count)]


def _scene(*facts: Iterable[Envelope]) -> Scene:
    scene = Scene(two_zones())
    for some in facts:
        scene.give(some)
    return scene


def test_s8_two_hours_of_silence_are_normal_in_storage_and_not_in_transit() -> None:
    silence = beat(10, 2 * HOUR, "gw-a", "gw-b")

    stored = _scene([registered("storage", 6 * HOUR)], adverts(0, 10), silence)
    moving = _scene([registered("transit", 60.0)], adverts(0, 10), silence)

    assert stored.presence == []
    assert stored.state_of() == "present"
    assert [(tag, state) for _, tag, state in moving.presence] == [
        ("tag-1", "overdue"),
        ("tag-1", "missing"),
    ]
    assert moving.presence[0][0] == pytest.approx(9 + 180, abs=16)
    assert moving.presence[1][0] == pytest.approx(9 + 600, abs=70)


def test_s16_tags_under_a_dead_gateway_are_unobservable_and_not_missing() -> None:
    scene = _scene(
        [registered("transit", 10.0)],
        adverts(0, 60),
        beat(0, 60, "gw-a", "gw-b"),
        beat(60, 2 * HOUR, "gw-b"),
    )

    assert [state for _, _, state in scene.presence] == ["unobservable"]
    assert scene.presence[0][0] == pytest.approx(60 + 60, abs=16)


def test_a_site_that_is_silent_as_a_whole_makes_no_statement() -> None:
    scene = _scene([registered("transit", 10.0)], adverts(0, 60))

    assert scene.presence == []
    assert scene.state_of() == "present"


def test_the_dead_time_of_a_gateway_is_not_held_against_its_tags() -> None:
    scene = _scene(
        [registered("transit", 10.0)],
        adverts(0, 60),
        beat(0, 60, "gw-a", "gw-b"),
        beat(60, HOUR, "gw-b"),
        beat(HOUR, HOUR + 25, "gw-a", "gw-b", every=5.0),
    )
    assert scene.state_of() == "unobservable"

    scene.give(beat(HOUR + 25, HOUR + 300, "gw-a", "gw-b", every=5.0))

    assert [state for _, _, state in scene.presence] == ["unobservable", "overdue", "missing"]
    assert scene.presence[1][0] == pytest.approx(HOUR + 5 + 30, abs=6)
    assert HOUR + 5 + 120 <= scene.presence[2][0] < HOUR + 5 + 240


def configured(**values: float) -> Envelope:
    return envelope(-2.0, ConfigChanged(section="locate", values=values))


def test_the_limits_of_overdue_and_missing_are_met_exactly() -> None:
    by_time_alone = configured(missing_probability=0.0)
    scene = _scene([by_time_alone, registered("transit", 20.0)], [sighting(0.0, "gw-a", -60.0)])

    scene.give([alive(59.9, "gw-a")])
    assert scene.state_of() == "present"
    scene.give([alive(60.0, "gw-a")])
    assert scene.state_of() == "overdue"
    scene.give([alive(n, "gw-a") for n in (100.0, 150.0, 199.9)])
    assert scene.state_of() == "overdue"
    scene.give([alive(200.0, "gw-a")])
    assert scene.state_of() == "missing"


def test_a_missing_tag_that_is_heard_again_is_present_at_once() -> None:
    scene = _scene([registered("transit", 10.0)], adverts(0, 10), beat(10, 900, "gw-a"))
    assert scene.state_of() == "missing"

    scene.give([sighting(901.0, "gw-a", -60.0)])

    fact = scene.facts[-1].data
    assert isinstance(fact, TagPresenceChanged)
    assert (fact.state, fact.cause, fact.gone_probability) == ("present", None, None)
    assert scene.place().presence == "present"
    scene.give(beat(902, 1800, "gw-a"))
    assert scene.state_of() == "missing"


def test_the_fact_says_what_was_expected_and_where_it_was_last() -> None:
    scene = _scene([registered("transit", 20.0)], adverts(0, 10), beat(10, 900, "gw-a"))

    fact = scene.facts[-1].data

    assert isinstance(fact, TagPresenceChanged)
    assert fact.state == "missing"
    assert (fact.zone_id, fact.site_id, fact.gateway_ids) == ("a", "hall", ("gw-a",))
    assert fact.expected_interval_s == 20.0
    assert fact.silent_s >= 200.0
    assert (fact.last_heard_at - START).total_seconds() == 9.0
    assert scene.facts[-1].causation_id is not None


def test_the_interval_is_learned_where_none_is_registered() -> None:
    scene = _scene(adverts(0, 300, every=10.0), beat(300, 390, "gw-a", every=5.0))
    tag = scene.engine.state.tags["tag-1"]

    assert tag.learned
    assert tag.interval_s == pytest.approx(10.0)
    assert [state for _, _, state in scene.presence] == ["overdue"]
    scene.give(beat(390, 1300, "gw-a", every=5.0))
    assert scene.state_of() == "missing"


def test_a_tag_that_is_put_into_storage_mode_is_no_longer_missing() -> None:
    scene = _scene([registered("transit", 10.0)], adverts(0, 10), beat(10, 900, "gw-a"))
    assert scene.state_of() == "missing"

    scene.give([registered("storage", 6 * HOUR, at_s=901.0), *beat(901, 940, "gw-a")])

    assert scene.state_of() == "present"


def test_a_last_will_is_not_a_sign_of_life() -> None:
    gone = GatewayReported(gateway_id="gw-a", kind="status", online=False)
    scene = _scene(
        [registered("transit", 10.0)],
        adverts(0, 60),
        [envelope(60.0 + 15 * n, gone, salt=str(n)) for n in range(100)],
        beat(60, 1500, "gw-b"),
    )

    assert [state for _, _, state in scene.presence] == ["unobservable"]


def test_a_retained_status_is_not_a_sign_of_life() -> None:
    kept = GatewayReported(gateway_id="gw-a", kind="status", online=True, retained=True)
    scene = _scene(
        [registered("transit", 10.0)],
        adverts(0, 60),
        beat(60, 500, "gw-b"),
        [envelope(500.0, kept)],
        beat(500, 600, "gw-b"),
    )

    assert scene.state_of() == "unobservable"


def test_passive_tags_are_never_missing() -> None:
    scene = _scene(
        [sighting(0.0, "gw-a", None, technology="rfid")], beat(0, 10 * HOUR, "gw-a", "gw-b")
    )

    assert scene.presence == []
    assert scene.zone() == "a"


def test_buffered_sightings_of_the_past_do_not_make_a_silent_tag_flap() -> None:
    scene = _scene(
        [registered("transit", 10.0)],
        adverts(0, 60),
        beat(0, 60, "gw-a", "gw-b"),
        beat(60, 1000, "gw-b"),
    )
    assert scene.state_of() == "unobservable"

    scene.give(adverts(60, 900, every=5.0))

    assert [state for _, _, state in scene.presence] == ["unobservable"]
    scene.give(adverts(900, 1005, every=5.0))
    assert [state for _, _, state in scene.presence] == ["unobservable", "present"]


def test_thresholds_are_configuration() -> None:
    config = configured(
        missing_factor=3.0, missing_s=30.0, overdue_factor=2.0, overdue_s=10.0,
        missing_probability=0.0,
    )  # fmt: skip
    scene = _scene([config, registered("transit", 10.0)], adverts(0, 10))

    scene.give([alive(9.0 + 20.0, "gw-a")])
    assert scene.state_of() == "overdue"
    scene.give([alive(9.0 + 30.0, "gw-a")])
    assert scene.state_of() == "missing"
