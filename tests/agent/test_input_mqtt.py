"""Gateways on a local broker: heard as the server would hear them, or passed on unchanged."""

from __future__ import annotations

import json
import random
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.agent_inputs import NOON, REAL_CLOCKS, Hands, hearing, until
from tests.support.gateway_samples import Sample, of_file, samples
from tests.support.publishing import Publisher

from tagtrail.embedded import Embedded
from tagtrail_agent.courier import Passed
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.formats.routing import READERS, Router
from tagtrail_agent.inputs.mqtt import (
    MOST_BYTES,
    MqttGateways,
    MqttOptions,
    Passing,
    TopicOptions,
)
from tagtrail_agent.readings import Advert, Reading
from tagtrail_ingest.adapters.contract import Reading as ServerReading
from tagtrail_kernel.events.sightings import TagSighted

TOPIC_OF_ROUTE = {
    "minew": "minew/ac233fc03641",
    "raddec": "raddec/x",
    "shelly": "shelly/events/rpc",
}
"""Topics for samples that have none of their own."""


class Bag:
    """A courier that keeps what it was given."""

    def __init__(self) -> None:
        self.messages: list[Passed] = []

    def forward(self, message: Passed) -> None:
        self.messages.append(message)


def gateways(
    *, enrolled: set[str] | None = None, courier: Bag | None = None, **changed: object
) -> MqttGateways:
    options = MqttOptions(**changed)  # type: ignore[arg-type]
    known = None if enrolled is None else enrolled.__contains__
    return MqttGateways(options, Hands().clocks, courier=courier, enrolled=known)


def topic_of(sample: Sample) -> str | None:
    topic = sample.message.topic or TOPIC_OF_ROUTE.get(sample.message.route or "")
    known = Router().format_of(topic.split("/")) if topic else None
    return topic if known in READERS else None


def sightings_of(sample: Sample) -> list[ServerReading]:
    """Return what the server's own reader makes of a sample."""
    return [r for r in sample.decode().readings if isinstance(r.draft, TagSighted)]


@pytest.fixture
def understood(shared_data: Path) -> list[tuple[str, Sample]]:
    """All samples of formats that the agent reads, with their topics."""
    folder = shared_data / "gateway-samples"
    return [(t, s) for s in samples(folder, capture=True) if (t := topic_of(s)) is not None]


def test_the_samples_cover_every_format_but_our_own(
    understood: list[tuple[str, Sample]],
) -> None:
    assert len(understood) == 1693 + 24 + 13 + 6 + 2 + 2 + 3 + 1
    assert {Router().format_of(t.split("/")) for t, _ in understood} == set(READERS) - {"native"}


def test_the_agent_hears_what_the_server_would_hear(
    understood: list[tuple[str, Sample]],
) -> None:
    for topic, sample in understood:
        source = gateways()
        sighted = sightings_of(sample)

        heard = source.take(topic, sample.message.payload)

        assert len(heard) == len(sighted), sample.label
        for ours, theirs in zip(heard, sighted, strict=True):
            draft = theirs.draft
            assert isinstance(draft, TagSighted)
            assert ours.gateway_id == draft.gateway_id
            if isinstance(ours, Advert):
                assert f"mac:{ours.address}" in theirs.identities
                assert ours.rssi_dbm == draft.rssi_dbm
            else:
                assert ours.tag == theirs.identities[0]
                assert ours.members.get("rssi_dbm") == draft.rssi_dbm
            if theirs.has_own_time:
                assert abs(ours.at - theirs.occurred_at).total_seconds() <= 1.0


def test_members_mean_what_they_mean_to_the_server(
    understood: list[tuple[str, Sample]],
) -> None:
    compared = 0
    for topic, sample in understood:
        sighted = [r.draft for r in sightings_of(sample)]
        for ours, theirs in zip(
            gateways().take(topic, sample.message.payload), sighted, strict=True
        ):
            for name, value in getattr(ours, "members", {}).items():
                assert getattr(theirs, name) == value, (sample.label, name)
                compared += 1

    assert compared > 5_000


