"""The fixture is fair: zones can be told apart by fingerprint, though not by the nearest gateway."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from tagtrail.simulator.scenario import Scenario, f1, preset, small
from tagtrail.simulator.world import World

UNHEARD_DBM = -100.0
WINDOW = 60
"""Readings averaged per link; a still tag of F1 sends that many in a minute."""


def fingerprints(scenario: Scenario) -> tuple[np.ndarray, list[str | None], list[str]]:
    """Return mean power per still tag and gateway, the tags' true zones, the gateways' zones."""
    world = World(scenario)
    heard: dict[tuple[str, str], list[float]] = defaultdict(list)
    for t in world.stream():
        if t.kind == "sightings":
            for item in json.loads(t.payload)["sightings"]:
                if "rssi_dbm" in item:
                    heard[item["tag"], t.gateway_id].append(item["rssi_dbm"])
    (run,) = world.sites
    gateways = [g for g in run.gateways if g.station.kind == "ble"]
    still = set(world.truth.still_tags)
    assets = [a for a in run.plan.assets if a.tag_id in still]
    rows = [
        [_mean(heard[f"mac:{a.mac}", g.wire_id]) - g.offset_db for g in gateways] for a in assets
    ]
    zones = [world.truth.zone_at(a.tag_id, 0) for a in assets]
    return np.array(rows), zones, [g.station.zone_id for g in gateways]


def _mean(values: list[float]) -> float:
    return float(np.mean(values[:WINDOW])) if values else UNHEARD_DBM


def by_neighbours(rows: np.ndarray, zones: list[str | None]) -> float:
    """Return the share of tags whose five nearest other fingerprints vote for the true zone."""
    right = 0
    for n, row in enumerate(rows):
        distance = ((rows - row) ** 2).sum(axis=1)
        distance[n] = np.inf
        votes = Counter(zones[int(m)] for m in np.argsort(distance)[:5])
        right += votes.most_common(1)[0][0] == zones[n]
    return right / len(rows)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fingerprints_tell_the_six_zones_of_f1_apart(seed: int) -> None:
    rows, zones, _ = fingerprints(replace(f1(), seed=seed, duration_s=150.0))

    assert len(set(zones)) == 6
    assert by_neighbours(rows, zones) >= 0.95


def test_the_nearest_gateway_is_not_enough_in_f1_where_zones_outnumber_gateways() -> None:
    rows, zones, of_gateway = fingerprints(replace(f1(), duration_s=150.0))
    nearest = [of_gateway[int(n)] for n in rows.argmax(axis=1)]

    assert len(of_gateway) == 4
    assert np.mean([a == b for a, b in zip(nearest, zones, strict=True)]) < 0.85


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_nearest_gateway_is_right_for_most_tags_of_the_demonstration(seed: int) -> None:
    rows, zones, of_gateway = fingerprints(
        replace(small(), seed=seed, duration_s=150.0, tags_per_site=60)
    )
    nearest = [of_gateway[int(n)] for n in rows.argmax(axis=1)]

    assert np.mean([a == b for a, b in zip(nearest, zones, strict=True)]) >= 0.8


def test_the_uwb_fixture_carries_ranging_tags_in_the_same_hall() -> None:
    world = World(replace(preset("uwb"), duration_s=10.0))

    assert len(world.sites[0].ranging.tags) == 20
    assert world.sites[0].site.outline_m == f1().sites[0].outline_m
