"""S1: one tag model over five technologies: the same path in, equal projections out.

Real ingest, locate and inventory on a real database, spoken to over HTTP only. What is compared
has no word for a technology in it, and the expectation is the path itself, written down once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.support import five_technologies as five
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_ingest.settings import IngestSettings
from tagtrail_inventory.service import build as build_inventory
from tagtrail_inventory.settings import InventorySettings
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.migrations import Migration
from tagtrail_locate.service import build as build_locate
from tagtrail_locate.settings import LocateSettings

MIGRATIONS = (
    Migration("locate", "tagtrail_locate.migrations"),
    Migration("inventory", "tagtrail_inventory.migrations"),
)
FULL = {("OIL-5L", None): 24, ("RICE-1", "L7"): 60}
PICKED = {("OIL-5L", None): 20, ("RICE-1", "L7"): 60}
STOCK = {
    2: {"inbound": FULL},
    6: {"store": FULL},
    9: {"packing": FULL},
    11: {"packing": PICKED},
    15: {"out": PICKED},
}
"""Units by zone, SKU and lot at some minutes of the path."""


@dataclass
class Product:
    """The services at one address.

    Attributes:
        client: With an admin's key.
        start: Minute 0 of the path.
    """

    client: httpx2.AsyncClient
    start: datetime

    async def post(self, path: str, body: Any) -> Any:
        reply = await self.client.post(path, json=body)
        assert reply.status_code == 200, (path, reply.text)
        return reply.json()

    async def get(self, path: str, **query: Any) -> Any:
        reply = await self.client.get(path, params=query)
        assert reply.status_code == 200, (path, reply.text)
        return reply.json()

    async def settled(self) -> None:
        """Wait until locate and inventory show the whole log, with what it made them add."""
        async with asyncio.timeout(60):
            while True:
                head = (await self.get("/v1/log/head"))["position"]
                seen = [
                    (await self.get(path))["as_of_position"] for path in ("/v1/places", "/v1/stock")
                ]
                if min(seen) >= head == (await self.get("/v1/log/head"))["position"]:
                    return
                await asyncio.sleep(0.1)

    async def zones(self) -> list[str | None]:
        """Return the crate's confirmed zones, in order."""
        page = await self.get("/v1/events", types="tag.zone_changed", limit=1000)
        return [event["data"].get("zone_id") for event in page["items"]]

    async def stock(self, minute: float) -> dict[str, dict[tuple[str, str | None], int]]:
        """Return units by zone, SKU and lot as of a minute of the path."""
        at = (self.start + timedelta(minutes=minute)).isoformat()
        stock: dict[str, dict[tuple[str, str | None], int]] = {}
        for item in (await self.get("/v1/stock", at=at))["items"]:
            stock.setdefault(item["zone_id"], {})[item["sku"], item["lot"]] = item["quantity"]
        return stock


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    _, key = await prepared(database_url, migrations=MIGRATIONS)
    app = ingest_app(
        settings_for(database_url),
        IngestSettings(),
        (
            lambda deps: build_locate(deps, LocateSettings()),
            lambda deps: build_inventory(deps, InventorySettings()),
        ),
    )
    start = SystemClock().now().replace(microsecond=0) - timedelta(minutes=five.END_MIN + 5)
    async with served(app) as url:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            yield Product(client, start)


@pytest.mark.parametrize("name", five.TELLERS)
async def test_s1_the_same_path_told_by_any_technology_gives_the_same_projections(
    product: Product, name: str
) -> None:
    teller = five.TELLERS[name]
    await product.post("/v1/events", {"events": five.warehouse(product.start, teller)})
    await product.post("/v1/events", {"events": [five.picked(product.start)]})
    accepted = 0
    for posts in teller.posts(product.start):
        answers = await asyncio.gather(*(product.post(p.path, p.body) for p in posts))
        accepted += sum(answer["accepted"] for answer in answers)
    await product.settled()
    crate = await product.get("/v1/assets/crate-1")

    assert accepted >= len(five.PATH)
    assert await product.zones() == ["inbound", "store", "packing", "out"]
    assert {minute: await product.stock(minute) for minute in STOCK} == STOCK
    assert crate["place"]["zone_id"] == "out"
    assert [tag["tag_id"] for tag in crate["tags"]] == ["tag-1"]
