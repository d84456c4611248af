"""Zones in the standard noisy fixture, against the simulator's truth; the whole hour is a bench."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tagtrail.benchmarks import zones
from tagtrail.simulator.scenario import f1
from tagtrail.simulator.world import World


@pytest.mark.slow
def test_s10_zones_of_f1_are_right_after_a_survey_and_still_tags_stay() -> None:
    found = zones.measure(survey="map", seconds=420, tags=100)

    assert found["zone_accuracy"] >= 0.95, found
    assert found["zone_accuracy_still"] >= 0.95, found
    assert found["false_changes"] <= 1, found


@pytest.mark.slow
def test_s10_a_walk_of_five_minutes_tells_zones_without_a_gateway_apart() -> None:
    plan = zones.measure(survey="plan", seconds=240, tags=60)
    walk = zones.measure_halls(survey="walk", seconds=240, tags=60, seeds=(1, 2))

    assert plan["zone_accuracy"] >= 0.8, plan
    assert walk["mean_zone_accuracy"] >= 0.89, walk


def test_a_survey_stands_at_points_inside_zones_and_hears_what_is_near() -> None:
    world = World(replace(f1(), tags_per_site=10))

    calibration = zones.surveyed(world, zones.Survey(8.0, 3))

    assert len(calibration.points) >= 10
    for point in calibration.points:
        assert world.sites[0].site.zone_id_at(point.x_m, point.y_m) is not None
    heard = [name for point in calibration.points for name in point.levels]
    assert set(heard) == {g.wire_id for g in world.sites[0].gateways}
