"""S15: phones as gateways: scans made without network, and no phone's place beyond a session.

The queue for times without network is the phone's; this is what it hands over, through the agent's
endpoint and real ingest into the log.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.support.agent_inputs import REAL_CLOCKS, Listener, hearing, until
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_agent.inputs.phone import PhoneOptions, Phones, PhonesOptions
from tagtrail_agent.items import item_of, timed
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.events.registrations import TagRegistered

TOKEN = "a-token-of-128-random-bits"
SCANS = 50
LATITUDE_DEG, LONGITUDE_DEG = 52.5163, 13.3777


@dataclass
class Phone:
    """A phone, the agent it talks to, and the log behind.

    Attributes:
        agent: Client of the agent's endpoint, as the phone.
        listener: What the agent heard.
        api: Client of ingest.
        start: A while ago.
    """

    agent: httpx2.AsyncClient
    listener: Listener
    api: httpx2.AsyncClient
    start: datetime

    def scan(self, number: int, **more: Any) -> dict[str, Any]:
        at = (self.start + timedelta(seconds=10 * number)).isoformat()
        return {"id": f"scan-{number}", "at": at, "kind": "nfc", "uid": uid(number), **more}

    async def send(self, *items: dict[str, Any], session_id: str | None = None) -> None:
        """Hand items to the agent, and let it send what it made of them."""
        self.listener.heard.clear()
        body = {"items": items, "session_id": session_id}
        reply = await self.agent.post("/v1/phone/items", json=body)
        assert reply.status_code == 200, reply.text
        for reading in self.listener.readings:
            gateway_id = str(reading.gateway_id)
            item = timed(item_of(reading, gateway_id), reading.at, reading.at, 1.0)
            batch = {"gateway_id": gateway_id, "sightings": [item]}
            reply = await self.api.post("/v1/sightings", json=batch)
            assert reply.status_code == 200, reply.text

    async def events(self, type_: str) -> list[dict[str, Any]]:
        reply = await self.api.get("/v1/events", params={"types": type_, "limit": 1000})
        assert reply.status_code == 200, reply.text
        return list(reply.json()["items"])


def uid(number: int) -> str:
    return f"04a2b3c4d5{number:04x}"


@pytest.fixture
async def phone(database_url: str) -> AsyncIterator[Phone]:
    tags = [TagRegistered(tag_id=f"tag-{n}", identities=(f"nfc:{uid(n)}",)) for n in range(SCANS)]
    _, key = await prepared(database_url, facts=tags)
    anna = PhoneOptions(
        phone_id="anna",
        token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
        actor_id="operator-7",
    )
    agent = Phones(PhonesOptions(phones=(anna,), port=0), REAL_CLOCKS)
    start = SystemClock().now().replace(microsecond=0) - timedelta(hours=1)
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        hearing(agent) as listener,
        httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as api,
    ):
        await until(lambda: agent.port)
        base = f"http://127.0.0.1:{agent.port}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(base_url=base, headers=headers, trust_env=False) as client:
            yield Phone(client, listener, api, start)


async def test_s15_fifty_scans_made_without_network_are_fifty_events(phone: Phone) -> None:
    chance = random.Random(15)
    queue = [phone.scan(n) for n in range(SCANS)]
    for _ in range(4):  # the network comes and goes: parts of the queue, not in order
        await phone.send(*chance.sample(queue, 30))

    await phone.send(*queue)

    events = await phone.events("tag.sighted")
    assert {e["subject"] for e in events} == {f"tag-{n}" for n in range(SCANS)}
    assert len(events) == SCANS
    assert {e["data"]["gateway_id"] for e in events} == {"phone-anna"}
    times = {e["subject"]: datetime.fromisoformat(e["occurred_at"]) for e in events}
    assert times == {f"tag-{n}": phone.start + timedelta(seconds=10 * n) for n in range(SCANS)}


async def test_s15_the_log_holds_a_place_of_the_phone_only_from_a_session_and_nobodys(
    phone: Phone,
) -> None:
    here = {"latitude_deg": LATITUDE_DEG, "longitude_deg": LONGITUDE_DEG}
    now = SystemClock().now

    await phone.send(phone.scan(1, **here))
    opened = await phone.agent.post("/v1/phone/sessions")
    session_id = opened.json()["session_id"]
    await phone.send(phone.scan(2, **here), session_id=session_id)  # scanned before it was opened
    before = await phone.events("tag.position_reported")
    await phone.send(phone.scan(3, at=now().isoformat(), **here), session_id=session_id)
    await phone.agent.delete(f"/v1/phone/sessions/{session_id}")
    later = (now() + timedelta(seconds=1)).isoformat()
    await phone.send(phone.scan(4, at=later, **here), session_id=session_id)

    (position,) = await phone.events("tag.position_reported")
    scans = await phone.events("tag.sighted")
    assert before == []
    assert position["subject"] == "tag-3"
    assert position["data"]["latitude_deg"] == LATITUDE_DEG
    assert "anna" not in str(position)
    assert "operator-7" not in str(position)
    assert [s["data"]["actor_id"] for s in scans] == ["operator-7"] * 4
    assert str(LATITUDE_DEG) not in str(scans)
