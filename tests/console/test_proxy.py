from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import httpx2
import pytest
from fastapi import FastAPI
from tests.support.console_world import (
    World,
    console_app,
    deps_of,
    hall,
    sign_in_code,
    stand_in,
)
from tests.support.serving import served

from tagtrail_console.proxy import owner_of
from tagtrail_console.service import build
from tagtrail_console.settings import ConsoleSettings
from tagtrail_kernel.access import AccessStore
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.wiring import Deps, app_of

API = "/console/api/v1"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1/events/stream", "ingest"),
        ("/v1/log/head", "ingest"),
        ("/v1/changes", "ingest"),
        ("/v1/places", "locate"),
        ("/v1/places/stream", "locate"),
        ("/v1/tags/t-1/explain", "locate"),
        ("/v1/tags/t-1/history", "locate"),
        ("/v1/gateways/health", "locate"),
        ("/v1/sites/hall/coverage", "locate"),
        ("/v1/sites/hall", "inventory"),
        ("/v1/tags/t-1", "inventory"),
        ("/v1/tags", "inventory"),
        ("/v1/gateways", "inventory"),
        ("/v1/gateways/health-room", "inventory"),
        ("/v1/logs", "inventory"),
        ("/v1/stock", "inventory"),
        ("/v1/alerts/a/acknowledge", "alerts"),
        ("/v1/rules", "alerts"),
    ],
)
def test_each_path_has_its_service(path: str, owner: str) -> None:
    assert owner_of(path) == owner


async def test_a_page_reads_the_api_with_the_sessions_key(signed_in: httpx2.AsyncClient) -> None:
    reply = await signed_in.get(f"{API}/zones", params={"site_id": "hall"})

    assert reply.status_code == 200
    assert [z["zone_id"] for z in reply.json()["items"]][:2] == ["inbound", "aisle-a"]
    none = await signed_in.get(f"{API}/zones", params={"site_id": "shop"})
    assert none.json()["items"] == []


async def test_without_a_session_nothing_is_passed_on(client: httpx2.AsyncClient) -> None:
    reply = await client.get(f"{API}/zones")

    assert reply.status_code == 401
    assert reply.json()["type"] == "/problems/unauthenticated"
    assert "sign-in-link" in reply.json()["detail"]


async def test_problems_of_the_services_reach_the_page(signed_in: httpx2.AsyncClient) -> None:
    reply = await signed_in.get(f"{API}/assets/none")

    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"] == "no asset none"


async def test_a_session_may_do_only_what_its_role_may(
    client: httpx2.AsyncClient, deps: Deps, world: World
) -> None:
    code = await sign_in_code(deps, role="auditor")
    await client.post("/console/enter", data={"code": code})

    page = await client.get("/console/")
    reply = await client.post(f"{API}/alerts/alert-pod/acknowledge", json={})

    assert 'data-may-acknowledge="no"' in page.text
    assert reply.status_code == 403
    assert world.alerts["alert-pod"]["state"] == "open"


async def test_an_alert_is_acknowledged_once_with_the_pages_key_of_idempotency(
    signed_in: httpx2.AsyncClient, world: World
) -> None:
    reply = await signed_in.post(
        f"{API}/alerts/alert-pod/acknowledge",
        json={},
        headers={"idempotency-key": "k1", "origin": "http://console.test"},
    )

    assert reply.status_code == 200
    assert world.alerts["alert-pod"]["state"] == "acknowledged"
    assert world.acknowledged_with == ["k1"]


@pytest.mark.parametrize(
    "path",
    ["sites", "events", "alerts", "alerts/a/acknowledge/more", "alerts/a/b/acknowledge", "rules"],
)
async def test_pages_cannot_change_anything_else(signed_in: httpx2.AsyncClient, path: str) -> None:
    assert (await signed_in.post(f"{API}/{path}", json={})).status_code == 403


async def test_other_methods_are_not_offered(signed_in: httpx2.AsyncClient) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await signed_in.request(method, f"{API}/sites")).status_code == 405


async def test_a_change_sent_by_another_sites_page_is_refused(
    signed_in: httpx2.AsyncClient, world: World
) -> None:
    reply = await signed_in.post(
        f"{API}/alerts/alert-pod/acknowledge", json={}, headers={"origin": "http://evil.test"}
    )

    assert reply.status_code == 403
    assert world.alerts["alert-pod"]["state"] == "open"


