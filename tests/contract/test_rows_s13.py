"""S13: partners' networks and strangers' phones are sources that are off until somebody wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.events.registrations import AssetRegistered, TagBound, TagRegistered

TAGS = ("crate-1", "pallet-1", "rack-1")
"""Tags; the first is on a crate, the second on a pallet, the third on nothing."""

FACTS = (
    *(TagRegistered(tag_id=name, identities=(f"partner:acme/{name}",)) for name in TAGS),
    AssetRegistered(asset_id="a-crate", kind="crate"),
    AssetRegistered(asset_id="a-pallet", kind="pallet"),
    TagBound(tag_id="crate-1", asset_id="a-crate"),
    TagBound(tag_id="pallet-1", asset_id="a-pallet"),
)
SIGNED = {"actor_id": "operator-7", "shared_from": "https://share.example/9"}


def batch(source_class: str, *tags: str, **more: Any) -> dict[str, Any]:
    """Make claims of a zone for some tags, heard now."""
    at = SystemClock().now() - timedelta(seconds=1)
    items = [
        {
            "tag": f"partner:acme/{tag}",
            "zone": "dock",
            "at": at.isoformat(),
            "technology": "unknown",
            "source_class": source_class,
            **more,
        }
        for tag in tags
    ]
    return {"gateway_id": "acme", "sightings": items}


@dataclass
class Site:
    """Ingest with three tags.

    Attributes:
        api: With an admin's key.
        log_id: The tenant's log.
        database_url: Its database.
    """

    api: httpx2.AsyncClient
    log_id: int
    database_url: str

    async def send(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = await self.api.post("/v1/sightings", json=body)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async def allow(self, **values: Any) -> httpx2.Response:
        """Decide about classes, as every section of settings is decided."""
        fact = {"type": "config.changed", "data": {"section": "sources", "values": values}}
        return await self.api.post("/v1/events", json={"events": [fact]})

    async def radio_types(self) -> list[str]:
        reply = await self.api.get("/v1/events", params={"families": "radio", "limit": 1000})
        return [e["type"] for e in reply.json()["items"]]

    async def stored_bytes(self, word: str) -> int:
        """Count rows of all tables of the log and of ingest that hold a word."""
        connection: Any = await asyncpg.connect(self.database_url)
        try:
            tables = await connection.fetch(
                "select format('%I.%I', schemaname, tablename) as name from pg_tables "
                "where schemaname in ('log', 'ingest')"
            )
            found = 0
            for table in tables:
                rows = await connection.fetch(f"select * from {table['name']}")
                found += sum(_holds(row, word) for row in rows)
            return found
        finally:
            await connection.close()


def _holds(row: Any, word: str) -> bool:
    return any(
        word.encode() in value if isinstance(value, bytes) else word in str(value)
        for value in row.values()
    )


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    log_id, key = await prepared(database_url, facts=FACTS)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
    ):
        yield Site(api, log_id, database_url)


@pytest.mark.parametrize("source_class", ["partner_network", "crowd_shared"])
async def test_s13_with_its_class_off_nothing_of_a_partner_is_stored_and_the_sender_is_told_so(
    site: Site, source_class: str
) -> None:
    body = batch(source_class, *TAGS, **SIGNED, note="whisper-4711")
    heard = {"tag_id": "crate-1", "rssi_dbm": -60, "note": "own-4712"}
    own = {"gateway_id": "gw", "sightings": [heard]}

    refused = await site.send(body)
    taken = await site.send(own)

    assert (refused["accepted"], refused["rejected"]) == (0, 3)
    assert {v["reason"] for v in refused["results"]} == {f"{source_class}_off"}
    assert all("POST /v1/config/sources" in v["detail"] for v in refused["results"])
    assert taken["accepted"] == 1
    assert await site.radio_types() == ["tag.sighted"]
    assert await site.stored_bytes("whisper-4711") == 0
    assert await site.stored_bytes("own-4712") > 0, "the search finds what is stored"
    stats = (await site.api.get("/v1/ingest/stats")).json()["by_adapter"]["native"]
    assert stats[f"dropped.{source_class}_off"] == 3
    assert stats["event.appended"] == 1


async def test_s13_what_is_refused_of_a_partner_is_not_quarantined_and_not_remembered(
    site: Site, shared_data: Path
) -> None:
    sample = (shared_data / "gateway-samples/reelables-enriched-position.json").read_bytes()

    readable = await site.api.post("/v1/messages/reelables", content=sample)
    broken = await site.api.post("/v1/messages/reelables", content=b'{"whisper-4711": 1}')

    assert readable.status_code == broken.status_code == 200
    for reply in (readable, broken):
        assert {v["reason"] for v in reply.json()["results"]} == {"partner_network_off"}
    assert (await site.api.get("/v1/quarantine")).json()["items"] == []
    assert (await site.api.get("/v1/unenrolled")).json()["items"] == []
    assert await site.stored_bytes("whisper-4711") == 0


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        ({"accepted": True}, TAGS),
        ({"accepted": True, "asset_kinds": ["pallet"]}, ["pallet-1"]),
        ({"accepted": True, "tag_prefixes": ["rack-"]}, ["rack-1"]),
        ({"accepted": True, "asset_kinds": ["crate"], "tag_prefixes": ["rack"]}, ["crate-1", "rack-1"]),
        ({"accepted": False, "asset_kinds": ["pallet"]}, []),
    ],
    ids=["all", "a kind of assets", "a prefix of tags", "either", "switched off again"],
)  # fmt: skip
async def test_s13_a_class_is_switched_on_for_a_tenant_a_kind_of_assets_or_a_prefix_of_tags(
    site: Site, rule: dict[str, Any], taken: Sequence[str]
) -> None:
    assert (await site.allow(partner_network=rule)).status_code == 200

    answer = await site.send(batch("partner_network", *TAGS))

    accepted = [TAGS[v["index"]] for v in answer["results"] if v["status"] == "accepted"]
    assert accepted == list(taken)
    off = "partner_network_off_for_tag" if rule["accepted"] else "partner_network_off"
    assert {v["reason"] for v in answer["results"] if v["status"] != "accepted"} <= {off}
    crowd = await site.send(batch("crowd_shared", *TAGS, **SIGNED))
    assert crowd["accepted"] == 0


@pytest.mark.parametrize(
    "values",
    [
        {"partner": {"accepted": True}},
        {"partner_network": {"accepted": "yes"}},
        {"partner_network": {"accepted": True, "kinds": ["pallet"]}},
        {"own_gateway": {"accepted": False}},
        {"crowd_shared": {"accepted": True, "tag_prefixes": [""]}},
    ],
)
async def test_s13_a_decision_that_does_not_fit_is_refused_before_the_log(
    site: Site, values: dict[str, Any]
) -> None:
    before = (await site.api.get("/v1/log/head")).json()["position"]

    reply = await site.allow(**values)

    assert reply.status_code == 422
    assert "partner_network and crowd_shared" in reply.json()["detail"]
    assert (await site.api.get("/v1/log/head")).json()["position"] == before
