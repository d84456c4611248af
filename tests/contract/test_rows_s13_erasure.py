"""S13: sightings of a class are erased as if they had never been there, and every proof still holds."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
import pytest
from tests.support.e2e_scenario import caught_up
from tests.support.log_audit import audited
from tests.support.processes import clean_environment
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail.composition import MIGRATIONS, app_for
from tagtrail.embedded import Embedded
from tagtrail.rebuilding import rebuild_all
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.clock import SystemClock, uuid8
from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.events.operations import SightingsErased
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered

OWN_SCHEMAS = {"access", "log", "ingest"}
CONFIRM = {"Tagtrail-Confirm": "erase-all"}
ERASE = "/v1/sources/partner_network/sightings"
LENGTH_S: Final = 100

OF_THE_LOG = ("position", "recorded_at", "latest_at", "configuration")
"""Endings of columns that say where in the log something stands: with fewer events, elsewhere."""

NOT_COMPARED = {"consumer", "parked", "alembic_version", "snapshot", "memory", "outbox", "pace"}
"""Tables that are no projection, and two that hold the same as the others, packed, with positions."""


def warehouse(start: datetime) -> list[dict[str, Any]]:
    """Return a hall with a store and a way out, three crates with goods, and the rules."""
    facts: list[tuple[str, dict[str, Any]]] = [
        (
            "config.changed",
            {"section": "sources", "values": {"partner_network": {"accepted": True}}},
        ),
        (
            "config.changed",
            {
                "section": "rule/left_outbound_without_pod",
                "values": {"grace_s": 5, "lateness_s": 1},
            },
        ),
        ("retention.set", {"event_class": "radio", "keep_days": 30, "basis": "test"}),
        ("site.registered", {"site_id": "hall", "name": "H"}),
        ("sku.registered", {"sku": "OIL"}),
    ]
    for n, (zone, kind) in enumerate((("store", "storage"), ("out", "outbound"))):
        x = 20.0 * n
        outline = [[x, 0.0], [x + 20, 0.0], [x + 20, 10.0], [x, 10.0]]
        place = {"zone_id": zone, "site_id": "hall"}
        facts += [
            ("zone.registered", place | {"name": zone, "kind": kind, "outline_m": outline}),
            ("gateway.registered", place | {"gateway_id": f"gw-{zone}", "x_m": x + 10, "y_m": 5.0}),
        ]
    for n, tag in enumerate(("moved", "still", "roaming")):
        lines = [{"sku": "OIL", "quantity": 10 + n}]
        facts += [
            ("tag.registered", {"tag_id": tag, "identities": [f"mac:02e2e00000{n:02x}"]}),
            ("asset.registered", {"asset_id": f"crate-{tag}", "kind": "crate"}),
            ("tag.bound", {"tag_id": tag, "asset_id": f"crate-{tag}"}),
            ("crate.packed", {"asset_id": f"crate-{tag}", "lines": lines}),
        ]
    at = start - timedelta(seconds=60)
    return [
        {
            "id": str(uuid8(at, f"{n}".encode())),
            "type": type_,
            "data": data,
            "occurred_at": text(at),
        }
        for n, (type_, data) in enumerate(facts)
    ]


def text(at: datetime) -> str:
    return at.isoformat()


def heard(start: datetime, second: int) -> list[dict[str, Any]]:
    """Return what one's own gateways hear in a second: tags in the store, one of which goes out later."""
    at = start + timedelta(seconds=second)
    found = []
    for tag, silent in (("moved", range(40, 60)), ("still", range(0))):
        if second in silent:
            continue
        gone = tag == "moved" and second >= 75
        for gateway, level in (
            ("gw-store", -82.0 if gone else -55.0),
            ("gw-out", -55.0 if gone else -82.0),
        ):
            item = {"tag_id": tag, "gateway_id": gateway, "at": text(at), "rssi_dbm": level}
            found.append(item | {"id": str(uuid8(at, f"{tag}/{gateway}".encode()))})
    return found


