"""S6: NFC labels: a tap is a strong identification, and a copied label raises an alert.

Taps reach the agent's endpoint as a phone sends them, leave it as the agent sends them, and pass real
ingest, locate and alerts on real PostgreSQL and NATS.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.support.agent_inputs import REAL_CLOCKS, Listener, hearing, until
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail.embedded import Embedded
from tagtrail_agent.inputs.phone import PhoneOptions, Phones, PhonesOptions
from tagtrail_agent.items import item_of, timed
from tagtrail_alerts.service import build as build_alerts
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.migrations import Migration
from tagtrail_locate.service import build as build_locate
from tagtrail_locate.settings import LocateSettings

MIGRATIONS = (
    Migration("locate", "tagtrail_locate.migrations"),
    Migration("alerts", "tagtrail_alerts.migrations"),
)
TOKENS = {"anna": "a-token-of-128-random-bits", "ben": "another-token-of-128-bits"}
PLACES = {"anna": "shelf", "ben": "dock"}
UID, ADDRESS = "04:A2:B3:C4:D5:E6:82", "https://shop.example/t/crate-10"


@dataclass
class Shop:
    """The services, and the gateway that two people's phones talk to.

    Attributes:
        api: With an admin's key.
        phones: Client of the agent's endpoint.
        listener: What the agent heard.
        start: Some minutes ago.
    """

    api: httpx2.AsyncClient
    phones: httpx2.AsyncClient
    listener: Listener
    start: datetime

    async def tap(self, phone: str, minute: float, **item: Any) -> dict[str, Any]:
        """Let a phone tap, and the agent send it on; gives ingest's answer."""
        at = (self.start + timedelta(minutes=minute)).isoformat()
        whole = {"id": f"item-{minute}", "at": at, "kind": "nfc", **item}
        self.listener.heard.clear()
        reply = await self.phones.post(
            "/v1/phone/items",
            json={"items": [whole]},
            headers={"Authorization": f"Bearer {TOKENS[phone]}"},
        )
        assert reply.status_code == 200, reply.text
        return await self.hand_over()

    async def hand_over(self) -> dict[str, Any]:
        """Send what the agent heard last to ingest; again and again it is the same."""
        (reading,) = self.listener.readings
        gateway_id = str(reading.gateway_id)
        item = timed(item_of(reading, gateway_id), reading.at, reading.at, 1.0)
        return await self.post("/v1/sightings", {"gateway_id": gateway_id, "sightings": [item]})

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        reply = await self.api.post(path, json=body)
        assert reply.status_code == 200, (path, reply.text)
        return dict(reply.json())

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        reply = await self.api.get(path, params=query)
        assert reply.status_code == 200, (path, reply.text)
        return dict(reply.json())

    async def settled(self) -> None:
        """Wait until locate and alerts show the whole log, with what they made it hold."""
        async with asyncio.timeout(60):
            while True:
                head = (await self.get("/v1/log/head"))["position"]
                rules = (await self.get("/v1/rules"))["as_of_position"]
                places = (await self.get("/v1/places"))["as_of_position"]
                if min(rules, places) >= head == (await self.get("/v1/log/head"))["position"]:
                    return
                await asyncio.sleep(0.1)

    async def alerts(self) -> list[dict[str, Any]]:
        await self.settled()
        return list((await self.get("/v1/alerts"))["items"])

    async def sighted(self) -> list[dict[str, Any]]:
        return list((await self.get("/v1/events", types="tag.sighted", limit=1000))["items"])


def _registrations(at: datetime) -> list[dict[str, Any]]:
    facts: list[tuple[str, dict[str, Any]]] = [
        ("site.registered", {"site_id": "shop", "name": "Shop"})
    ]
    for phone, zone in PLACES.items():
        place = {"zone_id": zone, "site_id": "shop"}
        facts += [
            ("zone.registered", place | {"name": zone.capitalize()}),
            ("gateway.registered", place | {"gateway_id": f"phone-{phone}"}),
        ]
    identities = ["nfc:04a2b3c4d5e682", "nfc:shop.example/t/crate-10"]
    facts += [
        ("tag.registered", {"tag_id": "tag-10", "identities": identities, "model": "nfc-label"}),
        ("asset.registered", {"asset_id": "crate-10", "kind": "crate"}),
        ("tag.bound", {"tag_id": "tag-10", "asset_id": "crate-10"}),
    ]
    return [{"type": name, "occurred_at": at.isoformat(), "data": data} for name, data in facts]


