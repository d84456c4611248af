"""BLE adverts: what they say openly is read, finding networks stay anonymous, all bytes are safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gateway_samples import RECEIVED_AT

from tagtrail_ingest.adapters import ADAPTERS, Message, UnreadableError
from tagtrail_ingest.adapters.adverts import Advert, read_advert, read_parts

ANONYMOUS = ("apple-findmy", "google-fmdn", "samsung-smarttag")

EXPECTED: dict[str, dict[str, Any]] = {
    "xiaomi-LYWSDCGQ-plain": {"temperature_c": 25.4, "humidity_pct": 58.4, "sequence": 218},
    "xiaomi-LYWSD03MMC-plain": {"temperature_c": 27.2, "humidity_pct": 49.0},
    "xiaomi-CGG1-encrypted-v5": {"temperature_c": None, "humidity_pct": None},
    "ibeacon-generic": {"rssi_1m_dbm": -59},
    "ibeacon-bluecharm": {"rssi_1m_dbm": -59},
    "ibeacon-short-malformed": {"rssi_1m_dbm": None},
    "eddystone-tlm": {"battery_mv": 2840, "temperature_c": 19.0},
    "eddystone-tlm-bluecharm": {"battery_mv": 3070, "temperature_c": 28.0},
    "bthome2-packet-battery": {"sequence": 9, "battery_pct": 97},
    "bthome2-encrypted": {"temperature_c": None},
}
IDENTITIES = {
    "xiaomi-LYWSDCGQ-plain": ["mac:582d34359321"],
    "xiaomi-CGG1-encrypted-v5": ["mac:5a582d34125f"],
    "ibeacon-generic": ["ibeacon:e2c56db5dffb48d2b060d0f5a71096e0:100:0"],
    "ibeacon-bluecharm": ["ibeacon:426c7565436861726d426561636f6e73:3838:4949"],
    "ibeacon-short-malformed": [],
    "eddystone-eid": [],
    "bthome2-packet-battery": [],
}


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> dict[str, dict[str, Any]]:
    listed = json.loads((shared_data / "adverts.json").read_text())["vectors"]
    return {v["name"]: v for v in listed}


def advert(vector: dict[str, Any]) -> Advert:
    return read_advert(bytes.fromhex(vector["ad_hex"]))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_open_advert_gives_the_published_values(
    vectors: dict[str, dict[str, Any]], name: str
) -> None:
    fields = advert(vectors[name]).fields

    for member, value in EXPECTED[name].items():
        assert fields.get(member) == (value if value is None else pytest.approx(value)), member


@pytest.mark.parametrize("name", sorted(IDENTITIES))
def test_an_advert_names_its_sender_as_published(
    vectors: dict[str, dict[str, Any]], name: str
) -> None:
    assert advert(vectors[name]).identities == IDENTITIES[name]


def test_uptime_of_eddystone_is_in_tenths_of_a_second(vectors: dict[str, dict[str, Any]]) -> None:
    extra = advert(vectors["eddystone-tlm"]).extra

    assert extra == {"advert_count": 5223, "uptime_s": 1094.8}


def test_s3_no_finding_network_names_anybody(vectors: dict[str, dict[str, Any]]) -> None:
    frames = [v for v in vectors.values() if v["kind"] in ANONYMOUS]

    assert len(frames) >= 9
    assert all(advert(v).anonymous for v in frames)
    assert all(advert(v).identities == [] for v in frames)


def test_s3_open_adverts_are_not_taken_for_finding_networks(
    vectors: dict[str, dict[str, Any]],
) -> None:
    others = [v for v in vectors.values() if v["kind"] not in ANONYMOUS]

    assert len(others) >= 14
    assert not any(advert(v).anonymous for v in others)


def test_s3_a_dult_frame_is_anonymous() -> None:
    assert read_advert(bytes.fromhex("0616b2fc010203")).anonymous


@pytest.mark.parametrize(
    ("route", "build"),
    [
        ("minew", lambda ad: json.dumps([
            {"type": "Gateway", "mac": "AC233FC03641"},
            {"type": "Unknown", "mac": "FB6D083D25A4", "rssi": -60, "rawData": ad},
        ])),
        ("minew", lambda ad: binary_long(bytes.fromhex(ad)).hex().upper()),
        ("aprilbrother", lambda ad: json.dumps(
            {"mac": "AC233FC03641", "devices": ["00fb6d083d25a4aa" + ad]}
        )),
        ("cassia", lambda ad: json.dumps({
            "action": "data.scan", "gateway": "AC:23:3F:C0:36:41",
            "data": [{"bdaddrs": [{"bdaddr": "FB:6D:08:3D:25:A4"}], "rssi": -60, "adData": ad}],
        })),
        ("raddec", lambda ad: json.dumps({
            "transmitterId": "fb6d083d25a4", "transmitterIdType": 3,
            "rssiSignature": [{"receiverId": "ac233fc03641", "rssi": -60}],
            "packets": ["4225a4253d086dfb" + ad],
        })),
        ("ruuvi", lambda ad: json.dumps({"data": {"gw_mac": "AC:23:3F:C0:36:41", "tags": {
            "FB:6D:08:3D:25:A4": {"rssi": -60, "data": ad},
        }}})),
    ],
)  # fmt: skip
def test_s3_no_gateway_format_lets_a_foreign_tracker_through(
    vectors: dict[str, dict[str, Any]], route: str, build: Any
) -> None:
    ad = vectors["findmy-separated-airtag-worked-example"]["ad_hex"]
    message = Message(payload=build(ad).encode(), received_at=RECEIVED_AT, route=route)

    decoded = ADAPTERS[route].decode(message)

    assert decoded.readings == ()
    assert [r.reason for r in decoded.refused] == ["anonymous_tracker"]
    assert "fb6d083d25a4" not in repr(decoded).lower().replace(":", "")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("home/g/BTtoMQTT/FB6D083D25A4",
         {"id": "FB:6D:08:3D:25:A4", "rssi": -60, "manufacturerdata": "4c0012025402"}),
        ("home/g/BTtoMQTT/FB6D083D25A4",
         {"id": "FB:6D:08:3D:25:A4", "rssi": -60, "servicedatauuid": "0xfeaa",
          "servicedata": "40" + "00" * 20}),
        ("home/g/BTtoMQTT/FB6D083D25A4",
         {"id": "FB:6D:08:3D:25:A4", "rssi": -60, "model": "AirTag"}),
        ("espresense/devices/apple:findmy/office",
         {"mac": "fb6d083d25a4", "id": "apple:findmy", "rssi": -60, "rssi@1m": -59}),
    ],
)  # fmt: skip
def test_s3_no_topic_lets_a_foreign_tracker_through(topic: str, payload: dict[str, Any]) -> None:
    name = "espresense" if topic.startswith("espresense") else "openmqttgateway"
    body = json.dumps(payload).encode()

    decoded = ADAPTERS[name].decode(Message(payload=body, received_at=RECEIVED_AT, topic=topic))

    assert decoded.readings == ()
    assert [r.reason for r in decoded.refused] == ["anonymous_tracker"]


def test_ruuvi_format_5_is_read_as_its_maker_publishes_it() -> None:
    """The valid-data vector of the maker's own specification of data format 5."""
    valid = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")

    advert = read_parts(b"\x99\x04" + valid)

    assert advert.fields == {
        "temperature_c": 24.3, "humidity_pct": 53.49, "battery_mv": 2977, "tx_power_dbm": 4,
        "sequence": 205,
    }  # fmt: skip
    assert advert.extra == {
        "pressure_pa": 100044, "acceleration_x_mg": 4, "acceleration_y_mg": -4,
        "acceleration_z_mg": 1036, "movement_counter": 66,
    }  # fmt: skip
    assert advert.identities == ["mac:cbb8334c884f"]


