"""S4: a partner's cloud is asked only by decision and agreement, politely, and may fail freely."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.support.all_in_one import eventually
from tests.support.fake_partner import TOKEN, FakePartner
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_ingest.settings import IngestSettings
from tagtrail_ingest.sources.breaker import LONGEST_ASKED_S, LONGEST_WAIT_S, Breaker
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.events.registrations import TagRegistered

AGREEMENT = {"reference": "DPA-2026-17", "signed_by": "Jo Doe", "signed_on": "2026-10-01"}
TILE = TagRegistered(tag_id="tile-1", identities=("partner:acme/T-1",), model="tile-pro")
FAST = {"every_s": 1.0, "requests_per_minute": 600}


@dataclass
class Site:
    """Ingest that knows a partner.

    Attributes:
        api: With an admin's key.
        cloud: The partner.
    """

    api: httpx2.AsyncClient
    cloud: FakePartner

    async def decide(self, section: str, **values: Any) -> httpx2.Response:
        fact = {"type": "config.changed", "data": {"section": section, "values": values}}
        return await self.api.post("/v1/events", json={"events": [fact]})

    async def enable(self, **more: Any) -> None:
        """Switch the class on, and the partner, with an agreement."""
        both = [
            await self.decide("sources", partner_network={"accepted": True}),
            await self.decide("partner.acme", enabled=True, agreement=AGREEMENT, **(FAST | more)),
        ]
        assert [reply.status_code for reply in both] == [200, 200], [r.text for r in both]

    async def health(self) -> dict[str, Any]:
        reply = await self.api.get("/v1/sources")
        assert reply.status_code == 200, reply.text
        body = reply.json()
        (partner,) = body["partners"]
        assert body["degraded"] == (partner["state"] == "degraded")
        return dict(partner)

    async def becomes(self, state: str, within_s: float = 20.0) -> dict[str, Any]:
        async def so() -> dict[str, Any] | None:
            found = await self.health()
            return found if found["state"] == state else None

        return dict(await eventually(so, within_s=within_s))

    async def events(self) -> list[dict[str, Any]]:
        reply = await self.api.get("/v1/events", params={"families": "radio", "limit": 1000})
        return list(reply.json()["items"])

    async def holds(self, count: int) -> list[dict[str, Any]]:
        """Wait until the log holds so many sightings."""

        async def so() -> list[dict[str, Any]] | None:
            found = await self.events()
            return found if len(found) >= count else None

        return list(await eventually(so))

    async def track_locally(self) -> None:
        """Send a sighting of one's own gateway: it is taken as ever."""
        body = {"gateway_id": "gw", "sightings": [{"tag_id": "tile-1", "rssi_dbm": -60}]}
        reply = await self.api.post("/v1/sightings", json=body)
        assert reply.json()["accepted"] == 1, reply.text


@contextlib.asynccontextmanager
async def running(
    database_url: str, key: str, cloud: FakePartner, **more: Any
) -> AsyncIterator[Site]:
    entry = {
        "name": "acme",
        "url": cloud.url,
        "token": TOKEN,
        "timeout_s": 0.5,
        "first_wait_s": 0.2,
    }
    settings = IngestSettings(partners=json.dumps([entry | more]))
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url), settings)) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
    ):
        yield Site(api, cloud)


@pytest.fixture
async def cloud() -> AsyncIterator[FakePartner]:
    async with FakePartner().running() as cloud:
        yield cloud


@pytest.fixture
async def site(database_url: str, cloud: FakePartner) -> AsyncIterator[Site]:
    _, key = await prepared(database_url, facts=[TILE])
    async with running(database_url, key, cloud) as site:
        yield site


def ago(seconds: float) -> datetime:
    return SystemClock().now() - timedelta(seconds=seconds)


PLACE = {"latitude_deg": 52.5, "longitude_deg": 13.4, "accuracy_m": 30.0}