@pytest.mark.parametrize(
    "path",
    [
        "/console/api/healthz",
        "/console/api/metrics",
        "/console/api/openapi.json",
        "/console/api/v1/../healthz",
        "/console/api/v1/%2e%2e/metrics",
        "/console/api/v1/x%2f..%2f..%2fmetrics",
        "/console/api/v1//sites",
        "/console/api/v1/sites%5c..%5cx",
        "/console/api/console/api/v1/sites",
    ],
)
async def test_only_the_public_api_is_behind_the_proxy(deps: Deps, world: World, path: str) -> None:
    code = await sign_in_code(deps)
    async with (
        served(console_app(deps, world)) as base,
        httpx2.AsyncClient(base_url=base) as client,
    ):
        await client.post("/console/enter", data={"code": code})
        host, _, port = base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        cookie = f"tagtrail_session={client.cookies['tagtrail_session']}"
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n".encode()
        )
        status = (await reader.readline()).split()[1]
        await reader.read()
        writer.close()
        await writer.wait_closed()

    assert status == b"404"


async def test_ids_with_signs_arrive_as_they_were_sent(signed_in: httpx2.AsyncClient) -> None:
    reply = await signed_in.get(f"{API}/assets/a%3Fb%20c%C3%BC")

    assert reply.json()["detail"] == "no asset a?b cü"


async def _lines(client: httpx2.AsyncClient, path: str) -> AsyncGenerator[str]:
    async with client.stream("GET", path, headers={"accept": "text/event-stream"}) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-accel-buffering"] == "no"
        async for line in reply.aiter_lines():
            yield line


async def _move_is_seen(client: httpx2.AsyncClient, world: World) -> None:
    lines = _lines(client, f"{API}/places/stream?site_id=hall")
    async with asyncio.timeout(10):
        assert (await anext(lines)).startswith(": at ")
        world.move("tag-02", "outbound")
        line = await anext(lines)
        while not line.startswith("data:"):
            line = await anext(lines)
    await lines.aclose()
    assert json.loads(line.removeprefix("data:"))["zone_id"] == "outbound"


async def test_a_stream_comes_as_it_is_sent_when_all_run_in_one_process(
    deps: Deps, world: World
) -> None:
    code = await sign_in_code(deps)
    async with (
        served(console_app(deps, world)) as base,
        httpx2.AsyncClient(base_url=base) as client,
    ):
        await client.post("/console/enter", data={"code": code})
        await _move_is_seen(client, world)

        async with asyncio.timeout(5):
            while world.listeners("places"):
                await asyncio.sleep(0.05)


def _apart(base: str, access: AccessStore | None = None) -> tuple[FastAPI, Deps]:
    """Return a console that reaches the services at an address, and its ports."""
    settings = KernelSettings(
        ingest_url=base, locate_url=base + "/", inventory_url=base, alerts_url=base,
        requests_per_s=100_000,
    )  # fmt: skip
    deps = deps_of(settings=settings)
    if access is not None:
        deps = replace(deps, access=access)
    return app_of(deps, build(deps, ConsoleSettings())), deps


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[World, Deps, httpx2.AsyncClient]]:
    """A console in one process, the services in another; they share tenants and keys."""
    world = hall()
    services = deps_of()
    async with served(app_of(services, stand_in(world))) as base:
        app, deps = _apart(base, services.access)
        async with served(app) as console, httpx2.AsyncClient(base_url=console) as client:
            yield world, deps, client


async def test_apart_the_console_asks_the_services_addresses(
    elsewhere: tuple[World, Deps, httpx2.AsyncClient],
) -> None:
    world, deps, client = elsewhere
    code = await sign_in_code(deps)
    await client.post("/console/enter", data={"code": code})
    world.sites[0]["name"] = "The other process"

    sites = await client.get(f"{API}/sites")
    missing = await client.get(f"{API}/assets/none?x=1")
    done = await client.post(f"{API}/alerts/alert-pod/acknowledge", json={})

    assert sites.json()["items"][0]["name"] == "The other process"
    assert missing.status_code == 404
    assert done.status_code == 200
    assert world.alerts["alert-pod"]["state"] == "acknowledged"
    await _move_is_seen(client, world)


async def test_apart_a_service_that_is_down_is_said_to_be() -> None:
    app, deps = _apart("http://127.0.0.1:9")
    code = await sign_in_code(deps)
    async with served(app) as console, httpx2.AsyncClient(base_url=console) as client:
        await client.post("/console/enter", data={"code": code})
        reply = await client.get(f"{API}/sites")

    assert reply.status_code == 503
    assert "readyz" in reply.json()["detail"]
