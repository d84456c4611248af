"""The edge filter on fixture F1: what it saves, and what the server still knows afterwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest
from bench.edge_filter import (
    BUDGETS,
    STORAGE,
    TRANSIT,
    Figures,
    Played,
    Sent,
    at_rest,
    compare,
    filtered,
    played,
)

from tagtrail.simulator.scenario import f1
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.sightings import TagSighted

GOAL_PP = 1.0
"""Zone accuracy, and share of dwell, that filtering may cost, percentage points."""


@pytest.fixture(scope="module")
def moving() -> tuple[Played, list[Recorded], Sent]:
    run = played(replace(f1(), duration_s=700.0, tags_per_site=100))
    return run, *filtered(run, TRANSIT)


@pytest.fixture(scope="module")
def resting() -> tuple[Played, Sent]:
    run = played(at_rest(2200.0))
    return run, filtered(run, STORAGE)[1]


Moving = tuple[Played, list[Recorded], Sent]
Resting = tuple[Played, Sent]


def test_bandwidth_nine_adverts_of_ten_stay_at_the_gateway(moving: Moving) -> None:
    _, _, sent = moving

    assert sent.items <= 0.10 * sent.heard
    assert sent.batches <= 0.02 * sent.heard


def test_bandwidth_of_tags_that_move_is_within_the_budget(moving: Moving) -> None:
    run, _, sent = moving

    assert sent.gzip_bytes / run.tag_days("transit") <= BUDGETS["transit"]


def test_bandwidth_of_tags_at_rest_is_within_the_budget(resting: Resting) -> None:
    run, sent = resting

    assert sent.items <= 0.05 * sent.heard
    assert sent.gzip_bytes / run.tag_days("storage") <= BUDGETS["storage"]


def test_bandwidth_every_advert_is_accounted_for(moving: Moving, resting: Resting) -> None:
    for sent in (moving[2], resting[1]):
        assert sent.balanced
        counts = dict(sent.counts)
        assert counts.pop("in") == sum(counts.values())
    assert min(moving[2].counts.values()) > 0


def levels(log: Sequence[Recorded]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Return (samples, level) of every sighting, by tag and gateway."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for event in log:
        if event.type == "tag.sighted":
            fact = event.data
            assert isinstance(fact, TagSighted)
            assert fact.rssi_dbm is not None
            found[fact.tag_id, fact.gateway_id].append((fact.samples or 1, fact.rssi_dbm))
    return found


def test_bandwidth_mean_levels_of_still_tags_are_those_that_were_heard(moving: Moving) -> None:
    run, log, _ = moving
    before, after = levels(run.log), levels(log)
    still = set(run.world.truth.still_tags)

    compared = 0
    for link, heard in before.items():
        if link[0] in still and len(heard) >= 300:
            mean = sum(level for _, level in heard) / len(heard)
            weighed = sum(n * level for n, level in after[link]) / sum(n for n, _ in after[link])
            assert weighed == pytest.approx(mean, abs=0.25)
            compared += 1
    assert compared > 50


def test_bandwidth_the_filter_takes_less_than_three_percent_of_a_core(moving: Moving) -> None:
    _, _, sent = moving

    assert 200 * sent.cpu_s / sent.counts["in"] < 0.03


def assert_of_the_size_of_chance(found: Figures) -> None:
    """Filtering moves dwell between zones as the loss of every second advert does.

    Both are dice for the few tags at borders: single runs differ by a factor of two either way.
    """
    for cells in ("by_zone", "by_tag"):
        moved_pct, chance_pct = (found[f"{c}dwell_change_{cells}_pct"] for c in ("", "chance_"))
        assert 0.0 < moved_pct <= 2.0 * chance_pct + GOAL_PP, cells


def test_bandwidth_saved_costs_locate_little(moving: Moving) -> None:
    found = compare(moving[0], TRANSIT, chance=True)

    lost_pp = 100 * (found["zone_accuracy_plain"] - found["zone_accuracy_filtered"])
    assert lost_pp <= GOAL_PP
    assert found["dwell_error_filtered_pct"] <= found["dwell_error_plain_pct"] + GOAL_PP
    assert found["false_doubts_filtered"] <= found["false_doubts_plain"] + 1
    assert_of_the_size_of_chance(found)


def test_bandwidth_saved_costs_locate_little_at_rest(resting: Resting) -> None:
    found = compare(resting[0], STORAGE, chance=True)

    lost_pp = 100 * (found["zone_accuracy_plain"] - found["zone_accuracy_filtered"])
    assert lost_pp <= GOAL_PP
    assert found["dwell_error_filtered_pct"] <= found["dwell_error_plain_pct"] + GOAL_PP
    assert found["false_doubts_filtered"] <= found["false_doubts_plain"]
    assert_of_the_size_of_chance(found)
