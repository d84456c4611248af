"""A simulated warehouse through the whole product, against the truth that the simulator knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.e2e_scenario import caught_up, whole_log
from tests.support.processes import Product, all_in_one, ready

from tagtrail.simulator.playback import FASTEST, play, start_for
from tagtrail.simulator.scenario import small
from tagtrail.simulator.sinks import HttpSink
from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.wire import request_of
from tagtrail.simulator.world import World
from tagtrail_kernel.clock import SystemClock

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="playback")]

LENGTH_S = 600.0
DOCK = "demo-outbound"
"""Where goods of which nobody says that they left are shown after they left."""
RULE = {"grace_s": 10, "lateness_s": 5, "moves_inside_count": False}
"""Who leaves by silence has 10 s from the moment that it is noticed, two minutes later; proofs of
delivery come 5 to 20 s after departure. The last deadlines pass by the wall clock, after the run."""


class InOrder:
    """Posts each transmission after the answer to the one before, so that every run is the same.

    Several requests under way at once would reach the log in another order each time, and where
    zones are close to each other that decides which of them is confirmed.
    """

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def send(self, transmission: Transmission) -> None:
        """Post one transmission."""
        request = request_of(transmission)
        if request is not None:
            reply = self._http.post(request.path, content=request.body)
            assert reply.status_code == 200, reply.text

    def close(self) -> None:
        """Nothing is under way."""


def play_in_order(world: World, url: str, key: str) -> None:
    """Register a world and play it as fast as it is taken, in order of arrival."""
    api = HttpSink(url, key)
    api.register(world.registrations())
    api.close()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as http:
        play(world.stream(), InOrder(http), speed=FASTEST)


async def played(
    product: Product, world: World
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], int]]:
    """Play a world over HTTP; returns the whole log and the stock by zone and SKU."""
    headers = {"Authorization": f"Bearer {product.key}"}
    url = product.urls.ingest[0]
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as api:
        rule = await api.put("/v1/rules/left_outbound_without_pod", json={"parameters": RULE})
        assert rule.is_success, rule.text
        await asyncio.to_thread(play_in_order, world, url, product.key)
        await asyncio.sleep(RULE["grace_s"] + RULE["lateness_s"] + 3)
        await caught_up(api)
        stock = (await api.get("/v1/stock", params={"placed": True})).json()["items"]
        return await whole_log(api, url), {
            (cell["zone_id"], cell["sku"]): cell["quantity"] for cell in stock
        }


def zone_accuracy(world: World, events: list[dict[str, Any]]) -> float:
    """Return the share of (tag, second) at which the reported zone is the true one.

    Counted every 5 s, for tags that are on site with a living battery.
    """
    start = world.scenario.start_at
    moves: dict[str, list[tuple[float, str | None]]] = {}
    for event in events:
        if event["type"] == "tag.zone_changed":
            at_s = (datetime.fromisoformat(event["occurred_at"]) - start).total_seconds()
            moves.setdefault(event["data"]["tag_id"], []).append(
                (at_s, event["data"].get("zone_id"))
            )
    right = total = 0
    dead = world.truth.dead_tags
    for tag in world.truth.tag_ids:
        for second in range(30, int(LENGTH_S), 5):
            true = world.truth.zone_at(tag, second)
            if true is None or second > dead.get(tag, LENGTH_S):
                continue
            reported = [zone for at_s, zone in moves.get(tag, []) if at_s <= second]
            total += 1
            right += bool(reported) and reported[-1] == true
    return right / total


def alerted(events: list[dict[str, Any]], rule_id: str) -> set[str]:
    """Return the assets that a rule raised an alert for."""
    fired = [e["data"] for e in events if e["type"] == "alert.fired"]
    return {data["asset_id"] for data in fired if data["rule_id"] == rule_id}


def left_without_pod(world: World) -> set[str]:
    """Return the assets that truly left without a proof of delivery that names them.

    Those of shipments that nobody signed for, those that nobody shipped, and those that are on a
    truck by mistake: the proof of that truck does not name them.
    """
    shipments = world.truth.shipments
    unsigned = {asset for s in shipments if s.pod == "none" for asset in s.loaded}
    by_mistake = {asset for s in shipments for asset in s.wrong}
    return unsigned | by_mistake | {asset.asset_id for asset, _ in world.truth.thefts}


def left_unsaid(world: World, events: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Return what left and no departure names, by dock and SKU: the stock cannot know of it.

    That is what was stolen, and what is on a truck by mistake.
    """
    silent = {asset for s in world.truth.shipments for asset in s.wrong}
    silent |= {asset.asset_id for asset, _ in world.truth.thefts}
    held: Counter[tuple[str, str]] = Counter()
    for event in events:
        sign = {"crate.packed": 1, "crate.unpacked": -1}.get(event["type"])
        if sign is not None and event["data"]["asset_id"] in silent:
            for line in event["data"]["lines"]:
                held[DOCK, line["sku"]] += sign * line["quantity"]
    return held


async def test_the_product_reports_what_the_simulated_warehouse_did(short_dir: Path) -> None:
    scenario = replace(small(), duration_s=LENGTH_S)
    start = start_for(SystemClock().now(), LENGTH_S + 30, FASTEST)
    world = World(replace(scenario, start_at=start))
    async with all_in_one(short_dir / "warehouse", TAGTRAIL_REQUESTS_PER_S="10000") as product:
        await ready(product.urls.ingest[0])
        events, stock = await played(product, world)

    told = Counter(e["type"] for e in events)
    counts = world.truth.counts()["native"]
    assert counts.duplicates > 1000
    assert told["tag.sighted"] + told["tag.ranged"] == counts.unique
    assert alerted(events, "left_outbound_without_pod") == left_without_pod(world)
    assert alerted(events, "missing_tag") == {
        world.truth.asset_of(tag) for tag in world.truth.dead_tags
    }
    assert zone_accuracy(world, events) >= 0.9
    there = world.truth.stock_at(LENGTH_S)
    units = {(zone, sku): n for zone, goods in there.items() for sku, n in goods.items()}
    right = sum(min(n, stock.get(cell, 0)) for cell, n in units.items())
    assert right >= 0.85 * sum(units.values())
    unsaid = left_unsaid(world, events)
    surplus = {cell: n - units.get(cell, 0) - unsaid[cell] for cell, n in stock.items()}
    assert not {cell: n for cell, n in surplus.items() if cell[0] == DOCK and n > 0}
    wrong = {cell: n for cell, n in surplus.items() if n > 0}
    assert sum(wrong.values()) <= 0.15 * sum(units.values()), wrong