async def test_s4_no_request_leaves_before_flag_class_and_agreement_are_all_there(
    site: Site,
) -> None:
    site.cloud.see("T-1", ago(60), **PLACE)
    states = [await site.health()]
    without = await site.decide("partner.acme", enabled=True)
    await site.decide("partner.acme", enabled=True, agreement=AGREEMENT, **FAST)
    await asyncio.sleep(1.2)
    states.append(await site.health())
    await site.decide("partner.acme", enabled=False, agreement=AGREEMENT, **FAST)
    await site.decide("sources", partner_network={"accepted": True})
    await asyncio.sleep(1.2)
    states.append(await site.health())
    before = list(site.cloud.asked)

    await site.enable()
    (event,) = await site.holds(1)

    assert before == []
    assert [s["state"] for s in states] == ["off"] * 3
    assert "enabled and agreement" in states[0]["why"]
    assert "class partner_network is off" in states[1]["why"]
    assert without.status_code == 422
    assert "agreement" in without.json()["detail"]
    assert event["data"]["source_class"] == "partner_network"
    assert event["subject"] == "tile-1"
    assert site.cloud.asked[0].authorization == f"Bearer {TOKEN}"


async def test_s4_a_server_without_the_flag_asks_nobody(
    database_url: str, cloud: FakePartner
) -> None:
    _, key = await prepared(database_url, facts=[TILE])
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
    ):
        site = Site(api, cloud)
        await site.enable()
        await asyncio.sleep(1.2)
        health = await site.health()

    assert cloud.asked == []
    assert health["state"] == "off"
    assert "TAGTRAIL_INGEST_PARTNERS" in health["why"]


async def test_s4_the_agreement_is_in_the_log_with_who_and_when(site: Site) -> None:
    await site.enable()

    page = await site.api.get("/v1/events", params={"types": "config.changed"})
    facts = [e for e in page.json()["items"] if e["data"]["section"] == "partner.acme"]
    assert facts[0]["data"]["values"]["agreement"] == AGREEMENT
    assert (await site.becomes("ok"))["agreement"] == "DPA-2026-17"
    assert TOKEN not in page.text


async def test_s4_pages_are_taken_each_once_also_by_the_next_process(
    database_url: str, cloud: FakePartner
) -> None:
    _, key = await prepared(database_url, facts=[TILE])
    cloud.page_size = 7
    for n in range(40):
        cloud.see("T-1", ago(4000 - n), **PLACE)
    cloud.see("stranger", ago(100), **PLACE)
    async with running(database_url, key, cloud) as site:
        await site.enable()
        await site.holds(40)
        await site.becomes("ok")
    asked = len(cloud.asked)
    cloud.see("T-1", ago(50), **PLACE)

    async with running(database_url, key, cloud) as site:
        events = await site.holds(41)
        unknown = (await site.api.get("/v1/unenrolled")).json()["items"]

    assert [a.after for a in cloud.asked[:6]] == [None, "7", "14", "21", "28", "35"]
    assert cloud.asked[asked].after == "41"
    assert len(events) == len({e["id"] for e in events}) == 41
    assert unknown == [], "what strangers own is not even remembered"


BAD_ANSWERS = [
    "500", "503:7", "hang", "drop", "half", "302:http://127.0.0.1:9/", "200:{}", "200:not JSON",
    '200:{"error": "quota"}', '200:{"sightings": "none", "next": "1"}',
    '200:{"sightings": [], "next": null}', "404",
]  # fmt: skip


@pytest.mark.parametrize("step", BAD_ANSWERS)
async def test_s4_a_bad_answer_is_degraded_with_its_reason_loses_nothing_and_heals(
    site: Site, step: str
) -> None:
    site.cloud.see("T-1", ago(60), **PLACE)
    site.cloud.script.extend([step] * 2)
    await site.enable()

    bad = await site.becomes("degraded")
    await site.track_locally()
    during = len(site.cloud.asked)
    if step != "503:7":
        await site.becomes("ok")

    assert bad["failing_since"] is not None
    assert bad["failures"] in (1, 2)
    assert bad["retry_at"] is not None
    assert bad["age_s"] is None, "it never answered"
    assert site.cloud.url not in bad["why"]
    if step == "503:7":
        assert during == 1, "it is not asked again before the time that it named"
    else:
        events = await site.holds(2)
        assert sorted(e["type"] for e in events) == ["tag.position_reported", "tag.sighted"]
        assert [a.after for a in site.cloud.asked[:3]] == [None] * 3