def test_raw_adverts_keep_every_byte() -> None:
    ad = "0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD697FF41F0C28CBD6"
    body = {"gw_mac": "C8:25:2D:8E:9C:2C", "rssi": -26, "data": ad, "ts": NOON.timestamp() - 60}

    (advert,) = gateways().take(
        "ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6", json.dumps(body).encode()
    )

    assert advert == Advert(
        address="f41f0c28cbd6",
        ad=bytes.fromhex(ad),
        rssi_dbm=-26,
        at=NOON.replace(minute=59, hour=11),
        elapsed_s=940.0,
        gateway_id="c8252d8e9c2c",
    )


def test_of_several_identities_the_enrolled_one_is_taken() -> None:
    body = json.dumps({"mac": "58b1294494d3", "id": "watch:darrell", "rssi": -70}).encode()
    topic = "espresense/devices/watch:darrell/dock"

    def tag(enrolled: set[str] | None) -> str:
        (reading,) = gateways(enrolled=enrolled).take(topic, body)
        assert isinstance(reading, Reading)
        return reading.tag

    assert tag({"mac:58b1294494d3"}) == "mac:58b1294494d3"
    assert tag({"espresense:watch:darrell", "mac:58b1294494d3"}) == "espresense:watch:darrell"
    assert tag(None) == "espresense:watch:darrell"
    assert tag(set()) == "mac:58b1294494d3"


def test_a_finding_networks_frame_is_nobody() -> None:
    source = gateways()
    airtag = {"id": "11:22:33:44:55:66", "rssi": -42, "model": "Apple AirTag", "type": "TRACK"}

    assert not source.take("home/esp/BTtoMQTT/112233445566", json.dumps(airtag).encode())
    assert not source.take(
        "espresense/devices/apple:findmy/dock", b'{"id":"apple:findmy","rssi":-5}'
    )
    assert source.counts["anonymous_tracker"] == 2


def test_a_retained_sighting_is_state_and_not_heard(
    understood: list[tuple[str, Sample]],
) -> None:
    source = gateways(courier=Bag(), enrolled=set())

    heard = [h for t, s in understood for h in source.take(t, s.message.payload, retained=True)]

    assert heard == []
    assert source.counts["retained"] > 1693


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("espresense/rooms/office/status", b"online"),
        ("espresense/rooms/office/telemetry", b'{"uptime": 3}'),
        ("home/esp/LWT", b"offline"),
        ("ruuvi/c8252d8e9c2c/gw_status", b'{"state": "online"}'),
        ("tagtrail/v1/hall/dock-2/status", b'{"online": true}'),
        ("kontakt/x", b"anything"),
        ("owntracks/jane/phone", b"\xff\x00"),
        ("omlox/a/b/c", b"{}"),
    ],
)
@pytest.mark.parametrize("retained", [False, True])
def test_what_only_the_server_reads_goes_on_unchanged(
    topic: str, payload: bytes, retained: bool
) -> None:
    bag = Bag()
    source = gateways(courier=bag)

    heard = source.take(topic, payload, retained=retained)

    assert not heard
    assert bag.messages == [Passing(topic, payload, NOON, 1000.0, retained)]
    assert source.counts["passed"] == 1


def test_without_a_courier_what_does_not_go_on_is_counted() -> None:
    source = gateways()

    source.take("kontakt/x", b"anything")

    assert source.counts == {"not_passed": 1}


ABSENCE = b'{"id":"A4:C1:38:B7:5A:81","state":"offline"}'


