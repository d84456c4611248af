"""Only enrolled tags leave the agent, whichever way they are recognised."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from tagtrail_agent.identity import Enrolment, Resolver
from tagtrail_agent.identity.rolling import eddystone_eid, fmdn_eid
from tagtrail_agent.readings import Advert, Reading

AT = datetime(2026, 11, 24, 12, 10, tzinfo=UTC)
PLAIN = bytes.fromhex("0c16d2fc400161020c0903bf13")
BEACON = bytes.fromhex("0201061aff4c000215f7826da64fa24e988024bc5b71e0893e0007002ac5")
BEACON_ID = "ibeacon:f7826da64fa24e988024bc5b71e0893e:7:42"
IRK = bytes.fromhex("ec0234a357c8ad05341010a60a397d9b")


def advert(address: str, ad: bytes = PLAIN, **more: Any) -> Advert:
    values: dict[str, Any] = {"rssi_dbm": -61, "at": AT, "elapsed_s": 100.0, **more}
    return Advert(address, ad, **values)


def tag(tag_id: str, *identities: str) -> dict[str, Any]:
    return {"tag_id": tag_id, "identities": list(identities)}


def resolver(*tags: dict[str, Any], keys: dict[str, Any] | None = None) -> Resolver:
    return Resolver(Enrolment.parse({"tags": tags}, keys))


def private_address(irk: bytes, random: bytes) -> str:
    """Make a resolvable private address as a tag does: 24 random bits, then their hash."""
    prand = bytes([random[0] & 0x3F | 0x40]) + random[1:3]
    encrypt = Cipher(algorithms.AES(irk), modes.ECB()).encryptor()  # noqa: S305 - one block
    return (prand + encrypt.update(bytes(13) + prand)[-3:]).hex()


def service(data: bytes) -> bytes:
    """Wrap Eddystone service data."""
    return bytes([len(data) + 3, 0x16, 0xAA, 0xFE]) + data


def test_an_enrolled_address_gives_a_reading_with_all_that_was_decoded() -> None:
    heard = resolver(tag("t1", "mac:5448e68f80a5")).resolve(
        advert("5448e68f80a5", gateway_id="gw-2")
    )

    assert heard == Reading(
        "mac:5448e68f80a5",
        AT,
        100.0,
        {"rssi_dbm": -61, "battery_pct": 97, "temperature_c": 23.16, "humidity_pct": 50.55},
        "gw-2",
    )


def test_a_companion_beacon_is_one_tag_over_all_its_addresses() -> None:
    desk = resolver(tag("t1", BEACON_ID))

    names = {
        heard.tag
        for n in range(50)
        if (heard := desk.resolve(advert(f"5a00000000{n:02x}", BEACON))) is not None
    }

    assert names == {BEACON_ID}
    assert desk.counts.totals == {"resolved": 50}


def test_a_private_address_resolves_by_its_key_and_only_by_it() -> None:
    enrolled = tag("t1", "key:crate-7")
    keys = {"t1": {"irk": IRK.hex()}}
    addresses = [private_address(IRK, bytes([n, n + 1, n + 2])) for n in range(20)]

    desk, stranger = resolver(enrolled, keys=keys), resolver(enrolled)

    for address in addresses:
        heard = desk.resolve(advert(address, random_address=True))
        assert heard is not None
        assert heard.tag == "key:crate-7"
        assert stranger.resolve(advert(address, random_address=True)) is None
    assert stranger.counts.totals == {"unknown_rotating": 20}


def test_the_core_specifications_example_of_a_private_address_resolves() -> None:
    """Bluetooth Core, Vol 3 Part H, D.7: hash 0dfbaa of prand 708194."""
    desk = resolver(tag("t1", "key:a"), keys={"t1": {"irk": IRK.hex()}})

    assert private_address(IRK, bytes.fromhex("708194")) == "7081940dfbaa"
    assert desk.resolve(advert("7081940dfbaa")) is not None
    assert desk.resolve(advert("7081940dfbab")) is None
    assert desk.resolve(advert("7081940dfbaa", random_address=False)) is None


def test_a_key_written_as_an_identity_is_not_shown_if_there_is_another_name() -> None:
    named = resolver(tag("t1", f"irk:{IRK.hex()}", "key:anna")).resolve(advert("7081940dfbaa"))

    assert named is not None
    assert named.tag == "key:anna"


@pytest.mark.parametrize("drift_s", [-1500, 0, 1500])
def test_an_ephemeral_identifier_resolves_by_its_key_and_clock_and_learns_drift(
    drift_s: int,
) -> None:
    key, exponent = bytes(range(16)), 10
    keys = {
        "t1": {
            "eddystone": {
                "key": key.hex(),
                "exponent": exponent,
                "clock_s": 65_280,
                "clock_at": "2026-11-24T12:00:00Z",
            }
        }
    }
    desk = resolver(tag("t1", "key:crate-7"), keys=keys)
    found = 0
    for hour in range(48):
        at = AT + timedelta(hours=hour)
        clock_s = 65_280 + 600 + hour * 3600 + drift_s + hour * 30
        ad = service(b"\x30\xee" + eddystone_eid(key, exponent, clock_s))
        heard = desk.resolve(advert(f"5c00000000{hour:02x}", ad, at=at))
        found += heard is not None and heard.tag == "key:crate-7"

    assert found == 48


def test_many_keys_are_computed_in_steps_and_all_tags_are_found_within_seconds() -> None:
    clock = {"clock_s": 5000, "clock_at": "2026-11-24T12:00:00Z"}
    keys = {f"t{n}": {"fmdn": {"key": f"{n:064x}", **clock}} for n in range(30)}
    desk = resolver(*(tag(t, f"key:{t}") for t in keys), keys=keys)
    frames = [
        service(b"\x40" + fmdn_eid(n.to_bytes(32, "big"), 10, 5600) + b"\0") for n in range(30)
    ]
    rounds = 0
    found: set[str] = set()
    while len(found) < 30 and rounds < 5:
        rounds += 1
        for number, ad in enumerate(frames):
            heard = desk.resolve(advert(f"5d00000000{number:02x}", ad, elapsed_s=2.0 * rounds))
            found |= {heard.tag} if heard else set()

    assert found == {f"key:t{n}" for n in range(30)}
    assert rounds <= 2


def test_an_ephemeral_identifier_of_another_time_or_key_is_a_strangers() -> None:
    key = {"key": "00" * 16, "clock_s": 0, "clock_at": "2026-11-24T12:00:00Z"}
    desk = resolver(tag("t1", "key:a"), keys={"t1": {"eddystone": key}})
    late = service(b"\x30\xee" + eddystone_eid(bytes(16), 10, 100_000))
    other = service(b"\x30\xee" + eddystone_eid(bytes(range(16)), 10, 600))

    assert desk.resolve(advert("5c0000000001", late)) is None
    assert desk.resolve(advert("5c0000000002", other)) is None
    assert desk.counts.totals == {"unknown_rotating": 2}


def test_encrypted_telemetry_is_read_beside_its_identifier() -> None:
    key, clock = bytes(range(16)), datetime(2026, 11, 24, 12, tzinfo=UTC)
    keys = {"t1": {"eddystone": {"key": key.hex(), "clock_s": 4096, "clock_at": clock.isoformat()}}}
    desk = resolver(tag("t1", "key:a"), keys=keys)
    eid = service(b"\x30\xee" + eddystone_eid(key, 10, 4096))
    sealed = service(b"\x20\x01" + seal_telemetry(key, 4096))

    assert desk.resolve(advert("5c0000000001", sealed, at=clock)) is None
    assert desk.resolve(advert("5c0000000001", eid, at=clock)) is not None
    heard = desk.resolve(advert("5c0000000001", sealed, at=clock))

    assert heard is not None
    assert heard.members["battery_mv"] == 2840
    assert heard.members["temperature_c"] == 19.0


def seal_telemetry(key: bytes, time_s: int) -> bytes:
    """Encrypt a TLM frame by AES-EAX as a beacon does, written from the paper's formulas."""

    def omac(number: int, part: bytes) -> bytes:
        code = CMAC(algorithms.AES(key))
        code.update(number.to_bytes(16, "big") + part)
        return code.finalize()

    salt = b"\x12\x34"
    start = omac(0, time_s.to_bytes(4, "big") + salt)
    plain = bytes.fromhex("0b1813000000146700002ac4")
    stream = Cipher(algorithms.AES(key), modes.CTR(start)).encryptor()
    sealed = stream.update(plain)
    tag_ = bytes(a ^ b ^ c for a, b, c in zip(start, omac(1, b""), omac(2, sealed), strict=True))
    return sealed + salt + tag_[:2]


