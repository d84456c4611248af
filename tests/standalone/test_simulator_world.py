"""The simulated warehouse: same seed same bytes, and a truth that adds up."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tagtrail.simulator.goods import Contents, add, gtin13
from tagtrail.simulator.layout import inside
from tagtrail.simulator.routes import crosses
from tagtrail.simulator.scenario import Scenario, f1, preset, quiet, small
from tagtrail.simulator.world import World
from tagtrail_kernel.envelope import Envelope, open_body, seal
from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    GatewayRegistered,
    RetentionSet,
    TagBound,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned
from tagtrail_kernel.events.stock import CratePacked, CrateUnpacked


def stream_bytes(world: World) -> bytes:
    return b"\n".join(
        b"%.4f %s %s" % (t.deliver_s, t.topic.encode(), t.payload) for t in world.stream()
    )


def truth_bytes(world: World) -> bytes:
    return "\n".join(json.dumps(line) for line in world.truth.lines(every_s=10)).encode()


def run(scenario: Scenario) -> World:
    world = World(scenario)
    for _ in world.stream():
        pass
    return world


@pytest.fixture(scope="module")
def hour() -> World:
    """An hour of F1, planned; its radio was not simulated."""
    return World(f1())


@pytest.mark.parametrize("form", ["native", "espresense", "openmqttgateway", "ruuvi", "minew"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(form: str) -> None:
    scenario = replace(small(), duration_s=120.0, formats=(form,))  # type: ignore[arg-type]
    first, second = World(scenario), World(scenario)
    other = World(replace(scenario, seed=2))

    assert stream_bytes(first) == stream_bytes(second)
    assert truth_bytes(first) == truth_bytes(second)
    assert [seal(e).body for e in first.registrations()] == [
        seal(e).body for e in second.registrations()
    ]
    assert stream_bytes(World(scenario)) != stream_bytes(other)
    assert truth_bytes(first) != truth_bytes(other)


def test_fixture_f1_has_4_gateways_6_zones_and_200_tags(hour: World) -> None:
    data = [e.data for e in hour.registrations()]

    assert sum(isinstance(d, GatewayRegistered) for d in data) == 4
    assert sum(isinstance(d, ZoneRegistered) for d in data) == 6
    tags = [d for d in data if isinstance(d, TagRegistered)]
    assert len(tags) == len({d.identities for d in tags}) == 200
    assert sum(isinstance(d, TagBound) for d in data) == 200
    assert {d.kind for d in data if isinstance(d, AssetRegistered)} == {"crate", "pallet"}
    assert isinstance(data[0], RetentionSet)


def test_f1_holds_dead_gateways_dead_batteries_theft_and_wrong_loads(hour: World) -> None:
    assert {o.kind for o in hour.sites[0].outages} == {"dead", "link"}
    assert len(hour.truth.dead_tags) == 3
    assert len(hour.truth.thefts) == 2
    assert sum(bool(s.wrong) for s in hour.truth.shipments) == 2
    assert [s.pod for s in hour.truth.shipments].count("none") == 2
    assert [s.pod for s in hour.truth.shipments].count("late") == 2


def test_f1_holds_duplicates_late_data_and_readings_that_nobody_delivered() -> None:
    counts = run(replace(f1(), duration_s=600.0)).truth.counts()["native"]

    assert counts.duplicates > 0
    assert counts.late > 0
    assert counts.dark > 0


def test_big_has_2_sites_24_gateways_and_2000_tags() -> None:
    data = [e.data for e in World(replace(preset("big"), duration_s=60.0)).registrations()]

    gateways = [d for d in data if isinstance(d, GatewayRegistered)]
    assert len(gateways) == 24
    assert len({g.site_id for g in gateways}) == 2
    assert len({d.identities for d in data if isinstance(d, TagRegistered)}) == 2000


def test_every_event_survives_the_log_and_has_its_own_id(hour: World) -> None:
    events = hour.registrations() + hour.facts()

    assert len({e.id for e in events}) == len(events)
    assert all(open_body(seal(e).body) == e for e in events)


def test_facts_come_in_order_and_carry_the_simulated_time(hour: World) -> None:
    times = [e.occurred_at for e in hour.facts()]

    assert times == sorted(times)
    assert hour.scenario.start_at < times[0]
    assert (times[-1] - hour.scenario.start_at).total_seconds() <= hour.scenario.duration_s


def test_folding_the_facts_gives_the_true_stock_of_every_zone(hour: World) -> None:
    end_s = hour.scenario.duration_s
    held: dict[str, Contents] = defaultdict(dict)
    for envelope in hour.registrations() + hour.facts():
        held.update(_folded(held, envelope))

    expected: dict[str, Contents] = {}
    for tag_id in hour.truth.tag_ids:
        zone = hour.truth.zone_at(tag_id, end_s)
        contents = held[hour.truth.asset_of(tag_id)]
        if zone is not None and contents:
            expected[zone] = add(expected.get(zone, {}), contents)
    assert hour.truth.stock_at(end_s) == expected
    assert len(expected) == 6


def _folded(held: dict[str, Contents], envelope: Envelope) -> dict[str, Contents]:
    data = envelope.data
    if not isinstance(data, CratePacked | CrateUnpacked):
        return {}
    sign = 1 if isinstance(data, CratePacked) else -1
    lines = {line.sku: line.quantity for line in data.lines}
    return {data.asset_id: add(held[data.asset_id], lines, sign)}


def test_a_document_names_what_was_planned_and_the_truth_names_what_was_loaded(
    hour: World,
) -> None:
    told = [e.data for e in hour.facts()]
    planned = {d.shipment_id: d.asset_ids for d in told if isinstance(d, ShipmentPlanned)}
    departed = [d.shipment_id for d in told if isinstance(d, ShipmentDeparted)]

    assert departed == [s.shipment_id for s in hour.truth.shipments]
    for shipment in hour.truth.shipments:
        assert planned[shipment.shipment_id] == shipment.planned
        assert len(shipment.wrong) == len(shipment.missing) <= 1
        assert set(shipment.loaded) - set(shipment.wrong) <= set(shipment.planned)


def test_proof_of_delivery_is_told_only_for_shipments_that_have_one(hour: World) -> None:
    proofs = {
        e.data.shipment_id: (e.occurred_at - hour.scenario.start_at).total_seconds()
        for e in hour.facts()
        if isinstance(e.data, PodRecorded)
    }

    for s in hour.truth.shipments:
        if s.pod == "none":
            assert s.shipment_id not in proofs
        elif s.pod_s is not None and s.pod_s <= hour.scenario.duration_s:
            assert proofs[s.shipment_id] == pytest.approx(s.pod_s)
            late = s.pod_s - s.departed_s
            assert late == 240 if s.pod == "late" else 20 <= late <= 90


def test_a_stolen_asset_leaves_the_site_and_no_document_names_it_afterwards(hour: World) -> None:
    for asset, gone_s in hour.truth.thefts:
        assert hour.truth.zone_at(asset.tag_id, gone_s) is None
        x_m, _ = hour.truth.positions(asset.tag_id, np.array([gone_s + 60.0]))
        assert np.isnan(x_m[0])
        later = [
            s.shipment_id
            for s in hour.truth.shipments
            if asset.asset_id in s.loaded and s.departed_s > gone_s
        ]
        assert later == []


def test_departing_assets_are_last_seen_in_the_outbound_zone(hour: World) -> None:
    tags = {hour.truth.asset_of(t): t for t in hour.truth.tag_ids}
    for s in hour.truth.shipments:
        for asset_id in s.loaded:
            assert hour.truth.zone_at(tags[asset_id], s.departed_s - 1) == "f1-outbound"
            assert hour.truth.zone_at(tags[asset_id], s.departed_s + 30) is None


def test_goods_move_no_faster_than_a_forklift_and_through_no_wall(hour: World) -> None:
    site = hour.sites[0].site
    for asset in hour.sites[0].plan.assets:
        track = asset.track
        for n, (a, b) in enumerate(pairwise(track.points_m)):
            if np.isnan(a[0]) or np.isnan(b[0]) or a == b:
                continue
            speed = np.hypot(b[0] - a[0], b[1] - a[1]) / (track.times_s[n + 1] - track.times_s[n])
            outdoors = max(abs(a[0] - 20), abs(b[0] - 20)) > 30
            assert speed <= (4.0 if outdoors else 1.2) + 1e-9
            assert not any(crosses(wall, a, b) for wall in site.walls)


def test_zones_do_not_overlap_and_cover_the_hall(hour: World) -> None:
    site = hour.sites[0].site
    x, y = np.meshgrid(np.arange(0.25, 40, 0.5), np.arange(0.25, 25, 0.5))
    held = np.array([inside(z.outline_m, x.ravel(), y.ravel()) for z in site.zones])

    assert (held.sum(axis=0) == 1).all()


def test_the_zone_of_a_tag_agrees_with_its_position_at_any_second(hour: World) -> None:
    site = hour.sites[0].site
    times = np.arange(0.0, 3600.0, 7.0)
    for tag_id in hour.truth.tag_ids[::5]:
        x, y = hour.truth.positions(tag_id, times)
        zones = [None if n < 0 else site.zones[n].zone_id for n in site.zone_index_at(x, y)]
        assert zones == [hour.truth.zone_at(tag_id, t) for t in times]


def test_a_still_tag_never_moves(hour: World) -> None:
    assert len(hour.truth.still_tags) > 50
    for tag_id in hour.truth.still_tags:
        assert len(hour.truth.stays(tag_id)) == 1


def test_eight_hours_neither_empty_the_hall_nor_stop_the_trucks() -> None:
    world = World(replace(small(), duration_s=8 * 3600.0))
    for hour in range(9):
        here = [t for t in world.truth.tag_ids if world.truth.zone_at(t, hour * 3600.0)]
        assert len(here) >= 15
    departed = [s.departed_s // 3600 for s in world.truth.shipments]
    assert min(departed.count(hour) for hour in range(8)) >= 12
    assert len(world.truth.thefts) == 3


def test_a_quiet_world_is_still_and_flawless() -> None:
    world = run(replace(quiet(f1()), duration_s=60.0))
    counts = world.truth.counts()["native"]

    assert len(world.truth.still_tags) == 200
    assert (counts.duplicates, counts.echoes, counts.late, counts.dark) == (0, 0, 0, 0)
    assert world.facts() == []


def test_a_prefix_lets_two_worlds_share_a_log() -> None:
    left = World(replace(small(), duration_s=60.0, id_prefix="a-"))
    right = World(replace(small(), duration_s=60.0, id_prefix="b-", seed=2))
    owned = (AssetRegistered, TagRegistered, TagBound)

    ids = [
        {e.subject for e in w.registrations() if isinstance(e.data, owned)} for w in (left, right)
    ]
    assert ids[0].isdisjoint(ids[1])


@pytest.mark.parametrize(
    "change",
    [
        {"duration_s": 0.0},
        {"tags_per_site": 0},
        {"formats": ()},
        {"start_at": f1().start_at.replace(tzinfo=None)},
    ],
)
def test_what_cannot_be_simulated_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RejectedError):
        replace(f1(), **change)  # type: ignore[arg-type]


def test_a_hall_that_is_too_small_for_its_tags_is_refused() -> None:
    with pytest.raises(RejectedError, match="fewer tags"):
        World(replace(small(), tags_per_site=2000))


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RejectedError, match="f1"):
        preset("nonsense")


def test_article_numbers_have_a_valid_check_digit() -> None:
    assert gtin13(12345)[:12] == "200000012345"
    digits = [int(d) for d in gtin13(12345)]
    assert (sum(digits[::2]) + 3 * sum(digits[1::2])) % 10 == 0


def test_taking_more_than_there_is_fails() -> None:
    with pytest.raises(ValueError, match="fewer"):
        add({"A": 2}, {"A": 3}, -1)
