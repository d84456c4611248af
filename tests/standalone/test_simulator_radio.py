"""The radio: its statistics are those of its model, within sampling error."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from tagtrail.simulator.layout import Wall, loss_through_walls_db
from tagtrail.simulator.radio import Radio, Shadow
from tagtrail.simulator.ranging import Ranged, Ranging
from tagtrail.simulator.scenario import Cadence, RadioModel, Scenario, Uwb, f1, preset, quiet
from tagtrail.simulator.siterun import SiteRun
from tagtrail.simulator.world import World

SKUS = ["SKU-001", "SKU-002", "SKU-003"]
LOUD = RadioModel(sensitivity_dbm=-200.0, loss_share=0.0)
"""Every packet is heard, so that no statistic is cut off."""


def radio_of(scenario: Scenario) -> tuple[SiteRun, Radio]:
    run = SiteRun(scenario, 0, SKUS)
    return run, run.radio


def still(model: RadioModel, **changes: object) -> Scenario:
    return replace(quiet(f1()), radio=model, **changes)  # type: ignore[arg-type]


def test_a_still_tag_fluctuates_as_noise_drift_and_bodies_together() -> None:
    model = LOUD
    _, radio = radio_of(still(model))
    links: dict[tuple[int, int], list[float]] = {}
    for second in range(400):
        heard = radio.step(float(second))
        for tag, gate, rssi in zip(heard.tag, heard.receiver, heard.rssi_dbm, strict=True):
            links.setdefault((int(tag), int(gate)), []).append(float(rssi))
    measured = np.sqrt(np.mean([np.var(v) for v in links.values()]))

    bodies = model.block_share * (1 - model.block_share) * model.block_loss_db**2
    expected = math.sqrt(model.noise_sigma_db**2 + model.drift_sigma_db**2 + bodies)
    assert len(links) == 800
    assert measured == pytest.approx(expected, rel=0.05)


def test_bodies_block_a_tenth_of_the_time_in_bursts_of_seconds() -> None:
    _, radio = radio_of(still(LOUD))
    states = []
    for second in range(600):
        radio.step(float(second))
        states.append(radio.blocked.copy())
    blocked = np.array(states)
    starts = (blocked[1:] & ~blocked[:-1]).sum()

    assert blocked.mean() == pytest.approx(0.10, abs=0.01)
    assert blocked.sum() / starts == pytest.approx(4.0, rel=0.1)


def test_the_frozen_shadowing_is_gaussian_and_forgets_with_distance() -> None:
    model = RadioModel()
    shadow = Shadow(model, 200, np.random.default_rng(3))
    x = np.array([0.0, 0.1, 30.0])
    field = shadow.at_db(x, np.zeros(3))

    assert field.std() == pytest.approx(model.field_sigma_db, rel=0.1)
    assert np.corrcoef(field[0], field[1])[0, 1] > 0.99
    assert abs(np.corrcoef(field[0], field[2])[0, 1]) < 0.2


def test_power_falls_with_the_logarithm_of_distance_and_with_each_wall() -> None:
    plain = replace(LOUD, field_sigma_db=0, tag_offset_sigma_db=0, gateway_offset_sigma_db=0)
    run, radio = radio_of(still(plain))
    radio.step(0.0)
    tags = np.arange(200)
    mean = radio.mean_dbm(tags, np.zeros(200))

    for n, asset in enumerate(run.plan.assets):
        x, y = asset.place
        for g, gateway in enumerate(run.gateways):
            s = gateway.station
            d = math.dist((x, y, asset.height_m), (s.x_m, s.y_m, s.z_m))
            walls = loss_through_walls_db(
                run.site.walls, np.array([[x]]), np.array([[y]]), np.array([[s.x_m]]),
                np.array([[s.y_m]]),
            )  # fmt: skip
            assert mean[n, g] == pytest.approx(-59 - 24 * math.log10(d) - walls[0, 0])


def test_a_wall_takes_its_loss_only_from_what_crosses_it() -> None:
    wall = (Wall((1.0, -1.0), (1.0, 1.0), 7.0),)
    x = np.array([[0.0], [0.0], [2.0]])
    y = np.array([[0.0], [5.0], [0.0]])

    loss = loss_through_walls_db(wall, x, y, np.array([[3.0]]), np.array([[0.0]]))
    assert loss[:, 0].tolist() == [7.0, 0.0, 0.0]


def test_weak_packets_are_lost_and_strong_ones_nearly_never() -> None:
    _, radio = radio_of(still(replace(RadioModel(), loss_share=0.0)))
    heard = np.zeros((200, 4))
    for second in range(200):
        h = radio.step(float(second))
        np.add.at(heard, (h.tag, h.receiver), 1)
    mean = radio.mean_dbm(np.arange(200), np.full(200, 199.0))
    share = heard / 199

    assert share[mean > -80].mean() > 0.98
    assert share[mean < -108].mean() < 0.02
    assert 0.3 < share[abs(mean + 98) < 1.5].mean() < 0.7


@pytest.mark.parametrize("interval_s", [0.5, 1.0, 7.0, 60.0])
def test_a_tag_at_rest_keeps_its_interval_with_the_jitter_of_the_standard(
    interval_s: float,
) -> None:
    scenario = still(LOUD, cadence=Cadence(storage_s=interval_s, transit_s=interval_s))
    _, radio = radio_of(scenario)
    times = []
    for second in range(int(20 * interval_s) + 2):
        heard = radio.step(float(second))
        times += heard.at_s[(heard.tag == 5) & (heard.receiver == 0)].tolist()
    gaps = np.diff(times)

    assert gaps.size >= 19
    assert gaps.min() >= interval_s - 1e-9
    assert gaps.max() <= interval_s + 0.010 + 1e-9


def test_a_tag_that_is_moved_wakes_up_at_once_and_calms_down_after() -> None:
    scenario = replace(f1(), radio=LOUD, cadence=Cadence(storage_s=120.0, transit_s=1.0, hold_s=30))
    run, radio = radio_of(scenario)
    move = next(m for m in run.plan.movements if m.kind == "relocation")
    index = move.asset.index
    times = []
    for second in range(min(3600, move.end_s + 200)):
        heard = radio.step(float(second))
        times += heard.at_s[(heard.tag == index) & (heard.receiver == 0)].tolist()
    during = [t for t in times if move.start_s <= t < move.end_s + 30]
    after = [t for t in times if move.end_s + 35 < t < move.end_s + 100]

    assert len(during) > 0.9 * (move.end_s + 30 - move.start_s)
    assert during[0] - move.start_s < 2.0
    assert len(after) <= 1


def test_a_dead_battery_is_silent_from_its_moment_on() -> None:
    run, radio = radio_of(replace(f1(), radio=LOUD, duration_s=600.0))
    dead = {a.index: a.dies_at_s for a in run.plan.assets if a.dies_at_s is not None}
    last: dict[int, float] = {}
    for second in range(600):
        heard = radio.step(float(second))
        for index in dead:
            mine = heard.at_s[heard.tag == index]
            if mine.size:
                last[index] = float(mine.max())

    assert len(dead) == 3
    for index, dies_at_s in dead.items():
        assert dies_at_s - 2.0 < last[index] < dies_at_s


def test_nobody_hears_what_is_away() -> None:
    run, radio = radio_of(replace(f1(), radio=LOUD))
    away = [a.index for a in run.plan.assets if np.isnan(a.track.points_m[0][0])]
    heard = [radio.step(float(second)) for second in range(20)]

    assert len(away) == 16
    assert not np.isin(np.concatenate([h.tag for h in heard]), away).any()


def ranges_of(model: Uwb, seconds: int = 200) -> tuple[SiteRun, list[Ranged], np.ndarray]:
    run = SiteRun(replace(quiet(preset("uwb")), uwb=model), 0, SKUS)
    ranging: Ranging = run.ranging
    found = [ranging.step(float(s)) for s in range(seconds)]
    anchors = [g.station for g in run.gateways if g.station.kind == "uwb"]
    errors = [
        r.range_m[n] - math.dist(
            (*run.plan.assets[int(r.tag[n])].place, run.plan.assets[int(r.tag[n])].height_m),
            (anchors[int(r.anchor[n])].x_m, anchors[int(r.anchor[n])].y_m, anchors[int(r.anchor[n])].z_m),
        )
        for r in found
        for n in range(r.at_s.size)
    ]  # fmt: skip
    return run, found, np.array(errors)


def test_ranges_in_line_of_sight_err_by_their_sigma_and_reach_four_anchors() -> None:
    _, found, errors = ranges_of(Uwb(tags=20))
    anchors = [{int(a) for a in r.anchor[r.tag == 3]} for r in found]

    assert errors.std() == pytest.approx(0.1, rel=0.05)
    assert abs(errors.mean()) < 0.01
    assert all(len(a) >= 4 for a in anchors)


def test_without_line_of_sight_ranges_are_too_long_for_a_fifth_of_the_time() -> None:
    _, found, errors = ranges_of(Uwb(tags=20, nlos_share=0.2), seconds=600)
    blocked = np.concatenate([r.nlos for r in found]) == 1

    assert blocked.mean() == pytest.approx(0.2, abs=0.02)
    assert errors[blocked].mean() == pytest.approx(0.8, rel=0.1)
    assert abs(errors[~blocked].mean()) < 0.01


def test_f1_is_simulated_at_least_fifty_times_faster_than_real_time() -> None:
    world = World(replace(f1(), duration_s=120.0))
    began = time.process_time()
    sent = sum(t.sightings for t in world.stream())
    took_s = time.process_time() - began

    assert sent > 30_000
    assert 120.0 / took_s >= 50