def test_a_find_hub_tag_resolves_by_its_owners_key_and_nobody_elses() -> None:
    key = bytes(range(32))
    clock = {"key": key.hex(), "clock_s": 1_700_000_000, "clock_at": "2026-11-24T12:00:00Z"}
    desk = resolver(tag("t1", "key:a"), keys={"t1": {"fmdn": clock}})
    ours = service(b"\x41" + fmdn_eid(key, 10, 1_700_000_600) + b"\x00")
    foreign = service(b"\x40" + fmdn_eid(bytes(32), 10, 1_700_000_600) + b"\x00")

    heard = desk.resolve(advert("5d0000000001", ours))

    assert heard is not None
    assert heard.tag == "key:a"
    assert desk.resolve(advert("5d0000000002", foreign)) is None
    assert desk.counts.totals == {"resolved": 1, "anonymous_fmdn": 1}


def test_the_find_hub_identifier_is_that_of_other_programs() -> None:
    eid = fmdn_eid(bytes(range(32)), 10, 1_700_000_000)

    assert eid.hex() == "6f3bcc7d38665e6cadf7ca48e9ce6d3ea3942d83"


def test_a_frame_without_a_name_belongs_to_whom_its_address_named_itself_by() -> None:
    desk = resolver(tag("t1", "eddystone:00010203040506070809:000102030405"))
    uid = service(b"\x00\xee" + bytes(range(10)) + bytes(range(6)) + b"\0\0")
    telemetry = bytes.fromhex("1116aafe20000b1813000000146700002ac4")

    assert desk.resolve(advert("c30000000001", telemetry)) is None
    assert desk.resolve(advert("c30000000001", uid)) is not None
    soon = desk.resolve(advert("c30000000001", telemetry, elapsed_s=900.0))
    late = desk.resolve(advert("c30000000001", telemetry, elapsed_s=1001.0))

    assert soon is not None
    assert soon.members["battery_mv"] == 2840
    assert late is None


