"""A tenant never sees what belongs to another one, on any route (REQUIREMENTS S84)."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.support.all_in_one import Running, eventually, first_bytes
from tests.support.api_docs import openapi

pytestmark = pytest.mark.asyncio(loop_scope="module")
MARK = "amberish"
"""Part of every id of the first tenant."""

WORDS = "honeycomb"
"""Part of every name and text of the first tenant; nobody asks for it."""

ADDRESS = "c0ffee000001"
SEEN_BY_AMBER = (
    "/v1/events", "/v1/changes", "/v1/quarantine", "/v1/unenrolled", "/v1/places",
    "/v1/shipments", "/v1/stock", "/v1/sites", "/v1/zones", "/v1/gateways", "/v1/tags",
    "/v1/assets", "/v1/skus", "/v1/config", "/v1/keys", "/v1/alerts",
)  # fmt: skip
"""Lists that show the first tenant's data to itself: else the test below would prove nothing."""


def shows_the_first(text: str) -> bool:
    """Return whether a text holds anything of the first tenant."""
    return MARK in text or WORDS in text


async def sent(http: httpx2.AsyncClient, method: str, path: str, **given: Any) -> Any:
    reply = await http.request(method, path, **given)
    assert reply.status_code < 300, (method, path, reply.status_code, reply.text)
    return reply.json() if reply.content else None


async def filled_books(http: httpx2.AsyncClient) -> dict[str, set[str]]:
    """Give the first tenant something of everything; returns the values of its path parameters."""
    site, zone, gateway = f"{MARK}-site", f"{MARK}-zone", f"{MARK}-gateway"
    tag, asset, sku, shipment = f"{MARK}-tag", f"{MARK}-crate", f"{MARK}-sku", f"{MARK}-shipment"
    posts: list[tuple[str, Any]] = [
        ("/v1/retention", {"event_class": "radio", "keep_days": 30, "basis": WORDS}),
        ("/v1/sites", {"site_id": site, "name": WORDS}),
        ("/v1/zones", {"zone_id": zone, "site_id": site, "name": WORDS, "kind": "outbound"}),
        ("/v1/gateways", {"gateway_id": gateway, "site_id": site, "zone_id": zone}),
        ("/v1/tags", {"tag_id": tag, "identities": [f"mac:{ADDRESS}"], "label": WORDS}),
        ("/v1/assets", {"asset_id": asset, "name": WORDS}),
        ("/v1/skus", {"sku": sku, "name": WORDS}),
        (f"/v1/tags/{tag}/bind", {"asset_id": asset}),
        (f"/v1/assets/{asset}/pack", {"lines": [{"sku": sku, "quantity": 5}]}),
        ("/v1/shipments", {"shipment_id": shipment, "asset_ids": [asset], "ship_to": WORDS}),
        ("/v1/config/enrolment", {"values": {"note": WORDS}}),
        ("/v1/keys", {"name": WORDS, "role": "auditor"}),
    ]
    for path, body in posts:
        await sent(http, "POST", path, json=body)
    sightings = [{"tag": f"mac:{ADDRESS}", "rssi_dbm": -50 - n % 3} for n in range(20)]
    sightings.append({"tag": f"{MARK}:unenrolled", "rssi_dbm": -60})
    await sent(http, "POST", "/v1/sightings", json={"gateway_id": gateway, "sightings": sightings})
    await sent(
        http,
        "POST",
        "/v1/messages/ruuvi",
        content=f"{WORDS} is no JSON".encode(),
        params={"site_id": site},
    )
    fired = {
        "type": "alert.fired",
        "data": {
            "alert_id": f"{MARK}-alert",
            "rule_id": "missing-tag",
            "title": WORDS,
            "tag_id": tag,
        },
    }
    await sent(http, "POST", "/v1/events", json={"events": [fired]})
    quarantined = (await sent(http, "GET", "/v1/quarantine"))["items"]
    events = (await sent(http, "GET", "/v1/events", params={"limit": 1000}))["items"]
    keys = (await sent(http, "GET", "/v1/keys"))["items"]
    return {
        "tag_id": {tag}, "asset_id": {asset}, "shipment_id": {shipment},
        "item_id": {site, zone, gateway, tag, asset, sku, "radio", "enrolment"},
        "event_id": {events[0]["id"], events[-1]["id"]},
        "quarantine_id": {str(q["quarantine_id"]) for q in quarantined},
        "key_id": {k["key_id"] for k in keys},
        "alert_id": {f"{MARK}-alert"},
    }  # fmt: skip


