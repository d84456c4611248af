"""Items that stand for several readings are taken for them: zones, silence, presence, hearing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest
from tests.support.locate_scene import Scene, alive, envelope, sighting, two_zones

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import TagRegistered
from tagtrail_locate.core.folds import LONGEST_SPAN_S, MOST_SAMPLES, fold_of

LEVELS = {"a": {"gw-a": -58.0, "gw-b": -75.0}, "b": {"gw-a": -75.0, "gw-b": -58.0}}
NOISE_DB = 2.5

Heard = list[tuple[float, str, float]]


def heard(until_s: int, stays: Sequence[tuple[int, str]], seed: int = 7) -> Heard:
    """Return (time, gateway, level) of a tag at 1 Hz that is in one zone after the other."""
    noise, found = random.Random(seed), []
    for second in range(until_s):
        zone = [zone for from_s, zone in stays if from_s <= second][-1]
        for n, (gateway, level) in enumerate(LEVELS[zone].items()):
            found.append((second + 0.1 * n, gateway, level + noise.gauss(0.0, NOISE_DB)))
    return found


def passed(readings: Heard) -> list[Envelope]:
    """Pass every reading on."""
    return [sighting(at_s, gateway, level) for at_s, gateway, level in readings]


def folded(readings: Heard, beat_s: float, changed_s: Iterable[float] = ()) -> list[Envelope]:
    """Fold readings as gateways do: one item per beat, and three readings after each change."""
    ends = sorted([*(n * beat_s for n in range(1, 1000)), *changed_s, *(c + 3 for c in changed_s)])
    held: dict[str, list[tuple[float, float]]] = {}
    items: list[Envelope] = []

    def send() -> None:
        for gateway, parts in held.items():
            level = sum(part[1] for part in parts) / len(parts)
            count = len(parts)
            spans = 1000 if count > 1 else None
            items.append(sighting(parts[-1][0], gateway, level, samples=count, interval_ms=spans))
        held.clear()

    for at_s, gateway, level in readings:
        while ends and at_s >= ends[0]:
            ends.pop(0)
            send()
        held.setdefault(gateway, []).append((at_s, level))
    send()
    return sorted(items, key=lambda item: item.occurred_at)


def registered(interval_s: float | None) -> Envelope:
    """Register the tag."""
    fact = TagRegistered(
        tag_id="tag-1", identities=("mac:1",), mode="transit", interval_s=interval_s
    )
    return envelope(-50.0, fact, salt="tag")


@pytest.mark.parametrize("beat_s", [5.0, 21.0, 45.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_tag_that_rests_is_in_the_same_zone_folded_or_not(beat_s: float, seed: int) -> None:
    readings = heard(300, [(0, "b")], seed)
    plain, edge = Scene(two_zones()), Scene(two_zones())

    plain.give(passed(readings))
    edge.give(folded(readings, beat_s))

    for scene, first_s in ((plain, 1.0), (edge, beat_s)):
        assert scene.changes[-1][1] == "b"
        assert scene.changes[-1][0] <= first_s + 3.0


@pytest.mark.parametrize("beat_s", [10.0, 21.0, 45.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_move_is_seen_with_the_item_that_tells_it(beat_s: float, seed: int) -> None:
    readings = heard(400, [(0, "a"), (200, "b")], seed)
    plain, edge = Scene(two_zones()), Scene(two_zones())

    plain.give(passed(readings))
    edge.give(folded(readings, beat_s, changed_s=[200.0]))

    assert [zone for _, zone in plain.changes] == ["a", "b"]
    assert [zone for _, zone in edge.changes] == ["a", "b"]
    assert 200.0 < edge.changes[1][0] <= max(plain.changes[1][0], 200.0 + beat_s) + 1.0


def test_the_evidence_of_an_item_is_that_of_its_readings() -> None:
    readings = heard(105, [(0, "a")])
    plain, edge = Scene(two_zones()), Scene(two_zones())

    plain.give([*passed(readings), alive(111.0, "gw-a")])
    edge.give(folded(readings, 21.0))

    kept = []
    for scene in (plain, edge):
        track = scene.engine.state.tags["tag-1"].track
        model = scene.engine._evaluator.model("hall")
        assert track is not None
        assert model is not None
        kept.append(model.links(track.head))
    assert kept[1].readings.tolist() == kept[0].readings.tolist() == [105.0, 105.0]
    assert kept[1].mean_dbm.tolist() == pytest.approx(kept[0].mean_dbm.tolist(), abs=0.6)
    assert kept[1].interval_s == pytest.approx(1.0, abs=0.05)


def test_a_gateway_between_two_items_is_not_silent() -> None:
    readings = heard(400, [(0, "b")])
    near = [sighting(at_s, g, v) for at_s, g, v in readings if g == "gw-a"]
    held = [item for item in folded(readings, 21.0) if item.data.gateway_id == "gw-b"]  # type: ignore[attr-defined]
    scene = Scene(two_zones())

    scene.give(sorted([*near, *held], key=lambda fact: fact.occurred_at))

    assert scene.zone() == "b"
    assert [zone for at_s, zone in scene.changes if at_s > 45.0] == []


@pytest.mark.parametrize("beat_s", [30.0, 60.0])
def test_a_tag_between_two_items_is_not_overdue(beat_s: float) -> None:
    others = [sighting(float(n), "gw-a", -60.0, tag="tag-2") for n in range(600)]
    items = [
        sighting(beat_s * n, "gw-a", -60.0, samples=int(beat_s), interval_ms=1000)
        for n in range(1, int(600 / beat_s))
    ]
    scene = Scene([*two_zones(), registered(None)])

    scene.give(sorted([*others, *items], key=lambda fact: fact.occurred_at))

    assert [state for _, tag, state in scene.presence if tag == "tag-1"] == []
    assert scene.engine.state.tags["tag-1"].interval_s == pytest.approx(1.0)


def test_a_tag_that_ends_after_an_item_becomes_overdue() -> None:
    others = [sighting(float(n), "gw-a", -60.0, tag="tag-2") for n in range(600)]
    items = [sighting(21.0 * n, "gw-a", -60.0, samples=21, interval_ms=1000) for n in range(1, 10)]
    scene = Scene([*two_zones(), registered(1.0)])

    scene.give(sorted([*others, *items], key=lambda fact: fact.occurred_at))

    doubts = [(at_s, state) for at_s, tag, state in scene.presence if tag == "tag-1"]
    assert doubts[0][1] == "overdue"
    assert 189.0 + 30.0 < doubts[0][0] < 189.0 + 21.0 * 1.4 + 35.0


def test_how_well_a_gateway_hears_a_tag_is_counted_in_adverts() -> None:
    readings = [r for n, r in enumerate(heard(600, [(0, "a")])) if n % 2 == 0 or n % 20 == 1]
    scene = Scene([*two_zones(), registered(1.0)])

    scene.give(folded(readings, 21.0))
    scene.give([sighting(900.0, "gw-a", -60.0, tag="tag-2")])

    rates = scene.engine.state.tags["tag-1"].habits.rates
    share = {name: rate.heard / rate.expected for name, rate in rates.items()}
    assert share["gw-a"] > 0.9
    assert share["gw-b"] < 0.2


@pytest.mark.parametrize(
    ("samples", "interval_ms"), [(1, 1000), (0, 1000), (-5, 1000), (30, None), (30, 0), (30, -1)]
)
def test_what_spans_no_time_is_one_reading(samples: int, interval_ms: int | None) -> None:
    assert fold_of(samples, interval_ms) == (1, 0.0)


def test_items_beyond_reason_are_cut() -> None:
    assert fold_of(2**63 - 1, 2**63 - 1) == (MOST_SAMPLES, LONGEST_SPAN_S)


def test_an_item_beyond_reason_does_not_decide_for_ever() -> None:
    readings = heard(400, [(0, "a"), (100, "b")])
    worst = sighting(99.5, "gw-a", -58.0, samples=2**63 - 1, interval_ms=2**63 - 1)
    scene = Scene(two_zones())

    scene.give(sorted([*passed(readings), worst], key=lambda fact: fact.occurred_at))

    assert scene.zone() == "b"


def test_gateways_that_send_once_a_minute_one_after_the_other_keep_their_time() -> None:
    names = ("gw-a", "gw-b")
    scene = Scene(two_zones())

    for minute in range(5):
        for name in names:
            level = LEVELS["b"][name]
            times = [60.0 * minute + second for second in range(0, 60, 20)]
            scene.give([sighting(at_s, name, level) for at_s in times])

    assert scene.zone() == "b"
    assert all(abs(at_s) <= 300.0 for at_s, _ in scene.changes)
    assert scene.engine.state.tags["tag-1"].late == 0
    assert all(g.skew_s == 0.0 for g in scene.engine.state.gateways.values())


def test_a_first_zone_is_chosen_anew_when_the_nearest_gateway_sends_late() -> None:
    scene = Scene(two_zones())

    scene.give([sighting(float(second), "gw-a", -75.0) for second in range(3)])
    scene.give([sighting(second + 0.1, "gw-b", -58.0) for second in range(3)])

    assert scene.zone() == "b"
    assert scene.changes[-1][0] <= 3.0
