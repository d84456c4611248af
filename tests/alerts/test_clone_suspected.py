"""The rule `clone_suspected` as a plain function of events."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support.alert_history import History, minute, recorded

from tagtrail_alerts.core.engine import Engine
from tagtrail_alerts.core.memory import Expectation, Memory
from tagtrail_alerts.core.parameters import CLONE_SUSPECTED
from tagtrail_alerts.core.transitions import Fire, Resolve, Transition
from tagtrail_kernel.events.alerts import AlertResolved
from tagtrail_kernel.events.registrations import TagRetired


def run(history: History) -> list[Transition]:
    engine = Engine(Memory())
    return [t for event in recorded(history.envelopes) for t in engine.apply(event)]


def fired(transitions: list[Transition]) -> list[Expectation]:
    return [t.expectation for t in transitions if isinstance(t, Fire)]


def test_s6_a_contradicted_read_raises_one_alert_at_once_with_both_reads() -> None:
    history = History().warehouse()
    fact = history.copied(10, 5, "out")

    (alert,) = fired(run(history))
    card = alert.card

    assert (card.rule_id, card.severity) == (CLONE_SUSPECTED, "critical")
    assert alert.decide_at == minute(10)
    assert card.title == "Pallet p1: its label was probably copied"
    assert card.where == "Out, Hall North"
    assert card.why == (
        "Its label counts its reads, and said 41 twice: at 2026-03-02 08:05:00 UTC in "
        "Store, Hall North by phone-anna, and at 2026-03-02 08:10:00 UTC in Out, Hall North by "
        "phone-ben."
    )
    assert (card.asset_id, card.tag_id) == ("p1", "t-p1")
    assert (card.zone_id, card.site_id) == ("out", "s1")
    earlier, later = fact.data.earlier, fact.data.later  # type: ignore[attr-defined]
    assert card.evidence == (earlier.event_id, later.event_id, str(fact.id))


def test_s6_further_contradictions_at_the_same_place_add_nothing() -> None:
    history = History().warehouse()
    for at in (10, 12, 14):
        history.copied(at, 5, "out")

    assert len(fired(run(history))) == 1


@pytest.mark.parametrize(("zone", "pallet"), [("dock", "p1"), (None, "p1"), ("out", "p2")])
def test_s6_another_place_or_another_tag_is_another_alert(zone: str | None, pallet: str) -> None:
    history = History().warehouse("p1", "p2")
    history.copied(10, 5, "out")
    history.copied(12, 5, zone, pallet)

    assert len(fired(run(history))) == 2


def test_s6_once_a_person_has_closed_it_a_new_contradiction_alerts_again() -> None:
    history = History().warehouse()
    history.copied(10, 5, "out")
    (first,) = fired(run(history))
    closing = AlertResolved(
        alert_id=first.alert_id, rule_id=CLONE_SUSPECTED, cause="test label", by="operator-7"
    )
    history.add("p1", 20, closing)
    history.copied(30, 5, "out")

    assert [alert.began_at for alert in fired(run(history))] == [minute(10), minute(30)]


def test_s6_retiring_the_tag_closes_its_alerts_and_no_others() -> None:
    history = History().warehouse("p1", "p2")
    history.copied(10, 5, "out", "p1")
    history.copied(10, 5, "store", "p1")
    history.copied(10, 5, "out", "p2")
    history.add("t-p1", 5, TagRetired(tag_id="t-p1"))

    ends = [t for t in run(history) if isinstance(t, Resolve)]

    assert {(e.expectation.key, e.cause) for e in ends} == {
        ("t-p1/out", "the tag was retired"),
        ("t-p1/store", "the tag was retired"),
    }


def test_s6_nothing_but_a_person_or_retirement_ends_it() -> None:
    history = History().warehouse()
    history.copied(10, 5, "out")
    history.move(20, "store")
    history.presence(30, "present", 30)
    history.tick(60 * 24 * 100)

    assert not [t for t in run(history) if isinstance(t, Resolve)]


def test_s6_a_number_that_went_back_is_told_as_such() -> None:
    history = History().warehouse()
    history.copied(10, 5, "out", sign="counter_went_back")

    (alert,) = fired(run(history))

    assert "said 41 after 41" in str(alert.card.why)


def test_s6_an_impossible_journey_is_told_with_its_length() -> None:
    history = History().warehouse()
    history.copied(10, 5, None, sign="impossible_travel", distance_m=255_432.0)

    (alert,) = fired(run(history))

    assert "It was read at two sites, 255 km apart, within 5 min" in str(alert.card.why)
    assert alert.card.where == "phone-ben"
    assert alert.decide_at - alert.from_at == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("values", "alerts"),
    [
        ({"signs": ["counter_repeated"]}, 1),
        ({"signs": ["impossible_travel"]}, 0),
        ({"excluded_zone_ids": ["out"]}, 0),
        ({"excluded_zone_ids": ["store"]}, 1),
        ({"asset_kinds": ["pallet"]}, 1),
        ({"asset_kinds": ["crate"]}, 0),
        ({"enabled": False}, 0),
        ({"severity": "warning"}, 1),
    ],
)
def test_s6_parameters_say_what_counts(values: dict[str, object], alerts: int) -> None:
    history = History().warehouse()
    history.rule(0, CLONE_SUSPECTED, **values)
    history.copied(10, 5, "out")

    found = fired(run(history))

    assert len(found) == alerts
    assert all(a.card.severity == values.get("severity", "critical") for a in found)
    assert all(a.card.rule_version == "2" for a in found)