def test_encrypted_values_open_for_enrolled_tags_with_their_keys(shared_data: Path) -> None:
    vectors = json.loads((shared_data / "adverts.json").read_text())["vectors"]
    checked = 0
    for vector in vectors:
        if not vector["bindkey"]:
            continue
        address = vector["address"].replace(":", "").lower()
        kind = "bthome" if vector["kind"] == "bthome2" else "mibeacon"
        ad = bytes.fromhex(vector["ad_hex"])
        enrolled = tag("t1", f"mac:{address}")
        keyed = resolver(enrolled, keys={"t1": {kind: vector["bindkey"]}})
        keyless = resolver(enrolled)

        with_key, without = keyed.resolve(advert(address, ad)), keyless.resolve(advert(address, ad))

        assert with_key is not None
        assert without is not None
        assert "encryption_counter" in with_key.members
        assert "encryption_counter" not in without.members
        assert without.members["rssi_dbm"] == -61
        assert keyless.counts.totals["sealed_unopened"] == 1
        checked += 1
    assert checked >= 5


def test_values_that_the_wire_does_not_carry_are_left_out() -> None:
    desk = resolver(tag("t1", "mac:5448e68f80a5"))
    hot = bytes.fromhex("0a16d2fc404510274affff")
    heard = desk.resolve(advert("5448e68f80a5", hot, rssi_dbm=127))

    assert heard is not None
    assert heard.members == {"temperature_c": 1000.0}


def test_readings_of_readers_and_phones_pass_if_enrolled_or_of_a_range() -> None:
    document = {"tags": [tag("t1", "nfc:04a2b3c4d5e680")], "ranges": ["epc:3034257bf7*"]}
    desk = Resolver(Enrolment.parse(document))

    def admit(name: str) -> str | None:
        reading = desk.admit(Reading(name, AT, 1.0, {"rssi_dbm": -50.0, "antenna": 2}))
        return reading.tag if reading else None

    assert admit("NFC:04a2b3c4d5e680") == "nfc:04a2b3c4d5e680"
    assert admit("epc:3034257bf7194e4000001a85") == "epc:3034257BF7194E4000001A85"
    assert admit("epc:3134257bf7194e4000001a85") is None
    assert admit("mac:c0ffee000001") is None
    assert admit("nonsense") is None
    assert desk.counts.totals == {
        "resolved": 2, "unknown_epc": 1, "unknown_mac": 1, "unknown_other": 1,
    }  # fmt: skip


def test_every_advert_is_counted_once_by_hour_and_kind() -> None:
    desk = resolver(tag("t1", "mac:5448e68f80a5"))
    heard = [
        advert("5448e68f80a5"),
        advert("c0ffee000001", random_address=True),
        advert("4bffee000001", random_address=True),
        advert("30ffee000001", random_address=False),
        advert("30ffee000002", BEACON),
        advert("c0ffee000003", bytes.fromhex("07ff4c0012025402")),
    ]
    for one in heard:
        desk.resolve(one)
        desk.resolve(replace(one, at=AT + timedelta(hours=1)))

    first, second = AT.replace(minute=0), AT.replace(hour=13, minute=0)
    expected = {
        "resolved": 1, "unknown_static": 1, "unknown_rotating": 1, "unknown_public": 1,
        "unknown_beacon": 1, "anonymous_findmy": 1,
    }  # fmt: skip
    assert desk.counts.hours() == {first: expected, second: expected}
    assert desk.counts.take_hours(AT + timedelta(hours=1)) == [(first, expected)]
    assert desk.counts.hours() == {second: expected}
    assert sum(desk.counts.totals.values()) == 12


def test_a_clock_that_jumps_keeps_at_most_a_days_hours() -> None:
    desk = resolver()
    for hour in range(100):
        desk.resolve(advert("c0ffee000001", at=AT - timedelta(hours=hour)))

    assert len(desk.counts.hours()) <= 26
    assert desk.counts.totals["unknown_address"] == 100


@pytest.mark.parametrize("address", ["", "x", "4", "4bff", "4bffee00000zz", "not an address"])
def test_an_address_that_is_none_raises_nothing(address: str) -> None:
    desk = resolver(tag("t1", "key:a"), keys={"t1": {"irk": IRK.hex()}})

    assert desk.resolve(advert(address)) is None
