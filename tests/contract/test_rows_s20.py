"""S20: when a partner's network degrades, everything of one's own goes on, and the rest comes later."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.all_in_one import eventually
from tests.support.cable import Cable, cable_to
from tests.support.e2e_scenario import run_scenario
from tests.support.egress import blocked
from tests.support.fake_partner import TOKEN, FakePartner
from tests.support.fake_slack import FakeSlack
from tests.support.processes import Urls
from tests.support.serving import prepared, served, settings_for

from tagtrail.composition import MIGRATIONS, app_for
from tagtrail.embedded import Embedded
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered

AGREEMENT = {"reference": "DPA-2026-17", "signed_by": "Jo Doe", "signed_on": "2026-10-01"}
FACTS = (
    TagRegistered(tag_id="roaming", identities=("partner:acme/R-9",)),
    ConfigChanged(section="sources", values={"partner_network": {"accepted": True}}),
    ConfigChanged(
        section="partner.acme",
        values={"enabled": True, "agreement": AGREEMENT, "every_s": 1, "requests_per_minute": 600},
    ),
)
OWN_SCHEMAS = {"access", "log", "ingest"}
PLACE = {"latitude_deg": 52.5, "longitude_deg": 13.4, "accuracy_m": 30.0}


@pytest.fixture
async def cloud() -> AsyncIterator[FakePartner]:
    async with FakePartner(page_size=3).running() as cloud:
        yield cloud


@pytest.fixture
async def internet(cloud: FakePartner) -> AsyncIterator[tuple[Cable, str]]:
    """What lies between the server and the partner."""
    async with cable_to(cloud.url) as found:
        yield found


def seen(cloud: FakePartner, count: int) -> None:
    """Let the label be seen some times more, each time later than all before."""
    before = len(cloud.sightings)
    for n in range(before, before + count):
        cloud.see("R-9", SystemClock().now() - timedelta(seconds=60 - n), **PLACE)


async def partner_of(api: httpx2.AsyncClient) -> dict[str, Any]:
    """Return how the partner is; the banner's word agrees with it."""
    body = (await api.get("/v1/sources")).json()
    (found,) = body["partners"]
    assert body["degraded"] == (found["state"] == "degraded")
    return dict(found)


async def becomes(api: httpx2.AsyncClient, state: str) -> dict[str, Any]:
    async def so() -> dict[str, Any] | None:
        found = await partner_of(api)
        return found if found["state"] == state else None

    return dict(await eventually(so, within_s=30))


async def told(api: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Return what the partner told, as it stands in the log."""
    query: dict[str, Any] = {"types": "tag.position_reported", "limit": 1000}
    return list((await api.get("/v1/events", params=query)).json()["items"])


def test_the_wall_of_these_tests_holds() -> None:
    with blocked() as attempts:
        for call in (
            lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.2),
            lambda: socket.getaddrinfo("partner.example", 443),
        ):
            with pytest.raises(OSError, match="egress is blocked"):
                call()

    assert len(attempts) == 2


@pytest.mark.slow
@pytest.mark.xdist_group(name="playback")
async def test_s20_with_all_egress_blocked_the_whole_day_passes_and_the_partner_is_caught_up_later(
    short_dir: Path,
    cloud: FakePartner,
    internet: tuple[Cable, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cable, url = internet
    own = [m for m in MIGRATIONS if m.schema not in OWN_SCHEMAS]
    partner = {
        "name": "acme", "url": url, "token": TOKEN,
        "timeout_s": 1, "first_wait_s": 0.2, "longest_wait_s": 2,
    }  # fmt: skip
    async with FakeSlack().running() as slack, Embedded(short_dir / "s20") as servers:
        _, key = await prepared(servers.database_url, migrations=own, facts=FACTS)
        for name, value in {
            "INGEST_PARTNERS": json.dumps([partner]),
            "ALERTS_ALLOW_LOOPBACK": "true",
            "ALERTS_SLACK_WEBHOOK_URL": slack.url,
            "ALERTS_GROUP_WAIT_S": "1",
        }.items():
            monkeypatch.setenv(f"TAGTRAIL_{name}", value)
        seen(cloud, 4)
        settings = settings_for(servers.database_url, servers.nats_url, servers.mqtt_url)
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            served(app_for(settings, [])) as base,
            httpx2.AsyncClient(base_url=base, headers=headers, timeout=20) as api,
        ):
            await eventually(lambda: _told(api, 4), within_s=30)
            before = await becomes(api, "ok")
            cable.cut()
            with blocked() as attempts:
                seen(cloud, 8)
                early = await becomes(api, "degraded")
                await run_scenario(Urls.same(base), key, servers.gateway_mqtt_url, slack)
                late = await partner_of(api)
                meanwhile = await told(api)
            cable.mend()
            after = await becomes(api, "ok")
            await eventually(lambda: _told(api, 12), within_s=30)
            await asyncio.sleep(2.5)  # rounds in which nothing new may come
            events = await told(api)

    assert attempts == [], "nothing but the partner's cloud is ever asked"
    assert len(meanwhile) == before["sightings"] == 4
    assert (late["state"], late["failing_since"]) == ("degraded", early["failing_since"])
    assert late["age_s"] > early["age_s"] + 5
    assert late["why"].startswith("no answer")
    assert after["failures"] == 0
    assert len({e["id"] for e in events}) == len(events) == 12
    assert [e["occurred_at"] for e in events] == sorted(e["occurred_at"] for e in events)


async def _told(api: httpx2.AsyncClient, count: int) -> bool:
    return len(await told(api)) >= count


async def test_s20_after_an_outage_in_the_middle_of_the_pages_nothing_is_missing_or_double(
    database_url: str,
    cloud: FakePartner,
    internet: tuple[Cable, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cable, url = internet
    own = [m for m in MIGRATIONS if m.schema not in OWN_SCHEMAS]
    _, key = await prepared(database_url, migrations=own, facts=FACTS)
    partner = {
        "name": "acme", "url": url, "timeout_s": 1, "first_wait_s": 0.1, "longest_wait_s": 0.3,
    }  # fmt: skip
    monkeypatch.setenv("TAGTRAIL_INGEST_PARTNERS", json.dumps([partner]))
    seen(cloud, 45)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(app_for(settings_for(database_url), ["ingest"])) as base,
        httpx2.AsyncClient(base_url=base, headers=headers, timeout=20) as api,
    ):
        for count in (3, 12, 24):
            await eventually(lambda count=count: _told(api, count), within_s=30)
            cable.cut()
            await becomes(api, "degraded")
            cable.mend()
        await eventually(lambda: _told(api, 45), within_s=30)
        await becomes(api, "ok")
        events = await told(api)

    assert len({e["id"] for e in events}) == len(events) == 45
