"""Whatever is heard: every reading is sent, folded, dropped for a reason, or still held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_agent.filtering import EdgeFilter, Match, Profile, Rules
from tagtrail_agent.filtering.rules import Override
from tagtrail_agent.readings import Reading

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

members = st.fixed_dictionaries(
    {},
    optional={
        "rssi_dbm": st.one_of(st.integers(-128, 127), st.just(None), st.floats(-110, -30)),
        "sequence": st.integers(0, 3),
        "samples": st.integers(-1, 4),
        "battery_pct": st.integers(0, 100),
        "motion": st.booleans(),
        "button": st.integers(1, 3),
        "technology": st.sampled_from(["ble", "rfid", "uwb", "nonsense"]),
        "source_class": st.sampled_from(["own_gateway", "own_phone"]),
        "weird": st.lists(st.integers(), max_size=2),
    },
)
steps = st.tuples(
    st.sampled_from(["take", "take", "take", "take", "due", "flush", "adopt"]),
    st.sampled_from([0.0, 0.001, 0.02, 0.5, 1.0, 7.0, 90.0, -3.0, 8000.0]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([None, "g"]),
    members,
)
profiles = st.builds(
    Profile,
    heartbeat_s=st.sampled_from([1.0, 20.0]),
    first_spacing_s=st.sampled_from([0.1, 1.0]),
    change_readings=st.integers(1, 5),
    level_change_db=st.sampled_from([1.0, 8.0]),
    raw_every=st.sampled_from([None, 1, 3]),
    freeze_readings=st.integers(2, 5),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=80), profiles, st.integers(1, 4))
def test_in_is_out_plus_folded_plus_dropped_at_every_moment(
    script: list[tuple[str, float, str, str | None, dict[str, object]]],
    profile: Profile,
    most_links: int,
) -> None:
    edge = EdgeFilter(Rules(base=profile), gateway_id="own", most_links=most_links)
    now_s, out, taken = 100.0, 0, 0
    for what, step_s, tag, gateway_id, said in script:
        now_s += step_s
        if what == "take":
            taken += 1
            at = START + timedelta(seconds=now_s)
            out += len(edge.take([Reading(tag, at, now_s, said, gateway_id)], now_s))
        elif what == "due":
            out += len(edge.due(now_s))
        elif what == "flush":
            out += len(edge.flush())
        else:
            rare = Override(Match(gateway=("own",)), {"heartbeat_s": 60.0}, "x")
            edge.adopt(Rules(overrides=(rare,)))
        assert edge.counts.balanced
        assert edge.counts.sent == out
        assert edge.counts.held >= 0
    out += len(edge.flush())

    figures = edge.figures()
    assert figures["held"] == 0
    assert figures["in"] == taken
    assert taken == out + figures["folded"] + sum(figures["dropped"].values())


levels = st.lists(st.integers(-95, -35), min_size=20, max_size=120)


@settings(max_examples=200, deadline=None)
@given(levels)
def test_every_advert_that_is_not_dropped_is_a_sample_of_an_item(heard_dbm: list[int]) -> None:
    edge = EdgeFilter(Rules())
    items = []
    for second, level in enumerate(heard_dbm):
        at = START + timedelta(seconds=second)
        items += edge.take([Reading("t", at, float(second), {"rssi_dbm": level})], second + 0.5)
    items += edge.flush()

    samples = sum(i.members.get("samples", 1) for i in items)
    assert samples + edge.counts.dropped["outlier"] == len(heard_dbm)
    assert [i.elapsed_s for i in items] == sorted(i.elapsed_s for i in items)


@settings(max_examples=300, deadline=None)
@given(levels, st.integers(-95, -35), st.integers(1, 6), st.sampled_from([1.0, 9.0, 25.0]))
def test_no_reading_of_a_level_that_stayed_for_k_readings_is_a_blip(
    before: list[int], level: int, k: int, gap_s: float
) -> None:
    edge = EdgeFilter(Rules(base=Profile(change_readings=k, gate_dbm=-100.0)))
    at_s = 0.0

    def hear(value: int) -> int:
        nonlocal at_s
        at_s += gap_s
        edge.take([Reading("t", START, at_s, {"rssi_dbm": value})], at_s)
        return edge.counts.dropped["outlier"]

    for value in before:
        hear(value)
    first = hear(level)
    after = [hear(level) for _ in range(k - 1)]

    assert all(dropped == first for dropped in after)
    assert hear(before[-1]) == first