def told(start: datetime, second: int) -> list[dict[str, Any]]:
    """Return what the partner tells: two tags went out and away, one of which nobody else hears."""
    if second not in range(41, 58, 3):
        return []
    at = start + timedelta(seconds=second, milliseconds=500)
    return [
        {
            "tag_id": tag, "gateway_id": "acme", "at": text(at), "zone": "out",
            "claim": "left" if second == 56 else "in",
            "source_class": "partner_network", "technology": "unknown",
            "id": str(uuid8(at, f"{tag}/acme".encode())),
        }
        for tag in ("moved", "roaming")
    ]  # fmt: skip


@dataclass
class Site:
    """All services over one database.

    Attributes:
        database_url: Its address.
        log_id: The tenant's log.
        key: An admin's key.
    """

    database_url: str
    log_id: int
    key: str

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[httpx2.AsyncClient]:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            served(app_for(settings_for(self.database_url), [])) as url,
            httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
        ):
            yield api

    async def live(self, api: httpx2.AsyncClient, start: datetime, *, partner: bool) -> None:
        """Let the day pass; at the end the partner is switched off."""
        await post(api, "/v1/events", {"events": warehouse(start)})
        for first in range(0, LENGTH_S, 10):
            items = []
            for second in range(first, first + 10):
                items += heard(start, second)
                items += told(start, second) if partner else []
            await post(api, "/v1/sightings", {"sightings": items})
            await caught_up(api)
        at = start + timedelta(seconds=LENGTH_S)
        off = OFF | {"id": str(uuid8(at, b"off")), "occurred_at": text(at)}
        await post(api, "/v1/events", {"events": [off]})
        await caught_up(api)

    async def state(self) -> dict[str, list[str]]:
        """Return the rows of all projections of places, stock and alerts, without positions."""
        connection: Any = await asyncpg.connect(self.database_url)
        try:
            tables = await connection.fetch(
                "select schemaname as s, tablename as t from pg_tables "
                "where schemaname in ('locate', 'inventory', 'alerts') order by 1, 2"
            )
            found = {}
            for table in tables:
                if table["t"] not in NOT_COMPARED:
                    name = f'"{table["s"]}"."{table["t"]}"'
                    rows = await connection.fetch(f"select to_jsonb(t) as row from {name} t")
                    kept = (_without_positions(json.loads(r["row"])) for r in rows)
                    found[name] = sorted(json.dumps(row, sort_keys=True) for row in kept)
            return found
        finally:
            await connection.close()


def _without_positions(row: Any) -> Any:
    if isinstance(row, dict):
        return {k: _without_positions(v) for k, v in row.items() if not k.endswith(OF_THE_LOG)}
    return row


