"""The projection of updates: tables, decisions published once, equal however often it is folded."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.support.agents import eventually

from tagtrail_ingest.service import WHEELS_KEPT, Ingest
from tagtrail_ingest.settings import IngestSettings
from tagtrail_ingest.updates.fleet import Updates, campaigns_of, fleet_of
from tagtrail_kernel.clock import FakeClock, uuid8
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.events.gateways import GatewayReported, UpdatePublished, UpdateStopped
from tagtrail_kernel.events.registrations import GatewayRetired
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.rebuild import rebuild
from tagtrail_kernel.testing.deps import START, catch_up, service_deps
from tagtrail_kernel.wiring import Deps

MIGRATIONS = [
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration("ingest", "tagtrail_ingest.migrations_ingest"),
]


class World:
    """A log in memory, a real database."""

    def __init__(self, deps: Deps, clock: FakeClock) -> None:
        self.deps, self.clock, self.count = deps, clock, 0

    async def happen(self, *facts: Event) -> None:
        """Append facts, each a minute after the one before."""
        for fact in facts:
            self.clock.forward(60)
            self.count += 1
            envelope = Envelope(
                id=uuid8(self.clock.now(), str(self.count).encode()),
                subject="x", source="test", occurred_at=self.clock.now(), data=fact,
            )  # fmt: skip
            await self.deps.log.append(1, seal_all([envelope]), writer="test")

    async def decided(self) -> Sequence[str]:
        """Return the types of what was decided by itself."""
        page = await self.deps.log.read(1, after=0, limit=1000)
        assert page is not None
        return [e.type for e in page.events if e.envelope.source == "ingest/updates"]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    await upgrade_all(database_url, MIGRATIONS)
    clock = FakeClock(START)
    async with service_deps(database_url, clock=clock) as (deps, _):
        deps.database_of("ingest")
        for resource in deps.resources:
            await resource.open()
        yield World(deps, clock)


def says(gateway_id: str, version: str, **values: Any) -> GatewayReported:
    return GatewayReported(
        gateway_id=gateway_id, kind="telemetry", adapter="native",
        values={"version": version, **values},
    )  # fmt: skip


def published(update_id: str, version: str, sha256: str = "0" * 64) -> UpdatePublished:
    return UpdatePublished(
        update_id=update_id, version=version, manifest={}, sha256=sha256, canaries=("a",)
    )


STORY = (
    says("a", "0.1.0"), says("b", "0.1.0"),
    published("u1", "0.2.0"), says("a", "0.2.0", update_state="good", update_version="0.2.0"),
    published("u2", "0.3.0"),
    says("a", "0.2.0", update_state="rolled_back", update_version="0.3.0"),
    says("c", "0.1.0"), GatewayRetired(gateway_id="b"),
)  # fmt: skip


async def test_decisions_are_facts_that_are_published_once_though_the_process_starts_anew(
    world: World,
) -> None:
    for fact in STORY:
        await world.happen(fact)
        await catch_up(world.deps, "ingest", Updates())
    database = world.deps.database_of("ingest")
    async with database.transaction() as tx:
        fleet, updates = await fleet_of(tx, 1), await campaigns_of(tx, 1, limit=10)

    assert await world.decided() == ["update.extended", "update.stopped"]
    assert {g: t.version for g, t in fleet.told.items()} == {"a": "0.2.0", "c": "0.1.0"}
    assert [(u.published.update_id, u.stage, u.gateway_id) for u in updates] == [
        ("u2", "stopped", "a"), ("u1", "everyone", None),
    ]  # fmt: skip


async def test_folding_it_anew_gives_the_same_tables_and_no_second_decision(world: World) -> None:
    for fact in STORY:
        await world.happen(fact)
        await catch_up(world.deps, "ingest", Updates())
    decided = await world.decided()
    database = world.deps.database_of("ingest")

    result = await rebuild(database, world.deps.log, Updates, 1, service="ingest", swap=True)

    assert result.equal
    assert result.swapped
    await world.happen(says("c", "0.3.0"))
    await catch_up(world.deps, "ingest", Updates())
    assert await world.decided() == decided


class Wheels:
    """The wheels of tenant 1."""

    def __init__(self, world: World) -> None:
        self.world, self.ingest = world, Ingest(world.deps, IngestSettings())

    async def keep(self, content: bytes) -> str:
        """Keep a wheel; returns its hash."""
        digest = hashlib.sha256(content).hexdigest()
        await self.ingest.updates.keep_wheel(1, digest, content, self.world.clock.now())
        return digest

    async def left(self, *digests: str) -> list[bool]:
        """Return which of them are there."""
        return [await self.ingest.updates.wheel(1, d) is not None for d in digests]

    async def prune(self) -> None:
        """Let ingest look once; it gets to its pause when it has looked at all tenants."""
        marker = await self.keep(b"marker")
        before = self.world.clock.now() - 2 * WHEELS_KEPT
        await self.ingest.updates.keep_wheel(1, marker, b"marker", before)
        pruning = asyncio.create_task(self.ingest.prune_wheels())

        async def is_gone() -> bool:
            return await self.left(marker) == [False]

        await eventually(is_gone, "the marker is pruned")
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)


async def test_only_the_wheel_of_the_open_update_outlives_a_day(world: World) -> None:
    wheels = Wheels(world)
    old, current = await wheels.keep(b"old"), await wheels.keep(b"current")
    await world.happen(published("u1", "0.2.0", old), published("u2", "0.3.0", current))
    await wheels.prune()
    within_a_day = await wheels.left(old, current)
    world.clock.forward(WHEELS_KEPT.total_seconds() + 1)
    fresh = await wheels.keep(b"fresh")
    await wheels.prune()
    a_day_later = await wheels.left(old, current, fresh)
    await world.happen(UpdateStopped(update_id="u2", version="0.3.0", cause="by hand"))
    await wheels.prune()
    stopped = await wheels.left(current, fresh)

    assert within_a_day == [True, True]
    assert a_day_later == [False, True, True], "one that is fresh may not be recorded yet"
    assert stopped == [False, True]


async def test_a_wheel_that_is_put_out_again_is_kept_from_then_on(world: World) -> None:
    wheels = Wheels(world)
    digest = await wheels.keep(b"again")
    world.clock.forward(timedelta(days=3).total_seconds())
    await wheels.keep(b"again")
    await wheels.prune()

    assert await wheels.left(digest) == [True]
