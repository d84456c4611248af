"""A gateway agent against a real server: its files, an input that a test feeds, the server's side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httpx2
from tests.support.broker_memory import forget_session
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_agent import config
from tagtrail_agent.clock import Clock, SystemClock
from tagtrail_agent.readings import Advert, Ear, Reading
from tagtrail_agent.runtime import Agent
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.access import mint
from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.database import Database
from tagtrail_kernel.events.registrations import GatewayRegistered, SiteRegistered, TagRegistered
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.migrations import Migration
from tagtrail_kernel.wiring import Deps, Service

SITE, GATEWAY = "hall", "dock-1"
TAGS = tuple(
    TagRegistered(tag_id=f"t{n}", identities=(f"mac:02c0ffee{n:04x}",), mode="transit")
    for n in range(8)
)
PLACES = (
    SiteRegistered(site_id=SITE, name="Hall"),
    GatewayRegistered(gateway_id=GATEWAY, site_id=SITE),
)


class ShiftedClock:
    """The machine's clocks, whose wall clock a test can make wrong."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def now(self) -> datetime:
        """Return the wrong time."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def elapsed_s(self) -> float:
        """Return the monotonic clock, seconds."""
        return SystemClock().elapsed_s()


class Fed:
    """An input that hears what a test says."""

    name = "fed"

    def __init__(self) -> None:
        self._ear: Ear | None = None
        self._ready = asyncio.Event()

    async def run(self, ear: Ear) -> None:
        """Lend the ear to the test."""
        self._ear = ear
        self._ready.set()
        await asyncio.Event().wait()

    async def say(self, heard: Sequence[Advert | Reading]) -> None:
        """Hand over what is heard."""
        await self._ready.wait()
        assert self._ear is not None
        self._ear.hear(heard)


def reading(number: int, clock: Clock, **members: Any) -> Reading:
    """Return a reading with a number of its own, in `distance_m`."""
    tag = f"mac:02c0ffee{number % len(TAGS):04x}"
    return Reading(
        tag,
        clock.now(),
        clock.elapsed_s(),
        {"rssi_dbm": -60, "distance_m": number / 100, **members},
    )


def numbers_of(events: Sequence[dict[str, Any]]) -> list[int]:
    """Return the numbers of sightings, in the order of the log."""
    return [round(e["data"]["distance_m"] * 100) for e in events]


def write_config(folder: Path, *, more: str = "", **server: str) -> Path:
    """Write an agent's files: fast batches, no filter, the tags of this module."""
    folder.mkdir(parents=True, exist_ok=True)
    tags = [{"tag_id": t.tag_id, "identities": list(t.identities)} for t in TAGS]
    (folder / "tags.json").write_text(json.dumps(tags))
    lines = [f"{name} = {json.dumps(value)}" for name, value in server.items()]
    path = folder / "agent.toml"
    path.write_text(
        f'[gateway]\nid = "{GATEWAY}"\nsite = "{SITE}"\nstate = "state"\n'
        "[server]\n" + "\n".join(lines) + "\n"
        '[tags]\nfile = "tags.json"\n[filter]\nenabled = false\n' + (more or FAST)
    )
    return path


FAST = (
    "[batch]\nwait_s = 0.1\nmax_items = 50\nconfirm_within_s = 2\nretry_s = 0.1\nmax_retry_s = 1\n"
    "[heartbeat]\nevery_s = 1\n"
)


def write_credentials(folder: Path, *, mqtt_url: str = "", key: str = "") -> None:
    """Write an agent's credentials, mode 600."""
    address = urlsplit(mqtt_url)
    path = folder / "credentials.json"
    path.touch(0o600)
    path.write_text(
        json.dumps(
            {
                "key": key,
                "mqtt_user": address.username,
                "mqtt_password": unquote(address.password or ""),
            }
        )
    )


def bare(url: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


@contextlib.asynccontextmanager
async def running(path: Path, fed: Fed, clock: Clock | None = None) -> AsyncIterator[Agent]:
    """Run an agent in this process on an input that the test feeds."""
    agent = Agent(config.load(path), clock=clock, inputs=[fed])
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def eventually(
    holds: Callable[[], Awaitable[bool] | bool], what: str, within_s: float = 30.0
) -> None:
    """Wait until something holds."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.05)


@dataclass
class Server:
    """Ingest, and what a test asks it."""

    url: str
    key: str
    gateway_key: str
    client: httpx2.AsyncClient
    log_id: int
    mqtt_url: str = ""
    settings: IngestSettings = field(default_factory=IngestSettings)

    async def events(self, types: str = "tag.sighted") -> list[dict[str, Any]]:
        """Return all events of some types, in order."""
        after, items = 0, []
        while True:
            params: dict[str, Any] = {"types": types, "after": after, "limit": 1000}
            page = (await self.client.get("/v1/events", params=params)).json()
            items += page["items"]
            after = page["next_after"]
            if page["at_end"]:
                return items

    async def allow_radio(self) -> None:
        """Decide how long sightings are kept: before that none is taken."""
        fact = {"event_class": "radio", "keep_days": 30, "basis": "test"}
        event = {"type": "retention.set", "data": fact}
        (await self.client.post("/v1/events", json={"events": [event]})).raise_for_status()

    async def numbers(self) -> list[int]:
        """Return the numbers of all sightings."""
        return numbers_of(await self.events())


class Brokers(Protocol):
    """A broker, as ingest and gateways reach it."""

    @property
    def mqtt_url(self) -> str:
        """Address for ingest."""
        ...

    @property
    def gateway_mqtt_url(self) -> str:
        """Address for gateways."""
        ...


@contextlib.asynccontextmanager
async def ingest_server(
    database_url: str,
    infra: Brokers | None = None,
    *,
    others: Sequence[Callable[[Deps], Service]] = (),
    migrations: Sequence[Migration] = (),
    facts: Sequence[Event] = (),
    retention: bool = True,
    **ingest: Any,
) -> AsyncIterator[Server]:
    """Run ingest in this process, with the tags and the gateway of this module registered."""
    log_id, key = await prepared(
        database_url,
        migrations=migrations,
        retention=retention,
        facts=[*PLACES, *TAGS, *facts],
    )
    gateway_key = await key_of_gateway(database_url, log_id)
    name = f"agent-{secrets.token_hex(4)}"
    settings = IngestSettings(mqtt_client_id=name, **ingest)
    kernel = settings_for(database_url, "", infra.mqtt_url if infra else "")
    async with served(ingest_app(kernel, settings, others)) as url:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            server = Server(url, key, gateway_key, client, log_id, settings=settings)
            if infra is not None:
                server.mqtt_url = infra.gateway_mqtt_url
                await eventually(lambda: _session(client), "ingest holds its session")
            yield server
    if infra is not None:
        await asyncio.to_thread(forget_session, infra.mqtt_url, f"{name}-{log_id}")


async def _session(client: httpx2.AsyncClient) -> bool:
    return bool((await client.get("/v1/ingest/stats")).json()["mqtt_connected"])


async def key_of_gateway(database_url: str, log_id: int, gateway_id: str = GATEWAY) -> str:
    """Make a key that is bound to a gateway."""
    database = Database(database_url, schema="access", max_size=2)
    await database.open()
    try:
        text, key = mint(
            log_id, name="gateway", role="gateway", at=SystemClock().now(), gateway_id=gateway_id
        )
        await PostgresAccess(database).add_key(key)
    finally:
        await database.close()
    return text
