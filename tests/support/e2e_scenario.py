"""One working day of a small warehouse, through the public interfaces only.

`run_scenario` is used unchanged on the all-in-one process, on separate processes with two ingest
replicas, and on composed containers. Four tags are heard for four simulated minutes; two of their
pallets leave by the outbound zone, one of them without proof of delivery.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import httpx2
from tests.support.processes import Urls
from tests.support.publishing import Publisher

from tagtrail_kernel.clock import SystemClock, TimeOrderedIds

SITE: Final = "e2e-hall"
LENGTH_S: Final = 240
MOVED_S: Final = 40
GONE_S: Final = 80
NEAR_DBM: Final = -50.0
FAR_DBM: Final = -82.0
UNITS: Final = {"pallet-lost": 48, "pallet-proved": 24, "crate-store": 10, "crate-dock": 7}
STAYS: Final[dict[str, tuple[tuple[int, str], ...]]] = {
    "pallet-lost": ((MOVED_S, "store"), (GONE_S, "out")),
    "pallet-proved": ((MOVED_S, "store"), (GONE_S, "out")),
    "crate-store": ((LENGTH_S, "store"),),
    "crate-dock": ((LENGTH_S, "out"),),
}
"""Until which second each asset's tag is in which zone; afterwards it is not heard."""


class Webhook(Protocol):
    """A fake Slack: what it took."""

    @property
    def delivered(self) -> list[dict[str, Any]]:
        """Payloads that were answered with ok."""
        ...


@dataclass(slots=True)
class Report:
    """What a run saw, for checks that only one set-up can make.

    Attributes:
        acknowledged: Ids of the events that HTTP or the broker acknowledged.
        events: The whole log afterwards.
        position_before: Position of the log before the move.
    """

    acknowledged: set[str] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)
    position_before: int = 0


async def eventually(
    check: Callable[[], Awaitable[bool]], what: str | Callable[[], str], within_s: float = 30.0
) -> None:
    """Wait until a check holds; fails with what it waited for if it does not in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not await check():
        if asyncio.get_running_loop().time() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within_s} s: {told}")
        await asyncio.sleep(0.1)


async def caught_up(api: httpx2.AsyncClient, within_s: float = 180.0) -> int:
    """Wait until every consumer stands at the end of a log that stands still; returns that.

    Args:
        api: Client of the process that runs them, with an operator's key.
        within_s: Longest wait, seconds.
    """
    seen: dict[str, Any] = {}

    async def at_the_end() -> bool:
        with contextlib.suppress(httpx2.HTTPError, KeyError):
            seen["head"] = (await api.get("/v1/log/head")).json()["position"]
            await asyncio.sleep(1.5)
            seen["consumers"] = (await api.get("/v1/consumers")).json()["items"]
            still = (await api.get("/v1/log/head")).json()["position"]
            return bool(
                still == seen["head"]
                and seen["consumers"]
                and all(c["position"] == still for c in seen["consumers"])
            )
        return False

    await eventually(at_the_end, lambda: f"consumers at the end of the log: {seen}", within_s)
    return int(seen["head"])


async def whole_log(api: httpx2.AsyncClient, url: str, types: str = "") -> list[dict[str, Any]]:
    """Return all events, or those of some types, by the API."""
    after, items = 0, []
    while True:
        query: dict[str, Any] = {"after": after, "limit": 1000}
        reply = await api.get(
            f"{url}/v1/events", params=query | ({"types": types} if types else {})
        )
        assert reply.status_code == 200, reply.text
        page = reply.json()
        items += page["items"]
        after = page["next_after"]
        if page["at_end"]:
            return items


def mac_of(asset_id: str) -> str:
    """Return the radio address of an asset's tag."""
    return f"02e2e0000{list(UNITS).index(asset_id):03x}"


