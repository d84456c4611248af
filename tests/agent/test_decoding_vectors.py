"""Every outside test vector decodes to what its source says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tagtrail_agent.decoding import decode, unseal
from tagtrail_agent.decoding.apple import public_key
from tagtrail_agent.decoding.decoded import Decoded
from tagtrail_ingest.adapters.adverts import read_advert

MEMBERS = {
    "temperature": "temperature_c",
    "humidity": "humidity_pct",
    "battery": "battery_pct",
    "packet_id": "sequence",
    "voltage_mv": "battery_mv",
    "adv_count": "advert_count",
    "uptime_s": "uptime_s",
}
"""Our names of what the vectors call so."""

FRAMES = {"TLM": "eddystone-tlm", "EID": "eddystone-eid"}


def vectors(shared_data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared_data / "adverts.json").read_text())["vectors"]
    return found


def address_of(vector: dict[str, Any]) -> str:
    return (vector["address"] or "00:00:00:00:00:00").replace(":", "").lower()


def open_with_key(decoded: Decoded, vector: dict[str, Any]) -> None:
    """Add what the vector's key reveals."""
    if decoded.sealed is not None and vector["bindkey"]:
        key = bytes.fromhex(vector["bindkey"])
        opened = unseal(decoded.sealed, key, address_of(vector))
        assert opened is not None
        decoded.members.update(opened)


def check(decoded: Decoded, vector: dict[str, Any], name: str, expected: object) -> None:
    """Compare one expected field with what was decoded."""
    members, details = decoded.members, decoded.details
    if name == "encrypted":
        assert (decoded.sealed is not None) is expected
    elif name in ("uuid", "major", "minor"):
        uuid, major, minor = decoded.identities[0].removeprefix("ibeacon:").split(":")
        said = {"uuid": uuid, "major": int(major), "minor": int(minor)}
        assert said[name] == (str(expected).replace("-", "") if name == "uuid" else expected)
    elif name == "tx_power":
        given = details.get("power_at_0m_dbm", members["rssi_1m_dbm"])
        assert given == expected
    elif name == "event":
        assert members["button_event"] in ("dimmer press", "dimmer rotate")
    elif name == "decode":
        assert decoded == Decoded()
    elif name == "frame":
        said_frame = details.get("frame", decoded.frames[0])
        assert said_frame == FRAMES.get(str(expected), expected)
    elif name in ("eid", "eid_len"):
        assert decoded.ephemeral is not None
        eid = decoded.ephemeral[1]
        assert (eid.hex() if name == "eid" else len(eid)) == expected
    elif name == "public_key":
        assert public_key(decoded, address_of(vector)) == expected
    elif name in MEMBERS and decoded.network is None:
        assert members[MEMBERS[name]] == pytest.approx(expected)
    else:
        assert details[name] == expected


def test_every_vector_decodes_to_its_expected_fields(shared_data: Path) -> None:
    seen = 0
    for vector in vectors(shared_data):
        decoded = decode(bytes.fromhex(vector["ad_hex"]))
        open_with_key(decoded, vector)
        for name, expected in vector["expect"].items():
            check(decoded, vector, name, expected)
            seen += 1

    assert seen >= 24


def test_frames_of_finding_networks_name_nobody(shared_data: Path) -> None:
    networks = {"apple-findmy": "findmy", "samsung-smarttag": "smarttag", "google-fmdn": "fmdn"}
    checked = 0
    for vector in vectors(shared_data):
        if vector["kind"] in networks:
            decoded = decode(bytes.fromhex(vector["ad_hex"]))

            assert decoded.network == networks[vector["kind"]]
            assert decoded.identities == []
            assert decoded.members == {}
            checked += 1
    assert checked >= 9


def test_what_is_sent_openly_reads_the_same_at_the_server(shared_data: Path) -> None:
    for vector in vectors(shared_data):
        ad = bytes.fromhex(vector["ad_hex"])
        ours, theirs = decode(ad), read_advert(ad)

        assert ours.identities == theirs.identities, vector["name"]
        assert {**theirs.fields, **theirs.extra}.items() <= ours.members.items(), vector["name"]
        assert (ours.network is not None) == theirs.anonymous, vector["name"]


@pytest.mark.parametrize("kind", ["mibeacon", "bthome2"])
def test_a_wrong_key_or_a_flipped_bit_opens_nothing(shared_data: Path, kind: str) -> None:
    checked = 0
    for vector in vectors(shared_data):
        key = vector["bindkey"] or ""
        sealed = decode(bytes.fromhex(vector["ad_hex"])).sealed
        if vector["kind"] != kind or len(key) != 32 or sealed is None:
            continue
        right, address = bytes.fromhex(key), address_of(vector)
        data = sealed.data

        assert unseal(sealed, right, address) is not None
        assert unseal(sealed, bytes(16), address) is None
        assert unseal(sealed, right[:12], address) is None
        for at in range(sealed.start, len(data)):
            flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            assert unseal(sealed._replace(data=flipped), right, address) is None
        checked += 1
    assert checked