@pytest.fixture
async def shop(database_url: str, infra: Embedded) -> AsyncIterator[Shop]:
    _, key = await prepared(database_url, migrations=MIGRATIONS)
    app = ingest_app(
        settings_for(database_url, infra.nats_url),
        IngestSettings(),
        (
            lambda deps: build_locate(deps, LocateSettings()),
            lambda deps: build_alerts(deps, AlertsSettings()),
        ),
    )
    options = tuple(
        PhoneOptions(
            phone_id=name,
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
            actor_id=f"operator-{name}",
        )
        for name, token in TOKENS.items()
    )
    agent = Phones(PhonesOptions(phones=options, port=0), REAL_CLOCKS)
    start = SystemClock().now().replace(microsecond=0) - timedelta(hours=1)
    async with served(app) as url, hearing(agent) as listener:
        await until(lambda: agent.port)
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
            httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{agent.port}", trust_env=False
            ) as phones,
        ):
            shop = Shop(api, phones, listener, start)
            await shop.post("/v1/events", {"events": _registrations(start)})
            yield shop


async def test_s6_a_valid_tap_says_who_held_what_where(shop: Shop) -> None:
    answer = await shop.tap("anna", 1, uid=UID, counter=41)
    await shop.settled()

    (event,) = await shop.sighted()
    place = await shop.get("/v1/tags/tag-10/place")
    assert answer["accepted"] == 1
    assert event["data"]["counter"] == 41
    assert event["data"]["actor_id"] == "operator-anna"
    assert (place["zone_id"], place["method"]) == ("shelf", "read_point")
    assert await shop.alerts() == []


async def test_s6_the_same_counter_twice_raises_clone_suspected_once_with_both_taps(
    shop: Shop,
) -> None:
    for minute, counter in ((1, 41), (2, 42)):
        await shop.tap("anna", minute, uid=UID, counter=counter)
    await shop.tap("ben", 10, url=ADDRESS, counter=42)
    await shop.tap("ben", 12, url=ADDRESS, counter=42)

    (alert,) = await shop.alerts()
    events = {event["id"]: event for event in await shop.sighted()}
    shown = await shop.get(f"/v1/alerts/{alert['alert_id']}")
    earlier, later, fact_id = shown["evidence"]["event_ids"]
    fact = await shop.get(f"/v1/events/{fact_id}")

    assert (alert["rule_id"], alert["state"]) == ("clone_suspected", "open")
    assert (alert["asset_id"], alert["tag_id"]) == ("crate-10", "tag-10")
    assert (alert["zone_id"], alert["site_id"]) == ("dock", "shop")
    assert [(events[e]["data"]["gateway_id"], events[e]["data"]["counter"]) for e in (earlier, later)] == [
        ("phone-anna", 42),
        ("phone-ben", 42),
    ]  # fmt: skip
    assert fact["type"] == "tag.read_contradicted"
    assert fact["data"]["later"]["zone_id"] == "dock"
    assert "Shelf, Shop by phone-anna" in alert["why"]
    assert "Dock, Shop by phone-ben" in alert["why"]


async def test_s6_a_tap_sent_again_and_a_queue_that_comes_late_are_no_copies(shop: Shop) -> None:
    await shop.tap("anna", 1, uid=UID, counter=41)
    again = await shop.hand_over()
    await shop.tap("anna", 30, uid=UID, counter=50)
    for minute, counter in ((5, 43), (7, 44), (20, 48)):
        await shop.tap("ben", minute, uid=UID, counter=counter)
    await shop.tap("ben", 40, uid=UID)

    assert again["duplicates"] == 1
    assert await shop.alerts() == []
    assert len(await shop.sighted()) == 6


async def test_s6_a_code_that_stands_in_for_the_label_makes_the_same_event(shop: Shop) -> None:
    await shop.tap("anna", 1, url=ADDRESS)
    await shop.tap("anna", 2, kind="qr", text=ADDRESS)
    await shop.settled()

    by_label, by_code = await shop.sighted()
    assert by_label["type"] == by_code["type"]
    assert by_label["subject"] == by_code["subject"] == "tag-10"
    technologies = (by_label["data"].pop("technology"), by_code["data"].pop("technology"))
    assert technologies == ("nfc", "optical")
    timeless = [
        {name: value for name, value in e["data"].items() if not name.endswith("_at")}
        for e in (by_label, by_code)
    ]
    assert timeless[0] == timeless[1]
    assert timeless[0]["actor_id"] == "operator-anna"
    place = await shop.get("/v1/tags/tag-10/place")
    assert (place["zone_id"], place["method"]) == ("shelf", "read_point")