class Books:
    """The running process, with the first tenant's data in it."""

    def __init__(self, running: Running, ids: dict[str, set[str]]) -> None:
        self.running = running
        self.ids = ids

    def paths(self, template: str) -> list[str]:
        """Return a path with each of the first tenant's ids; "1" where it has none."""
        names = re.findall(r"\{([^}]+)\}", template)
        values = [sorted(self.ids.get(name, {"1"})) for name in names]
        found = []
        for chosen in itertools.product(*values):
            path = template
            for name, value in zip(names, chosen, strict=True):
                path = path.replace(f"{{{name}}}", value)
            found.append(path)
        return found

    async def shown(self, key: str) -> dict[str, httpx2.Response]:
        """Ask every GET route that ends; returns the answers by path."""
        answers = {}
        async with self.running.client(key) as http:
            for template, item in openapi()["paths"].items():
                if "get" in item and not template.endswith("/stream"):
                    for path in self.paths(template):
                        answers[path] = await http.get(path)
        return answers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def books(running: Running) -> Books:
    async with running.client(running.amber) as http:
        ids = await filled_books(http)

        async def followed() -> bool:
            alert = await http.get(f"/v1/alerts/{MARK}-alert")
            place = await http.get(f"/v1/tags/{MARK}-tag/place")
            return alert.status_code == place.status_code == 200

        await eventually(followed)
    return Books(running, ids)


async def test_the_first_tenant_sees_its_own_data_in_every_list(books: Books) -> None:
    answers = await books.shown(books.running.amber)

    assert [p for p in SEEN_BY_AMBER if not shows_the_first(answers[p].text)] == []


async def test_s84_no_route_shows_the_second_tenant_anything_of_the_first(books: Books) -> None:
    answers = await books.shown(books.running.blue)

    told = {p: a.text for p, a in answers.items() if WORDS in a.text}
    listed = {p: a.text for p, a in answers.items() if MARK in a.text and MARK not in p}
    keys = books.ids["key_id"] & set(re.findall(r"\w+", answers["/v1/keys"].text))
    faults = {p: a.status_code for p, a in answers.items() if a.status_code >= 500}
    assert len(answers) > 60
    assert (told, listed, keys, faults) == ({}, {}, set(), {})


async def test_s84_what_belongs_to_another_tenant_is_as_if_it_had_never_been(books: Books) -> None:
    answers = await books.shown(books.running.blue)
    differing = {}
    async with books.running.client(books.running.blue) as http:
        for path, answer in answers.items():
            if MARK in path:
                unknown = (await http.get(path.replace(MARK, "nobodys"))).text
                if answer.text.replace(MARK, "nobodys") != unknown:
                    differing[path] = (answer.text, unknown)

    assert sum(MARK in path for path in answers) >= 10
    assert differing == {}
    by_number = books.ids["event_id"] | books.ids["key_id"]
    assert {a.status_code for p, a in answers.items() if p.rpartition("/")[2] in by_number} == {404}


async def heard(running: Running, key: str, streams: list[str], **how: Any) -> dict[str, str]:
    """Return what each stream says at first, from the beginning of the log."""
    async with running.client(key) as http:
        said = await asyncio.gather(*(first_bytes(http, f"{p}?after=0", **how) for p in streams))
    return dict(zip(streams, said, strict=True))