def test_ruuvis_invalid_values_are_none() -> None:
    invalid = bytes.fromhex("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF")

    advert = read_parts(b"\x99\x04" + invalid)

    assert (advert.fields, advert.extra, advert.identities) == ({}, {}, [])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("4002ca0903bf13", {"temperature_c": 25.06, "humidity_pct": 50.55}),
        ("400c020c", {"battery_mv": 3074}),
        ("402101", {"motion": True}),
        ("4000ff2d01", {"sequence": 255}),
        ("4001650201", {}),
        ("4045f6ff", {"temperature_c": -1.0}),
    ],
)
def test_bthome_objects_are_read_in_order(data: str, expected: dict[str, Any]) -> None:
    advert = read_parts(None, [(0xFCD2, bytes.fromhex(data))])

    assert advert.fields == expected


def test_power_at_one_metre_of_eddystone_is_41_db_below_its_power_at_zero() -> None:
    advert = read_parts(None, [(0xFEAA, bytes.fromhex("00e800112233445566778899aabbccddeeff0000"))])

    assert advert.fields == {"rssi_1m_dbm": -24 - 41}
    assert advert.identities == ["eddystone:00112233445566778899:aabbccddeeff"]


def test_structures_after_a_broken_one_are_ignored() -> None:
    whole = bytes.fromhex("02011a020a0c")

    assert read_advert(whole).fields == {"tx_power_dbm": 12}
    assert read_advert(b"\x7f\xff" + whole).fields == {}
    assert read_advert(b"\x00" + whole).fields == {}


