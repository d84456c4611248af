"""Readings of a tag at rest wait for each other, and nothing that comes out depends on batches."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.locate_scene import Scene, alive, recorded, sighting, two_zones

from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_locate.core.calm import GATHER_S, STEADY_LOOKS, Calm
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.state import TagState, pack, unpack

LEVELS = {"a": {"gw-a": -60.0, "gw-b": -75.0}, "b": {"gw-a": -75.0, "gw-b": -60.0}}


def _heard(
    until_s: int, *, zone: str = "a", since_s: int = 0, seed: int = 1, noise_db: float = 2.5
) -> list[Envelope]:
    chance = random.Random(seed)
    return [
        sighting(second + 0.05 * n, gateway, level + chance.gauss(0.0, noise_db))
        for second in range(since_s, until_s)
        for n, (gateway, level) in enumerate(LEVELS[zone].items())
    ]


def _tag(scene: Scene) -> TagState:
    return scene.engine.state.tags["tag-1"]


def test_a_tag_at_rest_is_looked_at_every_few_seconds_and_not_with_each_advert() -> None:
    scene = Scene(two_zones())
    scene.give(_heard(60))

    tag = _tag(scene)
    assert tag.calm.gathers
    assert tag.track is not None
    assert len(tag.track.gathered) >= 1
    assert tag.track.head_s >= tag.calm.until_s - GATHER_S


def test_its_row_is_never_older_than_what_is_gathered() -> None:
    scene = Scene(two_zones())
    facts = _heard(90)

    for start in range(0, len(facts), 2):
        scene.give(facts[start : start + 2])
        heard = facts[start].occurred_at
        assert (heard - scene.place().last_heard_at).total_seconds() <= 2 * GATHER_S


def test_levels_that_jump_end_the_calm_within_two_adverts() -> None:
    scene = Scene(two_zones())
    scene.give(_heard(60))
    assert _tag(scene).calm.gathers

    scene.give(_heard(62, zone="b", since_s=60))

    assert not _tag(scene).calm.gathers


def test_a_move_out_of_the_calm_is_told_as_soon_as_out_of_a_short_rest() -> None:
    calm, short = Scene(two_zones()), Scene(two_zones())

    calm.give([*_heard(60), *_heard(120, zone="b", since_s=60)])
    short.give([*_heard(60, since_s=50), *_heard(120, zone="b", since_s=60)])

    assert [zone for _, zone in calm.changes] == ["a", "b"]
    assert calm.changes[1][0] <= short.changes[1][0] + GATHER_S


def test_a_tag_that_speaks_rarely_does_not_wait() -> None:
    scene = Scene(two_zones())

    scene.give([sighting(5.0 * n, "gw-a", -60.0) for n in range(40)])

    assert not _tag(scene).calm.gathers


def test_a_gateway_that_was_never_heard_ends_the_calm() -> None:
    scene = Scene(two_zones())
    scene.give([sighting(float(n), "gw-a", -60.0) for n in range(40)])
    assert _tag(scene).calm.gathers

    scene.give([sighting(40.0, "gw-b", -80.0)])

    assert not _tag(scene).calm.gathers


@pytest.mark.parametrize("late", [(50, 0.4), (53, 1.2), (56, 2.1)])
def test_a_late_reading_of_a_tag_at_rest_gives_the_memory_of_one_in_time(
    late: tuple[int, float],
) -> None:
    second, delay_s = late
    facts = [*_heard(70), alive(80.0, "gw-a"), alive(80.0, "gw-b")]
    own = facts[2 * second + 1]
    arrives_s = second + 0.05 + delay_s
    before = [f for f in facts if f is not own and _at_s(facts, f) <= arrives_s]
    after = [f for f in facts if f is not own and _at_s(facts, f) > arrives_s]
    in_time, reordered = Scene(two_zones()), Scene(two_zones())

    in_time.give(facts)
    reordered.give([*before, own, *after])

    tracks = _tag(in_time).track, _tag(reordered).track
    assert tracks[0] is not None
    assert tracks[1] is not None
    assert tracks[1].head == tracks[0].head
    assert _tag(reordered).late == 0


def _at_s(facts: Sequence[Envelope], fact: Envelope) -> float:
    return (fact.occurred_at - facts[0].occurred_at).total_seconds()


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 220), max_size=6),
    st.lists(st.tuples(st.integers(20, 215), st.integers(1, 12)), max_size=6),
)
def test_batches_restarts_and_disorder_do_not_show(
    seed: int, cuts: list[int], moves: list[tuple[int, int]]
) -> None:
    facts = [*_heard(70, seed=seed), *_heard(110, zone="b", since_s=70, seed=seed)]
    for at, by in moves:
        facts.insert(min(at + by, len(facts) - 1), facts.pop(at))
    log = [recorded(n, fact) for n, fact in enumerate([*two_zones(), *facts], start=1)]
    whole = Engine()
    whole.apply(log)
    told = [seal(fact).body for fact in whole.taken().facts]

    parts, pieces = Engine(), []
    edges = [0, *sorted(set(cuts)), len(log)]
    for start, end in itertools.pairwise(edges):
        parts.apply(log[start:end])
        pieces += [seal(fact).body for fact in parts.taken().facts]
        parts = Engine(unpack(pack(parts.state)))

    assert pack(parts.state) == pack(whole.state)
    assert pieces == told


def test_calm_comes_after_steady_looks_and_noise_does_not_end_it() -> None:
    calm, chance = Calm(), random.Random(2)
    calm.heed("gw-a", -70.0)
    for n in range(STEADY_LOOKS):
        assert not calm.gathers
        calm.heed("gw-a", -70.0)
        calm.looked(float(n), able=True)
    assert calm.gathers

    for _ in range(200):
        calm.heed("gw-a", -70.0 + chance.gauss(0.0, 2.8))
    assert calm.gathers

    for _ in range(4):
        calm.heed("gw-a", -60.0)
    assert not calm.gathers


def test_a_tag_that_speaks_many_times_a_second_is_not_calm_for_that() -> None:
    calm = Calm()
    calm.heed("gw-a", -70.0)

    for n in range(2 * STEADY_LOOKS):
        calm.heed("gw-a", -70.0)
        calm.looked(0.2 * n, able=True)

    assert not calm.gathers
