"""The same log gives the same places, whatever the batches, restarts and clocks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.locate_scene import (
    Scene,
    alive,
    envelope,
    ranged,
    recorded,
    sighting,
    two_zones,
)

from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered
from tagtrail_locate.core import engine as engine_module
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.state import pack, unpack

_TAGS = st.sampled_from(["tag-1", "tag-2", "tag-3"])
_GATEWAYS = st.sampled_from(["gw-a", "gw-b", "gw-x"])
_TIMES = st.integers(0, 400_000).map(lambda ms: ms / 1000)


def _fact(kind: str, at_s: float, tag: str, gateway: str, level: int) -> Envelope:
    if kind == "range":
        return ranged(at_s, gateway, level / 10.0, tag=tag)
    if kind == "alive":
        return alive(at_s, gateway)
    if kind == "nfc":
        return sighting(at_s, gateway, None, tag=tag, technology="nfc")
    if kind == "config":
        values = {"exit_delay_ms": level * 100, "lag_s": (0, 1, 3, 10)[level % 4]}
        return envelope(at_s, ConfigChanged(section="locate", values=values), salt=str(level))
    if kind == "mode":
        fact = TagRegistered(tag_id=tag, identities=("mac:1",), interval_s=1.0 + level)
        return envelope(at_s, fact, salt=str(level))
    if kind == "item":
        folded = {"samples": level + 1, "interval_ms": 200 * level}
        return sighting(at_s, gateway, -40.0 - level, tag=tag, **folded)
    return sighting(at_s, gateway, -40.0 - level, tag=tag)


_KINDS = st.sampled_from(
    [*["sighting"] * 12, *["item"] * 5, "range", "alive", "nfc", "config", "mode"]
)
_FACTS = st.lists(
    st.builds(_fact, _KINDS, _TIMES, _TAGS, _GATEWAYS, st.integers(0, 60)), max_size=120
)


def _log(facts: list[Envelope]) -> list[Recorded]:
    return [recorded(n, fact) for n, fact in enumerate([*two_zones(), *facts], start=1)]


def _played(log: list[Recorded], cuts: list[int]) -> tuple[bytes, list[bytes], Any, Any, Any]:
    """Play a log in batches; returns memory, facts, and what the tables would hold."""
    engine, total = Engine(), Effects()
    edges = [0, *sorted({c for c in cuts if c < len(log)}), len(log)]
    for start, end in itertools.pairwise(edges):
        engine.apply(log[start:end])
        taken = engine.taken()
        total.facts += taken.facts
        total.history += taken.history
        total.places |= taken.places
        total.presence |= taken.presence
        total.gateways |= taken.gateways
        total.snapshot = taken.snapshot or total.snapshot
    bodies = [seal(fact).body for fact in total.facts]
    tables = (total.places, total.history, total.presence, total.gateways)
    return pack(engine.state), bodies, tables, total.snapshot, engine


@settings(max_examples=60, deadline=None)
@given(_FACTS, st.lists(st.integers(1, 125), max_size=8))
def test_any_batching_gives_the_same_bytes(facts: list[Envelope], cuts: list[int]) -> None:
    log = _log(facts)

    whole = _played(log, [])
    parts = _played(log, cuts)

    assert parts[:4] == whole[:4]


@settings(max_examples=40, deadline=None)
@given(_FACTS, st.integers(0, 125))
def test_a_restored_memory_goes_on_like_one_that_never_stopped(
    facts: list[Envelope], stop: int
) -> None:
    log = _log(facts)
    whole = _played(log, [])
    before = Engine()
    before.apply(log[:stop])
    told = [seal(fact).body for fact in before.taken().facts]

    after = Engine(unpack(pack(before.state)))
    after.apply(log[stop:])
    told += [seal(fact).body for fact in after.taken().facts]

    assert pack(after.state) == whole[0]
    assert told == whole[1]


@settings(max_examples=40, deadline=None)
@given(_FACTS)
def test_explaining_changes_nothing(facts: list[Envelope]) -> None:
    engine = Engine()
    engine.apply(_log(facts))
    before = pack(engine.state)

    for tag in engine.state.tags.values():
        told = engine.explain(tag)
        assert told["tag_id"] == tag.tag_id

    assert pack(engine.state) == before


def test_snapshots_stand_where_the_log_says_and_not_where_batches_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "SNAPSHOT_EVERY", 10)
    log = _log([sighting(float(n), "gw-a", -60.0) for n in range(30)])

    whole = _played(log, [])
    parts = _played(log, [3, 11, 12, 29])

    assert whole[3] is not None
    assert whole[3][0] == 29
    assert parts[3] == whole[3]


def test_event_time_decides_and_not_the_time_of_recording() -> None:
    facts = [sighting(n * 0.5, "gw-a" if n < 40 else "gw-b", -60.0) for n in range(100)]
    at_once, late = Scene(two_zones()), Scene(two_zones())

    at_once.give(facts)
    later = facts[-1].occurred_at.replace(year=2027)
    late.give(facts, recorded_at=later)

    assert late.changes == at_once.changes
    assert [z for _, z in at_once.changes] == ["a", "b"]


def _heard(until_s: int) -> list[Envelope]:
    return [
        sighting(n + 0.05 * k, gateway, level)
        for n in range(until_s)
        for k, (gateway, level) in enumerate((("gw-a", -60.0), ("gw-b", -75.0)))
    ]


def test_a_late_reading_within_the_lag_gives_the_memory_of_one_in_time() -> None:
    facts = _heard(20)
    late = facts.pop(-6)
    in_time, reordered = Scene(two_zones()), Scene(two_zones())

    in_time.give(_heard(20))
    reordered.give([*facts, late])

    tags = in_time.engine.state.tags["tag-1"], reordered.engine.state.tags["tag-1"]
    assert tags[0].track is not None
    assert tags[1].track is not None
    assert tags[1].track.head == tags[0].track.head
    assert tags[1].track.zones == tags[0].track.zones
    assert tags[1].late == 0


def test_a_reading_beyond_the_lag_is_counted_and_not_used() -> None:
    scene = Scene(two_zones())
    scene.give(_heard(40))
    track = scene.engine.state.tags["tag-1"].track
    assert track is not None
    before = track.head

    scene.give([sighting(5.5, "gw-b", -50.0)])

    tag = scene.engine.state.tags["tag-1"]
    assert tag.track is not None
    assert tag.track.head == before
    assert scene.engine.state.counters == {"late": 1}
    assert scene.engine.explain(tag)["late_readings"] == 1
