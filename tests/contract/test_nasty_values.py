"""Values that no column holds, in every place of every route: refused, never a fault."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest
from tests.support.all_in_one import Running
from tests.support.api_docs import openapi

pytestmark = pytest.mark.asyncio(loop_scope="module")
IN_PATHS: Final = ("a%00b", "%ED%A0%80", "9" * 40, "..%2f..", "%F0%9F%93%A6" * 300)
IN_QUERIES: Final = ("\x00", "9" * 40, "1e400", "\ufffe", "x" * 5000)
BODIES: Final[dict[str, list[Any]]] = {
    "/v1/sites": [{"site_id": "a\x00b", "name": "x"}, {"site_id": "s", "name": "x\x00"},
                  {"site_id": "s", "name": "x", "bearing_deg": 1e308},
                  {"site_id": "s", "name": "x", "time_zone": "Mars/Olympus"}],
    "/v1/tags": [{"identities": ["mac:\x00"]}, {"identities": ["x" * 5000]}, {"identities": ["mac:" + "f" * 12] * 40}],
    "/v1/skus": [{"sku": "\x00"}, {"sku": "\ud7ff" * 200}, {"sku": "s", "gtin": "9" * 40}],
    "/v1/assets": [{"asset_id": "a", "external_ids": {"k\x00": "v"}}, {"asset_id": "a", "external_ids": {"k": "\x00"}}],
    "/v1/assets/a/pack": [{"lines": [{"sku": "s", "quantity": 2**70}]}, {"lines": [{"sku": "\x00", "quantity": 1}]}],
    "/v1/shipments": [{"asset_ids": ["\x00"]}, {"asset_ids": ["a"] * 6000}],
    "/v1/pods": [{"asset_ids": ["\x00"]}, {"shipment_id": "\x00"}],
    "/v1/config/x": [{"values": {"a": 2**80}}, {"values": {"\x00": 1}}],
    "/v1/retention": [{"event_class": "radio", "keep_days": 2**70, "basis": "x"},
                      {"event_class": "radio", "keep_days": 1, "basis": "\x00"}],
    "/v1/keys": [{"name": "\x00", "role": "admin"}, {"name": "n", "role": "\x00"},
                 {"name": "n", "role": "gateway", "gateway_id": "\x00"}],
    "/v1/events": [{"events": [{"type": "pod.recorded", "data": {"asset_ids": ["\x00"]}}]},
                   {"events": [{"type": "pod.recorded", "subject": "\x00", "data": {}}]},
                   {"events": [{"type": "config.changed", "data": {"section": "x", "values": {"a": 2**80}}}]},
                   {"events": [{"type": "pod.recorded", "version": 2**40, "data": {}}]},
                   {"events": [{"type": "pod.recorded", "occurred_at": "0001-01-01T00:00:00Z", "data": {}}]}],
    "/v1/sightings": [{"gateway_id": "\x00", "sightings": [{"tag": "mac:\x00"}]},
                      {"gateway_id": "g", "sightings": [{"tag": "mac:c0ffee000001", "sequence": 2**80}]}],
    "/v1/alerts/a/acknowledge": [{"note": "\x00"}],
    "/v1/rules/missing-tag/backtest": [{"parameters": {"\x00": 1}}],
}  # fmt: skip
"""Bodies that are JSON, with something in them that cannot be kept."""


async def answers(
    running: Running, requests: list[tuple[str, str, Any]]
) -> dict[str, httpx2.Response]:
    found = {}
    async with running.client(running.blue) as http:
        for method, path, body in requests:
            reply = await http.request(method, path, json=body)
            found[f"{method} {path[:120]} {str(body)[:120]!a}"] = reply
    return found


def broken(found: dict[str, httpx2.Response]) -> dict[str, str]:
    """Return the answers that are faults, or refusals without a problem document."""
    return {
        name: f"{r.status_code} {r.text[:200]}"
        for name, r in found.items()
        if r.status_code >= 500
        or (r.status_code >= 400 and r.headers.get("content-type") != "application/problem+json")
    }


async def test_s21_nasty_values_in_paths_are_refused(running: Running) -> None:
    requests: list[tuple[str, str, Any]] = []
    for template, item in openapi()["paths"].items():
        if "{" in template:
            for method in ("get", "post", "put", "delete"):
                for value in IN_PATHS if method in item else ():
                    path = re.sub(r"\{[^}]+\}", value, template)
                    requests.append(
                        (method.upper(), path, {} if method in ("post", "put") else None)
                    )

    found = await answers(running, requests)

    assert len(found) > 100
    assert broken(found) == {}


async def test_s21_nasty_values_in_queries_are_refused(running: Running) -> None:
    requests: list[tuple[str, str, Any]] = []
    for template, item in openapi()["paths"].items():
        path = re.sub(r"\{[^}]+\}", "1", template)
        if "get" in item and not path.endswith("/stream"):
            for parameter in item["get"].get("parameters", ()):
                if parameter["in"] == "query":
                    requests += [
                        ("GET", f"{path}?{parameter['name']}={quote(v)}", None) for v in IN_QUERIES
                    ]

    found = await answers(running, requests)

    assert len(found) > 200
    assert broken(found) == {}


async def test_s21_nasty_values_in_bodies_are_refused(running: Running) -> None:
    found = await answers(
        running, [("POST", path, b) for path, all_ in BODIES.items() for b in all_]
    )

    assert broken(found) == {}
    with_nul = {n: r.status_code for n, r in found.items() if "x00" in n and "/sightings" not in n}
    assert {n: s for n, s in with_nul.items() if s < 400} == {}


async def test_after_all_that_every_consumer_still_runs(running: Running) -> None:
    async with running.client(running.blue) as http:
        reply = await http.get("/readyz")

    assert reply.json()["failing"] == {}
