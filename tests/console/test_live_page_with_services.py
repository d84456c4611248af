"""The live page before the real services, PostgreSQL and NATS: from a sighting to the screen."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from playwright.async_api import Browser, expect
from tests.support.console_answers import at
from tests.support.serving import prepared, served

from tagtrail.composition import MIGRATIONS, app_for
from tagtrail.embedded import Embedded
from tagtrail_kernel.access import new_code
from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.database import Database
from tagtrail_kernel.settings import KernelSettings

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
SLOW_MS = 20_000
CAPTIONS = ("How probable each zone is", "What the gateways heard")
BLANKS = re.compile(r"NaN|undefined|null|Invalid|\{\w+\}")

REGISTRATIONS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/sites", {"site_id": "hall", "name": "Hall", "outline_m": [[0, 0], [30, 0], [30, 10], [0, 10]]}),
    ("/v1/zones", {"zone_id": "store", "site_id": "hall", "name": "Store", "kind": "storage",
                   "outline_m": [[0, 0], [15, 0], [15, 10], [0, 10]]}),
    ("/v1/zones", {"zone_id": "out", "site_id": "hall", "name": "Dock", "kind": "outbound",
                   "outline_m": [[15, 0], [30, 0], [30, 10], [15, 10]]}),
    ("/v1/gateways", {"gateway_id": "gw-store", "site_id": "hall", "zone_id": "store", "x_m": 5.0, "y_m": 5.0}),
    ("/v1/gateways", {"gateway_id": "gw-out", "site_id": "hall", "zone_id": "out", "x_m": 25.0, "y_m": 5.0}),
    ("/v1/tags", {"tag_id": "tag-1", "identities": ["mac:58b1294494d3"], "label": "T-1"}),
    ("/v1/assets", {"asset_id": "pallet-1", "kind": "pallet", "name": "Pallet one"}),
    ("/v1/skus", {"sku": "OIL-5L", "name": "Olive oil"}),
    ("/v1/tags/tag-1/bind", {"asset_id": "pallet-1"}),
    ("/v1/assets/pallet-1/pack", {"lines": [{"sku": "OIL-5L", "quantity": 48}]}),
]  # fmt: skip


async def _code(database_url: str, log_id: int) -> str:
    database = Database(database_url, schema="access", max_size=1)
    await database.open()
    code, stored = new_code()
    ends = SystemClock().now() + timedelta(minutes=5)
    await PostgresAccess(database).add_code(stored, log_id, "operator", ends)
    await database.close()
    return code


async def _hear(
    api: httpx2.AsyncClient, gateway_id: str, *, began_s: float, ended_s: float
) -> None:
    """Send what a gateway heard of the tag close by, once a second, seconds ago."""
    now = SystemClock().now()
    seconds = int(began_s - ended_s)
    heard = [
        {"tag": "mac:58b1294494d3", "rssi_dbm": -55, "at": at(now - timedelta(seconds=began_s - i))}
        for i in range(seconds)
    ]
    reply = await api.post("/v1/sightings", json={"gateway_id": gateway_id, "sightings": heard})
    assert reply.status_code == 200, reply.text


async def test_a_sighting_reaches_the_screen_with_stock_reason_and_alert(
    browser: Browser, infra: Embedded, database_url: str
) -> None:
    own = {"access", "log", "ingest"}
    log_id, key = await prepared(
        database_url, migrations=[m for m in MIGRATIONS if m.schema not in own]
    )
    settings = KernelSettings(
        database_url=database_url, nats_url=infra.nats_url, requests_per_s=100_000
    )
    complaints: list[str] = []
    async with served(app_for(settings, [])) as base:
        bearer = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=base, headers=bearer, timeout=30) as api:
            for path, body in REGISTRATIONS:
                reply = await api.post(path, json=body)
                assert reply.is_success, (path, reply.text)
            rule = {"parameters": {"grace_s": 0, "lateness_s": 0}}
            assert (await api.put("/v1/rules/left_outbound_without_pod", json=rule)).is_success
            await _hear(api, "gw-out", began_s=90, ended_s=50)

            page = await browser.new_page()
            page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{base}/console/enter?code={await _code(database_url, log_id)}")
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
            tag = page.locator('.tag[data-tag="tag-1"]')
            await expect(tag).to_have_attribute(
                "aria-label", re.compile("Pallet one, Dock"), timeout=SLOW_MS
            )
            dock = page.locator("#stock tbody", has_text="Dock")
            await expect(dock).to_contain_text("OIL-5L", timeout=SLOW_MS)
            await expect(dock.locator(".number")).to_have_text("48")
            await expect(dock).to_contain_text("inferred")

            await _hear(api, "gw-store", began_s=40, ended_s=0)

            await expect(tag).to_have_attribute(
                "aria-label", re.compile("Pallet one, Store"), timeout=SLOW_MS
            )
            store = page.locator("#stock tbody", has_text="Store")
            await expect(store.locator(".number")).to_have_text("48", timeout=SLOW_MS)
            alert = page.locator("#alerts .alert").first
            await expect(alert).to_contain_text("Pallet one", timeout=SLOW_MS)
            await expect(page.locator('.gateway[data-health="healthy"]')).not_to_have_count(
                0, timeout=SLOW_MS
            )

            await alert.get_by_role("button", name="Acknowledge").click()

            await expect(alert).to_have_attribute("data-state", "acknowledged")
            await expect(alert.locator(".act")).to_have_count(0)
            listed = await api.get("/v1/alerts", params={"state": "acknowledged"})
            assert len(listed.json()["items"]) == 1

            await tag.click()
            panel = page.locator("#panel")
            await expect(panel).to_contain_text("Olive oil")
            zones, heard = (panel.locator(".evidence", has_text=words) for words in CAPTIONS)
            await expect(zones.locator("tbody tr").first).to_contain_text("Store (its zone)")
            await expect(heard.locator("tbody tr").first).to_contain_text("gw-store")
            await expect(heard.locator("tbody tr").first).to_contain_text("-55")
            await expect(panel.locator(".verdict")).to_contain_text("Store")
            await expect(panel).to_contain_text("missing after 2 min at the earliest")
            await expect(panel.locator(".trail li")).to_have_count(2)
            assert not BLANKS.search(await panel.inner_text())
            gateway = page.locator('#gateways tr[data-gateway="gw-store"]')
            await expect(gateway).to_contain_text("listening")
            await page.close()
    assert [c for c in complaints if "ERR_NETWORK_CHANGED" not in c] == []