def hash_of(state: dict[str, list[str]]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


async def post(api: httpx2.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    reply = await api.post(path, json=body)
    assert reply.status_code == 200, reply.text
    assert not reply.json().get("rejected"), reply.text
    return dict(reply.json())


@pytest.fixture
async def sites(infra: Embedded) -> AsyncIterator[tuple[Site, Site]]:
    """Two sites that know the same."""
    admin: Any = await asyncpg.connect(infra.admin_database_url)
    names = [f"t_{secrets.token_hex(6)}" for _ in range(2)]
    found = []
    try:
        for name in names:
            await admin.execute(f"CREATE DATABASE {name} OWNER tagtrail TEMPLATE template0")
            url = infra.database_url.rpartition("/")[0] + f"/{name}"
            own = [m for m in MIGRATIONS if m.schema not in OWN_SCHEMAS]
            found.append(Site(url, *await prepared(url, migrations=own, retention=False)))
        yield found[0], found[1]
        for name in names:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.mark.slow
@pytest.mark.xdist_group(name="playback")
async def test_s13_after_deletion_by_class_the_projections_equal_those_of_a_log_that_never_had_them(
    sites: tuple[Site, Site],
) -> None:
    site, never = sites
    start = SystemClock().now().replace(microsecond=0) - timedelta(seconds=LENGTH_S + 300)
    async with never.running() as api:
        await never.live(api, start, partner=False)
    wanted = await never.state()
    async with site.running() as api:
        await site.live(api, start, partner=True)
        with_partner = await site.state()
        head = (await api.get("/v1/log/head")).json()
        before = await audited(site.database_url, site.log_id)
        reply = await api.delete(ERASE, headers=CONFIRM, params={"reason": "the agreement ended"})
        assert reply.status_code == 200, reply.text
    results = await rebuild_all(settings_for(site.database_url), "default", [], swap=True)
    renewed = await audited(site.database_url, site.log_id)
    again = await rebuild_all(settings_for(site.database_url), "default", [], swap=True)
    unchanged = await audited(site.database_url, site.log_id)
    async with site.running() as api:
        await caught_up(api)
        read = (await api.get("/v1/events", params={"limit": 1000})).json()
    state = await site.state()
    after = await audited(site.database_url, site.log_id)

    erased = reply.json()
    assert (erased["done"], erased["sightings"]) == (True, 12)
    assert erased["withdrawn"] > 0
    assert "rebuild --swap" in erased["next"]
    assert len(with_partner['"alerts"."alert"']) == 1, "the partner's word led to an alert"
    assert wanted['"alerts"."alert"'] == []
    assert len(with_partner['"locate"."place"']) == 3
    assert sum('"partner_network"' in row for row in with_partner['"locate"."place"']) == 1
    assert len(wanted['"locate"."place"']) == 2
    assert len(wanted['"inventory"."placement"']) == 3, "in the store, in the store, and later out"
    assert state == wanted
    assert hash_of(state) == hash_of(wanted)
    assert {r["projection"] for r in results} >= {
        "locate.places",
        "inventory.books",
        "alerts.alerts",
    }
    assert "partner_network" not in json.dumps(
        [e for e in read["items"] if e["type"][:4] == "tag."]
    )
    assert [e["leaf"] for e in after[: head["position"]]] == [e["leaf"] for e in before]
    assert renewed == unchanged, "a second rebuild adds nothing"
    assert renewed[-1]["type"] == "conclusions.renewed"
    assert {r["projection"] for r in again} == {r["projection"] for r in results}
    anew = [e["type"] for e in after[erased["position"] :]]
    assert "tag.zone_changed" in anew, "what holds without the partner is recorded anew"
    gone = [e for e in after if not e["body"]]
    assert len(gone) == erased["sightings"] + erased["withdrawn"]
    assert not any(b'"partner_network"' in e["body"] for e in after if e["type"].startswith("tag."))


PARTNERS_TAG = TagRegistered(tag_id="tag-1", identities=("mac:02e2e0000001",))
ON = ConfigChanged(section="sources", values={"partner_network": {"accepted": True}})
OFF = {"type": "config.changed", "data": {"section": "sources", "values": {}}}


@dataclass
class Ingest:
    """Ingest alone.

    Attributes:
        api: With an admin's key.
        database_url: Its database.
        log_id: The tenant's log.
    """

    api: httpx2.AsyncClient
    database_url: str
    log_id: int

    async def fill(self, count: int) -> None:
        """Put sightings into the log, every second one a partner's."""
        at = SystemClock().now() - timedelta(seconds=5)
        items = [
            {
                "tag_id": "tag-1", "rssi_dbm": -60, "at": text(at), "sequence": n,
                "source_class": "partner_network" if n % 2 else "own_gateway",
            }
            for n in range(count)
        ]  # fmt: skip
        for start in range(0, count, 1000):
            body = {"gateway_id": "gw", "sightings": items[start : start + 1000]}
            await post(self.api, "/v1/sightings", body)

    async def count(self) -> int:
        page = await self.api.get("/v1/events", params={"families": "radio", "limit": 1000})
        return len(page.json()["items"])


@contextlib.asynccontextmanager
async def ingest(database_url: str, log_id: int, key: str) -> AsyncIterator[Ingest]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as api,
    ):
        yield Ingest(api, database_url, log_id)


async def test_s13_nothing_is_erased_unconfirmed_while_the_class_is_on_or_of_ones_own(
    database_url: str,
) -> None:
    log_id, key = await prepared(database_url, facts=[PARTNERS_TAG, ON])
    async with ingest(database_url, log_id, key) as site:
        await site.fill(10)
        on = await site.api.delete(ERASE, headers=CONFIRM)
        await post(site.api, "/v1/events", {"events": [OFF]})
        unconfirmed = await site.api.delete(ERASE)
        order = {"type": "sightings.erased", "data": {"source_class": "partner_network"}}
        posted = await site.api.post(
            "/v1/events", json={"events": [order | {"subject": "partner_network"}]}
        )
        own = await site.api.delete("/v1/sources/own_gateway/sightings", headers=CONFIRM)
        before = await site.count()
        done = await site.api.delete(ERASE, headers=CONFIRM)
        after = await site.count()
        again = await site.api.delete(ERASE, headers=CONFIRM)

    assert (on.status_code, unconfirmed.status_code, own.status_code) == (409, 409, 422)
    assert "switch it off first" in on.json()["detail"]
    assert posted.status_code == 422, "an order goes by its own route, which asks for more"
    assert "DELETE /v1/sources" in posted.json()["detail"]
    assert "Tagtrail-Confirm: erase-all" in unconfirmed.json()["detail"]
    assert (before, after) == (10, 5)
    assert (done.json()["sightings"], again.json()["sightings"]) == (5, 0)
    assert await audited(database_url, log_id)


async def test_s13_what_was_erased_does_not_come_back_by_a_resend(database_url: str) -> None:
    log_id, key = await prepared(database_url, facts=[PARTNERS_TAG, ON])
    at = SystemClock().now() - timedelta(seconds=5)
    item = {"tag_id": "tag-1", "zone": "dock", "at": text(at), "source_class": "partner_network"}
    body = {"gateway_id": "acme", "sightings": [item]}
    async with ingest(database_url, log_id, key) as site:
        await post(site.api, "/v1/sightings", body)
        await post(site.api, "/v1/events", {"events": [OFF]})
        assert (await site.api.delete(ERASE, headers=CONFIRM)).json()["sightings"] == 1
        on = {"type": "config.changed", "data": {"section": "sources", "values": ON.values}}
        await post(site.api, "/v1/events", {"events": [on]})
        resent = await post(site.api, "/v1/sightings", body)
        left = await site.count()

    assert (resent["accepted"], resent["duplicates"], left) == (0, 1, 0)


async def test_s13_an_erasure_that_is_killed_half_way_is_finished_at_the_next_start(
    database_url: str,
) -> None:
    log_id, key = await prepared(database_url, facts=[PARTNERS_TAG, ON])
    async with ingest(database_url, log_id, key) as site:
        await site.fill(4000)
        await post(site.api, "/v1/events", {"events": [OFF]})
    position = await ordered(database_url, log_id)
    script = Path(__file__).parents[1] / "support" / "erase_and_die.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), database_url, str(log_id), str(position), "partner_network", "2",
        env=clean_environment(),
    )  # fmt: skip
    code = await process.wait()
    half = [e for e in await audited(database_url, log_id) if not e["body"]]
    async with ingest(database_url, log_id, key) as site:
        await caught_up(site.api)
    events = await audited(database_url, log_id)

    assert code == -signal.SIGKILL
    assert 0 < len(half) < 2000
    assert len([e for e in events if not e["body"]]) == 2000
    assert not any(b"partner_network" in e["body"] for e in events if e["type"] == "tag.sighted")


async def ordered(database_url: str, log_id: int) -> int:
    """Append an order without anybody who carries it out; returns its position."""
    pool = LogPool(database_url, max_size=1)
    await pool.open()
    try:
        now = SystemClock().now()
        fact = Envelope(
            id=uuid8(now, b"order"),
            subject="partner_network",
            source="test",
            occurred_at=now,
            data=SightingsErased(source_class="partner_network"),
        )
        done = await PostgresLog(pool).append(log_id, [seal(fact)], writer="test")
        return done.positions[0]
    finally:
        await pool.close()