@pytest.mark.parametrize(
    ("topic", "payload", "identity"),
    [
        ("home/esp/BTtoMQTT/A4C138B75A81", ABSENCE, "mac:a4c138b75a81"),
        ("espresense/companion/phone:anna", b"Office", "espresense:phone:anna"),
        ("blegateway/a4c138b75a81/sensor", b'{"temperature":21}', "mac:a4c138b75a81"),
    ],
)
def test_a_fact_about_a_tag_goes_on_only_if_the_tag_is_enrolled(
    topic: str, payload: bytes, identity: str
) -> None:
    bag = Bag()

    gateways(courier=bag, enrolled={identity}).take(topic, payload)
    gateways(courier=bag, enrolled={"mac:000000000000"}).take(topic, payload)
    gateways(courier=bag).take(topic, payload)
    gateways(courier=bag, enrolled={identity}).take(topic, payload, retained=True)

    assert [m.topic for m in bag.messages] == [topic]


def test_every_address_heard_goes_on_only_if_asked_for() -> None:
    bag = Bag()

    careful, open_handed = gateways(courier=bag), gateways(courier=bag, pass_strangers=True)
    careful.take("up/x/scan", b"1")
    open_handed.take("up/x/scan", b"2")

    assert [m.payload for m in bag.messages] == [b"2"]
    assert careful.counts == {"strangers": 1}


def test_lists_of_addresses_and_keys_stay_here() -> None:
    bag = Bag()
    source = gateways(courier=bag)

    source.take("espresense/rooms/office/known_macs", b"aabbccddeeff")
    source.take("espresense/settings/irk:0123456789abcdef0123456789abcdef/config", b"{}")
    source.take("home/esp/trackersync", b"{}")

    assert bag.messages == []


def test_a_topic_of_the_operators_own_has_the_format_that_he_says() -> None:
    rule = TopicOptions(filter="hall/+/ble", format="minew")
    body = b'[{"mac":"AC233FC03641","type":"Gateway"},{"mac":"C3000025EF6A","rssi":-65}]'

    (reading,) = gateways(topics=(rule,)).take("hall/east/ble", body)

    assert isinstance(reading, Reading)
    assert (reading.tag, reading.gateway_id) == ("mac:c3000025ef6a", "ac233fc03641")


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AgentError, match="'cisco' is unknown; known are native, espresense"):
        gateways(topics=(TopicOptions(filter="x/#", format="cisco"),))


def test_a_missing_password_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="cannot be read"):
        gateways(username="x", password_file=tmp_path / "none")


def test_native_items_keep_their_members() -> None:
    batch = {
        "batch_id": "b1",
        "sightings": [
            {"tag": "uwb:7", "range_m": 3.5, "at": "2026-11-24T11:59:00Z", "extra": {"a": 1}},
            {"tag_id": "no identity"},
            "no object",
            {"tag": "mac:58b1294494d3", "rssi_dbm": -61.5, "gateway_id": "dock-3"},
        ],
    }
    source = gateways()

    first, second = source.take("tagtrail/v1/hall/dock-2/sightings", json.dumps(batch).encode())

    assert isinstance(first, Reading)
    assert (first.tag, first.gateway_id, first.elapsed_s) == ("uwb:7", "dock-2", 940.0)
    assert first.members == {"range_m": 3.5, "extra": {"a": 1}}
    assert isinstance(second, Reading)
    assert (second.members, second.gateway_id) == ({"rssi_dbm": -61.5}, "dock-3")
    assert source.counts["no_identity"] == 2


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no_json"),
        (b"{", "no_json"),
        (b"\xff\xfe", "no_json"),
        (b'{"rssi": NaN}', "no_json"),
        (b'{"rssi": 1e999}', "no_json"),
        (b'{"a": "\\ud800"}', "no_json"),
        (b"[" * 100_000, "no_json"),
        (b"9" * 5_000, "no_json"),
        (b"3", "no_object"),
        (b"{}", "no_signal"),
        (b"x" * (MOST_BYTES + 1), "too_large"),
    ],
)
def test_a_malformed_message_is_counted_by_reason(payload: bytes, reason: str) -> None:
    source = gateways()

    assert not source.take("espresense/devices/x/dock", payload)
    assert source.counts == {reason: 1}


