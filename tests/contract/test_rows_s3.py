"""S3: an AirTag's place is what a person enters, with name and source, and it does not last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from tests.support.locate_scene import Scene, envelope, sighting, two_zones
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered
from tagtrail_kernel.events.sightings import SourceClass, TagZoneReported

LABEL = "nfc:04a2b3c4d5e680"
ON = ConfigChanged(section="sources", values={"crowd_shared": {"accepted": True}})
AIRTAG = TagRegistered(tag_id="tag-7", identities=(LABEL,), model="apple-airtag")
SIGNED = {"actor_id": "operator-7", "shared_from": "https://share.example/9"}
ADDRESS = "f0e1d2c3b4a5"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    _, key = await prepared(database_url, facts=[AIRTAG, ON])
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
    ):
        yield client


async def enter(api: httpx2.AsyncClient, **item: Any) -> dict[str, Any]:
    """Enter the place of the AirTag by hand; gives the verdict on it."""
    at = (SystemClock().now() - timedelta(seconds=2)).isoformat()
    whole = {"tag": LABEL, "at": at, "technology": "unknown", "source_class": "crowd_shared"}
    body = {"gateway_id": "entry-form", "sightings": [whole | item]}
    reply = await api.post("/v1/sightings", json=body)
    assert reply.status_code == 200, reply.text
    (verdict,) = reply.json()["results"]
    return dict(verdict)


PLACES = [
    {"zone": "shop"},
    {"latitude_deg": 52.5, "longitude_deg": 13.4},
    {"rssi_dbm": -60},
]


@pytest.mark.parametrize("place", PLACES, ids=["zone", "coordinates", "sighting"])
async def test_s3_an_entry_needs_a_person_and_a_source_and_keeps_both(
    api: httpx2.AsyncClient, place: dict[str, Any]
) -> None:
    nobody = await enter(api, **place, shared_from="a link")
    blank = await enter(api, **place, shared_from="a link", actor_id=" ")
    nowhere = await enter(api, **place, actor_id="operator-7")
    whole = await enter(api, **place, **SIGNED)

    assert {nobody["reason"], blank["reason"]} == {"crowd_shared_without_actor"}
    assert "actor_id" in nobody["detail"]
    assert nowhere["reason"] == "crowd_shared_without_source"
    assert "shared_from" in nowhere["detail"]
    assert whole["status"] == "accepted"
    page = await api.get("/v1/events", params={"families": "radio", "limit": 1000})
    (event,) = page.json()["items"]
    assert event["data"]["source_class"] == "crowd_shared"
    assert {name: event["data"][name] for name in SIGNED} == SIGNED


async def test_s3_anonymous_frames_make_no_identity_and_no_address_is_stored(
    api: httpx2.AsyncClient, database_url: str
) -> None:
    advert = bytes([2, 1, 6, 5, 0x16, 0xB2, 0xFC, 1, 2]).hex().upper()  # service 0xFCB2
    history = {
        "data": {
            "gw_mac": "C8:25:2D:8E:9C:2C", "timestamp": int(SystemClock().now().timestamp()),
            "coordinates": "", "nonce": "1",
            "tags": {
                ":".join(ADDRESS[i : i + 2] for i in range(0, 12, 2)).upper(): {
                    "rssi": -60, "timestamp": int(SystemClock().now().timestamp()), "data": advert,
                }
            },
        }
    }  # fmt: skip
    opened = {
        "type": "config.changed",
        "data": {"section": "enrolment", "values": {"mode": "open"}},
    }
    await api.post("/v1/events", json={"events": [opened]})

    reply = await api.post("/v1/messages/ruuvi", json=history)

    assert reply.json()["accepted"] == 0
    assert [v["reason"] for v in reply.json()["results"]] == ["anonymous_tracker"]
    page = await api.get("/v1/events", params={"families": "radio"})
    assert page.json()["items"] == []
    assert (await api.get("/v1/unenrolled")).json()["items"] == []
    connection: Any = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("select subject, body from log.event")
    finally:
        await connection.close()
    assert sum(ADDRESS in row["subject"] or ADDRESS.encode() in row["body"] for row in rows) == 0


def entered(at_s: float, zone: str, source_class: SourceClass = "crowd_shared") -> Envelope:
    """Wrap the entry of a zone."""
    fact = TagZoneReported(
        tag_id="tag-1",
        gateway_id="entry-form",
        zone=zone,
        source_class=source_class,
        actor_id=SIGNED["actor_id"],
        shared_from=SIGNED["shared_from"],
    )
    return envelope(at_s, fact, subject="tag-1")


def heard_in_b(start: int, end: int) -> list[Envelope]:
    """Wrap what the gateways of zones a and b hear of a tag in b, for some seconds."""
    return [
        sighting(second + 0.0, gateway, level)
        for second in range(start, end)
        for gateway, level in (("gw-a", -85.0), ("gw-b", -58.0))
    ]


def test_s3_an_entry_tells_the_zone_and_from_what_class_of_source_it_is() -> None:
    scene = Scene(two_zones())

    scene.give([entered(0.0, "a")])

    why = scene.engine.explain(scene.engine.state.tags["tag-1"])
    assert scene.zone() == "a"
    assert [s["source_class"] for s in why["sources"]] == ["crowd_shared"]
    assert scene.place().source_class == "crowd_shared"


def test_s3_an_entry_expires_and_never_outranks_newer_evidence_of_ones_own() -> None:
    scene = Scene(two_zones())
    scene.give([entered(0.0, "a"), *heard_in_b(5, 60)])

    newer = scene.zone()
    scene.give([entered(59.9, "a"), *heard_in_b(60, 70)])

    why = scene.engine.explain(scene.engine.state.tags["tag-1"])
    assert newer == scene.zone() == "b"
    assert scene.place().source_class is None
    claim = next(s for s in why["sources"] if s["method"] == "claimed")
    assert (claim["votes"], claim["counts_for_s"]) == (False, 120.0)
    own = Scene(two_zones())
    own.give([entered(0.0, "a", "own_gateway"), *heard_in_b(5, 60)])
    assert own.zone() == "a", "the claim of one's own system does outrank signal strength"
