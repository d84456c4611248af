"""A migrated database with locate's projection of one tenant, fed by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from tests.support.locate_desk import LocateDesk
from tests.support.serving import served

from tagtrail_kernel.migrations import Migration, upgrade_all
from tagtrail_kernel.testing.deps import service_deps
from tagtrail_kernel.wiring import app_of
from tagtrail_locate.service import build
from tagtrail_locate.settings import LocateSettings

MIGRATIONS = (
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration("locate", "tagtrail_locate.migrations"),
)


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[LocateDesk]:
    """The service on a fresh database and an empty log in memory."""
    await upgrade_all(database_url, MIGRATIONS)
    async with service_deps(database_url) as (deps, key):
        database = deps.database_of("locate")
        await database.open()
        await deps.database_of("access").open()
        app = app_of(deps, build(deps, LocateSettings(stream_interval_s=0.05)))
        transport = httpx2.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://locate", headers=headers
        ) as http:
            yield LocateDesk(deps, http)


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[LocateDesk]:
    """The service on a socket, following the log by itself."""
    await upgrade_all(database_url, MIGRATIONS)
    async with service_deps(database_url) as (deps, key):
        deps.database_of("access")
        app = app_of(deps, build(deps, LocateSettings(stream_interval_s=0.05)))
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            served(app) as address,
            httpx2.AsyncClient(base_url=address, headers=headers, timeout=20) as http,
        ):
            yield LocateDesk(deps, http)
