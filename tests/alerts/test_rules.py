"""The rules as plain functions of events."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.alert_history import History, minute, recorded

from tagtrail_alerts.core.engine import Engine
from tagtrail_alerts.core.memory import Expectation, Memory
from tagtrail_alerts.core.parameters import LEFT_OUTBOUND, MISSING_TAG
from tagtrail_alerts.core.transitions import Fire, Resolve, Transition, envelopes_of
from tagtrail_kernel.envelope import open_body, seal
from tagtrail_kernel.events.alerts import AlertFired, AlertResolved
from tagtrail_kernel.events.registrations import AssetRetired, TagBound, TagRetired, TagUnbound
from tagtrail_kernel.events.registry import Event


def run(history: History) -> list[Transition]:
    """Fold a history; what the rules publish is folded in turn, at the end of the log."""
    engine, log, transitions = Engine(Memory()), list(history.envelopes), []
    known = {e.id for e in log}
    at = 0
    while at < len(log):
        event = list(recorded(log))[at]
        made = engine.apply(event)
        transitions += made
        for envelope in envelopes_of(made):
            if envelope.id not in known:
                known.add(envelope.id)
                log.append(envelope)
        at += 1
    return transitions


def fired(transitions: list[Transition]) -> list[Expectation]:
    return [t.expectation for t in transitions if isinstance(t, Fire)]


def resolved(transitions: list[Transition]) -> list[Resolve]:
    return [t for t in transitions if isinstance(t, Resolve)]


def shipped() -> History:
    """A pallet comes to outbound at 0 and leaves at 10."""
    history = History().warehouse()
    history.move(-20, "stage")
    history.move(0, "out")
    history.move(10, None)
    return history


def test_s63_a_pod_four_minutes_late_but_inside_the_grace_raises_nothing() -> None:
    history = shipped()
    history.rule(10, LEFT_OUTBOUND, grace_s=900)
    history.pod(14, "p1")
    history.tick(300)

    assert run(history) == []


def test_s63_no_pod_at_all_raises_exactly_one_investigation() -> None:
    history = shipped()
    for at in (30, 41, 42, 43, 60, 600):
        history.tick(at)

    (alert,) = fired(run(history))

    assert alert.rule_id == LEFT_OUTBOUND
    assert alert.card.title == "Pallet p1 left Out, Hall North without proof of delivery"
    assert alert.card.since_at == minute(10)
    assert alert.card.severity == "critical"
    assert alert.card.site_id == "s1"
    assert alert.due_at == minute(40)


@pytest.mark.parametrize(("pod_min", "alerts"), [(40, 0), (40.02, 1)])
def test_the_grace_ends_thirty_minutes_after_leaving(pod_min: float, alerts: int) -> None:
    history = shipped()
    history.pod(pod_min, "p1")
    history.tick(60)

    assert len(fired(run(history))) == alerts


@pytest.mark.parametrize(("tick_min", "alerts"), [(41.99, 0), (42, 1)])
def test_a_decision_waits_for_the_lateness_after_the_deadline(tick_min: float, alerts: int) -> None:
    history = shipped()
    history.tick(tick_min)

    assert len(fired(run(history))) == alerts


@pytest.mark.parametrize(("pod_min", "alerts"), [(-0.1, 1), (0, 0), (5, 0)])
def test_a_pod_before_leaving_counts_from_the_entry_into_outbound(
    pod_min: float, alerts: int
) -> None:
    history = History().warehouse()
    history.move(-20, "stage")
    history.pod(pod_min, "p1")
    history.move(0, "out")
    history.move(10, None)
    history.tick(600)

    assert len(fired(run(history))) == alerts


def test_a_stay_goes_on_over_two_outbound_zones() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.pod(1, "p1")
    history.move(2, "out2")
    history.move(10, None)
    history.tick(600)

    assert run(history) == []


def test_a_late_pod_of_a_time_inside_the_grace_retracts_the_alert() -> None:
    history = shipped()
    history.tick(50)
    pod = history.pod(35, "p1")

    transitions = run(history)
    (end,) = resolved(transitions)

    assert len(fired(transitions)) == 1
    assert end.cause.startswith("retracted: POD POD-7 of 2026-03-02 08:35:00 UTC")
    assert end.event_id == str(pod.id)


def test_a_pod_of_a_time_after_the_grace_leaves_the_alert_open() -> None:
    history = shipped()
    history.tick(50)
    history.pod(55, "p1")

    transitions = run(history)

    assert len(fired(transitions)) == 1
    assert resolved(transitions) == []


@pytest.mark.parametrize("zone_id", ["store", "stage", "out", "out2"])
def test_coming_back_inside_before_the_deadline_cancels(zone_id: str) -> None:
    history = shipped()
    history.move(39, zone_id)
    history.tick(600)

    assert run(history) == []


@pytest.mark.parametrize("zone_id", ["dock", "yard"])
def test_going_on_to_the_dock_or_yard_is_not_coming_back(zone_id: str) -> None:
    history = shipped()
    history.move(20, zone_id)
    history.tick(600)

    assert len(fired(run(history))) == 1


def test_coming_back_after_the_alert_resolves_it_without_retracting() -> None:
    history = shipped()
    history.tick(50)
    history.move(60, "store")

    (end,) = resolved(run(history))

    assert end.cause == "back in Store, Hall North at 2026-03-02 09:00:00 UTC"


def test_going_straight_into_storage_counts_as_leaving_until_it_is_back_in_outbound() -> None:
    left = History().warehouse()
    left.move(0, "out")
    left.move(10, "store")
    left.move(12, "stage")
    left.tick(600)
    back = History().warehouse()
    back.move(0, "out")
    back.move(10, "store")
    back.move(12, "out")
    back.tick(600)

    assert len(fired(run(left))) == 1
    assert run(back) == []


def test_moves_inside_can_be_told_not_to_count() -> None:
    history = History().warehouse()
    history.rule(-1, LEFT_OUTBOUND, moves_inside_count=False)
    history.move(0, "out")
    history.move(10, "store")
    history.tick(600)

    assert run(history) == []


def test_silence_in_the_outbound_zone_is_leaving() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.presence(20, "missing", heard_min=10)
    history.tick(600)

    (alert,) = fired(run(history))

    assert alert.rule_id == LEFT_OUTBOUND
    assert alert.card.since_at == minute(10)
    assert alert.due_at == minute(50)


def test_silence_of_the_gateways_is_not_leaving() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.presence(20, "unobservable", heard_min=10)
    history.tick(600)

    assert run(history) == []


def test_goods_that_are_missing_once_the_gateways_are_back_have_left() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.presence(20, "unobservable", heard_min=10)
    history.presence(60, "missing", heard_min=10)
    history.tick(600)

    (alert,) = fired(run(history))

    assert alert.rule_id == LEFT_OUTBOUND
    assert alert.due_at == minute(90)


def test_silence_of_the_gateways_counts_as_leaving_where_the_rule_is_told_so() -> None:
    history = History().warehouse()
    history.rule(-50, LEFT_OUTBOUND, silence_states=["missing", "unobservable"])
    history.move(0, "out")
    history.presence(20, "unobservable", heard_min=10)
    history.tick(600)

    (alert,) = fired(run(history))

    assert alert.due_at == minute(50)
    assert "its gateways are silent as well" in str(alert.card.why)


def test_one_silence_is_one_departure_even_when_its_kind_changes() -> None:
    history = History().warehouse()
    history.rule(-50, LEFT_OUTBOUND, silence_states=["missing", "unobservable"])
    history.move(0, "out")
    history.presence(20, "missing", heard_min=10)
    history.pod(22, "p1")
    history.presence(90, "unobservable", heard_min=10)
    history.move(95, None)
    history.tick(600)

    assert run(history) == []


def test_being_heard_again_in_the_outbound_zone_cancels_a_departure_by_silence() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.presence(20, "missing", heard_min=10)
    history.presence(30, "present", heard_min=29)
    history.tick(600)

    assert run(history) == []


def test_an_overdue_tag_has_not_left() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.presence(20, "overdue", heard_min=10)
    history.tick(600)

    assert run(history) == []


def test_a_tag_on_no_asset_is_nobodys_pallet() -> None:
    history = History().warehouse()
    history.add("t-p1", -1, TagUnbound(tag_id="t-p1", asset_id="p1"))
    history.move(0, "out")
    history.move(10, None)
    history.presence(20, "missing", heard_min=10)
    history.tick(600)

    assert run(history) == []


@pytest.mark.parametrize("assets", [("p1", "p2"), ()])
def test_a_pod_of_the_shipment_covers_what_it_loaded(assets: tuple[str, ...]) -> None:
    history = History().warehouse()
    history.plan(-30, "sh1", "p1", "p9")
    history.move(0, "out")
    history.depart(9, "sh1", *assets)
    history.move(10, None)
    history.pod(20, shipment="sh1")
    history.tick(600)

    assert run(history) == []


def test_a_pod_of_a_shipment_without_the_pallet_does_not_cover_it() -> None:
    history = shipped()
    history.depart(11, "sh1", "p2")
    history.pod(20, shipment="sh1")
    history.tick(600)

    assert len(fired(run(history))) == 1


def test_a_pod_covers_assets_that_its_shipment_names_only_later() -> None:
    history = shipped()
    history.pod(20, shipment="sh1")
    history.depart(25, "sh1", "p1")
    history.tick(600)

    assert run(history) == []


def test_two_tags_of_one_pallet_are_one_departure() -> None:
    history = History().warehouse("p1", "p2")
    history.add("t-p2", -1, TagBound(tag_id="t-p2", asset_id="p1"))
    for pallet in ("p1", "p2"):
        history.move(0, "out", pallet)
    history.move(10, None, "p1")
    history.move(11, None, "p2")
    history.tick(600)

    assert len(fired(run(history))) == 1


def test_a_retired_asset_is_not_expected_to_be_proved() -> None:
    history = shipped()
    history.add("p1", 12, AssetRetired(asset_id="p1"))
    history.tick(600)

    assert run(history) == []


def test_switching_the_rule_off_cancels_what_it_waits_for() -> None:
    history = shipped()
    history.rule(12, LEFT_OUTBOUND, enabled=False)
    history.tick(600)
    history.rule(601, LEFT_OUTBOUND)
    history.tick(700)

    assert run(history) == []


def test_only_the_kinds_of_assets_asked_for_are_watched() -> None:
    history = shipped()
    history.envelopes.insert(0, history.rule(-50, LEFT_OUTBOUND, asset_kinds=["tool"]))
    del history.envelopes[-1]
    history.tick(600)

    assert run(history) == []


def test_settings_that_do_not_fit_leave_the_earlier_ones_in_force() -> None:
    history = shipped()
    history.rule(5, LEFT_OUTBOUND, grace_s=-1)
    history.tick(600)
    engine = Engine(Memory())
    for event in history.recorded():
        engine.apply(event)

    setting = engine.memory.rules.get(LEFT_OUTBOUND)

    assert setting is not None
    assert setting.error is not None
    assert "grace_s" in setting.error
    assert len(fired(run(history))) == 1


def test_an_alert_names_the_version_of_its_settings() -> None:
    history = shipped()
    history.envelopes.insert(0, history.rule(-50, LEFT_OUTBOUND, grace_s=60))
    del history.envelopes[-1]
    history.tick(600)

    (alert,) = fired(run(history))

    assert alert.card.rule_version == "2"


def test_a_missing_tag_raises_an_alert_and_being_heard_resolves_it() -> None:
    history = History().warehouse()
    history.move(0, "store")
    history.presence(20, "missing", heard_min=2)
    history.presence(30, "present", heard_min=29)

    transitions = run(history)
    (alert,), (end,) = fired(transitions), resolved(transitions)

    assert alert.rule_id == MISSING_TAG
    assert alert.card.title == "Pallet p1 is missing"
    assert alert.card.where == "Store, Hall North"
    assert "Silent for 18 min" in (alert.card.why or "")
    assert end.cause == "heard again at 2026-03-02 08:29:00 UTC"


def test_late_sightings_from_before_the_alert_retract_it() -> None:
    history = History().warehouse()
    history.move(0, "store")
    history.presence(20, "missing", heard_min=2)
    history.presence(21, "overdue", heard_min=15)

    (end,) = resolved(run(history))

    assert end.cause.startswith("retracted: heard again")


@pytest.mark.parametrize("state", ["overdue", "unobservable", "present"])
def test_s42_overdue_and_unobservable_tags_are_not_missing(state: str) -> None:
    history = History().warehouse()
    history.move(0, "store")
    history.presence(20, state, heard_min=2)  # type: ignore[arg-type]
    history.tick(600)

    assert run(history) == []


LEFT: dict[str, Any] = {"cause": "left_through_dock", "gone_probability": 0.92}


def test_goods_that_fall_silent_on_their_way_out_have_left() -> None:
    history = History().warehouse()
    history.move(0, "out")
    history.presence(20, "unobservable", heard_min=10, **LEFT)
    history.tick(600)

    (alert,) = fired(run(history))

    assert alert.rule_id == LEFT_OUTBOUND
    assert alert.due_at == minute(50)
    assert "on its way out" in (alert.card.why or "")


def test_s42_what_leaves_through_a_dock_is_told_unless_it_was_shipped() -> None:
    for departs, alerts in ((False, 1), (True, 0)):
        history = History().warehouse()
        history.move(0, "dock")
        if departs:
            history.depart(5, "sh1", "p1")
        history.presence(20, "unobservable", heard_min=6, look_first=("dock", "store"), **LEFT)
        history.tick(600)

        found = fired(run(history))

        assert len(found) == alerts
        for alert in found:
            assert alert.card.title == "Pallet p1 has left unbooked"
            assert "gone from its place with 92 %" in (alert.card.why or "")
            assert "then in Store, Hall North" in (alert.card.next_step or "")


def test_s42_an_empty_battery_is_told_as_one_and_not_as_a_loss() -> None:
    history = History().warehouse()
    history.move(0, "store")
    history.presence(
        20, "unobservable", heard_min=2, cause="battery_expected_empty", gone_probability=0.04
    )
    history.presence(90, "present", heard_min=90)

    changes = run(history)

    (alert,) = fired(changes)
    assert alert.card.title == "Pallet p1: the battery of its tag is empty"
    assert (alert.card.next_step or "").startswith("Change the battery in Store, Hall North")
    assert len(changes) == 2


def test_s42_a_missing_tag_that_becomes_lost_is_told_once() -> None:
    history = History().warehouse()
    history.move(0, "store")
    history.presence(20, "missing", heard_min=2, look_first=("store", "stage"))
    history.presence(1460, "missing", heard_min=2, lost=True)
    history.tick(2000)

    (alert,) = fired(run(history))

    assert (alert.card.next_step or "").startswith("Look in Store, Hall North first, then in ")


def test_s42_a_shipped_pallet_is_not_missing() -> None:
    history = History().warehouse()
    history.move(0, "dock")
    history.depart(5, "sh1", "p1")
    history.presence(60, "missing", heard_min=6)
    history.tick(600)

    assert run(history) == []


def test_s42_a_delivery_before_the_pallet_came_back_does_not_hide_its_loss() -> None:
    history = History().warehouse()
    history.pod(-30, "p1")
    history.move(0, "store")
    history.presence(60, "missing", heard_min=6)

    assert len(fired(run(history))) == 1


@pytest.mark.parametrize(("heard_min", "alerts"), [(100, 0), (119.9, 0), (120, 1)])
def test_a_minimum_of_silence_delays_the_alert(heard_min: float, alerts: int) -> None:
    history = History().warehouse()
    history.rule(-50, MISSING_TAG, min_silence_s=7200)
    history.move(0, "store")
    history.presence(20, "missing", heard_min=0)
    history.tick(heard_min)

    assert len(fired(run(history))) == alerts


@pytest.mark.parametrize(
    "values", [{"excluded_zone_ids": ["store"]}, {"excluded_zone_kinds": ["storage"]}]
)
def test_zones_and_kinds_can_be_excluded(values: dict[str, object]) -> None:
    history = History().warehouse()
    history.rule(-50, MISSING_TAG, **values)
    history.move(0, "store")
    history.presence(20, "missing", heard_min=2)

    assert run(history) == []


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (TagRetired(tag_id="t-p1"), "the tag was retired"),
        (TagUnbound(tag_id="t-p1", asset_id="p1"), "the tag was taken off its asset"),
        (TagBound(tag_id="t-p1", asset_id="p2"), "the tag is on another asset now"),
        (TagBound(tag_id="t-p1", asset_id="p1"), None),
        (TagUnbound(tag_id="t-p1", asset_id="p2"), None),
    ],
)
def test_a_tag_that_left_service_or_its_asset_is_no_longer_missing(
    act: Event, cause: str | None
) -> None:
    history = History().warehouse()
    history.move(0, "store")
    history.presence(20, "missing", heard_min=2)
    history.add("t-p1", 25, act)

    assert [r.cause for r in resolved(run(history))] == ([cause] if cause else [])


def test_a_retired_tag_on_no_asset_is_no_longer_missing() -> None:
    history = History().warehouse()
    history.rule(-50, MISSING_TAG, only_bound=False)
    history.add("t-p1", -1, TagUnbound(tag_id="t-p1", asset_id="p1"))
    history.presence(20, "missing", heard_min=2)
    history.add("t-p1", 25, TagRetired(tag_id="t-p1"))

    assert len(resolved(run(history))) == 1


def test_unbound_tags_are_watched_when_the_rule_says_so() -> None:
    history = History().warehouse()
    history.rule(-50, MISSING_TAG, only_bound=False)
    history.add("t-p1", -1, TagUnbound(tag_id="t-p1", asset_id="p1"))
    history.presence(20, "missing", heard_min=2)

    (alert,) = fired(run(history))

    assert alert.card.asset_id is None
    assert alert.card.title == "Tag t-p1 is missing"


def test_the_same_cause_always_has_the_same_ids() -> None:
    history = shipped()
    history.tick(600)

    first, second = envelopes_of(run(history)), envelopes_of(run(history))

    assert first == second
    assert len(first) == 1
    assert first[0].occurred_at == minute(42)
    assert first[0].id.version == 8


def test_an_alert_of_the_ticker_that_came_after_the_pod_is_taken_back() -> None:
    late = shipped()
    late.tick(600)
    (alert,) = fired(run(late))
    history = shipped()
    history.pod(20, "p1")
    engine = Engine(Memory())
    (claim,) = envelopes_of([Fire(alert)])
    history.envelopes.append(claim)

    transitions = [t for e in history.recorded() for t in engine.apply(e)]

    assert isinstance(claim.data, AlertFired)
    assert engine.is_void(claim.data)
    assert fired(transitions) == []
    assert [r.cause for r in resolved(transitions)] == [
        "retracted: POD POD-7 of 2026-03-02 08:20:00 UTC covers it"
    ]


def test_a_person_closes_an_alert_and_the_next_departure_is_a_new_one() -> None:
    history = shipped()
    history.tick(50)
    (alert,) = fired(run(history))
    history.envelopes += envelopes_of([Fire(alert)])
    closed = AlertResolved(
        alert_id=alert.alert_id, rule_id=alert.rule_id, cause="found the paper", by="key-1"
    )
    history.add("p1", 55, closed)
    history.pod(35, "p1")
    history.move(100, "out")
    history.move(110, None)
    history.tick(600)

    transitions = run(history)

    assert resolved(transitions) == []
    assert len({a.alert_id for a in fired(transitions)}) == 2


def test_people_stamping_registrations_with_their_own_clock_do_not_move_deadlines() -> None:
    history = shipped()
    history.rule(100_000, MISSING_TAG, min_silence_s=60)
    history.add("t-x", 100_000, TagRetired(tag_id="t-x"))

    assert run(history) == []


def test_long_names_fit_into_what_the_log_takes() -> None:
    history = History().warehouse("p" * 190)
    history.move(0, "out", "p" * 190)
    history.move(10, None, "p" * 190)
    history.tick(600)

    (envelope,) = envelopes_of(run(history))
    data = envelope.data

    assert isinstance(data, AlertFired)
    assert len(data.title) <= 150
    assert open_body(seal(envelope).body) == envelope
