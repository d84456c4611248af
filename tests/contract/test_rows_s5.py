"""S5: passive RFID: a bulk read at a portal is one event for each label, with its way."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import groupby

import httpx2
from tests.support.portal_passes import PORTAL, Noise, Way, reads_of
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_agent.epc import parse_urn, read_epc
from tagtrail_agent.inputs.portal import Read, ReadFolder
from tagtrail_agent.items import item_of, timed
from tagtrail_agent.readings import Reading
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.events.registrations import GatewayRegistered, SiteRegistered, TagRegistered

LABELS = 300
BURST_S = 4.0
GTIN = "80614141123458"
NOISE = Noise(fading_db=3.0)
WAYS: tuple[Way, ...] = ("in", "out", "turned_back")


def epc_of(number: int) -> str:
    urn = f"urn:epc:id:sgtin:0614141.812345.{number + 1}"
    return parse_urn(urn, scheme="sgtin-96", filter_value=3).encode().hex().upper()


def read_burst() -> tuple[dict[str, Way], list[Read]]:
    """Return each label's way, and what the reader tells, in order of time."""
    chance = random.Random(17)
    ways = {epc_of(number): WAYS[number % 3] for number in range(LABELS)}
    reads = [
        read
        for epc, way in ways.items()
        for read in reads_of(epc, way, chance, noise=NOISE, start_s=100.0, lasting_s=BURST_S)
    ]
    return ways, sorted(reads, key=lambda read: read.elapsed_s)


def folded(reads: list[Read]) -> list[Reading]:
    """Fold reads as the agent does, twice a second until all labels are gone."""
    folder, now = ReadFolder("portal-1", [PORTAL]), SystemClock().now() - timedelta(seconds=60)
    readings: list[Reading] = []
    for half, group in groupby(reads, key=lambda read: int(read.elapsed_s * 2)):
        readings += folder.due(now + timedelta(seconds=half / 2 - 100), half / 2)
        folder.add(list(group))
    return readings + folder.due(now + timedelta(seconds=30), 130.0)


async def test_s5_300_labels_read_50_times_in_4_s_are_300_events_with_their_ways(
    database_url: str,
) -> None:
    ways, reads = read_burst()
    tags = [TagRegistered(tag_id=f"tag-{epc}", identities=(f"epc:{epc}",)) for epc in ways]
    site = SiteRegistered(site_id="hall", name="Hall")
    portal = GatewayRegistered(gateway_id="portal-1", site_id="hall")
    _, key = await prepared(database_url, facts=[site, portal, *tags])
    items = [timed(item_of(r, "portal-1"), r.at, r.at, 1.0) for r in folded(reads)]
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
    ):
        body = {"gateway_id": "portal-1", "sightings": items}
        first = (await api.post("/v1/sightings", json=body)).json()
        again = (await api.post("/v1/sightings", json=body)).json()
        page = (await api.get("/v1/events", params={"types": "tag.sighted", "limit": 1000})).json()

    found = {e["subject"].removeprefix("tag-"): e["data"] for e in page["items"]}
    assert len(reads) == LABELS * 50
    assert reads[-1].elapsed_s - reads[0].elapsed_s <= BURST_S
    assert first["accepted"] == again["duplicates"] == len(page["items"]) == LABELS
    assert {epc: data["extra"]["direction"] for epc, data in found.items()} == ways
    assert sum(data["samples"] for data in found.values()) == len(reads)
    assert {data["technology"] for data in found.values()} == {"rfid"}
    codes = [read_epc(epc) for epc in found]
    assert {code.key for code in codes if code is not None} == {GTIN}
    assert None not in codes
