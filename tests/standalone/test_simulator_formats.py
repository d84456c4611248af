"""Foreign formats: the simulator's messages have the members of recorded ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tagtrail.simulator.formats.ruuvi import data_format_5
from tagtrail.simulator.formats.voice import Reading, colons, rfc3339, uuid7_text
from tagtrail.simulator.scenario import FORMATS, Format, f1, quiet
from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.world import World
from tagtrail_ingest.adapters.contract import Message
from tagtrail_ingest.adapters.routing import adapter_for_topic


def messages(form: Format, seconds: float = 12.0) -> tuple[World, list[Transmission]]:
    world = World(replace(quiet(f1()), duration_s=seconds, formats=(form,)))
    return world, list(world.stream())


def sightings(form: Format) -> list[tuple[str, Any]]:
    _, stream = messages(form)
    return [(t.topic, json.loads(t.payload)) for t in stream if t.kind == "sightings"]


def recorded(shared_data: Path, name: str) -> list[dict[str, Any]]:
    text = (shared_data / "gateway-samples" / name).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_espresense_messages_have_the_members_of_version_4_in_their_order(
    shared_data: Path,
) -> None:
    (sample,) = [
        line["payload"]
        for line in recorded(shared_data, "espresense.mqtt.jsonl")
        if "rssiVar" in line["payload"]
    ]
    found = sightings("espresense")

    assert len(found) > 100
    for topic, body in found:
        assert list(body) == list(sample)
        assert {k: type(v) for k, v in body.items()} == {k: type(v) for k, v in sample.items()}
        assert topic.split("/")[:2] == ["espresense", "devices"]
        assert topic.split("/")[2] == body["id"]
        assert 0 < body["distance"] <= 16


def test_espresense_rooms_publish_a_retained_state_and_telemetry(shared_data: Path) -> None:
    samples = recorded(shared_data, "espresense.mqtt.jsonl")
    (version_4,) = [
        s for s in samples if s["topic"].endswith("telemetry") and "v4" in s["payload"]["ver"]
    ]
    _, stream = messages("espresense")
    states = [t for t in stream if t.kind == "status"]
    telemetry = [json.loads(t.payload) for t in states if t.topic.endswith("/telemetry")]

    assert {t.payload for t in states if t.topic.endswith("/status")} == {b"online"}
    assert telemetry
    assert all(set(body) <= set(version_4["payload"]) for body in telemetry)


def test_openmqttgateway_messages_use_known_members_and_the_topic_of_the_tag(
    shared_data: Path,
) -> None:
    known = {
        key
        for line in recorded(shared_data, "openmqttgateway-theengs.mqtt.jsonl")
        if "BTtoMQTT" in line["topic"]
        for key in line["payload"]
    }
    for topic, body in sightings("openmqttgateway"):
        assert {"id", "rssi", "distance"} <= set(body) <= known
        assert topic.split("/")[-1] == body["id"].replace(":", "")
        assert isinstance(body["rssi"], int)


def test_ruuvi_messages_have_the_members_of_recorded_ones(shared_data: Path) -> None:
    sample = recorded(shared_data, "ruuvi-gateway.mqtt.jsonl")[0]
    for topic, body in sightings("ruuvi"):
        assert list(body) == list(sample["payload"])
        assert {k: type(v) for k, v in body.items()} == {
            k: type(v) for k, v in sample["payload"].items()
        }
        assert len(body["data"]) == len(sample["payload"]["data"])
        assert body["data"].startswith("0201061BFF990405")
        assert topic.split("/")[1] == body["gw_mac"]
        assert topic.split("/")[2].replace(":", "") == body["data"][-12:]


def test_minew_arrays_have_the_members_of_recorded_ones(shared_data: Path) -> None:
    folder = shared_data / "gateway-samples"
    beacon = json.loads((folder / "minew-json-long-ibeacon.json").read_text())
    raw = json.loads((folder / "minew-json-long-rawdata.json").read_text())
    shapes = {"iBeacon": list(beacon[1]), "Unknown": list(raw[1])}
    kinds = set()

    for _, body in sightings("minew"):
        assert list(body[0]) == list(beacon[0])
        for device in body[1:]:
            kinds.add(device["type"])
            assert list(device) == shapes[device["type"]]
    assert kinds == {"iBeacon", "Unknown"}


def test_the_raw_advert_of_a_minew_tag_is_a_whole_number_of_structures() -> None:
    for _, body in sightings("minew"):
        for device in body[1:]:
            data = bytes.fromhex(device.get("rawData", ""))
            while data:
                assert data[0] < len(data)
                data = data[1 + data[0] :]


def test_data_format_5_holds_the_counters_and_the_address() -> None:
    reading = Reading(0, 0.0, "c0123456789a", -60.0, 4660, 1.0, 50.0, False, "0" * 32)
    body = data_format_5(reading)[7:]

    assert body[0] == 5
    assert body[16:18].hex() == "1234"
    assert body[18:].hex() == "c0123456789a"
    assert 1600 + (int.from_bytes(body[13:15]) >> 5) == 2500
    assert int.from_bytes(body[5:7]) + 50_000 == 101_325


@pytest.mark.parametrize("form", FORMATS)
def test_ingest_reads_every_message_unchanged(form: Format) -> None:
    world, stream = messages(form)
    gateways = {g.wire_id for g in world.sites[0].gateways}
    macs = {f"mac:{a.mac}" for a in world.sites[0].plan.assets}
    read = 0
    for t in stream:
        if t.kind == "fact":
            continue
        adapter = adapter_for_topic(t.topic)
        assert adapter is not None
        assert adapter.name == form
        arrived = world.scenario.start_at + timedelta(seconds=t.deliver_s)
        said = adapter.decode(
            Message(payload=t.payload, topic=t.topic, retained=False, received_at=arrived)
        )
        assert said.refused == ()
        assert len(said.readings) == t.sightings
        assert all(r.draft.gateway_id in gateways for r in said.readings)
        assert all(macs & set(r.identities) for r in said.readings)
        read += len(said.readings)
    assert read == world.truth.counts()[form].sent > 100


def test_times_and_identities_are_written_as_the_standards_say() -> None:
    assert rfc3339(1_772_434_800_007) == "2026-03-02T07:00:00.007Z"
    assert colons("c0123456789a") == "C0:12:34:56:78:9A"
    made = UUID(uuid7_text(1_772_434_800_007, "0123456789abcdef" * 2))
    assert made.version == 7
    assert made.int >> 80 == 1_772_434_800_007
