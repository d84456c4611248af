"""One crate's way through a warehouse, as five technologies tell it.

Every teller sends what its gateways or people really send: adverts through two makes of BLE
gateway, reads of an RFID reader, taps and entries of people. None sends a zone sequence; each is
the same truth in another language.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

ZONES: Final = {
    "inbound": "inbound", "store": "storage", "packing": "staging", "out": "outbound",
}  # fmt: skip
PATH: Final = ((0, "inbound"), (4, "store"), (8, "packing"), (12, "out"))
"""Minute of arrival and zone."""

END_MIN: Final = 16
NEAR_DBM, FAR_DBM = -52, -84
STEP_S: Final = 10

XIAOMI_MAC: Final = "582d34359321"
XIAOMI_ADVERT: Final = "020106151695fe5020aa01da219335342d580d1004fe004802"
"""A real MiBeacon frame with temperature and humidity (shared test data, adverts.json)."""

COMPANION_UUID: Final = "f7826da64fa24e988024bc5b71e0893e"
COMPANION_ADVERT: Final = "0201061aff4c000215" + COMPANION_UUID + "0007002ac5"
TILE_ADVERT: Final = "0201060d16ecfe0200c58aaccd312f479e"
EPC: Final = "7EDA9038051002710002C0AE"


@dataclass(frozen=True, slots=True)
class Post:
    """One request.

    Attributes:
        path: Where to.
        body: JSON.
    """

    path: str
    body: Any


@dataclass(frozen=True, slots=True)
class Teller:
    """A technology.

    Attributes:
        identity: What its tag is heard by.
        model: Key of the tag model.
        posts: Gives the requests that tell the path, in order, for the path's start; those of one
            list at the same time.
    """

    identity: str
    model: str
    posts: Callable[[datetime], Iterator[list[Post]]]


def zone_at(minute: float) -> str:
    """Return where the crate is."""
    return [zone for since, zone in PATH if since <= minute][-1]


def address(make: str, zone: str) -> str:
    """Return the radio address of a zone's BLE gateway, 12 digits."""
    return {"minew": "ac233fc0000", "ruuvi": "c8252d8e000"}[make] + str(list(ZONES).index(zone))


