"""Ingest over MQTT, with the real broker and a real database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.broker_memory import forget_session
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail.embedded import Embedded
from tagtrail_ingest.mqtt import client_of
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered

WATCH = TagRegistered(tag_id="watch", identities=("espresense:watch:darrell",))
OPEN = ConfigChanged(section="enrolment", values={"mode": "open"})


@dataclass
class Site:
    url: str
    key: str
    gateway_url: str
    client: httpx2.AsyncClient
    sent: int = 0
    topics: list[str] = field(default_factory=list)

    async def stats(self) -> dict[str, Any]:
        reply = await self.client.get("/v1/ingest/stats")
        found: dict[str, Any] = reply.json()
        return found

    async def events(self, types: str) -> list[dict[str, Any]]:
        after, items = 0, []
        while True:
            params: dict[str, Any] = {"types": types, "after": after, "limit": 1000}
            page = (await self.client.get("/v1/events", params=params)).json()
            items += page["items"]
            after = page["next_after"]
            if page["at_end"]:
                return items

    async def settled(self, messages: int, seconds: float = 60) -> dict[str, int]:
        """Wait until as many messages were accepted or quarantined."""
        counts: dict[str, int] = {}
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            counts = {}
            for adapter in (await self.stats())["by_adapter"].values():
                for outcome, count in adapter.items():
                    counts[outcome] = counts.get(outcome, 0) + count
            done = counts.get("message.accepted", 0) + counts.get("message.quarantined", 0)
            if done >= messages:
                return counts
            assert asyncio.get_running_loop().time() < deadline, f"{counts} of {messages}"
            await asyncio.sleep(0.2)


def publish(url: str, messages: Sequence[tuple[str, bytes]], client_id: str | None = None) -> None:
    """Publish with QoS 1 and wait for every acknowledgement of the broker."""
    client = client_of(url, client_id or f"pub-{secrets.token_hex(4)}")
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(500)
    client.connect(url.rpartition("@")[2].partition(":")[0], int(url.rpartition(":")[2]))
    client.loop_start()
    try:
        infos = [client.publish(topic, payload, qos=1) for topic, payload in messages]
        for info in infos:
            info.wait_for_publish(60)
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.asynccontextmanager
async def running_site(
    database_url: str, infra: Embedded, key: str, client_id: str
) -> AsyncIterator[Site]:
    settings = settings_for(database_url, infra.nats_url, infra.mqtt_url)
    app = ingest_app(settings, IngestSettings(mqtt_client_id=client_id))
    async with served(app) as url:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            site = Site(url, key, infra.gateway_mqtt_url, client)
            async with asyncio.timeout(20):
                while not (await site.stats())["mqtt_connected"]:
                    await asyncio.sleep(0.05)
            yield site


@pytest.fixture
def session_id(infra: Embedded) -> Iterator[str]:
    """Name of a persistent session, which the broker forgets afterwards."""
    name = f"test-{secrets.token_hex(6)}"
    yield name
    for client_id in (f"{name}-1", f"{name}-relay"):
        forget_session(infra.mqtt_url, client_id)


async def in_thread(call: Callable[..., None], *args: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call, *args)


async def test_s22_messages_on_a_gateways_own_topics_become_events(
    database_url: str, infra: Embedded, session_id: str, shared_data: Path
) -> None:
    _, key = await prepared(database_url, facts=[WATCH])
    capture = shared_data / "gateway-samples" / "espresense-capture-2023-11-27.jsonl"
    lines = [json.loads(line) for line in capture.read_text().splitlines()]
    messages = [(m["topic"], json.dumps(m["payload"]).encode()) for m in lines]

    async with running_site(database_url, infra, key, session_id) as site:
        await in_thread(publish, site.gateway_url, messages)
        counts = await site.settled(len(messages))
        events = await site.events("tag.sighted")

    assert len(messages) == 1693
    assert counts["message.accepted"] == len(messages)
    assert len(events) == len(messages)
    assert [e["data"]["rssi_dbm"] for e in events] == [m["payload"]["rssi"] for m in lines]
    assert {e["data"]["gateway_id"] for e in events} == {m["topic"].split("/")[-1] for m in lines}


async def test_messages_wait_at_the_broker_while_ingest_is_away(
    database_url: str, infra: Embedded, session_id: str
) -> None:
    _, key = await prepared(database_url, facts=[WATCH])
    topic = f"espresense/devices/watch:darrell/{session_id}"
    async with running_site(database_url, infra, key, session_id):
        pass
    messages = [
        (topic, json.dumps({"id": "watch:darrell", "rssi": -60 - i / 100}).encode())
        for i in range(300)
    ]

    await in_thread(publish, infra.gateway_mqtt_url, messages)
    async with running_site(database_url, infra, key, session_id) as site:
        await site.settled(300)
        events = await site.events("tag.sighted")

    mine = [e for e in events if e["data"]["gateway_id"] == session_id]
    assert [e["data"]["rssi_dbm"] for e in mine] == [-60 - i / 100 for i in range(300)]


async def test_s22_only_one_of_two_replicas_holds_the_session(
    database_url: str, infra: Embedded, session_id: str
) -> None:
    _, key = await prepared(database_url, facts=[WATCH])
    topic = f"espresense/devices/watch:darrell/{session_id}"
    settings = settings_for(database_url, infra.nats_url, infra.mqtt_url)
    second = ingest_app(settings, IngestSettings(mqtt_client_id=session_id))
    messages = [
        (topic, json.dumps({"id": "watch:darrell", "rssi": -50 - i / 10}).encode())
        for i in range(200)
    ]

    async with running_site(database_url, infra, key, session_id) as site:
        async with served(second) as url:
            await in_thread(publish, infra.gateway_mqtt_url, messages[:100])
            await site.settled(100)
            other = await site.client.get(f"{url}/v1/ingest/stats")
            assert other.json()["mqtt_connected"] is False
            await in_thread(publish, infra.gateway_mqtt_url, messages[100:])
            await site.settled(200)
            events = await site.events("tag.sighted")

    mine = [e["data"]["rssi_dbm"] for e in events if e["data"]["gateway_id"] == session_id]
    assert sorted(mine) == sorted(-50 - i / 10 for i in range(200))


async def test_confirmed_events_go_out_on_the_sites_topic(
    database_url: str, infra: Embedded, session_id: str
) -> None:
    _, key = await prepared(database_url)
    got: list[tuple[str, dict[str, Any]]] = []
    subscriber = client_of(infra.gateway_mqtt_url, f"sub-{secrets.token_hex(4)}")
    subscriber.on_message = lambda _c, _u, m: got.append((m.topic, json.loads(m.payload)))
    host, port = infra.mqtt_url.rpartition("@")[2].split(":")
    subscriber.connect(host, int(port))
    subscriber.subscribe(f"tagtrail/v1/{session_id}/events/#", 1)
    subscriber.loop_start()
    change = {
        "type": "tag.zone_changed",
        "data": {"tag_id": "t1", "zone_id": "dock", "site_id": session_id},
    }
    try:
        async with running_site(database_url, infra, key, session_id) as site:
            reply = await site.client.post("/v1/events", json={"events": [change]})
            assert reply.status_code == 200
            async with asyncio.timeout(10):
                while not got:
                    await asyncio.sleep(0.05)
    finally:
        subscriber.disconnect()
        subscriber.loop_stop()

    topic, event = got[0]
    assert topic == f"tagtrail/v1/{session_id}/events/tag.zone_changed"
    assert (event["specversion"], event["data"]["zone_id"]) == ("1.0", "dock")


def mutations(
    samples: Sequence[tuple[str, bytes]], count: int, seed: int
) -> list[tuple[str, bytes]]:
    """Return random bytes and samples with flipped, cut, doubled and swapped parts."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        topic, payload = rng.choice(samples)
        kind = rng.randrange(6)
        data = bytearray(payload)
        if kind == 0:
            data = bytearray(rng.randbytes(rng.randrange(0, 300)))
        elif kind == 1 and data:
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        elif kind == 2:
            data = data[: rng.randrange(len(data) + 1)]
        elif kind == 3:
            at = rng.randrange(len(data) + 1)
            data[at:at] = rng.choice(
                [b"null", b"1e999", b"[[[[", b'"\\ud800"', b"-", b"NaN", b"{}"]
            )
        elif kind == 4:
            data = bytearray(rng.choice(samples)[1])
        else:
            data = data + data
        made.append((topic, bytes(data)))
    return made


