"""A small site with goods that move, behind an API shaped like the services' own.

The console can be built and tested against it without a database: `console_app(world)` is the whole
application with this world in the services' place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CollectorRegistry
from tests.support.console_answers import (
    CAUSES,
    GONE,
    at,
    coverage_of,
    explanation,
    health_of,
)

from tagtrail_console.service import build
from tagtrail_console.settings import ConsoleSettings
from tagtrail_kernel.access import Principal, new_code, requires
from tagtrail_kernel.access_stores import MemoryAccess
from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.clock import Clock, SystemClock, TimeOrderedIds
from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.idempotency import Idempotency
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.testing.deps import LogSink
from tagtrail_kernel.wiring import Deps, Service, app_of

Json = dict[str, Any]

ZONES = {
    "inbound": ("Inbound dock", "inbound", [[0, 0], [8, 0], [8, 10], [0, 10]]),
    "aisle-a": ("Aisle A", "storage", [[8, 0], [26, 0], [26, 8], [8, 8]]),
    "aisle-b": ("Aisle B", "storage", [[8, 8], [26, 8], [26, 16], [8, 16]]),
    "cold": ("Cold store", "storage", [[0, 10], [8, 10], [8, 24], [0, 24]]),
    "packing": ("Packing", "staging", [[8, 16], [26, 16], [26, 24], [8, 24]]),
    "outbound": ("Outbound dock", "outbound", [[26, 0], [36, 0], [36, 14], [26, 14]]),
    "returns": ("Returns and repair", "other", [[26, 14], [36, 14], [36, 24], [26, 24]]),
}
GATEWAYS = {
    "gw-dock": ("Dock west", "inbound", 2.0, 5.0),
    "gw-aisle": ("Aisle centre", "aisle-a", 17.0, 7.6),
    "gw-cold": ("Cold store", "cold", 4.0, 20.0),
    "gw-pack": ("Packing", "packing", 17.0, 22.0),
    "gw-out": ("Dock east", "outbound", 34.0, 7.0),
}
SKUS = {
    "OIL-5L": "Olive oil, 5 l can",
    "PASTA-500": "Spaghetti, 500 g",
    "TOM-400": "Tomatoes, 400 g tin",
    "FLOUR-25": "Flour type 00, 25 kg sack",
}
TAG_COUNT = 32


@dataclass
class World:
    """What the services would know, and who listens.

    Attributes:
        position: End of the log.
        strangers: Gateways that are heard though nobody registered them.
        explained: Explanations that are not the usual one, by tag.
        health: Word for gateways that are not healthy, by gateway; "deaf" is told by coverage only.
        cut: Set to end every open stream; new ones are refused while it is set.
    """

    clock: Clock = field(default_factory=SystemClock)
    position: int = 1000
    sites: list[Json] = field(default_factory=list)
    zones: list[Json] = field(default_factory=list)
    gateways: list[Json] = field(default_factory=list)
    assets: dict[str, Json] = field(default_factory=dict)
    tags: dict[str, Json] = field(default_factory=dict)
    places: dict[str, Json] = field(default_factory=dict)
    alerts: dict[str, Json] = field(default_factory=dict)
    history: dict[str, list[Json]] = field(default_factory=dict)
    strangers: list[Json] = field(default_factory=list)
    explained: dict[str, Json] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=lambda: {"gw-cold": "silent"})
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged_with: list[str | None] = field(default_factory=list)
    _told: list[tuple[str, int, Json]] = field(default_factory=list)
    _listeners: dict[str, list[asyncio.Queue[tuple[int, Json]]]] = field(default_factory=dict)

    def tell(self, stream: str, data: Json) -> None:
        """Append to the log and tell every listener of a stream."""
        self.position += 1
        self._told.append((stream, self.position, data))
        for queue in self._listeners.get(stream, []):
            queue.put_nowait((self.position, data))

    async def follow(self, stream: str, after: int) -> AsyncIterator[ServerSentEvent]:
        """Yield a stream's events after a position until it is cut."""
        queue: asyncio.Queue[tuple[int, Json]] = asyncio.Queue()
        for name, position, data in self._told:
            if name == stream and position > after:
                queue.put_nowait((position, data))
        self._listeners.setdefault(stream, []).append(queue)
        try:
            yield ServerSentEvent(comment=f"at {self.position}")
            while not self.cut.is_set():
                with contextlib.suppress(TimeoutError):
                    position, data = await asyncio.wait_for(queue.get(), 0.1)
                    yield ServerSentEvent(data=data, id=str(position))
        finally:
            self._listeners[stream].remove(queue)

    def listeners(self, stream: str) -> int:
        """Return how many follow a stream."""
        return len(self._listeners.get(stream, []))

    def move(self, tag_id: str, zone_id: str | None, **values: object) -> Json:
        """Put a tag elsewhere and tell it."""
        now = at(self.clock.now())
        before = self.places[tag_id]
        place = {**before, "zone_id": zone_id, "last_heard_at": now, **values}
        if zone_id != before["zone_id"]:
            place["since_at"] = now
            self.history[tag_id].insert(0, self._passage(tag_id, zone_id, now))
        self.places[tag_id] = place
        self.tell("places", place)
        if zone_id != before["zone_id"]:
            self.tell("events", {"type": "tag.zone_changed", "data": {"tag_id": tag_id}})
        return place

    def fire(self, alert_id: str, **values: object) -> None:
        """Raise an alert and tell it."""
        now = at(self.clock.now())
        self.alerts[alert_id] = {
            "alert_id": alert_id, "state": "open", "severity": "warning", "title": "Alert",
            "rule_id": "missing-tag", "fired_at": now, "since_at": now, "site_id": "hall", **values,
        }  # fmt: skip
        self.tell("events", {"type": "alert.fired", "data": {"alert_id": alert_id}})

    def stock(self) -> list[Json]:
        """Return the lines of stock, where their carriers are now."""
        lines: dict[tuple[str | None, str], Json] = {}
        for tag in self.tags.values():
            asset = self.assets.get(tag["asset_id"] or "")
            for content in asset["contents"] if asset else ():
                zone_id = self.places.get(tag["tag_id"], {}).get("zone_id")
                line = lines.setdefault(
                    (zone_id, content["sku"]),
                    {"site_id": "hall", "zone_id": zone_id, "sku": content["sku"], "quantity": 0,
                     "verified": 0, "asset_ids": [], "custody": "here", "lot": None, "unit": "EA",
                     "sku_name": SKUS[content["sku"]],
                     "zone_name": ZONES[zone_id][0] if zone_id else None},
                )  # fmt: skip
                line["quantity"] += content["quantity"]
                line["verified"] += content["verified"]
                line["asset_ids"].append(tag["asset_id"])
        return list(lines.values())

    @staticmethod
    def _passage(tag_id: str, zone_id: str | None, when: str) -> Json:
        return {
            "at": when, "tag_id": tag_id, "zone_id": zone_id, "from_zone_id": None,
            "method": "ble_zone", "reason": "left_beyond_tolerance", "confidence": 0.94,
        }  # fmt: skip