def text(at: datetime) -> str:
    """Return a time as gateways write it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _moments(start: datetime) -> Iterator[tuple[datetime, dict[str, int]]]:
    """Yield times, and the power in dBm that each zone's gateway measures then."""
    for turn in range(END_MIN * 60 // STEP_S):
        here = zone_at(turn * STEP_S / 60)
        levels = {
            zone: (NEAR_DBM if zone == here else FAR_DBM) + (turn * 3 + number) % 5 - 2
            for number, zone in enumerate(ZONES)
        }
        yield start + timedelta(seconds=turn * STEP_S), levels


def xiaomi(start: datetime) -> Iterator[list[Post]]:
    """A Xiaomi tag with a fixed address: MiBeacon adverts through Minew gateways."""
    for at, levels in _moments(start):
        posts = []
        for zone, rssi_dbm in levels.items():
            gateway = {"type": "Gateway", "mac": address("minew", zone), "timestamp": text(at)}
            heard = {"mac": XIAOMI_MAC, "rssi": rssi_dbm, "rawData": XIAOMI_ADVERT}
            posts.append(Post("/v1/messages/minew", [gateway, heard | {"timestamp": text(at)}]))
        yield posts


def tile(start: datetime) -> Iterator[list[Post]]:
    """A Tile, whose own frames are nobody's to follow, with a companion iBeacon on its ring.

    The companion changes its address every five minutes; Ruuvi gateways hear both.
    """
    for at, levels in _moments(start):
        turn, seconds = int((at - start).total_seconds()) // 300, int(at.timestamp())
        posts = []
        for zone, rssi_dbm in levels.items():
            heard = {"rssi": rssi_dbm, "timestamp": seconds}
            tags = {
                f"5A:00:00:00:00:{turn:02X}": heard | {"data": COMPANION_ADVERT.upper()},
                f"5B:00:00:00:00:{turn:02X}": heard | {"data": TILE_ADVERT.upper()},
            }
            data = {"timestamp": seconds, "gw_mac": address("ruuvi", zone), "tags": tags}
            posts.append(Post("/v1/messages/ruuvi", {"data": data}))
        yield posts


def rfid(start: datetime) -> Iterator[list[Post]]:
    """A passive RFID label: a burst of reads by the Impinj reader of each zone on arrival."""
    for minute, zone in PATH:
        events = []
        for n in range(5):
            at = text(start + timedelta(minutes=minute, milliseconds=200 * n))
            read = {
                "epc": base64.b64encode(bytes.fromhex(EPC)).decode(), "epcHex": EPC,
                "antennaPort": 1 + n % 2, "peakRssiCdbm": -5200 - 40 * n, "lastSeenTime": at,
            }  # fmt: skip
            head = {"timestamp": at, "hostname": f"reader-{zone}", "eventType": "tagInventory"}
            events.append(head | {"tagInventoryEvent": read})
        yield [Post("/v1/messages/impinj", events)]


def nfc(start: datetime) -> Iterator[list[Post]]:
    """An NFC label: a tap with actor and counter at each zone's tap point."""
    for counter, (minute, zone) in enumerate(PATH, 41):
        at = start + timedelta(minutes=minute)
        yield [_tap("nfc:04a2b3c4d5e680", at, zone, counter=counter)]


def airtag(start: datetime) -> Iterator[list[Post]]:
    """An AirTag: taps of its NFC address, and places that people looked up and entered."""
    for number, (minute, zone) in enumerate(PATH):
        at = start + timedelta(minutes=minute)
        if number % 2 == 0:
            yield [_tap("nfc:found.apple.com/gx7k2abc0def", at, zone)]
        else:
            entered = {
                "tag": "nfc:found.apple.com/gx7k2abc0def", "at": text(at), "zone": zone,
                "source_class": "crowd_shared", "technology": "unknown", "actor_id": "operator-7",
                "shared_from": "the app of its owner",
            }  # fmt: skip
            yield [Post("/v1/sightings", {"gateway_id": "entry-form", "sightings": [entered]})]


def _tap(identity: str, at: datetime, zone: str, **more: object) -> Post:
    item = {
        "tag": identity, "at": text(at), "technology": "nfc", "source_class": "own_phone",
        "actor_id": "operator-7", **more,
    }  # fmt: skip
    return Post("/v1/sightings", {"gateway_id": f"tap-{zone}", "sightings": [item]})


TELLERS: Final = {
    "Xiaomi tag": Teller(f"mac:{XIAOMI_MAC}", "xiaomi-tag", xiaomi),
    "AirTag": Teller("nfc:found.apple.com/gx7k2abc0def", "apple-airtag", airtag),
    "Tile": Teller(f"ibeacon:{COMPANION_UUID}:7:42", "tile-pro", tile),
    "passive RFID": Teller(f"epc:{EPC}", "rfid-label", rfid),
    "NFC label": Teller("nfc:04a2b3c4d5e680", "nfc-label", nfc),
}
"""The five technologies of requirement S1."""


def warehouse(start: datetime, teller: Teller) -> list[dict[str, Any]]:
    """Return what is known before: places and their receivers of every make, the crate, its goods.

    The same for every technology but for the tag's identity and model.
    """
    facts: list[tuple[str, dict[str, Any]]] = [
        ("site.registered", {"site_id": "hall", "name": "H"})
    ]
    for number, (zone, kind) in enumerate(ZONES.items()):
        x = 20.0 * number
        outline = [[x, 0.0], [x + 20, 0.0], [x + 20, 10.0], [x, 10.0]]
        place = {"zone_id": zone, "site_id": "hall"}
        facts.append(
            ("zone.registered", place | {"name": zone, "kind": kind, "outline_m": outline})
        )
        receivers = [
            address("minew", zone),
            address("ruuvi", zone),
            f"reader-{zone}",
            f"tap-{zone}",
        ]
        facts += [
            ("gateway.registered", place | {"gateway_id": g, "x_m": x + 10, "y_m": 5.0})
            for g in receivers
        ]
    tag = {"tag_id": "tag-1", "identities": [teller.identity], "model": teller.model}
    lines = [{"sku": "OIL-5L", "quantity": 24}, {"sku": "RICE-1", "quantity": 60, "lot": "L7"}]
    facts += [
        ("config.changed", {"section": "sources", "values": {"crowd_shared": {"accepted": True}}}),
        ("sku.registered", {"sku": "OIL-5L"}),
        ("sku.registered", {"sku": "RICE-1"}),
        ("tag.registered", tag),
        ("asset.registered", {"asset_id": "crate-1", "kind": "crate"}),
        ("tag.bound", {"tag_id": "tag-1", "asset_id": "crate-1"}),
        ("crate.packed", {"asset_id": "crate-1", "lines": lines}),
    ]
    before = (start - timedelta(minutes=5)).isoformat()
    return [{"type": name, "occurred_at": before, "data": data} for name, data in facts]


def picked(start: datetime) -> dict[str, Any]:
    """Return the fact that four units of oil were taken out in packing, after ten minutes."""
    return {
        "type": "crate.unpacked",
        "occurred_at": (start + timedelta(minutes=10)).isoformat(),
        "data": {"asset_id": "crate-1", "lines": [{"sku": "OIL-5L", "quantity": 4}]},
    }
