"""Fixtures of the kernel's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.support.probe import Bench, make_tables

from tagtrail.embedded import Embedded
from tagtrail_kernel.testing.deps import service_deps


@pytest.fixture(scope="session")
def probe_url(infra: Embedded) -> str:
    """Address of one database for all tests that only need the probe's schema."""

    async def make() -> None:
        admin = await asyncpg.connect(infra.admin_database_url)
        await admin.execute("create database probe owner tagtrail template template0")
        await admin.close()

    asyncio.run(make())
    return infra.database_url.rpartition("/")[0] + "/probe"


@pytest.fixture
async def bench(probe_url: str) -> AsyncIterator[Bench]:
    """A consumer's surroundings: fresh tables, and an empty log."""
    await make_tables(probe_url)
    async with service_deps(probe_url) as (deps, _):
        bench = Bench(deps)
        await bench.database.open()
        yield bench