async def test_s4_items_that_do_not_fit_are_refused_one_by_one(site: Site) -> None:
    now = ago(10).isoformat()
    good = {"id": "g", "device": "T-1", "at": now, "zone": "dock", "battery_pct": 80}
    bad: list[Any] = [
        17, {}, {"id": "a", "device": "T-1", "at": "yesterday", "zone": "dock"},
        {"id": "b", "device": "T-1", "at": "2199-01-01T00:00:00Z", "zone": "dock"},
        {"id": "c", "device": "T-1", "at": now}, {"id": "d", "device": "", "at": now, "zone": "d"},
        {"id": "e", "device": "T-1", "at": now, "latitude_deg": 91.0, "longitude_deg": 0.0},
    ]  # fmt: skip
    page = {"sightings": [*bad, good], "next": "1"}
    site.cloud.script.append(f"200:{json.dumps(page)}")
    await site.enable()

    (event,) = await site.holds(1)

    assert event["type"] == "tag.zone_reported"
    assert event["data"]["zone"] == "dock"
    health = await site.becomes("ok")
    assert health["sightings"] == 1


async def test_s4_too_many_requests_are_answered_with_the_wait_that_was_asked_for(
    site: Site,
) -> None:
    site.cloud.script.append("429:2")
    await site.enable()

    await site.becomes("degraded")
    await site.becomes("ok")

    first, second = site.cloud.asked[:2]
    assert 2.0 <= second.at_s - first.at_s < 6.0


async def test_s4_the_circuit_opens_and_local_tracking_stays_whole(site: Site) -> None:
    site.cloud.script.extend(["500"] * 1000)
    await site.enable()
    await eventually(lambda: _true(len(site.cloud.asked) >= 5))
    for _ in range(20):
        await site.track_locally()
    gaps = [b.at_s - a.at_s for a, b in zip(site.cloud.asked, site.cloud.asked[1:], strict=False)]

    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(gaps))
    assert len([e for e in await site.events() if e["type"] == "tag.sighted"]) == 20
    assert (await site.health())["failures"] >= 5


async def _true(value: bool) -> bool:
    return value


async def test_s4_the_rate_is_kept_to_while_pages_follow_each_other(site: Site) -> None:
    site.cloud.page_size = 1
    for n in range(6):
        site.cloud.see("T-1", ago(60 - n), **PLACE)
    await site.enable(requests_per_minute=120)

    await site.holds(6)

    times_s = [a.at_s for a in site.cloud.asked[:6]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    assert min(gaps) > 0.45


async def test_s4_a_decision_to_stop_ends_the_questions_at_once(site: Site) -> None:
    site.cloud.page_size = 1
    for n in range(500):
        site.cloud.see("T-1", ago(600 - n), **PLACE)
    await site.enable()
    await site.holds(3)

    await site.decide("partner.acme", enabled=False)
    await site.becomes("off")
    stopped = len(site.cloud.asked)
    await asyncio.sleep(1.0)

    assert len(site.cloud.asked) <= stopped + 1
    assert len(await site.events()) < 100


def test_s4_a_breaker_opens_after_three_failures_lets_one_through_and_closes_on_success() -> None:
    breaker = Breaker(first_wait_s=5.0)

    waits = [breaker.failed(100.0) for _ in range(3)]

    assert waits == [5.0, 10.0, 20.0]
    assert [breaker.state(at) for at in (100.0, 119.9, 120.0)] == ["open", "open", "half_open"]
    assert breaker.wait_s(119.0) == 1.0
    breaker.succeeded()
    assert (breaker.state(0.0), breaker.wait_s(0.0)) == ("closed", 0.0)


def test_s4_waits_are_bounded_also_those_that_a_partner_asks_for() -> None:
    breaker = Breaker(first_wait_s=5.0)

    for _ in range(100):
        last = breaker.failed(0.0)

    assert last == LONGEST_WAIT_S
    assert breaker.failed(0.0, asked_s=1e9) == LONGEST_ASKED_S
    assert Breaker(first_wait_s=5.0).failed(0.0, asked_s=60.0) == 60.0


@pytest.mark.parametrize(
    "values",
    [
        {"enabled": True, "agreement": {"reference": "x", "signed_by": "y"}},
        {"enabled": True, "agreement": AGREEMENT | {"signed_on": "soon"}},
        {"enabled": True, "agreement": AGREEMENT | {"reference": " "}},
        {"enabled": True, "agreement": AGREEMENT, "every_s": 0.1},
        {"enabled": True, "agreement": AGREEMENT, "url": "http://127.0.0.1/"},
    ],
)
async def test_s4_a_decision_without_a_whole_agreement_is_refused(
    site: Site, values: dict[str, Any]
) -> None:
    reply = await site.decide("partner.acme", **values)

    assert reply.status_code == 422
    assert "partner.acme" in reply.json()["detail"]
