"""S2: UWB is taken when it is there and never needed; a rotating address is one asset or nobody."""

from __future__ import annotations

import math
from datetime import timedelta

import httpx2
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tests.support.locate_scene import Scene, envelope, ranged, sighting, two_zones
from tests.support.serving import ingest_app, prepared, served, settings_for

from tagtrail_agent.identity import Enrolment, Resolver
from tagtrail_agent.items import item_of, timed
from tagtrail_agent.readings import Advert, Reading
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import GatewayRegistered, TagRegistered

ANCHORS = {"u1": (0.0, 0.0), "u2": (20.0, 0.0), "u3": (20.0, 10.0), "u4": (0.0, 10.0)}
STANDS_M = (4.0, 6.0)
"""Where the tag stands, in zone a."""

ROTATIONS = 20
IRK = bytes.fromhex("ec0234a357c8ad05341010a60a397d9b")
VALUES = bytes.fromhex("0c16d2fc400161020c0903bf13")
COMPANION = bytes.fromhex("0201061aff4c000215f7826da64fa24e988024bc5b71e0893e0007002ac5")
COMPANION_ID = "ibeacon:f7826da64fa24e988024bc5b71e0893e:7:42"


def adverts(until_s: int) -> list[Envelope]:
    return [
        sighting(n + 0.0, gateway, level)
        for n in range(until_s)
        for gateway, level in (("gw-a", -58.0), ("gw-b", -80.0))
    ]


def ranges(from_s: int, until_s: int) -> list[Envelope]:
    x_m, y_m = STANDS_M
    return [
        ranged(second + 0.1 + 0.01 * n, anchor, math.hypot(x_m - x, y_m - y))
        for second in range(from_s, until_s)
        for n, (anchor, (x, y)) in enumerate(ANCHORS.items())
    ]


def hall() -> Scene:
    anchors = [
        GatewayRegistered(gateway_id=name, site_id="hall", x_m=x, y_m=y)
        for name, (x, y) in ANCHORS.items()
    ]
    return Scene([*two_zones(), *(envelope(-1, a, salt=a.gateway_id) for a in anchors)])


@pytest.mark.parametrize("uwb", [False, True], ids=["without UWB", "with UWB"])
def test_s2_a_tag_has_its_zone_without_uwb_and_metres_with_it(uwb: bool) -> None:
    scene = hall()
    facts = [*adverts(40), *(ranges(20, 40) if uwb else [])]

    scene.give(sorted(facts, key=lambda fact: fact.occurred_at))

    place = scene.place()
    assert (place.zone_id, place.method) == ("a", "uwb" if uwb else "ble_zone")
    assert place.accuracy_m is not None
    if uwb:
        assert math.dist((place.x_m or 0.0, place.y_m or 0.0), STANDS_M) < 0.1
        assert place.accuracy_m < 0.5
    else:
        assert place.accuracy_m >= 2.0


def rotating_address(number: int) -> str:
    """Make a resolvable private address as a tag does: 24 random bits, then their hash."""
    random = bytes([0x40 | number, number + 1, number + 2])
    block = Cipher(algorithms.AES(IRK), modes.ECB()).encryptor()  # noqa: S305 - one block
    return (random + block.update(bytes(13) + random)[-3:]).hex()


def heard(resolver: Resolver, ad: bytes) -> list[Reading]:
    """Let a tag change its address again and again; gives what leaves the agent."""
    start = SystemClock().now() - timedelta(minutes=ROTATIONS)
    found = [
        resolver.resolve(
            Advert(
                rotating_address(n),
                ad,
                rssi_dbm=-61,
                at=start + timedelta(minutes=n),
                elapsed_s=60.0 * n,
                random_address=True,
            )
        )
        for n in range(ROTATIONS)
    ]
    return [reading for reading in found if reading is not None]


@pytest.mark.parametrize(
    ("identity", "keys", "ad", "events"),
    [
        ("key:crate-7", {"tag-1": {"irk": IRK.hex()}}, VALUES, ROTATIONS),
        (COMPANION_ID, None, COMPANION, ROTATIONS),
        ("key:crate-7", None, VALUES, 0),
        (f"mac:{rotating_address(0)}", None, VALUES, 1),
    ],
    ids=["by its key", "by its companion", "without the key", "by an address that it had"],
)
async def test_s2_a_rotating_address_is_one_tag_only_by_a_key_or_a_companion(
    database_url: str, identity: str, keys: dict[str, dict[str, str]] | None, ad: bytes, events: int
) -> None:
    enrolled = {"tags": [{"tag_id": "tag-1", "identities": [identity]}]}
    readings = heard(Resolver(Enrolment.parse(enrolled, keys)), ad)
    tag = TagRegistered(tag_id="tag-1", identities=(identity,))
    _, key = await prepared(database_url, facts=[tag])
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        served(ingest_app(settings_for(database_url))) as url,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as api,
    ):
        items = [timed(item_of(r, "gw-1"), r.at, r.at, 1.0) for r in readings]
        await api.post("/v1/sightings", json={"gateway_id": "gw-1", "sightings": items})
        page = (await api.get("/v1/events", params={"types": "tag.sighted", "limit": 1000})).json()

    assert [e["subject"] for e in page["items"]] == ["tag-1"] * events
    assert not any(rotating_address(n) in str(page) for n in range(ROTATIONS))
