"""Load whose every reading has a number of its own, and a ledger of what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from tests.support.publishing import Publisher

from tagtrail_kernel.clock import SystemClock, TimeOrderedIds

SITE: Final = "chaos"
TAGS: Final = 8
RETRY_S: Final = 0.3


@dataclass(slots=True)
class Ledger:
    """What was acknowledged.

    Attributes:
        readings: Numbers of acknowledged readings, by how they were sent.
        packed: Acknowledged packings of one unit.
        repeats: Requests that had to be repeated.
    """

    readings: dict[str, set[int]] = field(default_factory=dict)
    packed: int = 0
    repeats: int = 0

    def note(self, way: str, numbers: list[int]) -> None:
        """Note acknowledged readings."""
        self.readings.setdefault(way, set()).update(numbers)

    def acknowledged(self) -> tuple[int, int]:
        """Return how many readings were acknowledged by the broker, and over HTTP."""
        total = {"http": 0, "mqtt": 0}
        for way, numbers in self.readings.items():
            total[way.partition(" ")[0]] += len(numbers)
        return total["mqtt"], total["http"]


def registrations() -> list[dict[str, Any]]:
    """Return the facts that must be known: two rooms, eight tags, a crate."""
    facts: list[tuple[str, dict[str, Any]]] = [
        ("site.registered", {"site_id": SITE, "name": "Chaos"}),
        ("sku.registered", {"sku": "BOLT", "name": "Bolt"}),
        ("asset.registered", {"asset_id": "crate", "kind": "crate"}),
    ]
    for n, room in enumerate("ab"):
        zone = {"zone_id": f"room-{room}", "site_id": SITE, "name": room}
        gateway = {"gateway_id": f"gw-{room}", "site_id": SITE, "zone_id": f"room-{room}"}
        facts += [
            ("zone.registered", zone),
            ("gateway.registered", gateway | {"x_m": 20.0 * n, "y_m": 0.0}),
        ]
    for n in range(TAGS):
        identities = [f"espresense:chaos:{n}", f"mac:02c4a0500{n:03x}"]
        facts.append(("tag.registered", {"tag_id": f"t{n}", "identities": identities}))
    facts.append(("tag.bound", {"tag_id": "t0", "asset_id": "crate"}))
    return [{"type": kind, "data": data} for kind, data in facts]


class Load:
    """Senders of every kind, until told to stop.

    Args:
        url: Where the services answer.
        key: An administrator's key.
        mqtt_url: Where gateways publish.
        seed: Decides what is sent when.
    """

    def __init__(self, url: str, key: str, mqtt_url: str, seed: int) -> None:
        self.ledger = Ledger()
        self._url, self._mqtt_url = url, mqtt_url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._chance = random.Random(seed)
        self._numbers = itertools.count(1)
        self._ids = TimeOrderedIds(SystemClock())
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let every sender finish what it has begun."""
        self._stopping.set()

    async def run(self) -> None:
        """Send from all senders until `stop`, and until the last acknowledgement."""
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(
                httpx2.AsyncClient(base_url=self._url, headers=self._headers, timeout=10)
            )
            foreign, native = [
                await stack.enter_async_context(Publisher(self._mqtt_url, name).connected())
                for name in ("chaos-foreign", "chaos-native")
            ]
            senders: list[Callable[[], Awaitable[None]]] = [
                *[lambda: self._espresense(foreign)] * 4,
                *[lambda: self._batch(native)] * 2,
                *[lambda: self._post_sightings(http)] * 3,
                lambda: self._pack(http),
            ]
            async with asyncio.TaskGroup() as group:
                for sender in senders:
                    group.create_task(self._again_and_again(sender))

    async def _again_and_again(self, send: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            await send()
            await asyncio.sleep(self._chance.uniform(0.01, 0.06))

    def _reading(self, gateway: str) -> tuple[int, int, float]:
        """Return a new reading: its number, its tag, its level; tags change rooms now and then."""
        number = next(self._numbers)
        tag = self._chance.randrange(TAGS)
        near = "ab"[(number // 1500 + tag) % 2] == gateway
        return number, tag, round((-50 if near else -80) + self._chance.uniform(-2, 2), 1)

    async def _espresense(self, publisher: Publisher) -> None:
        room = self._chance.choice("ab")
        number, tag, level = self._reading(room)
        topic = f"espresense/devices/chaos:{tag}/gw-{room}"
        content = {"id": f"chaos:{tag}", "rssi": level, "distance": number / 100}
        await publisher.publish(topic, json.dumps(content).encode())
        self.ledger.note("mqtt espresense", [number])

    def _items(self, room: str, form: str) -> tuple[list[int], list[dict[str, Any]]]:
        numbers, items = [], []
        for _ in range(self._chance.randint(1, 12)):
            number, tag, level = self._reading(room)
            numbers.append(number)
            item: dict[str, Any] = {
                "tag": f"mac:02c4a0500{tag:03x}", "rssi_dbm": level, "distance_m": number / 100,
            }  # fmt: skip
            if form == "id":
                item["id"] = str(self._ids.new())
            if form in ("id", "time"):
                item["at"] = SystemClock().now().isoformat()
            items.append(item)
        return numbers, items

    async def _batch(self, publisher: Publisher) -> None:
        room, form = self._chance.choice("ab"), self._chance.choice(("id", "time", "bare"))
        numbers, items = self._items(room, form)
        topic = f"tagtrail/v1/{SITE}/gw-{room}/sightings"
        await publisher.publish(topic, json.dumps({"sightings": items}).encode())
        self.ledger.note(f"mqtt {form}", numbers)

    async def _post_sightings(self, http: httpx2.AsyncClient) -> None:
        room, form = self._chance.choice("ab"), self._chance.choice(("id", "time", "bare"))
        numbers, items = self._items(room, form)
        key = str(self._ids.new()) if form == "bare" else None
        body = {"gateway_id": f"gw-{room}", "sightings": items}
        answer = await self._insist(http, "/v1/sightings", body, key)
        assert answer["accepted"] + answer["duplicates"] == len(items), answer
        self.ledger.note(f"http {form}", numbers)

    async def _pack(self, http: httpx2.AsyncClient) -> None:
        body = {"lines": [{"sku": "BOLT", "quantity": 1}]}
        await self._insist(http, "/v1/assets/crate/pack", body, str(self._ids.new()))
        self.ledger.packed += 1

    async def _insist(
        self, http: httpx2.AsyncClient, path: str, body: dict[str, Any], key: str | None
    ) -> dict[str, Any]:
        """Post the same until it is taken, as a client should."""
        headers = {"Idempotency-Key": key} if key else {}
        while True:
            try:
                reply = await http.post(path, json=body, headers=headers)
            except httpx2.HTTPError:
                self.ledger.repeats += 1
            else:
                if reply.is_success:
                    found: dict[str, Any] = reply.json()
                    return found
                assert reply.status_code in (429, 500, 502, 503, 504), reply.text
                self.ledger.repeats += 1
            await asyncio.sleep(RETRY_S)
