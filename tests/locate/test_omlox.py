"""The omlox Hub v2 face, with the objects that omlox's own Go client tests with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import websockets
from tests.support.locate_desk import LocateDesk
from tests.support.locate_scene import envelope, sighting, two_zones

from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    GatewayRegistered,
    SiteRegistered,
    TagBound,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.testing.deps import START, catch_up
from tagtrail_locate.omlox.ids import uuid_of
from tagtrail_locate.omlox.projection import OmloxObjects

OMLOX = "/omlox/v2"
CONTROL = [[7.815694, 48.130216], [0, 0], [7.815828, 48.130216], [9.947, 0]]


@pytest.fixture
def samples(shared_data: Path) -> dict[str, Any]:
    """Objects by the first word of their key."""
    text = (shared_data / "gateway-samples" / "omlox-hub-objects.json").read_text()
    return {key.split(" (")[0]: value for key, value in json.loads(text).items()}


async def _post(desk: LocateDesk, path: str, body: Any) -> Any:
    reply = await desk.http.post(OMLOX + path, json=body)
    assert reply.status_code == 201, reply.text
    assert reply.headers["location"].startswith(OMLOX)
    return reply.json()


async def _site(live: LocateDesk) -> str:
    """Create the site of the samples; returns the id of its zone."""
    zone = {"type": "uwb", "name": "Hall", "ground_control_points": CONTROL}
    return str((await _post(live, "/zones", zone))["id"])


async def test_the_samples_of_the_go_client_come_back_as_they_were_given(
    live: LocateDesk, samples: dict[str, Any]
) -> None:
    provider, trackable = samples["provider_full"], samples["trackable_full"]
    tag = {"id": trackable["location_providers"][0], "type": "uwb"}

    made = await _post(live, "/providers", provider)
    await _post(live, "/providers", tag)
    asset = await _post(live, "/trackables", trackable)

    assert {k: v for k, v in made.items() if k != "properties"} == {
        k: v for k, v in provider.items() if k != "properties"
    }
    assert made["properties"].items() >= provider["properties"].items()
    assert {k: v for k, v in asset.items() if k != "properties"} == {
        k: v for k, v in trackable.items() if k != "properties"
    }
    listed = (await live.http.get(f"{OMLOX}/providers")).json()
    assert sorted(listed) == sorted([provider["id"], tag["id"]])
    whole = (await live.http.get(f"{OMLOX}/trackables/summary")).json()
    assert [t["id"] for t in whole] == [trackable["id"]]
    by_other_spelling = await live.http.get(f"{OMLOX}/providers/AC233FACA387")
    assert by_other_spelling.json()["id"] == provider["id"]


async def test_a_location_that_is_sent_is_the_location_that_is_read(
    live: LocateDesk, samples: dict[str, Any]
) -> None:
    zone_id = await _site(live)
    await _post(live, "/fences", samples["fence"])
    await _post(live, "/providers", {"id": "ac:23:3f:af:f3:90", "type": "ibeacon"})
    asset = await _post(
        live, "/trackables", {"type": "virtual", "location_providers": ["AC233FAFF390"]}
    )
    place = samples["location_required"] | {"crs": "EPSG:4326", "accuracy": 0.5}

    sent = await live.http.put(f"{OMLOX}/providers/ac:23:3f:af:f3:90/location", json=place)

    assert sent.status_code == 204, sent.text
    location = await _until(live, "/providers/AC233FAFF390/location", crs="EPSG:4326")
    assert location["position"]["coordinates"] == pytest.approx(
        place["position"]["coordinates"][:2], abs=1e-7
    )
    assert (location["source"], location["crs"]) == (zone_id, "EPSG:4326")
    assert location["trackables"] == [asset["id"]]
    motion = (await live.http.get(f"{OMLOX}/trackables/{asset['id']}/motion")).json()
    assert motion["location"]["position"]["coordinates"] == pytest.approx([0.0, 0.0], abs=0.01)
    inside = (await live.http.get(f"{OMLOX}/providers/ac233faff390/fences")).json()
    assert [f["id"] for f in inside] == [samples["fence"]["id"].lower()]
    assert inside[0]["region"]["coordinates"][0][0] == pytest.approx(
        samples["fence"]["region"]["coordinates"][0][0], abs=1e-6
    )
    features = (
        await live.http.get(f"{OMLOX}/providers/locations", params={"geojson": True})
    ).json()
    assert features["features"][0]["geometry"]["type"] == "Point"


async def _until(live: LocateDesk, path: str, **query: str) -> Any:
    for _ in range(200):
        reply = await live.http.get(OMLOX + path, params=query)
        if reply.status_code == 200:
            return reply.json()
        await asyncio.sleep(0.05)
    raise AssertionError(reply.text)


async def test_a_proximity_puts_the_tag_at_the_reader(
    live: LocateDesk, samples: dict[str, Any]
) -> None:
    await _site(live)
    fence = {"name": "Dock", "crs": "local", "region": _square(0, 0, 5, 5)}
    dock = await _post(live, "/fences", fence)
    sample = samples["proximity"]
    reader = {
        "type": "rfid", "id": sample["source"], "foreign_id": "reader-7",
        "position": {"type": "Point", "coordinates": [7.815707, 48.130234]},
    }  # fmt: skip
    await _post(live, "/zones", reader)
    await _post(live, "/providers", {"id": sample["provider_id"], "type": "rfid"})

    sent = await live.http.put(f"{OMLOX}/providers/{sample['provider_id']}/proximity",
                               json=sample | {"source": "reader-7"})  # fmt: skip

    assert sent.status_code == 204, sent.text
    location = await _until(live, f"/providers/{sample['provider_id']}/location")
    assert location["properties"]["io.tagtrail"]["fence_id"] == dock["id"]
    ids = (await live.http.get(f"{OMLOX}/fences/{dock['id']}/providers")).json()
    assert ids == [sample["provider_id"]]
    by_foreign_id = await live.http.get(f"{OMLOX}/zones", params={"foreign_id": "reader-7"})
    assert len(by_foreign_id.json()) == 1


def _square(x: float, y: float, width: float, depth: float) -> dict[str, Any]:
    ring = [[x, y], [x + width, y], [x + width, y + depth], [x, y + depth], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


async def test_a_collection_is_deleted_only_on_confirmation(live: LocateDesk) -> None:
    await _post(live, "/providers", {"id": "AABBCCDDEEFF", "type": "uwb"})

    refused = await live.http.delete(f"{OMLOX}/providers")
    done = await live.http.delete(f"{OMLOX}/providers", headers={"Tagtrail-Confirm": "delete-all"})

    assert refused.status_code == 409
    assert "Tagtrail-Confirm" in refused.json()["detail"]
    assert done.status_code == 204
    for _ in range(100):
        left = (await live.http.get(f"{OMLOX}/providers")).json()
        if not left:
            break
        await asyncio.sleep(0.02)
    assert left == []


async def test_a_binding_moves_with_the_trackable_that_claims_the_provider(
    live: LocateDesk,
) -> None:
    await _post(live, "/providers", {"id": "AABBCCDDEEFF", "type": "uwb"})
    first = await _post(
        live, "/trackables", {"type": "virtual", "location_providers": ["AABBCCDDEEFF"]}
    )
    second = await _post(
        live, "/trackables", {"type": "virtual", "location_providers": ["aa:bb:cc:dd:ee:ff"]}
    )

    now = (await live.http.get(f"{OMLOX}/trackables/{first['id']}")).json()
    bound = (await live.http.get(f"{OMLOX}/providers/AABBCCDDEEFF/trackables")).json()

    assert now["location_providers"] == []
    assert [t["id"] for t in bound] == [second["id"]]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/zones", {"type": "sonar"}, "type"),
        ("/zones", {"type": "uwb", "ground_control_points": [[1, 2]]}, "ground_control_points"),
        ("/zones", {"type": "uwb", "ground_control_points": [[7, 48], [0, 0], [8, 48], [1, 0]]},
         "metres"),
        ("/fences", {"region": {"type": "Polygon", "coordinates": [[[0, 0]]]}}, "region"),
        ("/fences", {"region": _square(0, 0, 1, 1), "crs": "local"}, "zone_id"),
        ("/providers", {"id": "x", "type": "sonar"}, "type"),
        ("/providers", {"type": "uwb"}, "id"),
        ("/trackables", {"type": "virtual", "exit_tolerance": -3}, "exit_tolerance"),
        ("/trackables", {"type": "virtual", "locating_rules": [{"expression": "type ="}]},
         "locating rule"),
        ("/trackables", [], "object"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_refused_with_the_member(
    live: LocateDesk, path: str, body: Any, word: str
) -> None:
    reply = await live.http.post(OMLOX + path, json=body)

    assert reply.status_code == 422, reply.text
    assert word in reply.json()["detail"]


async def test_unknown_things_are_404_and_known_ids_conflict(live: LocateDesk) -> None:
    await _post(live, "/providers", {"id": "AABBCCDDEEFF", "type": "uwb"})

    again = await live.http.post(
        f"{OMLOX}/providers", json={"id": "aa:bb:cc:dd:ee:ff", "type": "uwb"}
    )
    unknown = await live.http.get(f"{OMLOX}/trackables/{uuid_of('trackable', 'none')}")
    nowhere = await live.http.get(f"{OMLOX}/providers/AABBCCDDEEFF/location")

    assert (again.status_code, unknown.status_code, nowhere.status_code) == (409, 404, 404)


async def test_our_own_registrations_are_omlox_objects_too(desk: LocateDesk) -> None:
    await desk.append(
        [
            envelope(-2, SiteRegistered(site_id="hall", name="Hall", latitude_deg=48.13,
                                        longitude_deg=7.81)),
            envelope(-2, ZoneRegistered(zone_id="dock", site_id="hall", name="Dock",
                                        outline_m=((0, 0), (8, 0), (8, 6), (0, 6)))),
            envelope(-2, GatewayRegistered(gateway_id="gw-1", site_id="hall", x_m=1.0, y_m=2.0)),
            envelope(-2, TagRegistered(tag_id="tag-9", identities=("mac:ac233faca387",))),
            envelope(-2, AssetRegistered(asset_id="crate-1", name="Crate 1")),
            envelope(-1, TagBound(tag_id="tag-9", asset_id="crate-1")),
        ]
    )  # fmt: skip
    await catch_up(desk.deps, "locate", OmloxObjects())

    zones = (await desk.http.get(f"{OMLOX}/zones/summary")).json()
    [fence] = (await desk.http.get(f"{OMLOX}/fences/summary")).json()
    [asset] = (await desk.http.get(f"{OMLOX}/trackables/summary")).json()
    turned = await desk.http.put(
        f"{OMLOX}/zones/hall/transform",
        json={"position": {"type": "Point", "coordinates": [4.0, 3.0]}, "crs": "local"},
    )
    back = await desk.http.put(f"{OMLOX}/zones/hall/transform", json=turned.json())

    assert sorted(z["type"] for z in zones) == ["ibeacon", "uwb"]
    assert fence["id"] == uuid_of("fence", "dock")
    assert len(fence["region"]["coordinates"][0]) == 5
    assert asset["location_providers"] == ["AC233FACA387"]
    assert back.json()["position"]["coordinates"] == pytest.approx([4.0, 3.0], abs=1e-6)


async def test_a_key_without_the_scope_is_refused(live: LocateDesk) -> None:
    del live.http.headers["Authorization"]

    for path in ("/zones", "/fences/summary", "/trackables/motions", "/providers/locations"):
        assert (await live.http.get(OMLOX + path)).status_code == 401


@pytest.fixture
async def socket(live: LocateDesk) -> AsyncIterator[Any]:
    """A WebSocket with the key of the tests in its header."""
    address = str(live.http.base_url).rstrip("/").replace("http", "ws", 1) + OMLOX + "/ws/socket"
    headers = {"Authorization": live.http.headers["Authorization"]}
    async with websockets.connect(address, additional_headers=headers) as connected:
        yield connected


async def _heard(socket: Any) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 20))


async def test_a_subscriber_hears_locations_motions_and_fence_events(
    live: LocateDesk, socket: Any, samples: dict[str, Any]
) -> None:
    await live.append(two_zones())
    await live.append([envelope(-1, TagRegistered(tag_id="tag-1", identities=("mac:ac233faca387",))),
            envelope(-1, AssetRegistered(asset_id="crate-1")),
                       envelope(-1, TagBound(tag_id="tag-1", asset_id="crate-1"))])  # fmt: skip
    for topic in ("location_updates", "trackable_motions", "fence_events"):
        await socket.send(json.dumps({"event": "subscribe", "topic": topic}))
        assert (await _heard(socket))["event"] == "subscribed"
    await asyncio.sleep(0.2)
    walk = []
    for second in range(120):
        near, far = ("a", "b") if second < 60 else ("b", "a")
        walk += [sighting(second, f"gw-{near}", -55.0), sighting(second + 0.1, f"gw-{far}", -80.0)]
    live.clock.at = START + timedelta(seconds=121)
    await live.append(walk)

    heard: dict[str, list[Any]] = {}
    while not {"location_updates", "trackable_motions", "fence_events"} <= set(heard) or not any(
        e["event_type"] == "region_exit" for e in heard["fence_events"]
    ):
        message = await _heard(socket)
        heard.setdefault(message["topic"], []).extend(message["payload"])

    exits = [e for e in heard["fence_events"] if e["event_type"] == "region_exit"]
    assert {e["fence_id"] for e in exits} == {uuid_of("fence", "a")}
    assert {e["provider_id"] is None for e in exits} == {True, False}
    assert exits[0]["entry_time"] < exits[0]["exit_time"]
    assert heard["trackable_motions"][0]["id"] == uuid_of("trackable", "crate-1")


async def test_a_client_publishes_locations_and_errors_have_the_codes_of_the_hub(
    live: LocateDesk, socket: Any, samples: dict[str, Any]
) -> None:
    zone_id = await _site(live)
    sample = samples["ws message"]
    place = sample["payload"][0] | {"source": zone_id}
    await _post(live, "/providers", {"id": place["provider_id"], "type": "uwb"})

    await socket.send(json.dumps(sample | {"payload": [place]}))
    location = await _until(live, f"/providers/{place['provider_id']}/location")
    codes = []
    for message in (
        {"event": "dance"},
        {"event": "subscribe", "topic": "unknown_topic"},
        {"event": "subscribe", "topic": "collision_events"},
        {"event": "subscribe", "topic": "fence_events", "params": {"crs": "EPSG:3857"}},
        {"event": "unsubscribe", "subscription_id": 77},
        {"event": "message", "topic": "location_updates", "payload": [{"provider_id": "none"}]},
    ):
        await socket.send(json.dumps(message))
        codes.append((await _heard(socket))["code"])
    await socket.send("no json")
    codes.append((await _heard(socket))["code"])

    assert location["position"]["coordinates"] == [5.0, 4.0]
    assert codes == [10000, 10001, 10001, 10002, 10003, 10005, 10005]


async def test_a_client_without_a_key_is_not_served(live: LocateDesk) -> None:
    address = str(live.http.base_url).rstrip("/").replace("http", "ws", 1) + OMLOX + "/ws/socket"
    key = live.http.headers["Authorization"].removeprefix("Bearer ")

    async with websockets.connect(address) as stranger:
        await stranger.send(json.dumps({"event": "subscribe", "topic": "fence_events"}))
        refused = await _heard(stranger)
        await stranger.send(
            json.dumps({"event": "subscribe", "topic": "fence_events", "params": {"token": key}})
        )
        accepted = await _heard(stranger)

    assert refused["code"] == 10006
    assert accepted["event"] == "subscribed"
