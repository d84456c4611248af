"""Every route asks for a key, and what it needs the key for (REQUIREMENTS S21, S84)."""

from __future__ import annotations

import re

import httpx2
import pytest
from tests.support.all_in_one import OWN_SESSION, Running, routes_of
from tests.support.api_docs import openapi

from tagtrail_kernel.access import ROLES

OPEN = {
    ("GET", "/healthz"): "an orchestrator asks before there is a tenant",
    ("GET", "/readyz"): "the same; it tells states and positions, never data",
    ("GET", "/metrics"): "figures for a scraper in the same network",
    ("GET", "/openapi.json"): "the description itself; it is in the repository too",
    ("GET", "/"): "leads to the console",
    ("POST", "/v1/enrolments"): "a machine that is to be a gateway has a one-time code instead",
}
"""All that answers without a key, and why."""


pytestmark = pytest.mark.asyncio(loop_scope="module")


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path)


async def asked(http: httpx2.AsyncClient, method: str, path: str) -> httpx2.Response:
    return await http.request(method, filled(path), json={} if method in ("POST", "PUT") else None)


async def test_without_a_good_key_every_route_answers_401_before_anything_else(
    running: Running,
) -> None:
    routes = sorted(set(routes_of(running.app.routes)) - set(OPEN))
    guarded = [(m, p) for m, p in routes if not p.startswith(OWN_SESSION)]
    forged = running.amber[:-3] + ("abc" if running.amber[-3:] != "abc" else "xyz")
    wrong: list[tuple[object, ...]] = []
    async with running.client(None) as nobody, running.client(forged, "10.0.0.7") as forger:
        for method, path in guarded:
            for who, http in (("nobody", nobody), ("forger", forger)):
                reply = await asked(http, method, path)
                kind = reply.headers["content-type"]
                if reply.status_code != 401 or kind != "application/problem+json":
                    wrong.append((who, method, path, reply.status_code, kind))

    assert len(guarded) > 60
    assert wrong == []


async def test_the_routes_without_a_key_are_there_and_tell_no_data(running: Running) -> None:
    async with running.client(None) as http:
        replies = {path: await http.get(path) for method, path in OPEN if method == "GET"}

    assert {r.status_code for r in replies.values()} <= {200, 307, 503}
    assert replies["/"].headers["location"] == "/console/"
    assert "Amber" not in "".join(r.text for r in replies.values())


async def test_the_console_shows_nothing_without_a_session(running: Running) -> None:
    pages = [(m, p) for m, p in set(routes_of(running.app.routes)) if p.startswith(OWN_SESSION)]
    async with running.client(None) as http:
        replies = {(m, p): await asked(http, m, p) for m, p in pages}
        # a key in a header is no session: a page of another site could not be told from ours
        keyed = await http.get(
            "/console/api/v1/tags", headers={"Authorization": f"Bearer {running.amber}"}
        )

    statuses = {f"{m} {p}": r.status_code for (m, p), r in replies.items()}
    assert len(statuses) >= 8
    assert {s for name, s in statuses.items() if "/api/" in name} <= {401, 403}
    assert statuses.pop("POST /console/leave") == 200  # there is nothing to leave
    assert {s for name, s in statuses.items() if name.startswith("POST")} <= {401, 403}
    assert set(statuses.values()) <= {200, 307, 401, 403, 404}
    assert keyed.status_code == 401


async def test_a_key_reaches_exactly_what_its_scopes_name(running: Running) -> None:
    """A gateway's key, the least of all: 403 everywhere, but not where it may send."""
    wrong: list[tuple[str, int]] = []
    async with running.client(running.gateway) as http:
        for path, item in openapi()["paths"].items():
            for method, operation in item.items():
                if "security" not in operation or path.endswith("/stream"):
                    continue
                [need] = operation["security"]
                allowed = set(need["key"]) <= ROLES["gateway"]
                reply = await asked(http, method.upper(), path)
                if (reply.status_code == 403) == allowed:
                    wrong.append((f"{method} {path}", reply.status_code))

    assert wrong == []


async def test_a_services_key_must_name_its_tenant_on_every_route(running: Running) -> None:
    paths = [p for p, item in openapi()["paths"].items() if "security" in item.get("get", {})]
    plain = [p for p in paths if not p.endswith("/stream")]
    async with running.client(running.service) as http:
        without = {p: (await http.get(filled(p))).status_code for p in plain}
        absent = {
            p: (await http.get(filled(p), headers={"Tagtrail-Log": "77"})).status_code
            for p in plain
        }
        named = {
            p: (await http.get(filled(p), headers={"Tagtrail-Log": "1"})).status_code for p in plain
        }

    assert set(without.values()) == set(absent.values()) == {403}
    assert set(named.values()) <= {200, 404, 422}
