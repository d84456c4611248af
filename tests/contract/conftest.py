"""One running process of all services for each module of these tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from tests.support.all_in_one import Running, all_in_one

from tagtrail.embedded import Embedded


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(infra: Embedded) -> AsyncIterator[Running]:
    """All services, two tenants, no data."""
    name = f"t_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(infra.admin_database_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER tagtrail TEMPLATE template0")
        url = infra.database_url.rpartition("/")[0] + f"/{name}"
        async with all_in_one(url) as running:
            yield running
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
