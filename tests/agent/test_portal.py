"""RFID portals: one event per tag and pass, with the right direction."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from tests.support.portal_passes import PORTAL, Noise, Way, reads_of

from tagtrail_agent.inputs.direction import KEPT, Sighting, Track, direction_of
from tagtrail_agent.inputs.portal import (
    PASSES_AT_ONCE,
    FoldingOptions,
    PortalOptions,
    Read,
    ReadFolder,
)
from tagtrail_agent.readings import Reading

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WAYS: tuple[Way, ...] = ("in", "out", "turned_back")
S5_NOISE = Noise(fading_db=3.0, stray=0.02)


def epc_of(number: int) -> str:
    return f"3074257BF7194E40{number:08X}"


def passes(
    noise: Noise, *, tags: int = 300, seed: int = 5, lasting_s: float = 4.0
) -> tuple[dict[str, Way], list[Read]]:
    """Return each tag's way, and all reads in order of time."""
    chance = random.Random(seed)
    ways: dict[str, Way] = {epc_of(n): WAYS[n % 3] for n in range(tags)}
    reads = [
        read
        for epc, way in ways.items()
        for read in reads_of(epc, way, chance, noise=noise, start_s=100.0, lasting_s=lasting_s)
    ]
    return ways, sorted(reads, key=lambda r: r.elapsed_s)


def folded(reads: list[Read], options: FoldingOptions | None = None) -> list[Reading]:
    """Fold reads while the clock runs, until all has ended."""
    folder = ReadFolder("reader-1", [PORTAL], options)
    readings: list[Reading] = []
    now_s = 100.0
    for read in reads:
        while read.elapsed_s > now_s + 0.5:
            now_s += 0.5
            readings += folder.due(NOON, now_s)
        folder.add([read])
    return readings + folder.due(NOON, reads[-1].elapsed_s + 60.0)


def accuracy(noise: Noise, seed: int = 5) -> tuple[float, float]:
    """Return the shares of tags with the right and with a wrong direction."""
    ways, reads = passes(noise, seed=seed)
    told = Counter(
        "right" if r.members["direction"] == ways[r.tag.removeprefix("epc:")]
        else "unknown" if r.members["direction"] == "unknown" else "wrong"
        for r in folded(reads)
    )  # fmt: skip
    return told["right"] / len(ways), told["wrong"] / len(ways)


def test_three_hundred_tags_read_fifty_times_in_four_seconds_give_three_hundred_events() -> None:
    ways, reads = passes(S5_NOISE)

    readings = folded(reads)

    assert len(reads) == 15_000
    assert reads[-1].elapsed_s - reads[0].elapsed_s <= 4.0
    assert {r.tag for r in readings} == {f"epc:{epc}" for epc in ways}
    assert len(readings) == 300
    assert {r.tag.removeprefix("epc:"): r.members["direction"] for r in readings} == ways


def test_over_other_passes_at_least_99_of_100_directions_are_right() -> None:
    shares = [accuracy(S5_NOISE, seed)[0] for seed in (11, 12, 13)]

    assert sum(shares) / len(shares) >= 0.99


def test_the_event_says_how_often_when_and_where_the_tag_was_read() -> None:
    reads = [Read("E2", 1, -55, 100.0), Read("E2", 1, -50, 100.5), Read("E2", 3, -58, 101.0)]

    (reading,) = folded(reads)

    assert reading.elapsed_s == 101.0
    assert reading.gateway_id == "reader-1"
    assert reading.members["samples"] == 3
    assert reading.members["antenna"] == 1
    assert reading.members["rssi_dbm"] == -50
    assert reading.members["reads_by_antenna"] == {"1": 2, "3": 1}
    assert reading.members["technology"] == "rfid"
    assert reading.at.timestamp() - 1.0 == pytest.approx(
        datetime.fromisoformat(reading.members["first_seen_at"]).timestamp()
    )


@pytest.mark.parametrize(
    ("noise", "least_right", "most_wrong"),
    [
        (Noise(fading_db=2.0), 0.98, 0.02),
        (Noise(fading_db=4.0), 0.98, 0.02),
        (Noise(fading_db=6.0), 0.95, 0.04),
        (Noise(fading_db=8.0), 0.90, 0.08),
        (Noise(missed=0.3), 0.95, 0.04),
        (Noise(missed=0.5), 0.92, 0.05),
        (Noise(missed=0.8), 0.40, 0.12),
        (Noise(stray=0.1), 0.98, 0.02),
        (Noise(stray=0.4), 0.92, 0.06),
        (Noise(overlap_db=6.0), 0.97, 0.02),
        (Noise(fading_db=6.0, missed=0.5, stray=0.1, orientation_db=4.0), 0.78, 0.10),
    ],
    ids=str,
)
def test_the_direction_stays_right_as_noise_rises(
    noise: Noise, least_right: float, most_wrong: float
) -> None:
    right, wrong = accuracy(noise)

    assert right >= least_right
    assert wrong <= most_wrong


def test_noise_alone_has_no_direction() -> None:
    chance = random.Random(3)
    told = Counter(
        direction_of(
            [
                Sighting(n / 10, chance.random() < 0.5, chance.gauss(-55, 4))
                for n in range(40)
            ]
        )
        for _ in range(300)
    )  # fmt: skip

    assert told["unknown"] >= 200