TOPICS = [
    "espresense/devices/a/b", "home/x/BTtoMQTT/112233445566", "home/presence/x", "ruuvi/a/b",
    "minew/x", "58:b1:29:44:94:d3", "x/events/rpc", "raddec/x", "tagtrail/v1/a/b/sightings",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["rssi", "id", "mac", "data", "event", "params", "events", "ts", "tag"])
            | st.sampled_from(
                ["sightings", "transmitterId", "rssiSignature", "packets", "timestamp"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(st.sampled_from(TOPICS), JSON)
@settings(max_examples=400, deadline=None)
def test_no_json_raises(topic: str, value: object) -> None:
    gateways(courier=Bag()).take(topic, json.dumps(value).encode())


@given(st.text(max_size=30), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_topic_and_no_bytes_raise(topic: str, payload: bytes) -> None:
    gateways(courier=Bag()).take(topic, payload)


def test_no_mutated_sample_raises(understood: list[tuple[str, Sample]]) -> None:
    chance = random.Random(4)
    source = gateways(courier=Bag(), enrolled=set())

    for topic, sample in understood[::20] * 40:
        payload = bytearray(sample.message.payload or b"{}")
        for _ in range(chance.randint(1, 4)):
            payload[chance.randrange(len(payload))] = chance.choice(b'{}[]",:0159aeE.-\\u')
        for heard in source.take(topic, bytes(payload)):
            json.dumps(getattr(heard, "members", {}), allow_nan=False).encode()


def options_for(infra: Embedded, tmp_path: Path, client_id: str, topic: str) -> MqttOptions:
    address = urlsplit(infra.mqtt_url)
    (tmp_path / "password").write_text(f"{unquote(address.password or '')}\n")
    return MqttOptions(
        port=address.port or 0,
        username=address.username,
        password_file=tmp_path / "password",
        client_id=client_id,
        subscribe=(topic,),
    )


async def test_it_hears_a_real_broker(infra: Embedded, shared_data: Path, tmp_path: Path) -> None:
    bag = Bag()
    options = options_for(infra, tmp_path, "agent-under-test", "espresense/#")
    source = MqttGateways(options, REAL_CLOCKS, courier=bag)
    folder = shared_data / "gateway-samples"
    capture = list(of_file(folder / "espresense-capture-2023-11-27.jsonl"))[:300]

    async with Publisher(infra.mqtt_url, "a-gateway").connected() as publisher:
        async with hearing(source) as listener:
            await until(lambda: source.connected)
            await until(lambda: source.subscribed)
            for sample in capture:
                await publisher.publish(sample.message.topic or "", sample.message.payload)
            await publisher.publish("espresense/rooms/office/status", b"online")
            await until(lambda: len(listener.readings) >= 300 and bag.messages, within_s=30)

    assert len(listener.readings) == 300
    assert [m.payload for m in bag.messages] == [b"online"]
    assert source.counts == {"messages": 301, "sounds": 300, "passed": 1}


async def test_what_it_could_not_hear_is_sent_again_by_the_broker(
    infra: Embedded, tmp_path: Path
) -> None:
    options = options_for(infra, tmp_path, "agent-that-stops", "minew/#")
    body = b'[{"mac":"AC233FC03641","type":"Gateway"},{"mac":"C3000025EF6A","rssi":-65}]'
    first, second = (MqttGateways(options, REAL_CLOCKS) for _ in range(2))

    async with Publisher(infra.mqtt_url, "another-gateway").connected() as publisher:
        async with hearing(first):
            await until(lambda: first.subscribed)
        await publisher.publish("minew/one", body)
        async with hearing(second) as listener:
            await until(lambda: listener.readings, within_s=20)

    assert [r.tag for r in listener.readings] == ["mac:c3000025ef6a"]


async def test_a_wrong_password_is_counted_and_tried_again(infra: Embedded, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    port = int(infra.mqtt_url.rpartition(":")[2])
    options = MqttOptions(port=port, username="x", password_file=tmp_path / "password")
    source = MqttGateways(options, REAL_CLOCKS)

    async with hearing(source):
        await until(lambda: source.counts["refused"] >= 1)

    assert not source.connected