class Scenario:
    """The day.

    Args:
        urls: Where the services answer.
        api: Client with an administrator's key.
        publisher: Connection to the broker, as a gateway.
        slack: Where cards go.
    """

    def __init__(
        self, urls: Urls, api: httpx2.AsyncClient, publisher: Publisher, slack: Webhook
    ) -> None:
        self.urls = urls
        self.api = api
        self.publisher = publisher
        self.slack = slack
        self.start = SystemClock().now() - timedelta(seconds=LENGTH_S + 5)
        self.report = Report()
        self._ids = TimeOrderedIds(SystemClock())
        self._turn = 0

    def at(self, second: float) -> str:
        """Return a simulated second as text."""
        return (self.start + timedelta(seconds=second)).isoformat()

    async def post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post, which must succeed."""
        key = {"Idempotency-Key": str(self._ids.new())}
        reply = await self.api.post(url, json=body, headers=key)
        assert reply.is_success, (url, reply.text)
        found: dict[str, Any] = reply.json()
        if "event_ids" in found:
            self.report.acknowledged.update(found["event_ids"])
        return found

    async def get(self, url: str, **query: Any) -> Any:
        """Get JSON, which must succeed."""
        reply = await self.api.get(url, params=query)
        assert reply.status_code == 200, (url, reply.text)
        return reply.json()

    async def register(self) -> None:
        """Describe the warehouse, enrol the tags, pack the goods, set the rule."""
        base = f"{self.urls.inventory}/v1"
        await self.post(f"{base}/sites", {"site_id": SITE, "name": "Hall"})
        for n, (zone, kind) in enumerate((("store", "storage"), ("out", "outbound"))):
            x = 20.0 * n
            outline = [[x, 0], [x + 20, 0], [x + 20, 10], [x, 10]]
            zone_body = {"zone_id": zone, "site_id": SITE, "name": zone, "kind": kind}
            await self.post(f"{base}/zones", zone_body | {"outline_m": outline})
            gateway = {"gateway_id": f"gw-{zone}", "site_id": SITE, "zone_id": zone}
            await self.post(f"{base}/gateways", gateway | {"x_m": x + 10, "y_m": 5.0})
        await self.post(f"{base}/skus", {"sku": "OIL-5L", "name": "Olive oil"})
        for asset, units in UNITS.items():
            tag = {"tag_id": f"tag-{asset}", "identities": [f"mac:{mac_of(asset)}"]}
            await self.post(f"{base}/tags", tag | {"interval_s": 1.0})
            kind = asset.partition("-")[0]
            await self.post(f"{base}/assets", {"asset_id": asset, "kind": kind, "name": asset})
            when = {"at": self.at(-60)}
            await self.post(f"{base}/tags/tag-{asset}/bind", {"asset_id": asset} | when)
            line = {"sku": "OIL-5L", "quantity": units}
            await self.post(f"{base}/assets/{asset}/pack", {"lines": [line]} | when)
        rule = {"parameters": {"grace_s": 5, "lateness_s": 1}}
        url = f"{self.urls.alerts}/v1/rules/left_outbound_without_pod"
        assert (await self.api.put(url, json=rule)).is_success

    async def known_everywhere(self) -> None:
        """Wait until every replica of ingest knows the tags: it drops what it does not know."""
        for url in self.urls.ingest:
            item = self._item("crate-store", "store", -30) | {"id": str(self._ids.new())}

            async def taken(url: str = url, item: dict[str, Any] = item) -> bool:
                reply = await self.post(
                    f"{url}/v1/sightings", {"gateway_id": "gw-store", "sightings": [item]}
                )
                return bool(reply["accepted"] + reply["duplicates"])

            await eventually(taken, f"{url} knows the tags")
            self.report.acknowledged.add(item["id"])

    def _item(self, asset: str, gateway_zone: str, second: float) -> dict[str, Any]:
        here = next((zone for until, zone in STAYS[asset] if second < until), None)
        level = NEAR_DBM if here == gateway_zone else FAR_DBM
        wobble = (second * 7 + len(asset)) % 5 - 2
        return {
            "tag": f"mac:{mac_of(asset)}",
            "at": self.at(second),
            "rssi_dbm": round(level + wobble, 2),
        }

    def heard(self, zone: str, seconds: Sequence[float]) -> list[dict[str, Any]]:
        """Return what a zone's gateway hears in some seconds."""
        return [
            self._item(asset, zone, second)
            for second in seconds
            for asset, stays in STAYS.items()
            if second < stays[-1][0]
        ]

    async def play(self, first: int, last: int, step: int) -> None:
        """Send what both gateways hear: one over HTTP to the replicas in turn, one over MQTT."""
        for second in range(first, last, step):
            span = [float(s) for s in range(second, second + step)]
            await self._over_http(self.heard("store", span))
            await self._over_mqtt(self.heard("out", span))

    async def _over_http(self, items: list[dict[str, Any]]) -> None:
        for item in items[::2]:
            item["id"] = str(self._ids.new())
        self._turn += 1
        url = self.urls.ingest[self._turn % len(self.urls.ingest)]
        body = {"gateway_id": "gw-store", "sightings": items}
        reply = await self.post(f"{url}/v1/sightings", body)
        assert reply["accepted"] == len(items), reply
        self.report.acknowledged.update(r["event_id"] for r in reply["results"])
        if self._turn % 10 == 0:
            other = self.urls.ingest[(self._turn + 1) % len(self.urls.ingest)]
            again = await self.post(f"{other}/v1/sightings", body)
            assert again["duplicates"] == len(items), again

    async def _over_mqtt(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            item["id"] = str(self._ids.new())
        payload = json.dumps({"sightings": items}).encode()
        topic = f"tagtrail/v1/{SITE}/gw-out/sightings"
        for _ in range(2 if self._turn % 10 == 0 else 1):
            await self.publisher.publish(topic, payload)
        self.report.acknowledged.update(item["id"] for item in items)
        last = f"{self.urls.ingest[0]}/v1/events/{items[-1]['id']}"

        async def arrived() -> bool:
            return (await self.api.get(last)).status_code == 200

        await eventually(arrived, "the message is in the log")

    async def stock(self, position: int | None = None) -> dict[str, int]:
        """Return units by zone."""
        query = {} if position is None else {"position": position}
        found = await self.get(f"{self.urls.inventory}/v1/stock", **query)
        return {item["zone_id"]: item["quantity"] for item in found["items"]}

    async def stock_becomes(self, wanted: dict[str, int]) -> int:
        """Wait for a stock by zone; returns the position that shows it."""

        async def so() -> bool:
            return await self.stock() == wanted

        await eventually(so, f"stock by zone is {wanted}")
        found = await self.get(f"{self.urls.inventory}/v1/stock")
        return int(found["as_of_position"])

    async def prove(self, asset: str, second: float) -> None:
        """Record shipment, departure and proof of delivery of an asset."""
        base, when = f"{self.urls.inventory}/v1", {"at": self.at(second)}
        shipment = {"shipment_id": "s-proved", "asset_ids": [asset]} | when
        await self.post(f"{base}/shipments", shipment)
        await self.post(f"{base}/shipments/s-proved/depart", {"asset_ids": [asset]} | when)
        await self.post(f"{base}/pods", {"shipment_id": "s-proved"} | when)

    async def alerted(self) -> list[dict[str, Any]]:
        """Wait for the alert and its card, and then for what must not follow."""

        async def one() -> bool:
            return len(self.slack.delivered) >= 1

        await eventually(one, "a card at the webhook", within_s=60)
        await asyncio.sleep(4)
        found = await self.get(f"{self.urls.alerts}/v1/alerts")
        return list(found["items"])

    async def judge_the_log(self) -> None:
        """Every acknowledged event is in the log exactly once, and positions are dense."""
        self.report.events = await whole_log(self.api, self.urls.ingest[0])
        events = self.report.events
        assert [e["position"] for e in events] == list(range(1, len(events) + 1))
        counted = Counter(e["id"] for e in events)
        missing = self.report.acknowledged - counted.keys()
        assert not missing, f"{len(missing)} acknowledged events are not in the log"
        assert max(counted.values()) == 1
        sent = {i for i in self.report.acknowledged if i in counted}
        radio = {e["id"] for e in events if e["type"] == "tag.sighted"}
        assert radio <= sent, "events nobody sent"


async def run_scenario(urls: Urls, key: str, mqtt_url: str, slack: Webhook) -> Report:
    """Play the day and check what the product makes of it.

    Args:
        urls: Where the services answer; every replica of ingest.
        key: An administrator's key.
        mqtt_url: Where gateways publish.
        slack: The webhook that the alerts service was given.
    """
    headers = {"Authorization": f"Bearer {key}"}
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=30))
        publisher = await stack.enter_async_context(Publisher(mqtt_url, "e2e-gateway").connected())
        day = Scenario(urls, api, publisher, slack)
        await day.register()
        await day.known_everywhere()
        await day.play(0, MOVED_S, 2)
        before = {"store": 48 + 24 + 10, "out": 7}
        day.report.position_before = await day.stock_becomes(before)
        await day.play(MOVED_S, GONE_S, 2)
        await day.stock_becomes({"store": 10, "out": 48 + 24 + 7})
        assert await day.stock(day.report.position_before) == before
        await day.prove("pallet-proved", GONE_S + 5)
        await day.play(GONE_S, LENGTH_S, 5)
        alerts = await day.alerted()
        assert len(slack.delivered) == 1, slack.delivered
        assert [a["rule_id"] for a in alerts] == ["left_outbound_without_pod"]
        assert "pallet-lost" in json.dumps(slack.delivered[0])
        await day.judge_the_log()
        fired = [e for e in day.report.events if e["type"] == "alert.fired"]
        assert len(fired) == 1
        return day.report


def zone_shares(
    events: Sequence[dict[str, Any]], tag_id: str, first: datetime, last: datetime
) -> tuple[dict[str | None, float], int]:
    """Return the share of time in each zone, and the number of changes, between two times."""
    inside: dict[str | None, float] = {}
    changes = 0
    for zone, begin, end in _stays(events, tag_id, last):
        changes += first < begin <= last
        seconds = (min(end, last) - max(begin, first)).total_seconds()
        if seconds > 0:
            inside[zone] = inside.get(zone, 0.0) + seconds
    total = (last - first).total_seconds()
    return {zone: seconds / total for zone, seconds in inside.items()}, changes


def _stays(
    events: Sequence[dict[str, Any]], tag_id: str, last: datetime
) -> Iterator[tuple[str | None, datetime, datetime]]:
    moves = [
        (datetime.fromisoformat(e["occurred_at"]), e["data"].get("zone_id"))
        for e in events
        if e["type"] == "tag.zone_changed" and e["data"]["tag_id"] == tag_id
    ]
    for n, (at, zone) in enumerate(moves):
        yield zone, at, moves[n + 1][0] if n + 1 < len(moves) else max(at, last)