def hall(clock: Clock | None = None) -> World:
    """Return a warehouse of seven zones with 32 tags, some of them late, lost or out of reach."""
    world = World(clock=clock or SystemClock())
    now = world.clock.now()
    outline = [[0, 0], [36, 0], [36, 24], [0, 24]]
    world.sites = [
        {"site_id": "hall", "name": "Main hall", "time_zone": "Europe/Rome", "outline_m": outline},
        {"site_id": "shop", "name": "Shop", "time_zone": "Europe/Rome", "outline_m": None},
    ]
    world.zones = [
        {"zone_id": k, "site_id": "hall", "name": n, "kind": kind, "outline_m": polygon}
        for k, (n, kind, polygon) in ZONES.items()
    ]
    world.gateways = [
        {"gateway_id": k, "site_id": "hall", "name": n, "zone_id": z, "x_m": x, "y_m": y}
        for k, (n, z, x, y) in GATEWAYS.items()
    ]
    for index in range(TAG_COUNT):
        _add_tag(world, index, now)
    world.fire(
        "alert-pod", severity="critical", title="Pallet 5 left Outbound without POD",
        what="Pallet 5", where="Outbound dock", why="No proof of delivery 15 min after it left.",
        next_step="Call the driver of shipment 4711.", tag_id="tag-05", asset_id="pallet-5",
    )  # fmt: skip
    world.fire(
        "alert-missing", title="Crate 9 is missing", what="Crate 9", where="Aisle B",
        why="Silent for 18 min; it is usually heard every 10 s, and its gateways are healthy.",
        next_step="Look in Aisle B first.", tag_id="tag-09", asset_id="crate-9",
    )  # fmt: skip
    return world


