"""All services in one process on real PostgreSQL, with two tenants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI
from starlette.routing import BaseRoute
from tests.support.serving import served, settings_for

from tagtrail.composition import BUILDERS, MIGRATIONS
from tagtrail_kernel.access import mint
from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.bootstrap import deps_of
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.database import Database
from tagtrail_kernel.migrations import upgrade_all
from tagtrail_kernel.wiring import Deps, app_of

OWN_SESSION = ("/console", "/favicon.ico")
"""Paths of the console: pages for people, with sessions of their own."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running process.

    Attributes:
        app: The app.
        url: Its address.
        amber: An admin's key of the first tenant.
        blue: An admin's key of the second tenant.
        service: Key of a service.
        gateway: Key of a gateway of the first tenant.
        database_url: Its database.
        deps: What the process was built on.
    """

    app: FastAPI
    deps: Deps
    database_url: str
    url: str
    amber: str
    blue: str
    service: str
    gateway: str

    def client(self, key: str | None, address: str | None = None) -> httpx2.AsyncClient:
        """Return a client that sends a key; with an address it does not go over the network."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx2.ASGITransport(app=self.app, client=(address, 1)) if address else None
        return httpx2.AsyncClient(
            base_url=self.url, headers=headers, timeout=20, transport=transport
        )


@contextlib.asynccontextmanager
async def all_in_one(database_url: str) -> AsyncIterator[Running]:
    """Run all services."""
    await upgrade_all(database_url, MIGRATIONS)
    keys = await _keys(database_url)
    deps = deps_of(settings_for(database_url))
    app = app_of(deps, *(build(deps) for build in BUILDERS.values()))
    async with served(app) as url:
        yield Running(app, deps, database_url, url, *keys)


async def _keys(database_url: str) -> list[str]:
    database = Database(database_url, schema="access", max_size=1)
    await database.open()
    try:
        access = PostgresAccess(database)
        now = SystemClock().now()
        amber = await access.add_tenant("default", "Amber")
        blue = await access.add_tenant("blue", "Blue")
        texts = []
        for log_id, role in (
            (amber.log_id, "admin"), (blue.log_id, "admin"), (None, "service"),
            (amber.log_id, "gateway"),
        ):  # fmt: skip
            text, key = mint(log_id, name=f"test {role}", role=role, at=now)
            await access.add_key(key)
            texts.append(text)
        return texts
    finally:
        await database.close()


def routes_of(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (method, path) of every route of an app, also of those that are not described."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            inner = getattr(route, "include_context").prefix  # noqa: B009 - private to FastAPI
            yield from routes_of(included.routes, prefix + inner)
            continue
        for method in sorted(getattr(route, "methods", None) or ()):
            if method != "HEAD":
                yield method, prefix + str(getattr(route, "path", ""))


async def first_bytes(
    http: httpx2.AsyncClient,
    path: str,
    *,
    for_s: float = 1.5,
    until: Callable[[str], bool] = lambda _: False,
) -> str:
    """Return the status and what an endless stream says at first.

    Args:
        http: Client; its own time limit holds for the beginning of the answer.
        path: The stream.
        for_s: How long is listened, from the beginning of the answer on, seconds.
        until: Told all that was said so far; true ends the listening.
    """
    async with http.stream("GET", path) as reply:
        said = f"{reply.status_code}\n".encode()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                async for part in reply.aiter_bytes():
                    said += part
                    if until(said.decode(errors="replace")):
                        break
    return said.decode()


async def eventually(ask: Any, *, within_s: float = 20.0) -> Any:
    """Call an async function until it returns something true; returns that."""
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):
            await asyncio.sleep(0.1)
    return answer