@given(st.binary(max_size=64))
@settings(max_examples=2000, deadline=None)
def test_any_bytes_are_an_advert(data: bytes) -> None:
    advert = read_advert(data)
    parts = read_parts(data, [(0xFEAA, data), (0xFE95, data), (0xFCD2, data), (0xFCB2, data)])

    assert parts.anonymous
    assert all(":" in identity for identity in (*advert.identities, *parts.identities))


@given(st.integers(0, 0xFFFF), st.integers(0, 255), st.binary(max_size=24))
@settings(max_examples=500, deadline=None)
def test_what_an_advert_says_is_always_in_range(company: int, kind: int, body: bytes) -> None:
    data = bytes([kind]) + body
    ad = bytes([len(data) + 3, 0xFF]) + company.to_bytes(2, "little") + data
    message = Message(payload=binary_long(ad), received_at=RECEIVED_AT, route="minew")

    decoded = ADAPTERS["minew"].decode(message)

    assert {r.reason for r in decoded.refused} <= {"anonymous_tracker"}


def binary_long(ad: bytes) -> bytes:
    """Build Minew's BB01 with one packet of one transmitter."""
    body = bytes.fromhex("ac233fc036410001fb6d083d25a40001")
    body += bytes([len(ad)]) + ad + b"\x06\xc4\xdd"
    return b"\xbb\x01" + (len(body) + 6).to_bytes(4, "big") + body


def connect(*ads: bytes, aoa: bytes = b"") -> bytes:
    """Build Minew's BB02 from its published lengths."""
    frames = b""
    for ad in ads:
        inner = b"\x01\x00\xc2\x00\x59\x00\x03\x8e\xd4" + bytes([len(ad)]) + ad + aoa
        frames += len(inner).to_bytes(2, "little") + inner
    size = 20 + len(frames)
    head = b"\xbb\x02" + bytes(4) + size.to_bytes(4, "little") + (size - 14).to_bytes(4, "little")
    return head + b"\x84\x3e" + (size - 20).to_bytes(4, "little") + frames


def test_minew_connect_frames_are_read_past_their_angles() -> None:
    ad = bytes.fromhex("0201061aff4c000215fda50693a4e24fb1afcfc6eb0764782527114cb9c5")
    body = connect(ad, b"", aoa=b"\x02\x00\xaa\xbb")
    message = Message(payload=body, received_at=RECEIVED_AT, topic="minew/AC233FC02F87")

    decoded = ADAPTERS["minew"].decode(message)

    assert [r.draft.gateway_id for r in decoded.readings] == ["ac233fc02f87"] * 2
    assert decoded.readings[0].identities == (
        "ibeacon:fda50693a4e24fb1afcfc6eb07647825:10001:19641", "mac:c2005900038e",
    )  # fmt: skip
    assert decoded.readings[1].identities == ("mac:c2005900038e",)


def test_minew_connect_without_a_topic_or_key_names_no_gateway() -> None:
    message = Message(payload=connect(b"", b""), received_at=RECEIVED_AT, route="minew")

    with pytest.raises(UnreadableError, match="no_gateway"):
        ADAPTERS["minew"].decode(message)


@pytest.mark.parametrize("cut", [1, 2, 10, 19])
def test_a_binary_body_cut_short_is_unreadable_as_a_whole(cut: int) -> None:
    for body in (binary_long(b"\x02\x0a\x04"), connect(b"\x02\x0a\x04")):
        with pytest.raises(UnreadableError):
            ADAPTERS["minew"].decode(
                Message(payload=body[:-cut], received_at=RECEIVED_AT, route="minew")
            )
