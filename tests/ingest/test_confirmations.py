"""Native batches with an id are confirmed over MQTT after their commit; packed ones are read."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest
from tests.support.agents import GATEWAY, SITE, ingest_server

from tagtrail.embedded import Embedded
from tagtrail_ingest.adapters.packing import MOST_UNPACKED_BYTES, unpacked
from tagtrail_ingest.confirmations import answer_topic, batch_id_in
from tagtrail_ingest.mqtt import client_of

TOPIC = f"tagtrail/v1/{SITE}/{GATEWAY}"


class Gateway:
    """A gateway that publishes, and hears what is confirmed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = client_of(url, f"gateway-{secrets.token_hex(4)}")
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Gateway]:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def subscribed(*_args: Any) -> None:
            loop.call_soon_threadsafe(ready.set)

        def connected(client: paho.Client, *_args: Any) -> None:
            client.subscribe(f"{TOPIC}/confirmed", qos=1)

        def heard(_client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
            loop.call_soon_threadsafe(self._heard.put_nowait, json.loads(message.payload))

        self._client.on_subscribe, self._client.on_connect = subscribed, connected
        self._client.on_message = heard
        parts = urlsplit(self._url)
        self._client.connect(parts.hostname or "", parts.port or 0)
        self._client.loop_start()
        try:
            await asyncio.wait_for(ready.wait(), 10)
            yield self
        finally:
            self._client.disconnect()
            await asyncio.to_thread(self._client.loop_stop)

    async def asks(self, body: bytes) -> dict[str, Any]:
        """Publish a batch; returns its confirmation."""
        self._client.publish(f"{TOPIC}/sightings", body, qos=1)
        return await asyncio.wait_for(self._heard.get(), 15)


def batch(*items: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"batch_id": "b1", **members, "sightings": list(items)}).encode()


def item(number: int, **members: Any) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(seconds=number)).isoformat()
    return {"tag": f"mac:02c0ffee{number:04x}", "at": at, "rssi_dbm": -60, **members}


async def test_a_batch_is_answered_with_what_became_of_its_items(
    database_url: str, infra: Embedded
) -> None:
    body = batch(
        item(1), item(2), item(99), item(3, rssi_dbm=900), item(4, at="1999-01-01T00:00:00Z")
    )
    async with ingest_server(database_url, infra) as server:
        async with Gateway(server.mqtt_url).connected() as gateway:
            before = datetime.now(UTC)
            first = await gateway.asks(body)
            committed = len(await server.events())
            again = await gateway.asks(body.replace(b'"b1"', b'"b2"'))

    received = datetime.fromisoformat(first.pop("received_at"))
    assert before <= received <= datetime.now(UTC)
    assert first == {
        "batch_id": "b1", "accepted": 2, "unenrolled": 1, "rejected": 2,
        "reasons": {"out_of_range": 1, "implausible_time": 1},
    }  # fmt: skip
    assert committed == 2
    assert (again["batch_id"], again["duplicates"]) == ("b2", 2)
    assert "accepted" not in again


async def test_an_empty_batch_asks_for_the_time(database_url: str, infra: Embedded) -> None:
    async with ingest_server(database_url, infra) as server:
        async with Gateway(server.mqtt_url).connected() as gateway:
            answer = await gateway.asks(batch())

    assert set(answer) == {"batch_id", "received_at"}


async def test_a_batch_that_goes_into_quarantine_is_answered_with_the_reason(
    database_url: str, infra: Embedded
) -> None:
    async with ingest_server(database_url, infra) as server:
        async with Gateway(server.mqtt_url).connected() as gateway:
            answer = await gateway.asks(batch(item(1), gateway_id="dock-2"))
        kept = (await server.client.get("/v1/quarantine")).json()["items"]

    assert answer["quarantined"] == "unreadable-message"
    assert [k["adapter"] for k in kept] == ["native"]


@pytest.mark.parametrize("way", ["mqtt", "http"])
async def test_a_packed_batch_is_read_like_a_plain_one(
    way: str, database_url: str, infra: Embedded
) -> None:
    body = gzip.compress(batch(item(1), item(2), gateway_id=GATEWAY))
    async with ingest_server(database_url, infra) as server:
        if way == "mqtt":
            async with Gateway(server.mqtt_url).connected() as gateway:
                answer = await gateway.asks(body)
        else:
            headers = {"Content-Encoding": "gzip"}
            reply = await server.client.post(
                "/v1/sightings?results=faults", content=body, headers=headers
            )
            answer = reply.json()
        events = await server.events()

    assert (answer["accepted"], answer["batch_id"]) == (2, "b1")
    assert answer.get("results", []) == []
    assert len(events) == 2


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (gzip.compress(b"x" * (MOST_UNPACKED_BYTES + 1), mtime=0), "more than"),
        (gzip.compress(b"{}", mtime=0)[:-4], "one whole member"),
        (gzip.compress(b"{}", mtime=0) + b"{}", "one whole member"),
        (b"\x1f\x8b\x08\x00nonsense", "damaged|whole"),
    ],
)
def test_a_packing_that_is_too_large_or_damaged_is_refused(packed: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpacked(packed)


def test_a_packing_of_exactly_the_limit_is_read() -> None:
    assert len(unpacked(gzip.compress(b"x" * MOST_UNPACKED_BYTES))) == MOST_UNPACKED_BYTES


async def test_a_bomb_over_http_is_answered_as_unreadable(database_url: str) -> None:
    async with ingest_server(database_url) as server:
        bomb = gzip.compress(b" " * (MOST_UNPACKED_BYTES * 20))
        reply = await server.client.post("/v1/sightings", content=bomb)

    assert len(bomb) < 200_000
    assert reply.status_code == 422
    assert "more than" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("payload", "batch_id"),
    [
        (b'{"batch_id": "b", "sightings": 7}', "b"),
        (gzip.compress(b'{"batch_id": "b"}', mtime=0), "b"),
        (b'{"batch_id": 7}', None),
        (b"\x1f\x8b", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
)
def test_the_id_of_a_batch_is_found_even_if_the_rest_cannot_be_read(
    payload: bytes, batch_id: str | None
) -> None:
    assert batch_id_in(payload) == batch_id


@pytest.mark.parametrize(
    ("topic", "answer"),
    [
        ("tagtrail/v1/s/g/sightings", "tagtrail/v1/s/g/confirmed"),
        ("tagtrail/v1/s/g/status", None),
        ("espresense/devices/x/sightings", None),
    ],
)
def test_only_batches_are_answered(topic: str, answer: str | None) -> None:
    assert answer_topic(topic) == answer