async def test_s84_live_streams_carry_only_the_own_tenants_data(books: Books) -> None:
    streams = [p for p in openapi()["paths"] if p.endswith("/stream")]
    mine = await heard(books.running, books.running.amber, streams, for_s=15, until=shows_the_first)
    theirs = await heard(books.running, books.running.blue, streams)

    assert len(streams) >= 3
    assert [p for p, said in mine.items() if not shows_the_first(said)] == []
    assert [p for p, said in theirs.items() if shows_the_first(said)] == []
    assert {said.partition("\n")[0] for said in theirs.values()} == {"200"}


async def test_s84_no_command_of_the_second_tenant_changes_the_first(books: Books) -> None:
    before = await snapshot(books)
    faults = {}
    async with books.running.client(books.running.blue) as http:
        for template, item in openapi()["paths"].items():
            if "{" not in template:
                continue
            for method in ("post", "put", "delete"):
                for path in books.paths(template) if method in item else ():
                    reply = await http.request(method.upper(), path, json=command(path))
                    if reply.status_code >= 500:
                        faults[f"{method} {path}"] = reply.text

    assert faults == {}
    assert await snapshot(books) == before


def command(path: str) -> Any:
    """Return a body that would do something if the thing were there."""
    leaf = path.rpartition("/")[2]
    return {
        "bind": {"asset_id": f"{MARK}-crate"},
        "pack": {"lines": [{"sku": f"{MARK}-sku", "quantity": 1}]},
        "unpack": {"lines": [{"sku": f"{MARK}-sku", "quantity": 1}]},
        "count": {"lines": []},
        "move-contents": {"to_asset_id": "x", "lines": [{"sku": f"{MARK}-sku", "quantity": 1}]},
    }.get(leaf, {})


async def snapshot(books: Books) -> dict[str, Any]:
    """Return the first tenant's facts: all business events, its keys and its quarantine."""
    async with books.running.client(books.running.amber) as http:
        events = await sent(http, "GET", "/v1/changes", params={"limit": 1000})
        keys = await sent(http, "GET", "/v1/keys")
        kept = await sent(http, "GET", "/v1/quarantine")
        channels = await sent(http, "GET", "/v1/channels")
        rules = await sent(http, "GET", "/v1/rules")
    facts = [e for e in events["items"] if not e["type"].startswith("alert.fired")]
    return {"events": facts, "keys": keys, "quarantine": kept, "channels": channels, "rules": rules}


async def test_s84_ids_of_two_tenants_may_be_the_same(books: Books) -> None:
    site = {"site_id": f"{MARK}-site", "name": "a blue hall"}
    async with books.running.client(books.running.blue) as blue:
        await sent(blue, "POST", "/v1/sites", json=site)

        async def known() -> bool:
            return (await blue.get(f"/v1/sites/{MARK}-site")).status_code == 200

        await eventually(known)
        theirs = await sent(blue, "GET", f"/v1/sites/{MARK}-site")
    async with books.running.client(books.running.amber) as amber:
        mine = await sent(amber, "GET", f"/v1/sites/{MARK}-site")

    assert "a blue hall" in json.dumps(theirs)
    assert "a blue hall" not in json.dumps(mine)


async def test_s84_a_gateways_key_sends_into_its_own_tenant_only(books: Books) -> None:
    body = {"gateway_id": "g", "sightings": [{"tag": f"mac:{ADDRESS}", "rssi_dbm": -50}]}
    async with books.running.client(books.running.blue) as blue:
        await sent(blue, "POST", "/v1/retention", json={
            "event_class": "radio", "keep_days": 3, "basis": "blue",
        })  # fmt: skip
        reply = await sent(blue, "POST", "/v1/sightings", json=body)

    assert (reply["accepted"], reply["unenrolled"]) == (0, 1)
