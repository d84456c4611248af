"""A real recording, replayed in real time over MQTT: one watch, ten ESPresense receivers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.e2e_scenario import eventually, whole_log, zone_shares
from tests.support.fake_slack import FakeSlack
from tests.support.processes import Product, all_in_one, ready
from tests.support.publishing import Publisher

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="playback")]

CAPTURE = "gateway-samples/espresense-capture-2023-11-27.jsonl"
OFFICE = {"office", "office_alt"}
AT_THE_DOCK_S, IN_THE_YARD_S = 24, 16
"""A tag that has rested in a zone is believed to have left it after about 14 s, then sooner."""


def recorded(shared_data: Path) -> list[tuple[float, str, bytes]]:
    """Return the capture: seconds after its first message, topic, payload."""
    lines = [json.loads(line) for line in (shared_data / CAPTURE).read_text().splitlines()]
    times = [datetime.fromisoformat(line["tst"]) for line in lines]
    return [
        ((at - times[0]).total_seconds(), line["topic"], json.dumps(line["payload"]).encode())
        for at, line in zip(times, lines, strict=True)
    ]


def leaving() -> list[tuple[float, str, bytes]]:
    """Return what a dock and then a yard receiver would send of the watch."""
    found = []
    for n in range((AT_THE_DOCK_S + IN_THE_YARD_S) * 2):
        room = "dock" if n < AT_THE_DOCK_S * 2 else "yard"
        content = {"id": "watch:darrell", "rssi": -48 - n % 3, "rssi@1m": -64, "distance": n / 100}
        topic = f"espresense/devices/watch:darrell/{room}"
        found.append((n * 0.5, topic, json.dumps(content).encode()))
    return found


async def replay(publisher: Publisher, messages: list[tuple[float, str, bytes]]) -> None:
    """Publish each message at its time, and wait until all are acknowledged."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for at_s, topic, payload in messages:
            await asyncio.sleep(max(0.0, began + at_s - loop.time()))
            group.create_task(publisher.publish(topic, payload))


async def describe(api: httpx2.AsyncClient, rooms: list[str]) -> None:
    """Register a room per receiver, the watch on a crate, and what the crate holds."""
    posts: list[tuple[str, dict[str, Any]]] = [("sites", {"site_id": "house", "name": "House"})]
    kinds = {"dock": "outbound", "yard": "yard"}
    for room in [*rooms, *kinds]:
        zone = {"zone_id": room, "site_id": "house", "name": room}
        posts.append(("zones", zone | {"kind": kinds.get(room, "storage")}))
        gateway = {"gateway_id": room, "site_id": "house", "zone_id": room}
        posts.append(("gateways", gateway))
    lines = {"lines": [{"sku": "OIL-5L", "quantity": 48}]}
    posts += [
        ("skus", {"sku": "OIL-5L", "name": "Olive oil"}),
        ("tags", {"tag_id": "watch", "identities": ["espresense:watch:darrell"]}),
        ("assets", {"asset_id": "crate-7", "kind": "crate", "name": "Crate seven"}),
        ("tags/watch/bind", {"asset_id": "crate-7"}),
        ("assets/crate-7/pack", lines),
    ]
    for path, body in posts:
        reply = await api.post(f"/v1/{path}", json=body)
        assert reply.is_success, (path, reply.text)
    rule = {"parameters": {"grace_s": 5, "lateness_s": 1}}
    assert (await api.put("/v1/rules/left_outbound_without_pod", json=rule)).is_success


async def zone_of_stock(api: httpx2.AsyncClient) -> dict[str, int]:
    items = (await api.get("/v1/stock")).json()["items"]
    return {item["zone_id"]: item["quantity"] for item in items}


async def play_and_leave(
    product: Product, slack: FakeSlack, messages: list[tuple[float, str, bytes]]
) -> list[dict[str, Any]]:
    """Play the capture, look, carry the watch away, wait for the card; returns the whole log."""
    headers = {"Authorization": f"Bearer {product.key}"}
    async with (
        httpx2.AsyncClient(base_url=product.urls.ingest[0], headers=headers, timeout=30) as api,
        Publisher(product.mqtt_url, "capture").connected() as publisher,
    ):
        await describe(api, sorted({topic.rpartition("/")[2] for _, topic, _ in messages}))
        await replay(publisher, messages)
        stock = await zone_of_stock(api)
        assert stock.keys() <= OFFICE, stock
        assert list(stock.values()) == [48]
        assert slack.delivered == []

        await replay(publisher, leaving())

        async def told() -> bool:
            return len(slack.delivered) > 0

        await eventually(told, "a card at the webhook", within_s=60)
        await asyncio.sleep(3)
        return await whole_log(api, product.urls.ingest[0])


async def test_the_recorded_watch_is_in_the_office_and_leaving_without_pod_posts_one_card(
    short_dir: Path, shared_data: Path
) -> None:
    messages = recorded(shared_data)
    async with FakeSlack().running() as slack:
        settings = {
            "TAGTRAIL_ALERTS_ALLOW_LOOPBACK": "true",
            "TAGTRAIL_ALERTS_SLACK_WEBHOOK_URL": slack.url,
            "TAGTRAIL_ALERTS_GROUP_WAIT_S": "1",
        }
        async with all_in_one(short_dir / "capture", **settings) as product:
            await ready(product.urls.ingest[0])
            events = await play_and_leave(product, slack, messages)

    sightings = [e for e in events if e["type"] == "tag.sighted"]
    played = sightings[: len(messages)]
    sent = Counter(json.loads(payload)["rssi"] for _, _, payload in messages)
    assert len(messages) == 1693
    assert len(sightings) == len(messages) + len(leaving())
    assert Counter(e["data"]["rssi_dbm"] for e in played) == sent
    first, last = (datetime.fromisoformat(played[i]["occurred_at"]) for i in (0, -1))
    shares, changes = zone_shares(events, "watch", first + timedelta(seconds=15), last)
    assert sum(shares.get(zone, 0.0) for zone in OFFICE) >= 0.99, shares
    assert changes <= 3
    assert len(slack.delivered) == 1
    assert "Crate seven" in json.dumps(slack.delivered[0])
    assert len([e for e in events if e["type"] == "alert.fired"]) == 1
