"""Ingest over HTTP, on a real database."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail.embedded import Embedded
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.events.registrations import TagRegistered

TAG = "0198c0de-0000-7000-8000-000000000001"
IDENTITY = "mac:58b1294494d3"


@dataclass
class Api:
    client: httpx2.AsyncClient
    log_id: int

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            path, content=content, headers={"Content-Type": "application/json", **headers}
        )

    async def events(self, **params: Any) -> list[dict[str, Any]]:
        reply = await self.client.get("/v1/events", params=params)
        assert reply.status_code == 200, reply.text
        items: list[dict[str, Any]] = reply.json()["items"]
        return items


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    log_id, key = await prepared(
        database_url, facts=[TagRegistered(tag_id=TAG, identities=(IDENTITY,))]
    )
    app = ingest_app(settings_for(database_url), IngestSettings(max_items=3000))
    async with served(app) as url:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            yield Api(client, log_id)


def batch(*items: dict[str, Any]) -> dict[str, Any]:
    return {"gateway_id": "dock-1", "sightings": list(items)}


def sighting(**more: Any) -> dict[str, Any]:
    return {"tag": IDENTITY, "rssi_dbm": -61.5, "at": "2026-03-02T08:00:00Z", **more}


async def test_every_item_of_a_batch_gets_its_own_verdict(api: Api) -> None:
    body = batch(
        sighting(),
        sighting(tag="mac:aaaaaaaaaaaa"),
        sighting(rssi_dbm="loud"),
        sighting(at="2026-03-02T08:00:01Z", rssi_dbm=-70),
    )

    reply = await api.post("/v1/sightings", body)

    assert reply.status_code == 200, reply.text
    verdicts = reply.json()["results"]
    assert [v["status"] for v in verdicts] == ["accepted", "unenrolled", "rejected", "accepted"]
    assert verdicts[2]["reason"]
    stored = await api.events(types="tag.sighted")
    assert [e["data"]["rssi_dbm"] for e in stored] == [-61.5, -70]
    assert [e["position"] for e in stored] == [verdicts[0]["position"], verdicts[3]["position"]]
    assert {e["subject"] for e in stored} == {TAG}


async def test_an_answered_sighting_is_in_the_log_and_a_repetition_is_a_duplicate(api: Api) -> None:
    first = (await api.post("/v1/sightings", batch(sighting()))).json()
    second = (await api.post("/v1/sightings", batch(sighting()))).json()

    assert (first["accepted"], second["duplicates"]) == (1, 1)
    assert first["results"][0]["position"] == second["results"][0]["position"]
    assert len(await api.events(types="tag.sighted")) == 1


async def test_no_radio_address_of_a_tag_reaches_the_log(api: Api) -> None:
    await api.post("/v1/sightings", batch(sighting(), sighting(tag="mac:bbccddeeff00")))

    text = json.dumps(await api.events())
    assert "bbccddeeff00" not in text
    assert "58b1294494d3" not in json.dumps(await api.events(types="tag.sighted"))


async def test_identities_without_a_tag_are_listed_from_memory(api: Api) -> None:
    await api.post("/v1/sightings", batch(sighting(tag="mac:bbccddeeff00")))

    heard = (await api.client.get("/v1/unenrolled")).json()["items"]

    assert [(h["identity"], h["gateway_id"], h["count"]) for h in heard] == [
        ("mac:bbccddeeff00", "dock-1", 1)
    ]


async def test_the_same_idempotency_key_has_one_effect_and_one_answer(api: Api) -> None:
    body = {"events": [{"type": "pod.recorded", "data": {"asset_ids": ["pallet-1"]}}]}
    key = {"Idempotency-Key": "order-77"}

    first = await api.post("/v1/events", body, **key)
    second = await api.post("/v1/events", body, **key)
    other = await api.post("/v1/events", {"events": [{"type": "pod.recorded", "data": {}}]}, **key)

    assert first.status_code == 200
    assert first.content == second.content
    assert other.status_code == 409
    assert len(await api.events(types="pod.recorded")) == 1


async def test_business_events_are_appended_all_or_none(api: Api) -> None:
    good = {"type": "pod.recorded", "data": {"asset_ids": ["pallet-1"]}}
    bad = {
        "type": "crate.packed",
        "data": {"asset_id": "c", "lines": [{"sku": "a", "quantity": 0}]},
    }

    reply = await api.post("/v1/events", {"events": [good, bad]})

    assert reply.status_code == 422
    problem = reply.json()
    assert problem["errors"][0]["pointer"] == "#/events/1"
    assert "quantity" in problem["detail"]
    assert await api.events(types="pod.recorded") == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b'{"events":[]}', 422),
        (b'{"events":[{"type":"no.such","data":{}}]}', 422),
        (b'{"events":[{"type":"tag.sighted","data":{"tag_id":"t","gateway_id":"g"}}]}', 422),
        (b'{"events":[{"type":"pod.recorded","version":9,"data":{}}]}', 422),
        (
            b'{"events":[{"type":"pod.recorded","data":{"asset_ids":["\\u0000"]},"subject":"\\u0000"}]}',
            422,
        ),
        (b"\xff\xfe", 422),
    ],
)
async def test_a_bad_body_gets_a_problem_and_changes_nothing(
    api: Api, body: bytes, status: int
) -> None:
    before = (await api.client.get("/v1/log/head")).json()

    reply = await api.post("/v1/events", body)

    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance"} <= reply.json().keys()
    assert (await api.client.get("/v1/log/head")).json() == before


async def test_nobody_enters_without_a_key_or_with_the_wrong_scope(
    api: Api, database_url: str
) -> None:
    made = await api.post("/v1/keys", {"name": "g", "role": "gateway", "gateway_id": "dock-1"})
    gateway = {"Authorization": f"Bearer {made.json()['key']}"}
    async with httpx2.AsyncClient(base_url=api.client.base_url) as nobody:
        missing = await nobody.get("/v1/events")
        wrong = await nobody.get("/v1/events", headers={"Authorization": "Bearer tt_x_y"})
        forbidden = await nobody.get("/v1/events", headers=gateway)
        foreign = await nobody.post(
            "/v1/sightings",
            headers=gateway,
            json={"gateway_id": "dock-2", "sightings": [sighting()]},
        )
        own = await nobody.post("/v1/sightings", headers=gateway, json=batch(sighting()))

    assert (missing.status_code, wrong.status_code) == (401, 401)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert (forbidden.status_code, foreign.status_code, own.status_code) == (403, 403, 200)


async def test_a_revoked_key_is_refused_within_seconds(api: Api) -> None:
    made = (await api.post("/v1/keys", {"name": "x", "role": "auditor"})).json()
    deleted = await api.client.delete(f"/v1/keys/{made['key_id']}")
    async with httpx2.AsyncClient(base_url=api.client.base_url) as client:
        reply = await client.get("/v1/log/head", headers={"Authorization": f"Bearer {made['key']}"})

    assert (deleted.status_code, reply.status_code) == (204, 401)


async def test_s78_no_sighting_is_accepted_without_a_retention_rule(database_url: str) -> None:
    _, key = await prepared(database_url, retention=False)
    async with served(ingest_app(settings_for(database_url))) as url:
        async with httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}
        ) as client:
            refused = await client.post("/v1/sightings", json=batch(sighting()))
            rule = {
                "type": "retention.set",
                "data": {"event_class": "radio", "keep_days": 30, "basis": "locating goods"},
            }
            await client.post("/v1/events", json={"events": [rule]})
            accepted = await client.post("/v1/sightings", json=batch(sighting()))

    assert refused.status_code == 409
    assert refused.json()["reason"] == "retention-missing"
    assert accepted.status_code == 200


async def test_s21_cursor_paging_reads_every_event_once(api: Api) -> None:
    items = [sighting(at=f"2026-03-02T08:{i // 60:02}:{i % 60:02}Z") for i in range(120)]
    for start in range(0, 120, 40):
        await api.post("/v1/sightings", batch(*items[start : start + 40]))

    seen: list[int] = []
    after = 0
    while True:
        page = (await api.client.get("/v1/events", params={"after": after, "limit": 7})).json()
        seen += [e["position"] for e in page["items"]]
        after = page["next_after"]
        if page["at_end"]:
            break

    head = (await api.client.get("/v1/log/head")).json()["position"]
    assert seen == list(range(1, head + 1))


async def test_the_stream_continues_where_a_reader_left(api: Api) -> None:
    await api.post("/v1/sightings", batch(sighting(), sighting(at="2026-03-02T08:00:05Z")))
    first, second = await api.events(types="tag.sighted")
    got: list[str] = []
    async with api.client.stream(
        "GET",
        "/v1/events/stream?types=tag.sighted",
        headers={"Last-Event-ID": str(first["position"])},
    ) as reply:
        async with asyncio.timeout(10):
            async for line in reply.aiter_lines():
                if line.startswith("id: ") and not line.endswith(str(first["position"])):
                    got.append(line)
                    if len(got) == 1:
                        await api.post("/v1/sightings", batch(sighting(at="2026-03-02T08:00:09Z")))
                    else:
                        break

    assert got[0] == f"id: {second['position']}"
    assert got[1] == f"id: {second['position'] + 1}"


async def test_the_feed_of_changes_gives_cloud_events_without_sightings(api: Api) -> None:
    await api.post("/v1/sightings", batch(sighting()))
    await api.post(
        "/v1/events", {"events": [{"type": "pod.recorded", "data": {"asset_ids": ["p"]}}]}
    )

    changes = (await api.client.get("/v1/changes")).json()["items"]

    assert [c["type"] for c in changes] == ["retention.set", "tag.registered", "pod.recorded"]
    assert {c["specversion"] for c in changes} == {"1.0"}


async def test_a_foreign_message_that_cannot_be_read_waits_in_quarantine(api: Api) -> None:
    bad = b'{"data": {"tags": 7}}'

    reply = await api.post("/v1/messages/ruuvi", bad)
    again = await api.post("/v1/messages/ruuvi", bad)

    assert (reply.status_code, again.status_code) == (202, 202)
    kept = (await api.client.get("/v1/quarantine")).json()["items"]
    assert [(k["route"], k["count"]) for k in kept] == [("ruuvi", 2)]
    one = (await api.client.get(f"/v1/quarantine/{kept[0]['quarantine_id']}")).json()
    assert base64.b64decode(one["payload_base64"]) == bad
    redriven = await api.post(f"/v1/quarantine/{kept[0]['quarantine_id']}/redrive", b"")
    assert redriven.status_code == 409
    gone = await api.client.delete(f"/v1/quarantine/{kept[0]['quarantine_id']}")
    assert gone.status_code == 204
    assert (await api.client.get("/v1/quarantine")).json()["items"] == []


async def test_what_came_in_is_what_was_appended_or_dropped(api: Api) -> None:
    body = batch(
        sighting(), sighting(), sighting(tag="mac:aaaaaaaaaaaa"), sighting(rssi_dbm="loud")
    )
    await api.post("/v1/sightings", body)

    counts = (await api.client.get("/v1/ingest/stats")).json()["by_adapter"]["native"]

    items = {k: v for k, v in counts.items() if not k.startswith("message.")}
    assert sum(items.values()) == 4
    assert items["event.appended"] == 1
    assert items["event.duplicate"] == 1
    assert items["dropped.unenrolled"] == 1
    assert counts["message.accepted"] == 1


async def test_a_batch_larger_than_the_limit_is_refused_whole(api: Api) -> None:
    items = [sighting(id=str(uuid.UUID(int=i + 1))) for i in range(3001)]

    reply = await api.post("/v1/sightings", batch(*items))

    assert reply.status_code == 413
    assert await api.events(types="tag.sighted") == []


async def test_s22_readiness_tells_when_the_broker_is_out_of_reach(
    database_url: str, infra: Embedded
) -> None:
    _, key = await prepared(database_url)
    settings = settings_for(database_url, infra.nats_url, "mqtt://127.0.0.1:9")
    async with served(ingest_app(settings, IngestSettings(relay=False))) as url:
        async with httpx2.AsyncClient(base_url=url) as client:
            async with asyncio.timeout(20):  # before that, followers may still be starting
                while "ingest" not in (ready := await client.get("/readyz")).json()["failing"]:
                    await asyncio.sleep(0.05)
            alive = await client.get("/healthz")
            head = await client.get("/v1/log/head", headers={"Authorization": f"Bearer {key}"})

    assert ready.status_code == 503
    assert "MQTT" in ready.json()["failing"]["ingest"]
    assert (alive.status_code, head.status_code) == (200, 200)


async def test_guessing_keys_is_stopped_by_address(api: Api) -> None:
    async with httpx2.AsyncClient(base_url=api.client.base_url, timeout=30) as guesser:

        async def guess(number: int) -> int:
            key = f"Bearer tt_{number:012x}_{'x' * 43}"
            reply = await guesser.get("/v1/log/head", headers={"Authorization": key})
            return reply.status_code

        codes = [await guess(0)]
        for start in range(1, 361, 40):
            codes += await asyncio.gather(*(guess(n) for n in range(start, start + 40)))

    assert codes[0] == 401
    assert codes[-1] == 429
    assert 280 <= codes.count(401) < 360
