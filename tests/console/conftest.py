"""The console before a small world, without a database; and a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright
from tests.setup_browser import find_chromium
from tests.support.console_visit import Visit, visiting
from tests.support.console_world import NOW, World, console_app, deps_of, hall, sign_in_code

from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.wiring import Deps

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def deps(clock: FakeClock) -> Deps:
    return deps_of(clock)


@pytest.fixture
def world(clock: FakeClock) -> World:
    return hall(clock)


@pytest.fixture
async def client(deps: Deps, world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the whole application that keeps cookies and follows nothing."""
    transport = httpx2.ASGITransport(console_app(deps, world))
    async with httpx2.AsyncClient(transport=transport, base_url="http://console.test") as client:
        yield client


@pytest.fixture
async def signed_in(client: httpx2.AsyncClient, deps: Deps) -> httpx2.AsyncClient:
    """The same client with an operator's session."""
    code = await sign_in_code(deps)
    reply = await client.post("/console/enter", data={"code": code})
    assert reply.status_code == 303
    return client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium; `make setup` installs it. Its tests share a module's event loop."""
    path = find_chromium()
    if path is None:
        pytest.fail("no Chromium: run `make setup`, or set CHROMIUM to the path of one")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def changing_visit(browser: Browser) -> AsyncIterator[Visit]:
    async with visiting(browser, hall()) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="module")
async def changing(changing_visit: Visit) -> AsyncIterator[Visit]:
    """One visit for tests that each change a tag or an alert of their own."""
    yield changing_visit
    await changing_visit.leave_as_found()
