"""The service on a real database: tables, API, restart, rebuild."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.locate_desk import LocateDesk
from tests.support.locate_scene import capture, envelope, rooms, sighting, two_zones

from tagtrail_kernel.consumers import Consumer
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.testing.deps import START
from tagtrail_locate.core import engine as engine_module
from tagtrail_locate.core.calm import GATHER_S
from tagtrail_locate.core.state import pack
from tagtrail_locate.projection import Places


def _walk() -> list[Envelope]:
    """A tag that rests in zone a for a minute and then moves to zone b for one."""
    facts = []
    for second in range(120):
        near, far = ("a", "b") if second < 60 else ("b", "a")
        facts.append(sighting(second + 0.0, f"gw-{near}", -55.0 - second % 3))
        facts.append(sighting(second + 0.1, f"gw-{far}", -80.0 - second % 3))
    return facts


async def test_a_move_is_in_the_tables_the_log_and_the_api(desk: LocateDesk) -> None:
    await desk.give([*two_zones(), *_walk()])
    desk.clock.at = START + timedelta(seconds=121)

    place = await desk.get("/v1/tags/tag-1/place")
    history = await desk.get("/v1/tags/tag-1/history")
    listed = await desk.get("/v1/places", zone_id="b")

    assert (place["zone_id"], place["site_id"], place["method"]) == ("b", "hall", "ble_zone")
    assert 1.0 <= place["age_s"] <= 3.0 + GATHER_S
    assert place["accuracy_m"] >= 3.0
    assert place["as_of_position"] == listed["as_of_position"] >= 245
    assert [(i["from_zone_id"], i["zone_id"]) for i in history["items"]] == [
        ("a", "b"),
        (None, "a"),
    ]
    assert listed["items"][0]["tag_id"] == "tag-1"
    page = await desk.deps.log.read(1, after=0, limit=10_000)
    assert page is not None
    changes = [e.envelope for e in page.events if e.type == "tag.zone_changed"]
    assert [str(c.id) for c in changes] == [i["event_id"] for i in reversed(history["items"])]
    assert isinstance(changes[1].data, TagZoneChanged)
    assert changes[1].causation_id is not None
    assert changes[1].data.candidate_since_at is not None
    assert changes[1].occurred_at - changes[1].data.candidate_since_at >= timedelta(seconds=3)


async def test_an_explanation_names_candidates_margins_and_what_was_not_heard(
    desk: LocateDesk,
) -> None:
    quiet = [sighting(120.0 + n, "gw-b", -58.0) for n in range(20)]
    await desk.give([*two_zones(), *_walk(), *quiet])

    told = await desk.get("/v1/tags/tag-1/explain")

    assert (told["zone_id"], told["method"], told["reason"]) == ("b", "ble_zone", "only_source")
    assert told["configuration"] == "5"
    assert told["candidates"][0]["zone_id"] == "b"
    assert told["candidates"][0]["holds"] is True
    assert told["candidates"][0]["probability"] > 0.9
    assert told["belief"]["radius_95_m"] > 1.0
    assert told["fence"]["exit_delay_ms"] == 3000
    assert [link["gateway_id"] for link in told["links"]] == ["gw-a", "gw-b"]
    assert told["links"][1]["smoothed_dbm"] == pytest.approx(-57.0, abs=1.5)
    assert told["links"][1]["readings_ever"] == 140
    assert [n["gateway_id"] for n in told["not_heard"]] == ["gw-a"]
    assert told["not_heard"][0]["silent_s"] == pytest.approx(19.9, abs=0.2)
    assert told["presence"]["state"] == "present"
    assert len(told["evidence"]) >= 1
    assert "signal strength" in told["because"]


async def test_places_say_why_a_tag_is_silent_and_how_probably_it_is_gone(
    desk: LocateDesk,
) -> None:
    heard = [sighting(float(n), "gw-a", -55.0) for n in range(60)]
    later = [
        sighting(n + 0.1 * i, "gw-a", -60.0, tag=f"other-{i}") for n in range(900) for i in range(3)
    ]
    facts = sorted([*heard, *later], key=lambda fact: fact.occurred_at)
    await desk.give([*two_zones(), *facts])

    items = {i["tag_id"]: i for i in (await desk.get("/v1/places"))["items"]}
    explained = await desk.get("/v1/tags/tag-1/explain")

    gone = items["tag-1"]
    assert (gone["presence"], gone["cause"], gone["lost"]) == (
        "missing", "silent_while_heard", False,
    )  # fmt: skip
    assert gone["gone_probability"] == pytest.approx(
        explained["presence"]["gone_probability"], abs=0.1
    )
    assert gone["look_first"][0] == "a"
    near = items["other-0"]
    assert (near["presence"], near["cause"], near["gone_probability"]) == ("present", None, None)
    assert near["look_first"] == []


async def test_what_was_never_heard_is_a_problem_with_advice(desk: LocateDesk) -> None:
    await desk.give(two_zones())

    for path in ("place", "history", "explain"):
        reply = await desk.http.get(f"/v1/tags/ghost/{path}")

        assert reply.status_code == 404
        assert reply.json()["type"].endswith("/problems/not-found")
        assert "/v1/gateways/health" in reply.json()["detail"]


async def test_a_key_without_the_scope_sees_nothing(desk: LocateDesk) -> None:
    reply = await desk.http.get("/v1/places", headers={"Authorization": "Bearer tt_no_key"})

    assert reply.status_code == 401


async def test_pages_are_followed_by_their_link(desk: LocateDesk) -> None:
    tags = [sighting(1.0, "gw-a", -60.0, tag=f"tag-{n}") for n in range(5)]
    await desk.give([*two_zones(), *tags])

    seen, path = [], "/v1/places?limit=2"
    while path:
        reply = await desk.http.get(path)
        seen += [item["tag_id"] for item in reply.json()["items"]]
        link = reply.headers.get("link", "")
        path = link.partition("<")[2].partition(">")[0]

    assert seen == [f"tag-{n}" for n in range(5)]
    refused = await desk.http.get("/v1/places", params={"after": "%%%"})
    assert refused.status_code == 422


async def test_gateways_tell_their_health(desk: LocateDesk) -> None:
    heard = [
        sighting(second + n * 0.1, "gw-a", -60.0, tag=f"tag-{n}")
        for second in range(90)
        for n in range(3)
    ]
    strange = sighting(90.0, "gw-x", -60.0)
    await desk.give([*two_zones(), *heard, strange])
    desk.clock.at = START + timedelta(seconds=95)

    items = {i["gateway_id"]: i for i in (await desk.get("/v1/gateways/health"))["items"]}

    assert items["gw-a"]["state"] == "healthy"
    assert items["gw-a"]["tags_heard"] == 3
    assert items["gw-a"]["sightings_per_min"] == 180
    assert items["gw-b"]["state"] == "never_heard"
    assert items["gw-x"]["state"] == "unregistered"
    desk.clock.forward(600)
    later = {i["gateway_id"]: i for i in (await desk.get("/v1/gateways/health"))["items"]}
    assert later["gw-a"]["state"] == "silent"
    assert later["gw-a"]["sightings_per_min"] == 0


async def test_the_capture_gives_the_same_hash_live_and_rebuilt(
    desk: LocateDesk, shared_data: Path
) -> None:
    facts = [envelope(at_s, fact, subject="watch") for at_s, fact in capture(shared_data)]
    names = {fact.data.gateway_id for fact in facts if hasattr(fact.data, "gateway_id")}
    await desk.append(rooms(names))
    for start in range(0, len(facts), 500):
        await desk.give(facts[start : start + 500])
    live = await desk.hash()

    async with desk.database.transaction() as tx:
        for table in (*Places.tables, "consumer"):
            await tx.execute(f"delete from {table}")
    await desk.follow()

    assert await desk.hash() == live
    place = await desk.get("/v1/tags/watch/place")
    assert place["zone_id"] in ("office", "office_alt")


async def test_a_restart_from_a_snapshot_equals_no_restart(
    desk: LocateDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "SNAPSHOT_EVERY", 64)
    walk = _walk()
    await desk.append(two_zones())
    await desk.append(walk, batch=7)
    without = await desk.follow()
    expected, memory = await desk.hash(), _memory(without)
    async with desk.database.transaction() as tx:
        for table in (*Places.tables, "consumer"):
            await tx.execute(f"delete from {table}")

    consumer = _fresh(desk)
    await consumer.start()
    for _ in range(3):
        await consumer.step(wait_s=0)
    stored = await desk.rows("select position from snapshot")
    restarted = await desk.follow()

    assert stored[0]["position"] > 0
    assert _memory(restarted) == memory
    assert await desk.hash() == expected


def _fresh(desk: LocateDesk) -> Consumer:
    return Consumer(
        Places(desk.deps.log),
        service="locate",
        log_id=1,
        database=desk.database,
        event_log=desk.deps.log,
        tail=desk.deps.tail,
        sink=desk.deps.sink,
    )


def _memory(consumer: Consumer) -> bytes:
    assert isinstance(consumer.projection, Places)
    return pack(consumer.projection.engine.state)
