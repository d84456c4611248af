"""A migrated database and ports for the alerts service."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from tests.support.alert_history import T0, History, pallets_left
from tests.support.fake_receiver import FakeReceiver
from tests.support.fake_slack import FakeSlack

from tagtrail_alerts.channels.directory import Channels
from tagtrail_alerts.notices import OutboxNotices
from tagtrail_alerts.projection import NAME, Alerts
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_alerts.worker import Sender, Worker
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.consumers import Consumer, state_hash
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.testing.deps import catch_up, service_deps
from tagtrail_kernel.wiring import Deps

MIGRATIONS = [
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration(NAME, "tagtrail_alerts.migrations"),
]


@dataclass(slots=True)
class World:
    """The alerts service's surroundings.

    Attributes:
        deps: Ports: real database, log in memory.
        clock: The wall clock.
        key: An admin's key of tenant 1.
        url: The database.
    """

    deps: Deps
    clock: FakeClock
    key: str
    url: str

    @property
    def database(self) -> Database:
        """The service's pool."""
        return self.deps.database_of(NAME)

    async def record(self, *envelopes: Envelope, log_id: int = 1) -> None:
        """Append events one by one, each as soon as it happened (wall clock = its time + 1 s)."""
        for envelope in envelopes:
            lag = (envelope.occurred_at - self.clock.at).total_seconds() + 1
            if lag > 0:
                self.clock.forward(lag)
            await self.deps.sink.publish(log_id, [envelope])

    async def follow(self, projection: Alerts | None = None, log_id: int = 1) -> Consumer:
        """Run the projection to the end of the log, with what it publishes itself."""
        return await catch_up(self.deps, NAME, projection or Alerts(), log_id)

    async def hash(self, log_id: int = 1) -> str:
        """Return the hash of the projection's tables."""
        async with self.database.transaction() as tx:
            return await state_hash(tx, Alerts.tables, log_id)

    async def alerts(self, log_id: int = 1) -> list[dict[str, object]]:
        """Return all alerts, oldest first."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "select * from alert where log_id = $1 order by fired_position", log_id
            )
        return [dict(row) for row in rows]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A world on a fresh, migrated database."""
    await upgrade_all(database_url, MIGRATIONS)
    clock = FakeClock(T0)
    async with httpx2.AsyncClient() as http:
        async with service_deps(database_url, clock=clock, http=http) as (deps, key):
            deps.database_of(NAME)
            for resource in deps.resources:
                await resource.open()
            yield World(deps, clock, key, database_url)


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    """A Slack on loopback."""
    async with FakeSlack().running() as server:
        yield server


@dataclass(slots=True)
class Desk:
    """A projection that fills the outbox and a worker that empties it, on one world.

    Attributes:
        world: Surroundings.
        settings: Settings of both.
        channels: Channels of both.
        worker: The worker; replace it to "restart" the service.
        projection: The projection.
    """

    world: World
    settings: AlertsSettings
    channels: Channels
    worker: Worker
    projection: Alerts

    async def follow(self) -> None:
        """Run the projection to the end of the log."""
        await self.world.follow(self.projection)

    async def fire(self, *pallets: str) -> History:
        """Let pallets leave without POD, and the projection find it."""
        history = pallets_left(*(pallets or ("p1",)))
        await self.world.record(*history.envelopes)
        await self.follow()
        return history

    async def resolve_late(self, history: History, pallet: str = "p1") -> None:
        """Let a POD that happened in time reach the log late."""
        await self.world.deps.sink.publish(1, [history.pod(20, pallet)])
        await self.follow()

    async def send(self, *, seconds: float = 0.0, rounds: int = 1) -> None:
        """Let time pass and the worker work, some rounds."""
        for _ in range(rounds):
            self.world.clock.forward(seconds)
            await self.worker.round()
            await self.worker.settle()

    async def rows(self) -> list[dict[str, object]]:
        """Return the outbox."""
        async with self.world.database.connection() as connection:
            rows = await connection.fetch("select * from outbox order by outbox_id")
        return [dict(row) for row in rows]

    async def states(self) -> list[object]:
        """Return the states of the outbox's rows."""
        return [row["state"] for row in await self.rows()]


DeskMaker = Callable[..., Desk]


@pytest.fixture
def desk(world: World, slack: FakeSlack) -> DeskMaker:
    """Makes a desk that posts to the fake Slack; its keywords are settings."""

    def make(**settings: object) -> Desk:
        values: dict[str, object] = {
            "slack_webhook_url": slack.url,
            "allow_loopback": True,
            "send_timeout_s": 0.3,
            "jitter_seed": 1,
            "group_wait_s": 5.0,
        }
        chosen = AlertsSettings(**(values | settings))  # type: ignore[arg-type]
        channels = Channels(world.database, chosen)
        deps = dataclasses.replace(world.deps, registry=CollectorRegistry())
        worker = Worker(deps, chosen, channels, Sender(deps.http, chosen))
        notices = OutboxNotices(channels, chosen, world.clock)
        return Desk(world, chosen, channels, worker, Alerts(notices))

    return make


@pytest.fixture
async def receiver(world: World) -> AsyncIterator[FakeReceiver]:
    """A program on loopback that takes webhooks."""
    async with FakeReceiver(world.clock.now).running() as server:
        yield server


WebhookDeskMaker = Callable[..., Awaitable[Desk]]


@pytest.fixture
def webhook_desk(desk: DeskMaker, receiver: FakeReceiver) -> WebhookDeskMaker:
    """Makes a desk whose only channel is the receiver, which knows the secret."""

    async def make(**settings: object) -> Desk:
        d = desk(slack_webhook_url="", channel_secret="0123456789abcdef", **settings)
        _, secret = await d.channels.put(
            1,
            "erp",
            kind="webhook",
            url=receiver.url,
            host="127.0.0.1",
            enabled=True,
            by="k",
            at=d.world.clock.now(),
        )
        assert secret is not None
        receiver.secrets.append(secret)
        return d

    return make
