"""Rows S42, S8, S16 and N7: of everything that makes a tag silent, only a loss is `missing`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tests.support.locate_scene import START, Scene, recorded
from tests.support.silence_world import GATEWAYS, HOUR, Traveller, World, company, played

from tagtrail_kernel.events.places import TagPresenceChanged
from tagtrail_locate.core import silence_report
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.presence import grade_of
from tagtrail_locate.core.state import pack, unpack

WELL = HOUR
"""Until then nothing is wrong: who hears what is learned."""

SILENT = 2400.0
"""So long the cause lasts."""

END = WELL + SILENT
FOR_EVER = 9e9
REST = company("a", "b", "out")
SEEDS = range(1, 4)


def world(tag: Traveller, seed: int, **faults: dict[str, tuple[tuple[float, float], ...]]) -> World:
    return World(tags=(tag, *REST), until_s=END, seed=seed, **faults)  # type: ignore[arg-type]


def _hidden(at_s: float) -> bool:
    return WELL <= at_s < WELL + 240.0


def _discharging(at_s: float) -> float:
    return max(14.0 - 12.0 * at_s / WELL, 0.0) if at_s < WELL else 0.0


STAYS = Traveller()
GONE = Traveller(route=((0.0, "a"), (WELL, None)))
SHIPPED = Traveller(route=((0.0, "a"), (WELL - 300, "b"), (WELL - 180, "out"), (WELL, None)))
DISCHARGED = Traveller(battery_pct=_discharging)
STORED = Traveller(interval_s=6 * HOUR, registered=6 * HOUR, mode="storage")
OUT_OF_REACH = Traveller(route=((0.0, "b"), (WELL, "far")))
dark = ((WELL, FOR_EVER),)

CAUSES: dict[str, Callable[[int], World]] = {
    "dead gateways": lambda seed: world(STAYS, seed, dark={"gw-a": dark, "gw-b": dark}),
    "link outage": lambda seed: world(
        STAYS, seed, cut=dict.fromkeys(GATEWAYS, ((WELL, WELL + 1500.0),))
    ),
    "dead battery": lambda seed: world(DISCHARGED, seed),
    "storage mode": lambda seed: world(STORED, seed),
    "shipped": lambda seed: world(SHIPPED, seed),
    "out of coverage": lambda seed: world(OUT_OF_REACH, seed),
    "shadow": lambda seed: world(Traveller(hidden=_hidden), seed),
    "loss": lambda seed: world(GONE, seed),
}


@cache
def case(cause: str, seed: int) -> Scene:
    return played(CAUSES[cause](seed))


def told(scene: Scene, tag_id: str = "tag-1") -> list[TagPresenceChanged]:
    facts = (fact.data for fact in scene.facts)
    return [f for f in facts if isinstance(f, TagPresenceChanged) and f.tag_id == tag_id]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause != "loss"])
def test_s42_what_is_not_a_loss_is_never_missing(cause: str, seed: int) -> None:
    scene = case(cause, seed)

    assert scene.engine.state.tags["tag-1"].active_s is not None
    assert "missing" not in [state for _, _, state in scene.presence]


@pytest.mark.parametrize("seed", SEEDS)
def test_s42_a_loss_is_missing_with_high_probability_and_nothing_else_is(seed: int) -> None:
    scene = case("loss", seed)

    *_, last = told(scene)
    assert (last.state, last.cause) == ("missing", "silent_while_heard")
    assert last.gone_probability is not None
    assert last.gone_probability >= 0.9
    assert last.silent_s <= 900.0
    assert last.look_first[0] == "a"
    assert {tag for _, tag, state in scene.presence if state == "missing"} == {"tag-1"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("cause", "state", "word"),
    [
        ("dead gateways", "unobservable", "gateways_down"),
        ("dead battery", "unobservable", "battery_expected_empty"),
        ("shipped", "unobservable", "left_through_dock"),
    ],
)
def test_s42_a_silence_that_is_explained_says_by_what(
    cause: str, state: str, word: str, seed: int
) -> None:
    *_, last = told(case(cause, seed))

    assert (last.state, last.cause) == (state, word)


@pytest.mark.parametrize("seed", SEEDS)
def test_s42_a_dead_battery_leaves_the_thing_where_it_was(seed: int) -> None:
    *_, last = told(case("dead battery", seed))

    assert last.gone_probability is not None
    assert last.gone_probability < 0.1
    assert last.look_first[0] == "a"


@pytest.mark.parametrize("seed", SEEDS)
def test_s42_goods_that_were_shipped_are_gone_through_the_dock(seed: int) -> None:
    *_, last = told(case("shipped", seed))

    assert last.gone_probability is not None
    assert last.gone_probability >= 0.9
    assert last.look_first[0] == "out"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cause", ["link outage", "shadow"])
def test_s42_what_passes_by_itself_ends_present(cause: str, seed: int) -> None:
    scene = case(cause, seed)

    assert scene.state_of() == "present"
    assert {state for _, tag, state in scene.presence if tag == "tag-1"} <= {
        "present",
        "overdue",
        "unobservable",
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_s42_a_weak_link_is_taken_for_one(seed: int) -> None:
    scene = case("out of coverage", seed)
    tag = scene.engine.state.tags["tag-1"]

    report = silence_report.report(scene.engine.state, tag, scene.engine.state.watermarks_s["hall"])

    assert report is not None
    assert report["heard_share"] < 0.5
    assert report["silence_is_real_probability"] < 0.9


def test_s42_grades_go_from_heard_over_due_and_overdue_and_missing_to_lost() -> None:
    world = World(tags=(GONE, *REST), until_s=WELL + 26 * HOUR, beat_s=60.0)
    log = [
        fact
        for fact in world.log()
        if fact.occurred_at < START or fact.subject == "tag-1" or fact.subject.startswith("gw-")
    ]
    scene = Scene()
    grades: list[str] = []

    for fact in log:
        scene.give([fact])
        state = scene.engine.state
        tag, now_s = state.tags.get("tag-1"), state.watermarks_s.get("hall")
        if tag is not None and now_s is not None and fact.subject == "gw-b":
            report = silence_report.report(state, tag, now_s)
            assert report is not None
            if not grades or grades[-1] != report["grade"]:
                grades.append(report["grade"])

    after = grades[grades.index("missing") :]
    assert {"heard", "overdue"} <= set(grades)
    assert after == ["missing", "lost"]
    missing, lost = (f for f in told(scene) if f.state == "missing")
    assert (missing.lost, lost.lost) == (False, True)
    assert lost.silent_s == pytest.approx(24 * HOUR, rel=0.01)
    assert missing.look_first


def test_s42_an_advert_that_is_late_is_due_before_the_tag_is_overdue() -> None:
    grades = []

    for silent_s in (10.0, 20.0, 35.0):
        scene = played(World(tags=(GONE, *REST), until_s=WELL + silent_s, beat_s=1.0))
        state = scene.engine.state
        tag, now_s = state.tags["tag-1"], state.watermarks_s["hall"]
        assert tag.active_s is not None
        grades.append(grade_of(tag, now_s - tag.active_s, state.registry.thresholds))

    assert grades == ["heard", "due", "overdue"]


def test_s8_two_hours_of_silence_are_normal_in_storage_and_overdue_in_transit() -> None:
    def silent_for_two_hours(mode: str, interval_s: float) -> list[str]:
        tag = Traveller(
            route=((0.0, "a"), (600.0, None)), interval_s=10.0, registered=interval_s,
            mode="storage" if mode == "storage" else "transit",
        )  # fmt: skip
        scene = played(World(tags=(tag,), until_s=600 + 2 * HOUR))
        return [state for _, _, state in scene.presence]

    assert silent_for_two_hours("storage", 6 * HOUR) == []
    assert silent_for_two_hours("transit", 60.0)[0] == "overdue"


@pytest.mark.parametrize("dead", [("gw-a",), ("gw-b",), ("gw-a", "gw-b"), ("gw-b", "gw-out")])
def test_s16_no_tag_is_missing_when_some_gateways_die(dead: tuple[str, ...]) -> None:
    scene = played(World(tags=(STAYS, *REST), until_s=END, dark=dict.fromkeys(dead, dark)))

    assert "missing" not in {state for _, _, state in scene.presence}


def test_s16_a_thing_moved_into_the_zone_of_a_dead_gateway_is_not_missing() -> None:
    moved = Traveller(route=((0.0, "b"), (WELL + 600, "out")))
    scene = played(World(tags=(moved, *REST), until_s=END, dark={"gw-out": dark, "gw-b": dark}))

    *_, last = told(scene)
    assert (last.state, last.cause) == ("unobservable", "out_of_coverage")
    assert last.look_first[0] == "out"
    assert "missing" not in {state for _, _, state in scene.presence}


def test_s16_flapping_gateways_make_no_tag_missing() -> None:
    flaps = tuple((WELL + 120.0 * n, WELL + 120.0 * n + 90.0) for n in range(20))
    scene = played(World(tags=(STAYS, *REST), until_s=END, dark=dict.fromkeys(GATEWAYS, flaps)))

    assert "missing" not in {state for _, _, state in scene.presence}


def test_s16_a_gateway_that_is_deaf_makes_no_tag_missing() -> None:
    scene = played(World(tags=(STAYS, *REST), until_s=END, deaf={"gw-a": dark, "gw-b": dark}))

    *_, last = told(scene)
    assert (last.state, last.cause) == ("unobservable", "gateways_deaf")
    assert "missing" not in {state for _, _, state in scene.presence}


@pytest.mark.parametrize("away", [("gw-a",), tuple(GATEWAYS)])
def test_s16_hours_of_readings_that_come_in_one_burst_make_no_tag_missing(
    away: tuple[str, ...],
) -> None:
    outage = ((WELL, WELL + 3 * HOUR),)
    until_s = WELL + 3 * HOUR + 900
    scene = played(World(tags=(STAYS, *REST), until_s=until_s, cut=dict.fromkeys(away, outage)))

    assert "missing" not in {state for _, _, state in scene.presence}
    assert scene.state_of() == "present"


def test_n7_the_probability_follows_coverage_gateways_cadence_and_battery() -> None:
    def gone(tag: Traveller, **faults: dict[str, tuple[tuple[float, float], ...]]) -> float:
        scene = played(World(tags=(tag, *REST), until_s=WELL + 300, **faults))  # type: ignore[arg-type]
        state = scene.engine.state
        report = silence_report.report(state, state.tags["tag-1"], state.watermarks_s["hall"])
        assert report is not None
        return float(report["gone_probability"])

    lost = gone(GONE)
    assert lost > 0.7
    assert gone(Traveller(route=((0.0, "far"), (WELL, None)))) < 0.1
    assert gone(GONE, dark={"gw-a": dark, "gw-b": dark}) < 0.1
    assert gone(Traveller(route=GONE.route, registered=120.0, interval_s=120.0)) < lost
    assert gone(Traveller(route=GONE.route, battery_pct=_discharging)) < 0.1


@pytest.mark.parametrize("cause", ["loss", "shipped", "link outage"])
def test_s42_the_matrix_is_the_same_in_any_batches_and_after_a_restart(cause: str) -> None:
    whole = case(cause, 1)
    events = [recorded(n, fact) for n, fact in enumerate(CAUSES[cause](1).log(), start=1)]
    engine, facts = Engine(), []

    for start in range(0, len(events), 997):
        engine = Engine(unpack(pack(engine.state)))
        engine.apply(events[start : start + 997])
        facts += engine.taken().facts

    assert pack(engine.state) == pack(whole.engine.state)
    assert [f.id for f in facts] == [f.id for f in whole.facts]