def test_one_side_alone_says_nothing() -> None:
    assert direction_of([Sighting(n / 10, False, -50.0) for n in range(50)]) == "unknown"


def test_too_few_reads_say_nothing() -> None:
    crossing = [Sighting(0, False, -50), Sighting(0.1, False, -50), Sighting(2, True, -50)]

    assert direction_of(crossing, min_reads=4) == "unknown"


def test_a_reader_without_rssi_still_tells_the_direction() -> None:
    crossing = [Sighting(n / 10, n >= 10, None) for n in range(20)]

    assert direction_of(crossing) == "in"
    assert direction_of([s._replace(inner=not s.inner) for s in crossing]) == "out"


def test_a_stronger_inner_antenna_does_not_turn_a_way_round() -> None:
    chance = random.Random(9)
    reads = reads_of("E2", "out", chance, noise=S5_NOISE, start_s=0, lasting_s=4)
    louder = [
        Sighting(r.elapsed_s, r.antenna in PORTAL.inner, r.rssi_dbm + 10 * (r.antenna in PORTAL.inner))
        for r in reads
        if r.rssi_dbm is not None
    ]  # fmt: skip

    assert direction_of(louder) == "out"


def test_two_passes_with_a_quiet_time_between_are_two_events() -> None:
    chance = random.Random(1)
    first = reads_of("E2", "in", chance, noise=S5_NOISE, start_s=100, lasting_s=3)
    second = reads_of("E2", "out", chance, noise=S5_NOISE, start_s=110, lasting_s=3)

    readings = folded([*first, *second], FoldingOptions(quiet_s=2.0))

    assert [r.members["direction"] for r in readings] == ["in", "out"]


@pytest.mark.parametrize(("gap_s", "events"), [(1.9, 1), (2.1, 2)])
def test_the_quiet_time_decides_what_one_pass_is(gap_s: float, events: int) -> None:
    assert len(folded([Read("E2", 1, -50, 100.0), Read("E2", 3, -50, 100.0 + gap_s)])) == events


def test_a_late_clock_does_not_join_two_passes() -> None:
    folder = ReadFolder("reader-1", [PORTAL])

    folder.add([Read("E2", 1, -50, 100.0), Read("E2", 1, -50, 110.0)])

    assert len(folder.due(NOON, 120.0)) == 2


def test_a_tag_that_stays_is_told_regularly_and_its_direction_once_when_it_leaves() -> None:
    chance = random.Random(2)
    coming = list(reads_of("E2", "in", chance, noise=S5_NOISE, start_s=100, lasting_s=4))
    arriving = [r for r in coming if r.elapsed_s < 102]
    leaving = [r._replace(elapsed_s=r.elapsed_s + 100) for r in coming if r.elapsed_s >= 102]
    standing = [Read("E2", 1 + 2 * (n % 2), -55, 102 + n / 2) for n in range(200)]

    readings = folded([*arriving, *standing, *leaving], FoldingOptions(longest_s=30.0))

    ongoing = [r for r in readings if r.members.get("ongoing")]
    assert [round(b.elapsed_s - a.elapsed_s) for a, b in pairwise(ongoing)] == [30, 30]
    assert all("direction" not in r.members for r in ongoing)
    assert [r.members["direction"] for r in readings if r not in ongoing] == ["in"]


def test_a_tag_that_stays_takes_bounded_memory() -> None:
    track = Track()

    for n in range(10_000):
        track.add(Sighting(float(n), n % 2 == 0, -50.0))

    assert len(track.sightings()) == 2 * KEPT


def test_an_antenna_outside_portals_folds_each_burst_without_direction() -> None:
    shelf = [Read("E2", 7, -60, 100 + n / 10) for n in range(10)]
    later = [Read("E2", 7, -61, 110 + n / 10) for n in range(5)]

    readings = folded([*shelf, *later])

    assert [r.members["samples"] for r in readings] == [10, 5]
    assert all("direction" not in r.members for r in readings)
    assert [r.members["antenna"] for r in readings] == [7, 7]


def test_an_antenna_on_two_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="antenna 2 stands on two sides"):
        ReadFolder("reader-1", [PortalOptions(outer=(1, 2), inner=(2, 3))])


def test_a_portal_may_be_a_receiver_of_its_own() -> None:
    doors = [
        PortalOptions(outer=(1,), inner=(2,), gateway_id="door-a"),
        PortalOptions(outer=(3,), inner=(4,), gateway_id="door-b"),
    ]
    folder = ReadFolder("reader-1", doors)

    folder.add(Read("E2", a, -50, 100.0) for a in (1, 3, 5))

    assert {r.gateway_id for r in folder.flush(NOON, 101.0)} == {"door-a", "door-b", "reader-1"}


def test_more_tags_than_fit_are_told_early_not_lost() -> None:
    folder = ReadFolder("reader-1", [PORTAL])

    folder.add(Read(epc_of(n), 1, -50, 100.0) for n in range(PASSES_AT_ONCE + 500))

    assert len(folder.due(NOON, 100.5)) == 500
    assert len(folder.flush(NOON, 100.5)) == PASSES_AT_ONCE