@pytest.mark.slow
async def test_no_mutated_or_random_message_stops_ingest(
    database_url: str, infra: Embedded, session_id: str, shared_data: Path
) -> None:
    _, key = await prepared(database_url, facts=[OPEN])
    samples: list[tuple[str, bytes]] = []
    for path in sorted((shared_data / "gateway-samples").glob("*.mqtt.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            payload = row["payload"]
            text = payload if isinstance(payload, str) else json.dumps(payload)
            samples.append((row["topic"], text.encode()))
    for name, topic in (
        ("minew-json-long-ibeacon", "minew/g1"),
        ("kontakt-telemetry", "kontakt/g1"),
        ("impinj-iot-device-interface", "impinj/r1"),
        ("raddec", "raddec/g1"),
        ("find3-data", "find3/g1"),
        ("reelables-enriched-position", "reelables/g1"),
    ):
        samples.append((topic, (shared_data / "gateway-samples" / f"{name}.json").read_bytes()))
    samples.append(
        ("tagtrail/v1/s/g/sightings", b'{"sightings":[{"tag":"mac:001122334455","rssi_dbm":-60}]}')
    )
    messages = mutations(samples, 10_000, seed=7)

    async with running_site(database_url, infra, key, session_id) as site:
        await in_thread(publish, site.gateway_url, messages)
        counts = await site.settled(len(messages), seconds=50)
        good = (b'{"sightings":[{"tag":"mac:00112233aabb","rssi_dbm":-61.25}]}',)
        await in_thread(publish, site.gateway_url, [("tagtrail/v1/s/last/sightings", good[0])])
        await site.settled(len(messages) + 1)
        last = [e for e in await site.events("tag.sighted") if e["data"]["gateway_id"] == "last"]
        kept = (await site.stats())["quarantine"]

    assert counts["message.accepted"] + counts["message.quarantined"] == len(messages)
    assert counts["message.accepted"] > 1000
    assert sum(kept.values()) == counts["message.quarantined"] > 1000
    assert len(last) == 1
