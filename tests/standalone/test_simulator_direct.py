"""The log of a perfect ingest, made without servers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tagtrail.simulator.direct import DirectLog
from tagtrail.simulator.scenario import Format, f1, small
from tagtrail.simulator.world import World
from tagtrail_kernel.events.sightings import TagSighted


@pytest.mark.parametrize("form", ["native", "ruuvi", "minew"])
def test_a_perfect_log_holds_each_unique_sighting_once(form: Format) -> None:
    world = World(replace(f1(), duration_s=45.0, formats=(form,)))
    events = list(DirectLog(world).events())
    told = Counter(e.type for e in events)

    assert told["tag.sighted"] == world.truth.counts()[form].unique > 1000
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    assert len({e.id for e in events}) == len(events)


def test_exact_doubles_of_a_format_without_time_are_one_sighting() -> None:
    world = World(replace(f1(), duration_s=45.0, formats=("openmqttgateway",)))
    told = Counter(e.type for e in DirectLog(world).events())
    counts = world.truth.counts()["openmqttgateway"]

    assert counts.duplicates > 100
    assert told["tag.sighted"] == pytest.approx(counts.unique, rel=0.02)


def test_a_perfect_log_starts_with_the_registrations_and_never_goes_back_in_time() -> None:
    world = World(replace(small(), duration_s=200.0))
    events = list(DirectLog(world).events())
    times = [e.recorded_at for e in events]
    known = {e.tag_id for e in (x.data for x in events) if isinstance(e, TagSighted)}

    assert [e.id for e in events[: len(world.registrations())]] == [
        e.id for e in world.registrations()
    ]
    assert times == sorted(times)
    assert known <= set(world.truth.tag_ids)
    assert {"tag.ranged", "gateway.reported", "shipment.departed"} <= {e.type for e in events}
