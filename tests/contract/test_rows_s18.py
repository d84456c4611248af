"""S18 at the server: what came in is what went out plus what was dropped, by reason.

The simulator counts what it sends; the log is counted event by event; the drops are those that the
API reports. None of the three is computed from another.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.support.locate_scene import Scene, sighting, two_zones
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail.simulator.scenario import Format, f1
from tagtrail.simulator.wire import request_of
from tagtrail.simulator.world import World
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.envelope import seal
from tagtrail_kernel.events.registrations import TagRegistered

FORMATS: tuple[Format, ...] = ("native", "minew", "ruuvi")
NOT_ENROLLED = 5
BLIPS = (127.0, 31.0, -200.0)
"""Powers that no receiver measures: an unset register and two others outside -150 to 30 dBm."""


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Ingest on a real database, with an admin's key."""
    _, key = await prepared(database_url)
    app = ingest_app(settings_for(database_url), IngestSettings(relay=False))
    async with served(app) as url:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as found:
            yield found


async def post(client: httpx2.AsyncClient, path: str, body: bytes) -> Any:
    reply = await client.post(path, content=body)
    assert reply.status_code == 200, (path, reply.text)
    return reply.json()


async def register(client: httpx2.AsyncClient, world: World) -> None:
    """Register a world but for some of its tags."""
    facts = world.registrations()
    tags = [fact for fact in facts if isinstance(fact.data, TagRegistered)]
    unknown = {fact.id for fact in tags[:NOT_ENROLLED]}
    bodies = [seal(fact).body for fact in facts if fact.id not in unknown]
    for n in range(0, len(bodies), 200):
        await post(client, "/v1/events", b'{"events":[' + b",".join(bodies[n : n + 200]) + b"]}")


async def play(client: httpx2.AsyncClient, world: World) -> None:
    """Send what the gateways send, some messages at a time."""
    requests = [r for t in world.stream() if t.kind == "sightings" if (r := request_of(t))]
    for n in range(0, len(requests), 8):
        await asyncio.gather(*(post(client, r.path, r.body) for r in requests[n : n + 8]))


async def send_blips(client: httpx2.AsyncClient, world: World) -> None:
    """Send readings whose power is out of range, of a tag that is enrolled."""
    mac = world.sites[0].plan.assets[-1].mac
    at = (world.scenario.start_at + timedelta(seconds=1)).isoformat()
    items = [{"tag": f"mac:{mac}", "at": at, "rssi_dbm": level} for level in BLIPS]
    body = {"gateway_id": "inbound", "sightings": items}
    answer = await post(client, "/v1/sightings", json.dumps(body).encode())
    assert [r["reason"] for r in answer["results"]] == ["out_of_range"] * len(BLIPS)


async def logged(client: httpx2.AsyncClient) -> Counter[str]:
    """Count the events that each format's messages became."""
    found: Counter[str] = Counter()
    after = 0
    while True:
        page = (await client.get("/v1/events", params={"after": after, "limit": 1000})).json()
        found.update(e["source"] for e in page["items"] if e["source"].startswith("ingest/"))
        after = page["next_after"]
        if page["at_end"]:
            return found


async def test_s18_in_is_out_plus_dropped_by_reason_for_every_format(
    client: httpx2.AsyncClient,
) -> None:
    start = SystemClock().now().replace(microsecond=0) - timedelta(minutes=5)
    prefix = secrets.token_hex(3)
    world = World(replace(f1(), duration_s=20.0, formats=FORMATS, start_at=start, id_prefix=prefix))
    await register(client, world)
    await play(client, world)
    await send_blips(client, world)
    sent = world.truth.counts()
    out = await logged(client)
    reported = (await client.get("/v1/ingest/stats")).json()["by_adapter"]

    for form in FORMATS:
        more = {"native": len(BLIPS), "minew": sent[form].messages}  # each names its gateway
        came_in = sent[form].sent + more.get(form, 0)
        dropped = {
            reason: count
            for reason, count in reported[form].items()
            if not reason.startswith("message.") and reason != "event.appended"
        }
        assert came_in == out[f"ingest/{form}"] + sum(dropped.values()), (form, dropped)
        assert reported[form]["event.appended"] == out[f"ingest/{form}"]
        assert dropped["event.duplicate"] > 0
        assert dropped["dropped.unenrolled"] > 0
        assert set(dropped) <= {"event.duplicate", "dropped.unenrolled", "dropped.out_of_range"}
    assert reported["native"]["dropped.out_of_range"] == len(BLIPS)


def standing(seconds: int) -> Scene:
    """Return a scene whose tag stands in zone a, well heard there and weakly in zone b."""
    scene = Scene(two_zones())
    for second in range(seconds):
        scene.give([sighting(second, "gw-a", -62.0), sighting(second + 0.1, "gw-b", -78.0)])
    return scene


@pytest.mark.parametrize("blip_dbm", [-20.0, 0.0, 30.0])
def test_s18_a_blip_in_the_power_moves_no_tag(blip_dbm: float) -> None:
    scene = standing(60)
    for second in range(60, 360):
        facts = [sighting(second, "gw-a", -62.0), sighting(second + 0.1, "gw-b", -78.0)]
        if second % 15 == 0:
            facts.append(sighting(second + 0.2, "gw-b", blip_dbm))
        scene.give(facts)

    assert [zone for _, zone in scene.changes] == ["a"]


def test_s18_a_drop_in_the_power_moves_no_tag() -> None:
    scene = standing(60)
    for second in range(60, 360):
        level = -100.0 if second % 15 == 0 else -62.0
        scene.give([sighting(second, "gw-a", level), sighting(second + 0.1, "gw-b", -78.0)])

    assert [zone for _, zone in scene.changes] == ["a"]


def test_s18_a_reading_that_comes_many_times_moves_no_tag() -> None:
    scene = standing(60)
    for second in range(60, 180):
        echo = sighting(second + 0.1, "gw-b", -70.0)
        scene.give([sighting(second, "gw-a", -62.0), *[echo] * 10])

    assert [zone for _, zone in scene.changes] == ["a"]


def test_s18_a_tag_that_really_moves_is_not_taken_for_a_blip() -> None:
    scene = standing(60)
    for second in range(60, 120):
        scene.give([sighting(second, "gw-a", -78.0), sighting(second + 0.1, "gw-b", -62.0)])

    assert [zone for _, zone in scene.changes] == ["a", "b"]
