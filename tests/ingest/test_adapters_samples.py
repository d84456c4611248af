"""Every sample of the shared data, unchanged, gives the events that docs/gateways.md states."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import gateways_doc
from tests.support.gateway_samples import CAPTURE, RECEIVED_AT, of_file, samples

from tagtrail_ingest.adapters import (
    TOPIC_FILTERS,
    Decoded,
    Message,
    Router,
    TopicRule,
    UnreadableError,
    adapter_for_route,
    adapter_for_topic,
    event_id_of,
    to_event,
)
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.sightings import Radio

DOC = Path(__file__).parents[2] / "docs" / "gateways.md"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "gateway-samples"


def facts(folder: Path, file: str) -> list[Radio | GatewayReported]:
    """All events of one file, unreadable messages left out."""
    found: list[Radio | GatewayReported] = []
    for sample in of_file(folder / file):
        try:
            decoded = sample.decode()
        except UnreadableError:
            continue
        found += [to_event(r, "tag-1") for r in decoded.readings]
        found += [f.event for f in decoded.gateway_facts]
    return found


def readings(decoded: Decoded) -> list[dict[str, Any]]:
    """Drafts as plain values, for comparing a few members."""
    return [msgspec.structs.asdict(r.draft) | {"ids": r.identities} for r in decoded.readings]


def on(topic: str, payload: Any, *, retained: bool = False) -> Decoded:
    body = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    adapter = adapter_for_topic(topic)
    assert adapter is not None
    message = Message(payload=body, received_at=RECEIVED_AT, topic=topic, retained=retained)
    return adapter.decode(message)


def posted(route: str, payload: Any) -> Decoded:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    adapter = adapter_for_route(route)
    assert adapter is not None
    return adapter.decode(Message(payload=body, received_at=RECEIVED_AT, route=route))


def test_the_document_states_what_every_sample_file_yields(folder: Path) -> None:
    expected = gateways_doc.generate(folder)

    assert DOC.read_text() == expected, "run: python -m tests.support.gateways_doc"


def test_no_sample_file_is_left_out(folder: Path) -> None:
    documented = {s.file for s in samples(folder, capture=True)}

    assert documented == {f.name for f in folder.iterdir()} - {"README.md"}


def test_every_message_of_the_capture_is_one_sighting(folder: Path) -> None:
    found = facts(folder, CAPTURE)

    assert len(found) == 1693
    assert {f.TYPE for f in found} == {"tag.sighted"}
    assert len({f.gateway_id for f in found}) == 10


def test_no_radio_address_of_a_tag_is_in_an_event(folder: Path) -> None:
    leaks = []
    for sample in samples(folder):
        try:
            decoded = sample.decode()
        except UnreadableError:
            continue
        for reading in decoded.readings:
            body = msgspec.json.encode(
                msgspec.structs.replace(to_event(reading, "tag-1"), gateway_id="g")
            ).decode()
            plain = body.replace(":", "").replace("-", "").lower()
            macs = [i.removeprefix("mac:") for i in reading.identities if i.startswith("mac:")]
            leaks += [(sample.file, sample.label, m) for m in macs if m in plain]

    assert leaks == []


def test_a_retained_message_is_never_a_sighting(folder: Path) -> None:
    types: Counter[str] = Counter()
    for sample in samples(folder):
        try:
            decoded = sample.adapter.decode(msgspec.structs.replace(sample.message, retained=True))
        except UnreadableError:
            continue
        types.update(f"{f.event.TYPE}/{f.event.retained}" for f in decoded.gateway_facts)
        types.update(r.draft.TYPE for r in decoded.readings)
        assert {r.reason for r in decoded.refused} <= {"retained"}

    assert set(types) == {"gateway.reported/True"}


def test_the_same_message_gets_the_same_ids_again_if_it_carries_a_time(folder: Path) -> None:
    timed = 0
    for sample in samples(folder):
        later = msgspec.structs.replace(
            sample.message, received_at=RECEIVED_AT.replace(hour=13), content_type="text/plain"
        )
        try:
            first, second = sample.decode(), sample.adapter.decode(later)
        except UnreadableError:
            continue
        for a, b in zip(first.readings, second.readings, strict=True):
            assert a.has_own_time == b.has_own_time
            if a.has_own_time:
                timed += 1
                assert event_id_of(a) == event_id_of(b)

    assert timed > 30


def test_readings_of_one_message_have_different_ids(folder: Path) -> None:
    for sample in samples(folder):
        try:
            decoded = sample.decode()
        except UnreadableError:
            continue
        ids = [event_id_of(r) for r in decoded.readings]
        ids += [event_id_of(f) for f in decoded.gateway_facts]

        assert len(ids) == len(set(ids)), (sample.file, sample.label)


def test_s1_one_contract_for_all_technologies(folder: Path) -> None:
    by_technology: dict[str, set[str]] = {}
    for sample in samples(folder):
        try:
            decoded = sample.decode()
        except UnreadableError:
            continue
        for reading in decoded.readings:
            draft = reading.draft
            assert isinstance(draft, Radio)
            assert reading.identities
            assert draft.received_at == RECEIVED_AT
            assert draft.adapter == sample.adapter.name
            assert to_event(reading, "tag-1").tag_id == "tag-1"
            by_technology.setdefault(draft.technology, set()).add(draft.TYPE)

    for technology in ("ble", "uwb", "rfid", "wifi", "gps"):
        assert by_technology[technology] & {"tag.sighted", "tag.position_reported"}


@pytest.mark.parametrize(
    ("file", "member", "expected"),
    [
        ("impinj-iot-device-interface.json", "rssi_dbm", -70.0),
        ("impinj-iot-device-interface.json", "antenna", 1),
        ("impinj-iot-device-interface.json", "technology", "rfid"),
        ("kontakt-telemetry.json", "rssi_dbm", -77.0),
        ("kontakt-telemetry.json", "temperature_c", 15.75),
        ("kontakt-telemetry.json", "battery_pct", 100.0),
        ("minew-json-long-ibeacon.json", "rssi_1m_dbm", -59.0),
        ("minew-json-long-ibeacon.json", "battery_pct", None),
        ("minew-json-raw.shape.json", "channel", 37),
        ("raddec.json", "samples", 3),
        ("raddec.json", "gateway_id", "001bc50940810000"),
        ("traccar-client-osmand.json", "battery_pct", 100.0),
        ("traccar-client-osmand.json", "longitude_deg", -122.084),
        ("reelables-enriched-position.json", "accuracy_m", 0.5),
        ("sewio-websocket.jsonl", "x_m", 6.34),
        ("shelly-blu.mqtt.jsonl", "battery_pct", 100.0),
        ("find3-data.json", "gateway_id", "202564b79142"),
        ("room-assistant-mqtt.json", "rssi_1m_dbm", -59.0),
        ("aprilbrother-v4-messagepack-decoded.json", "rssi_dbm", -86.0),
        ("ruuvi-gateway-http-2020-legacy.json", "gateway_id", "30aea4cc1e2c"),
        ("ruuvi-gateway-http-2020-legacy.json", "battery_mv", 2900),
        ("ruuvi-gateway-http-with-timestamps.json", "channel", 37),
        ("owntracks.mqtt.jsonl", "battery_pct", 87.0),
    ],
)
def test_the_first_event_of_a_file_has_the_value_that_was_sent(
    folder: Path, file: str, member: str, expected: object
) -> None:
    first = facts(folder, file)[0]

    assert getattr(first, member) == expected


def first_identities(folder: Path, file: str) -> tuple[str, ...]:
    return next(iter(of_file(folder / file))).decode().readings[0].identities


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("impinj-iot-device-interface.json", "epc:7EDA9038051002710002C0AE"),
        ("minew-json-long-ibeacon.json", "ibeacon:e2c56db5dffb48d2b060d0f5a71096e0:0:0"),
        ("minew-json-long-rawdata.json", "ibeacon:fda50693a4e24fb1afcfc6eb07647825:10001:19641"),
        ("espresense.mqtt.jsonl", "espresense:watch:darrell"),
        ("owntracks.mqtt.jsonl", "owntracks:jane/phone"),
        ("ruuvi-gateway.mqtt.jsonl", "mac:f41f0c28cbd6"),
        ("find3-data.json", "find3:FAMILY/DEVICE"),
        ("reelables-enriched-position.json", "reelables:112233445566"),
        ("sewio-websocket.jsonl", "sewio:18"),
        ("traccar-client-osmand.json", "traccar:48241179"),
        ("room-assistant-mqtt.json", "room-assistant:ble-some-id"),
        ("omlox-hub-objects.json", "omlox:ac233faff390"),
        ("kontakt-telemetry.json", "kontakt:abcdef"),
        ("raddec.json", "mac:aabbccddeeff"),
    ],
)
def test_the_stable_identity_comes_first(folder: Path, file: str, expected: str) -> None:
    assert first_identities(folder, file)[0] == expected


def test_the_binary_form_is_read_whatever_its_content_type_says(folder: Path) -> None:
    sample = next(iter(of_file(folder / "minew-binary-long.hex")))
    typed = msgspec.structs.replace(sample.message, content_type="application/json")
    as_text = msgspec.structs.replace(typed, payload=sample.message.payload.hex().upper().encode())

    decoded = sample.adapter.decode(typed)

    assert len(decoded.readings) == 28
    assert len({r.identities[-1] for r in decoded.readings}) == 12
    assert decoded == sample.adapter.decode(as_text)


def test_old_ruuvi_firmware_with_times_as_text_says_the_same_as_the_new(folder: Path) -> None:
    new, old, counted = [s.decode() for s in of_file(folder / "ruuvi-gateway.mqtt.jsonl")][:3]

    assert new == old
    assert new.readings[0].time_quality == "gateway_receive"
    assert counted.readings[0].time_quality == "server_receive"
    assert counted.readings[0].draft.extra is not None
    assert counted.readings[0].draft.extra["gateway_counter"] == 338


def test_no_topic_of_a_sample_fits_two_filters_so_no_broker_delivers_it_twice(folder: Path) -> None:
    topics = {s.message.topic for s in samples(folder) if s.message.topic}
    for topic in topics:
        fitting = [f for f in TOPIC_FILTERS if fits(f, topic)]
        assert len(fitting) == 1, (topic, fitting)


def fits(pattern: str, topic: str) -> bool:
    """MQTT 3.1.1, section 4.7, by regular expression: another way than the router's."""
    body = re.escape(pattern).replace(r"\+", "[^/]*").replace(r"/\#", "(/.*)?")
    return re.fullmatch(body, topic) is not None


def test_a_rule_of_the_operator_wins_and_names_the_site() -> None:
    router = Router((TopicRule("plant/+/beacons", "minew", site_id="plant"),))

    match = router.for_topic("plant/g2/beacons")

    assert match is not None
    assert (match.adapter.name, match.site_id) == ("minew", "plant")
    assert router.filters[0] == "plant/+/beacons"


def test_a_rule_with_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown format 'mineww'"):
        Router((TopicRule("a/+", "mineww"),))


@pytest.mark.parametrize("topic", ["", "x", "home/g/other", "zigbee2mqtt/a", "minew/a/b", "up/a"])
def test_a_topic_without_a_rule_has_no_adapter(topic: str) -> None:
    assert adapter_for_topic(topic) is None


@pytest.mark.parametrize("topic", ["3c:2e:f5:71:d5:2a", "3C-2E-F5-71-D5-2A", "3c2ef571d52a"])
def test_a_bare_address_is_a_topic_of_shelly(topic: str) -> None:
    adapter = adapter_for_topic(topic)

    assert adapter is not None
    assert adapter.name == "shelly"
