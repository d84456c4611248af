"""How an update goes on: a pure fold of what gateways say (S89)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tagtrail_ingest.updates.campaign import Campaign, Fleet, standing_of
from tagtrail_kernel.events.gateways import (
    GatewayReported,
    UpdateExtended,
    UpdatePublished,
    UpdateStopped,
)
from tagtrail_kernel.events.registrations import GatewayRetired
from tagtrail_kernel.events.registry import Event

T0 = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
NEW = "0.2.0"


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def says(gateway_id: str, version: str = NEW, **values: Any) -> GatewayReported:
    return GatewayReported(
        gateway_id=gateway_id,
        kind="status",
        adapter="native",
        online=True,
        values={"version": version, **values},
    )


def published(**members: Any) -> UpdatePublished:
    defaults: dict[str, Any] = {
        "update_id": "u1", "version": NEW, "manifest": {}, "sha256": "0" * 64,
        "canaries": ("a", "b"), "soak_s": 600.0, "within_s": 7200.0,
    }  # fmt: skip
    return UpdatePublished(**{**defaults, **members})


def folded(*facts: tuple[float, Event]) -> tuple[Fleet, list[Event]]:
    """Fold facts at minutes; returns the fleet and what was decided."""
    fleet = Fleet()
    decided = [fleet.take(data, at(minutes)) for minutes, data in facts]
    return fleet, [d for d in decided if d is not None]


def open_campaign(fleet: Fleet) -> Campaign:
    assert fleet.campaign is not None
    return fleet.campaign


START = ((0.0, says("a", "0.1.0")), (0.0, says("b", "0.1.0")), (0.0, says("c", "0.1.0")))


def test_only_the_canaries_may_take_an_update_at_first() -> None:
    fleet, decided = folded(*START, (1, published()))

    assert decided == []
    assert [open_campaign(fleet).is_for(g) for g in "abc"] == [True, True, False]


@pytest.mark.parametrize(("b_minutes", "extended"), [(11.9, False), (12.0, True)])
def test_the_rest_follows_when_every_canary_has_worked_for_the_soak_time(
    b_minutes: float, extended: bool
) -> None:
    fleet, decided = folded(
        *START, (1, published()), (1, says("a")), (2, says("b")), (11, says("a")),
        (b_minutes, says("b")),
    )  # fmt: skip

    assert bool(decided) == extended
    assert open_campaign(fleet).is_for("c") == extended
    if extended:
        assert decided == [UpdateExtended(update_id="u1", version=NEW)]


def test_a_canary_on_trial_or_with_the_old_version_proves_nothing() -> None:
    _, decided = folded(
        (0, published(canaries=("a",), soak_s=0.0)),
        (1, says("a", "0.1.0")),
        (2, says("a", update_state="trying", update_version=NEW)),
        (3, says("c")),
    )

    assert decided == []


def test_a_canary_that_goes_away_begins_its_soak_time_again() -> None:
    gone = GatewayReported(gateway_id="a", kind="status", adapter="native", online=False)
    _, decided = folded(
        (0, published(canaries=("a",))), (1, says("a")), (9, gone), (10, says("a")),
        (12, says("a")),
    )  # fmt: skip

    assert decided == []


def test_what_the_broker_only_replays_is_no_news() -> None:
    replayed = GatewayReported(
        gateway_id="a", kind="status", adapter="native", online=True, retained=True,
        values={"version": NEW},
    )  # fmt: skip
    fleet, decided = folded((0, published(canaries=("a",), soak_s=0.0)), (1, replayed))

    assert decided == []
    assert fleet.told == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"update_state": "rolled_back", "update_version": NEW}, "took 0.2.0 back"),
        ({"update_refused_version": NEW, "update_refused": "not signed"}, "not signed"),
    ],
)
def test_s89_a_canary_that_fails_stops_the_update(values: dict[str, str], words: str) -> None:
    fleet, decided = folded(*START, (1, published()), (2, says("a", "0.1.0", **values)))

    assert len(decided) == 1
    stopped = decided[0]
    assert isinstance(stopped, UpdateStopped)
    assert (stopped.gateway_id, words in stopped.cause) == ("a", True)
    assert not any(open_campaign(fleet).is_for(g) for g in "abc")


def test_a_failure_of_an_older_version_or_of_a_gateway_that_was_not_asked_stops_nothing() -> None:
    _, decided = folded(
        *START,
        (1, published()),
        (2, says("a", "0.1.0", update_state="rolled_back", update_version="0.1.5")),
        (3, says("c", "0.1.0", update_state="rolled_back", update_version=NEW)),
    )

    assert decided == []


def test_a_failure_among_all_stops_the_update_as_well() -> None:
    fleet, decided = folded(
        (0, published(canaries=("a",), soak_s=0.0)),
        (1, says("a")),
        (2, says("c", "0.1.0", update_state="rolled_back", update_version=NEW)),
    )

    assert [d.TYPE for d in decided] == ["update.extended", "update.stopped"]
    assert open_campaign(fleet).stage == "stopped"


@pytest.mark.parametrize(("minutes", "stopped"), [(120, False), (120.1, True)])
def test_an_update_stops_when_the_canaries_need_too_long(minutes: float, stopped: bool) -> None:
    _, decided = folded(
        (0, published()), (1, says("a")), (20, says("a")), (minutes, says("c", "0.1.0"))
    )

    assert bool(decided) == stopped
    assert not stopped or "b has not proved 0.2.0 within 2 h" in str(decided[0])


def test_a_retired_canary_is_not_waited_for_and_without_any_the_update_stops() -> None:
    _, one = folded((0, published(soak_s=0.0)), (1, GatewayRetired(gateway_id="b")), (2, says("a")))
    _, none = folded(
        (0, published(canaries=("b",))), (1, GatewayRetired(gateway_id="b")),
    )  # fmt: skip

    assert [d.TYPE for d in one] == ["update.extended"]
    assert [d.TYPE for d in none] == ["update.stopped"]


def test_a_stopped_update_stays_stopped_whatever_comes_late() -> None:
    fleet, decided = folded(
        (0, published(soak_s=0.0)),
        (1, UpdateStopped(update_id="u1", version=NEW, cause="by hand", by="k")),
        (2, UpdateExtended(update_id="u1", version=NEW)),
        (3, says("a")),
        (4, says("b")),
    )

    assert decided == []
    assert (open_campaign(fleet).stage, open_campaign(fleet).cause) == ("stopped", "by hand")


def test_a_new_update_takes_the_place_of_the_one_before() -> None:
    fleet, decided = folded(
        (0, published()),
        (1, published(update_id="u2", version="0.3.0", canaries=("c",), soak_s=0.0)),
        (2, UpdateStopped(update_id="u1", version=NEW, cause="late")),
        (3, says("c", "0.3.0")),
    )

    assert decided == [UpdateExtended(update_id="u2", version="0.3.0")]
    assert open_campaign(fleet).stage == "everyone"


def test_whoever_has_the_version_already_begins_its_soak_time_with_the_update() -> None:
    _, decided = folded((0, says("a")), (60, published(canaries=("a",))), (61, says("a")))

    assert decided == []


def test_every_gateway_stands_somewhere() -> None:
    fleet, _ = folded(
        *START,
        (1, published(canaries=("a", "b", "d"))),
        (2, says("a", "0.1.0", update_state="trying", update_version=NEW)),
        (2, says("b")),
    )
    campaign = open_campaign(fleet)
    standing = {g: standing_of(fleet.told.get(g), campaign, g) for g in "abcd"}

    assert standing == {"a": "trying", "b": "healthy", "c": "not asked", "d": "waiting"}
    fleet.take(says("a", "0.1.0", update_state="rolled_back", update_version=NEW), at(3))
    assert standing_of(fleet.told["a"], campaign, "a") == "failed"
