"""Row S6: a copied NFC label gives itself away, and an honest one never does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.locate_scene import START, Scene, envelope, recorded, sighting, two_zones

from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.events.places import TagReadContradicted
from tagtrail_kernel.events.registrations import (
    GatewayRegistered,
    SiteRegistered,
    TagRegistered,
    TagRetired,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.registry import Site
from tagtrail_locate.core.state import pack, unpack
from tagtrail_locate.core.touches import CLOCKS_S, ECHO_S, KEPT, Touch, take

LABEL = "nfc:04a2b3c4d5e682"
SITES = {
    "berlin": Site(site_id="berlin", name="Berlin", latitude_deg=52.52, longitude_deg=13.405),
    "hamburg": Site(site_id="hamburg", name="Hamburg", latitude_deg=53.551, longitude_deg=9.994),
    "nowhere": Site(site_id="nowhere", name="Nowhere"),
}
APART_M = 255_000.0
"""Berlin to Hamburg, to the kilometre."""


def tap(
    at_s: float, counter: int | None, by: str = "gw-a", *, phone: bool = True, salt: str = ""
) -> Envelope:
    return sighting(
        at_s,
        by,
        None,
        technology="nfc",
        source_class="own_phone" if phone else "reader",
        counter=counter,
        extra={"n": salt} if salt else None,
    )


def enrolled(at_s: float, *identities: str) -> Envelope:
    return envelope(at_s, TagRegistered(tag_id="tag-1", identities=identities), subject="tag-1")


def scene(*facts: Envelope) -> Scene:
    return Scene([*two_zones(), enrolled(-50, LABEL), *facts])


def told(scene: Scene) -> list[TagReadContradicted]:
    return [f.data for f in scene.facts if isinstance(f.data, TagReadContradicted)]


def test_s6_taps_that_count_upwards_are_of_one_label() -> None:
    taps = [tap(60.0 * n, 40 + 3 * n, "gw-a" if n % 2 else "gw-b") for n in range(40)]

    assert told(scene(*taps)) == []


def test_s6_the_same_counter_twice_is_told_with_both_reads() -> None:
    first, second = tap(0, 41, "gw-a"), tap(300, 41, "gw-b")

    world = scene(first, second)

    (fact,) = told(world)
    assert fact.sign == "counter_repeated"
    assert (fact.earlier.event_id, fact.later.event_id) == (str(first.id), str(second.id))
    assert (fact.earlier.at, fact.later.at) == (START, START + timedelta(seconds=300))
    assert (fact.earlier.zone_id, fact.later.zone_id) == ("a", "b")
    assert (fact.earlier.counter, fact.later.counter) == (41, 41)
    assert {fact.earlier.site_id, fact.later.site_id} == {"hall"}


def test_s6_a_counter_that_goes_back_is_told() -> None:
    (fact,) = told(scene(tap(0, 41), tap(120, 42), tap(600, 30, "gw-b")))

    assert fact.sign == "counter_went_back"
    assert (fact.earlier.counter, fact.later.counter) == (42, 30)


def test_s6_a_tap_told_twice_by_its_phone_is_one_tap() -> None:
    assert told(scene(tap(0, 41), tap(ECHO_S, 41))) == []


@pytest.mark.parametrize(("after_s", "by"), [(ECHO_S + 0.1, "gw-a"), (0.5, "gw-b")])
def test_s6_the_same_counter_later_or_elsewhere_is_no_repetition(after_s: float, by: str) -> None:
    assert len(told(scene(tap(0, 41), tap(after_s, 41, by)))) == 1


@pytest.mark.parametrize(("after_s", "facts"), [(CLOCKS_S, 0), (CLOCKS_S + 1, 1)])
def test_s6_clocks_of_two_phones_may_differ_by_a_minute(after_s: float, facts: int) -> None:
    assert len(told(scene(tap(0, 42, "gw-a"), tap(after_s, 41, "gw-b")))) == facts


def test_s6_an_offline_queue_that_comes_late_contradicts_nothing() -> None:
    queue = [tap(300, 11, "gw-b"), tap(600, 12, "gw-b"), tap(900, 13, "gw-b")]

    world = scene(tap(0, 10), tap(1200, 14), *queue)

    assert told(world) == []


def test_s6_a_late_tap_convicts_the_copy_that_came_before_it() -> None:
    copy, original = tap(900, 12, "gw-b"), tap(300, 12, "gw-a")

    (fact,) = told(scene(tap(0, 11), copy, original))

    assert (fact.earlier.event_id, fact.later.event_id) == (str(original.id), str(copy.id))


def test_s6_labels_without_a_counter_say_nothing() -> None:
    assert told(scene(tap(0, None), tap(300, 5), tap(600, None, "gw-b"), tap(900, 6))) == []


def test_s6_a_copy_is_told_once_for_each_of_its_taps() -> None:
    copies = [tap(1000.0 + 100 * n, 41, "gw-b") for n in range(2 * KEPT)]

    facts = told(scene(tap(0, 41), tap(200, 42), tap(400, 43), *copies))

    assert [f.later.at for f in facts] == [c.occurred_at for c in copies]


def test_s6_another_label_on_the_tag_may_count_from_the_start() -> None:
    relabelled = enrolled(500, "nfc:04ffffffffffff")

    world = scene(tap(0, 41), tap(100, 42), relabelled, tap(600, 1), tap(700, 2))
    world.give([tap(300, 43), tap(800, 2, "gw-b")])

    (fact,) = told(world)
    assert fact.later.counter == 2


def test_s6_registering_a_tag_anew_with_its_label_forgives_nothing() -> None:
    again = TagRegistered(tag_id="tag-1", identities=("mac:000000000001", LABEL), mode="transit")

    world = scene(tap(0, 41), envelope(100, again, subject="tag-1"), tap(600, 41))

    assert len(told(world)) == 1


def test_s6_a_retired_tag_is_forgotten() -> None:
    retired = envelope(100, TagRetired(tag_id="tag-1"), subject="tag-1")

    assert told(scene(tap(0, 41), retired, enrolled(200, LABEL), tap(600, 41))) == []


def two_sites(*facts: Envelope) -> Scene:
    places: list[Event] = []
    for site in SITES.values():
        places += [
            SiteRegistered(
                site_id=site.site_id,
                name=site.name,
                latitude_deg=site.latitude_deg,
                longitude_deg=site.longitude_deg,
            ),
            ZoneRegistered(zone_id=f"desk-{site.site_id}", site_id=site.site_id, name="Desk"),
            GatewayRegistered(
                gateway_id=site.site_id, site_id=site.site_id, zone_id=f"desk-{site.site_id}"
            ),
        ]
    world = [envelope(-60, fact, salt=str(n)) for n, fact in enumerate(places)]
    return Scene([*world, enrolled(-50, LABEL), *facts])


@pytest.mark.parametrize(("after_s", "facts"), [(600, 1), (900, 0)])
def test_s6_a_label_at_two_sites_within_a_time_nobody_travels_in_is_told(
    after_s: float, facts: int
) -> None:
    reads = [tap(0, None, "berlin", phone=False), tap(after_s, None, "hamburg", phone=False)]

    found = told(two_sites(*reads))

    assert [f.sign for f in found] == ["impossible_travel"] * facts
    assert [round(f.distance_m or 0, -3) for f in found] == [APART_M] * facts
    assert [(f.earlier.site_id, f.later.site_id) for f in found] == [("berlin", "hamburg")] * facts


@pytest.mark.parametrize(
    ("by", "phone"), [("nowhere", False), ("hamburg", True)], ids=["no coordinates", "a phone"]
)
def test_s6_who_may_be_anywhere_proves_no_journey(by: str, phone: bool) -> None:
    reads = [tap(0, None, "berlin", phone=False), tap(60, None, by, phone=phone)]

    assert told(two_sites(*reads)) == []


# -- any order, any batch -----------------------------------------------------------------

_READS = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda n: n * 20.0),
        st.one_of(st.none(), st.integers(0, 6)),
        st.sampled_from(["gw-a", "gw-b"]),
        st.sampled_from([None, "berlin", "hamburg"]),
    ),
    max_size=KEPT,
)


def _touches(reads: Sequence[tuple[float, int | None, str, str | None]]) -> list[Touch]:
    return [
        Touch(at_s, n.to_bytes(16, "big"), by, counter, None, site)
        for n, (at_s, counter, by, site) in enumerate(reads)
    ]


@settings(max_examples=200, deadline=None)
@given(_READS, st.randoms(use_true_random=False))
def test_s6_the_same_reads_in_any_order_convict_the_same_reads(
    reads: list[tuple[float, int | None, str, str | None]], chance: object
) -> None:
    convicted = []
    for shuffled in (False, True):
        known: list[Touch] = []
        arriving = _touches(reads)
        if shuffled:
            chance.shuffle(arriving)  # type: ignore[attr-defined]
        found = [c for touch in arriving for c in take(known, touch, SITES)]
        assert [t.at_s for t in known] == sorted(t.at_s for t in arriving)
        assert all(c.earlier.at_s <= c.later.at_s for c in found)
        assert len({c.later.event for c in found}) == len(found)
        convicted.append({c.later.event for c in found})

    assert convicted[0] == convicted[1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 1e5), st.integers(1, 3)), max_size=KEPT))
def test_s6_whatever_the_order_an_honest_label_is_never_accused(
    steps: list[tuple[float, int]],
) -> None:
    times = list(itertools.accumulate(s for s, _ in steps))
    counters = list(itertools.accumulate(c for _, c in steps))
    honest = [
        Touch(at_s, bytes([n] * 16), f"gw-{n % 3}", counter)
        for n, (at_s, counter) in enumerate(zip(times, counters, strict=True))
    ]
    known: list[Touch] = []

    assert [c for touch in reversed(honest) for c in take(known, touch, {})] == []


@settings(max_examples=40, deadline=None)
@given(_READS, st.lists(st.integers(1, 20), max_size=4), st.integers(0, 20))
def test_s6_any_batching_and_any_restart_tell_the_same_bytes(
    reads: list[tuple[float, int | None, str, str | None]], cuts: list[int], stop: int
) -> None:
    taps = [tap(at_s, c, by, salt=str(n)) for n, (at_s, c, by, _) in enumerate(reads)]
    facts = [*two_zones(), enrolled(-50, LABEL), *taps]
    log = [recorded(n, fact) for n, fact in enumerate(facts, start=1)]
    whole = Engine()
    whole.apply(log)
    said = [seal(fact).body for fact in whole.taken().facts]
    parts, again = Engine(), []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(log)]):
        if start <= stop < end:
            parts = Engine(unpack(pack(parts.state)))
        parts.apply(log[start:end])
        again += [seal(fact).body for fact in parts.taken().facts]

    assert again == said
    assert pack(parts.state) == pack(whole.state)