def _add_tag(world: World, index: int, now: datetime) -> None:
    tag_id = f"tag-{index:02d}"
    zone_id, (_, _, polygon) = list(ZONES.items())[index % len(ZONES)]
    kind = "pallet" if index % 5 == 0 else "crate"
    asset_id = f"{kind}-{index}" if index % 11 != 10 else None
    silent_s = {9: 1080.0, 13: 240.0, 20: 5400.0, 24: 900.0}.get(index, (index * 7) % 11)
    presence = {9: "missing", 13: "overdue", 20: "unobservable"}.get(index, "present")
    measured = index % 4 == 1
    x0, y0 = polygon[0]
    world.tags[tag_id] = {
        "tag_id": tag_id, "label": f"T-{index:04d}", "model": "xiaomi-tag", "asset_id": asset_id,
    }  # fmt: skip
    if asset_id:
        skus = list(SKUS)
        quantity = 6 + index % 7 * 4
        world.assets[asset_id] = {
            "asset_id": asset_id, "kind": kind, "name": f"{kind.capitalize()} {index}",
            "contents": [
                {"sku": skus[index % 4], "name": SKUS[skus[index % 4]], "quantity": quantity,
                 "verified": quantity if index % 3 == 0 else 0}
            ],
        }  # fmt: skip
    heard = at(now - timedelta(seconds=silent_s))
    world.places[tag_id] = {
        "tag_id": tag_id, "site_id": "hall", "zone_id": zone_id,
        "x_m": x0 + 2.0 + (index * 1.7) % 5 if measured else None,
        "y_m": y0 + 2.0 + (index * 1.3) % 5 if measured else None,
        "accuracy_m": 0.6 if measured else None, "method": "uwb" if measured else "ble_zone",
        "confidence": round(0.98 - index % 6 * 0.06, 2), "last_heard_at": heard,
        "since_at": at(now - timedelta(minutes=3 + index * 5)), "presence": presence,
        "gateway_id": "gw-aisle", "position": world.position,
        "cause": CAUSES.get(presence), "gone_probability": GONE.get(presence), "lost": False,
    }  # fmt: skip
    since = at(now - timedelta(minutes=3 + index * 5))
    world.history[tag_id] = [
        World._passage(tag_id, zone_id, since),
        World._passage(tag_id, "inbound", at(now - timedelta(hours=3))),
    ]


def _page(world: World, items: list[Json]) -> Json:
    return {"items": items, "next": None, "as_of_position": world.position}


def _of_site(world: World, items: list[Json], site_id: str | None) -> Json:
    return _page(world, [i for i in items if site_id in (None, i["site_id"])])


def stand_in(world: World) -> Service:
    """Return the world as a service with the others' addresses."""
    router = APIRouter(prefix="/v1")
    _add_registry(router, world)
    _add_stock(router, world)
    _add_places(router, world)
    _add_alerts(router, world)
    _add_log(router, world)
    return Service(name="stand_in", router=router)


def _add_registry(router: APIRouter, world: World) -> None:
    reader = Depends(requires("registry:read"))

    @router.get("/sites", dependencies=[reader])
    async def sites() -> Json:
        return _page(world, world.sites)

    @router.get("/zones", dependencies=[reader])
    async def zones(site_id: str | None = None) -> Json:
        return _of_site(world, world.zones, site_id)

    @router.get("/gateways", dependencies=[reader])
    async def gateways(site_id: str | None = None) -> Json:
        return _of_site(world, world.gateways, site_id)

    @router.get("/assets", dependencies=[reader])
    async def assets() -> Json:
        return _page(world, list(world.assets.values()))

    @router.get("/assets/{asset_id}", dependencies=[reader])
    async def asset(asset_id: str) -> Json:
        if asset_id not in world.assets:
            raise NotFoundError(f"no asset {asset_id}")
        return world.assets[asset_id]

    @router.get("/tags", dependencies=[reader])
    async def tags() -> Json:
        return _page(world, list(world.tags.values()))


def _add_stock(router: APIRouter, world: World) -> None:
    @router.get("/stock", dependencies=[Depends(requires("stock:read"))])
    async def stock(site_id: str | None = None) -> Json:
        return _of_site(world, world.stock(), site_id)


