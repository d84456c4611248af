"""Formats beyond the shared vectors: examples of the makers' own documents, and edges."""

from __future__ import annotations

import struct

import pytest

from tagtrail_agent.decoding import decode, unseal
from tagtrail_agent.decoding.crypto import eax_open


def service(uuid: int, data: bytes) -> bytes:
    """Wrap service data into an AD structure."""
    return bytes([len(data) + 3, 0x16]) + struct.pack("<H", uuid) + data


def test_ruuvi_format_5_reads_the_makers_valid_example() -> None:
    decoded = decode(bytes.fromhex("1bff99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"))

    assert decoded.identities == ["mac:cbb8334c884f"]
    assert decoded.members == {
        "temperature_c": 24.3, "humidity_pct": 53.49, "pressure_pa": 100_044,
        "acceleration_x_mg": 4, "acceleration_y_mg": -4, "acceleration_z_mg": 1036,
        "tx_power_dbm": 4, "battery_mv": 2977, "movement_counter": 66, "sequence": 205,
    }  # fmt: skip


def test_ruuvi_format_5_leaves_out_what_the_sensor_does_not_know() -> None:
    decoded = decode(bytes.fromhex("1bff9904058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"))

    assert decoded.frames == ["ruuvi"]
    assert decoded.members == {}
    assert decoded.identities == []


def test_eddystone_uid_names_namespace_and_instance_and_its_power() -> None:
    data = bytes.fromhex("00ee") + bytes(range(10)) + bytes(range(6)) + b"\0\0"

    decoded = decode(service(0xFEAA, data))

    assert decoded.identities == ["eddystone:00010203040506070809:000102030405"]
    assert decoded.members == {"rssi_1m_dbm": -18 - 41}


def test_eddystone_url_is_spelled_out_and_is_no_identity() -> None:
    decoded = decode(service(0xFEAA, bytes.fromhex("10f803") + b"goo.gl/Aq18zF"))

    assert decoded.details["url"] == "https://goo.gl/Aq18zF"
    assert decode(service(0xFEAA, b"\x10\xf8\x01example\x07")).details["url"] == (
        "https://www.example.com"
    )
    assert decoded.identities == []


def test_bthome_reads_the_makers_example_and_several_objects() -> None:
    decoded = decode(bytes.fromhex("020106") + bytes.fromhex("0A16D2FC4002C40903BF13"))

    assert decoded.members == {"temperature_c": 25.0, "humidity_pct": 50.55}
    more = decode(service(0xFCD2, bytes.fromhex("40 0161 2101 0c6409 4a0200 53024142 3f0c00")))
    assert more.members == {
        "battery_pct": 97, "motion": True, "battery_mv": 200, "rotation_deg": 1.2,
    }  # fmt: skip


def test_bthome_keeps_what_stands_before_an_unknown_object() -> None:
    decoded = decode(service(0xFCD2, bytes.fromhex("40 0161 ee01 02c409")))

    assert decoded.members == {"battery_pct": 97}


def test_bthome_of_another_version_is_not_guessed_at() -> None:
    assert decode(service(0xFCD2, bytes.fromhex("20 0161"))).frames == []


def test_dult_says_whose_network_and_whether_the_owner_is_near() -> None:
    decoded = decode(service(0xFCB2, bytes.fromhex("0201")))

    assert decoded.network == "dult"
    assert decoded.details == {"network_id": 2, "network": "Google", "near_owner": True}
    assert decode(service(0xFCB2, bytes.fromhex("0100"))).details["near_owner"] is False


def test_an_unpaired_smarttag_is_anonymous_too() -> None:
    assert decode(service(0xFD59, bytes(8))).network == "smarttag"


def test_a_phone_near_an_airtag_is_not_one() -> None:
    assert decode(bytes.fromhex("02011a020a0c0aff4c00100503181a2b3c")).network is None


def test_mibeacon_says_motion_and_stillness() -> None:
    moving = decode(service(0xFE95, bytes.fromhex("4050 8d07 01 0f0003 640000")))
    still = decode(service(0xFE95, bytes.fromhex("4050 8d07 02 171004 78000000")))

    assert moving.members["motion"] is True
    assert moving.members["illuminance_lux"] == 100
    assert (still.members["motion"], still.members["still_s"]) == (False, 120)


def test_mibeacon_keeps_objects_that_it_does_not_know_but_nothing_of_persons() -> None:
    unknown = decode(service(0xFE95, bytes.fromhex("4050 8d07 01 344801 07")))
    fingerprint = decode(service(0xFE95, bytes.fromhex("4050 8d07 01 060005 0100000000")))

    assert unknown.members["mibeacon_4834"] == "07"
    assert set(fingerprint.members) == {"mibeacon_product", "sequence"}


@pytest.mark.parametrize(
    ("key", "nonce", "header", "plain", "sealed"),
    [
        (
            "91945D3F4DCBEE0BF45EF52255F095A4", "BECAF043B0A23D843194BA972C66DEBD",
            "FA3BFD4806EB53FA", "F7FB", "19DD5C4C9331049D0BDAB0277408F67967E5",
        ),
        (
            "01F74AD64077F2E704C0F60ADA3DD523", "70C3DB4F0D26368400A10ED05D2BFF5E",
            "234A3463C1264AC6", "1A47CB4933",
            "D851D5BAE03A59F238A23E39199DC9266626C40F80",
        ),
    ],
)  # fmt: skip
def test_eax_opens_the_vectors_of_its_authors_and_nothing_else(
    key: str, nonce: str, header: str, plain: str, sealed: str
) -> None:
    secret, number, beside = bytes.fromhex(key), bytes.fromhex(nonce), bytes.fromhex(header)
    content, tag = bytes.fromhex(sealed)[:-16], bytes.fromhex(sealed)[-16:]

    assert eax_open(secret, number, content, tag, beside) == bytes.fromhex(plain)
    assert eax_open(secret, number, content, tag[:2], beside) == bytes.fromhex(plain)
    assert eax_open(secret, number, content, bytes(16), beside) is None
    assert eax_open(secret, number, content, tag) is None


def test_encrypted_telemetry_without_its_clock_stays_closed() -> None:
    decoded = decode(service(0xFEAA, b"\x20\x01" + bytes(16)))

    assert decoded.frames == ["eddystone-etlm"]
    assert decoded.sealed is not None
    assert unseal(decoded.sealed, bytes(16), "c0ffee000001", 1024) is None