def _add_places(router: APIRouter, world: World) -> None:
    reader = Depends(requires("places:read"))

    @router.get("/places", dependencies=[reader])
    async def places(site_id: str | None = None) -> Json:
        return _of_site(world, list(world.places.values()), site_id)

    @router.get("/places/stream", dependencies=[reader], response_class=EventSourceResponse)
    async def stream(
        site_id: str | None = None, after: Annotated[int, Query(ge=0)] = 0
    ) -> AsyncIterator[ServerSentEvent]:
        async for event in world.follow("places", after):
            if event.data is None or site_id in (None, event.data["site_id"]):
                yield event

    @router.get("/tags/{tag_id}/explain", dependencies=[reader])
    async def explain(tag_id: str) -> Json:
        if tag_id not in world.places:
            raise NotFoundError(f"no tag {tag_id}")
        return world.explained.get(tag_id) or explanation(world.places[tag_id], world.clock.now())

    @router.get("/tags/{tag_id}/history", dependencies=[reader])
    async def history(tag_id: str) -> Json:
        return _page(world, world.history.get(tag_id, []))

    @router.get("/gateways/health", dependencies=[reader])
    async def health() -> Json:
        return _page(
            world,
            [
                health_of(g, world.health, world.clock.now())
                for g in [*world.gateways, *world.strangers]
            ],
        )

    @router.get("/sites/{site_id}/coverage", dependencies=[reader])
    async def coverage(site_id: str) -> Json:
        gateways = [g for g in world.gateways if g["site_id"] == site_id]
        return coverage_of(gateways, world.health, world.clock.now())


def _add_alerts(router: APIRouter, world: World) -> None:
    @router.get("/alerts", dependencies=[Depends(requires("alerts:read"))])
    async def alerts(state: str | None = None) -> Json:
        return _page(world, [a for a in world.alerts.values() if state in (None, a["state"])])

    @router.get("/alerts/{alert_id}", dependencies=[Depends(requires("alerts:read"))])
    async def one_alert(alert_id: str) -> Json:
        return world.alerts[alert_id]

    @router.post("/alerts/{alert_id}/acknowledge")
    async def acknowledge(
        alert_id: str,
        who: Annotated[Principal, Depends(requires("alerts:write"))],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Json:
        world.acknowledged_with.append(idempotency_key)
        world.alerts[alert_id] |= {"state": "acknowledged", "acknowledged_by": who.key_id}
        world.tell("events", {"type": "alert.acknowledged", "data": {"alert_id": alert_id}})
        return world.alerts[alert_id]


def _add_log(router: APIRouter, world: World) -> None:
    reader = Depends(requires("events:read"))

    @router.get("/log/head", dependencies=[reader])
    async def head() -> Json:
        return {"log_id": 1, "position": world.position}

    @router.get("/events/stream", dependencies=[reader], response_class=EventSourceResponse)
    async def stream(
        after: Annotated[int, Query(ge=0)] = 0, families: str | None = None
    ) -> AsyncIterator[ServerSentEvent]:
        async for event in world.follow("events", after):
            yield event


def _nobody(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"nobody may be called in this test: {request.url}")


def deps_of(clock: Clock | None = None, settings: KernelSettings | None = None) -> Deps:
    """Return ports without a database: keys and the log are in memory."""
    clock = clock or SystemClock()
    event_log = MemoryLog(clock)

    def database_of(schema: str) -> Database:
        raise AssertionError(f"the console must not open the database ({schema})")

    return Deps(
        settings=settings or KernelSettings(requests_per_s=100_000),
        log=event_log,
        tail=event_log,
        sink=LogSink(event_log),
        clock=clock,
        ids=TimeOrderedIds(clock),
        access=MemoryAccess(),
        idempotency=Idempotency(Database("", schema="access")),
        http=httpx2.AsyncClient(transport=httpx2.MockTransport(_nobody)),
        database_of=database_of,
        resources=[],
        registry=CollectorRegistry(),
    )


def console_app(deps: Deps, world: World, **settings: Any) -> FastAPI:
    """Return the console and the world's stand-in for the services in one application."""
    return app_of(deps, stand_in(world), build(deps, ConsoleSettings(**settings)))


async def sign_in_code(deps: Deps, role: str = "operator") -> str:
    """Return a fresh sign-in code for tenant 1."""
    tenant = await deps.access.add_tenant("test", "Test")
    code, stored = new_code()
    await deps.access.add_code(
        stored, tenant.log_id, role, deps.clock.now() + timedelta(minutes=15)
    )
    return code


NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
"""A fixed instant for tests without a browser."""
