"""The native format: hot path, partial acceptance, strictness, published schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_ingest.adapters import (
    ADAPTERS,
    UNRESOLVED,
    Decoded,
    Message,
    UnreadableError,
    event_id_of,
    to_event,
)
from tagtrail_kernel.envelope import Envelope, open_body, seal
from tagtrail_kernel.events.sightings import (
    TagPositionReported,
    TagRanged,
    TagSighted,
    TagZoneReported,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ID = "019abb00-0000-7000-8000-000000000001"


def batch(*items: Any, topic: str | None = None, **head: Any) -> Decoded:
    """Decode a batch over HTTP, or over MQTT if a topic is given."""
    if topic is None:
        head.setdefault("gateway_id", "dock-1")
    body = json.dumps({**head, "sightings": list(items)}).encode()
    return raw(body, topic=topic)


def raw(body: bytes, *, topic: str | None = None, **more: Any) -> Decoded:
    message = Message(payload=body, received_at=NOW, topic=topic, **more)
    return ADAPTERS["native"].decode(message)


def item(**more: Any) -> dict[str, Any]:
    return {"tag": "mac:58b1294494d3", "at": "2026-11-24T11:59:59Z", "rssi_dbm": -61.5, **more}


def only(decoded: Decoded) -> Any:
    assert decoded.refused == ()
    return decoded.readings[0].draft


def reason(decoded: Decoded) -> str:
    assert decoded.readings == ()
    return decoded.refused[0].reason


def test_a_plain_item_becomes_a_sighting_with_its_times() -> None:
    decoded = batch(item(), sent_at="2026-11-24T12:00:00Z", batch_id="b-1")

    reading = decoded.readings[0]
    assert reading.identities == ("mac:58b1294494d3",)
    assert reading.occurred_at == datetime(2026, 11, 24, 11, 59, 59, tzinfo=UTC)
    assert (reading.time_quality, reading.has_own_time) == ("gateway_receive", True)
    assert reading.draft == TagSighted(
        tag_id=UNRESOLVED,
        gateway_id="dock-1",
        adapter="native",
        gateway_received_at=reading.occurred_at,
        gateway_sent_at=NOW,
        received_at=NOW,
        rssi_dbm=-61.5,
    )
    assert decoded.batch_id == "b-1"


def test_the_topic_names_site_and_gateway() -> None:
    draft = only(batch(item(), topic="tagtrail/v1/north/AA:BB:CC:DD:EE:FF/sightings"))

    assert (draft.site_id, draft.gateway_id) == ("north", "aabbccddeeff")


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({}, TagSighted),
        ({"range_m": 3.5}, TagRanged),
        ({"x_m": 1, "y_m": 2}, TagPositionReported),
        ({"latitude_deg": 52.5, "longitude_deg": 13.4}, TagPositionReported),
        ({"zone": "Dock 3"}, TagZoneReported),
    ],
)
def test_the_members_say_which_event_it_is(members: dict[str, Any], kind: type) -> None:
    assert type(only(batch(item(**members)))) is kind


def test_a_range_is_ultra_wideband_unless_it_says_otherwise() -> None:
    assert only(batch(item(range_m=3.5))).technology == "uwb"
    assert only(batch(item(range_m=3.5, technology="ble"))).technology == "ble"


def test_one_bad_item_costs_only_itself() -> None:
    decoded = batch(item(), item(rssi_dbm="loud"), item(rssi_dbm=-70), 7, item(tag=None))

    assert [r.index for r in decoded.readings] == [0, 2]
    assert [(r.index, r.reason) for r in decoded.refused] == [
        (1, "out_of_range"), (3, "bad_value"), (4, "no_identity"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"rssi_dbm": 31}, "out_of_range"),
        ({"rssi_dbm": -151}, "out_of_range"),
        ({"range_m": -0.1}, "out_of_range"),
        ({"battery_pct": -1}, "out_of_range"),
        ({"battery_pct": 101}, "out_of_range"),
        ({"distance_m": -3}, "out_of_range"),
        ({"latitude_deg": 91, "longitude_deg": 0}, "out_of_range"),
        ({"sequence": 2**63}, "out_of_range"),
        ({"channel": -(2**64)}, "out_of_range"),
        ({"at": "2026-11-24T12:05:01Z"}, "implausible_time"),
        ({"at": "2009-12-31T23:59:59Z"}, "implausible_time"),
        ({"tag_time_at": "2027-01-01T00:00:00Z"}, "implausible_time"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "implausible_time"),
        ({"at": "2026-11-24T12:00:00"}, "bad_value"),
        ({"at": 1764000000}, "bad_value"),
        ({"id": "5e0d4d0c-6a6f-4d53-8f6c-0f6a3f1d7c11"}, "bad_id"),
        ({"id": "x"}, "bad_id"),
        ({"tag": "58b1"}, "no_identity"),
        ({"tag": "mac:58b1"}, "no_identity"),
        ({"tag_id": "crate-7"}, "no_identity"),
        ({"x_m": 1}, "incomplete_position"),
        ({"range_m": 1, "zone": "a"}, "ambiguous"),
        ({"extra": 5}, "bad_value"),
        ({"gateway_id": "\x00"}, "bad_gateway"),
        ({"note": "x" * 17_000}, "too_large"),
    ],
)
def test_s7_what_is_wrong_is_refused_with_a_reason(members: dict[str, Any], expected: str) -> None:
    assert reason(batch(item(**members))) == expected


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_s7_a_number_that_is_none_is_refused(literal: str) -> None:
    body = b'{"gateway_id":"g","sightings":[{"tag":"mac:58b1294494d3","rssi_dbm":%s}]}'
    try:
        decoded = raw(body % literal.encode())
    except UnreadableError:
        return

    assert reason(decoded) == "bad_value"


def test_s7_times_at_the_edges_are_taken() -> None:
    first, last = "2010-01-01T00:00:00Z", "2026-11-24T12:05:00Z"

    assert len(batch(item(at=first), item(at=last)).readings) == 2


def test_s7_an_unknown_field_survives() -> None:
    decoded = batch(item(firmware="2.1", nested={"a": [1, None]}, extra={"b": True}))

    assert only(decoded).extra == {"firmware": "2.1", "nested": {"a": [1, None]}, "b": True}


def test_s7_unknown_members_of_the_batch_become_figures_of_the_gateway() -> None:
    decoded = batch(item(), firmware="2.1", free_bytes=9000)

    assert decoded.gateway_facts[0].event.values == {"firmware": "2.1", "free_bytes": 9000}
    assert decoded.gateway_facts[0].event.kind == "telemetry"
    assert len(decoded.readings) == 1


def test_s7_an_address_in_an_unknown_field_does_not_survive() -> None:
    decoded = batch(item(peer="aa:bb:cc:dd:ee:ff", mac="58b1294494d3", note="saw aabbccddeeff"))

    assert only(decoded).extra is None


sightings = st.fixed_dictionaries(
    {"tag": st.sampled_from(["mac:58b1294494d3", "epc:30140F4C", "name with: colon"])},
    optional={
        "at": st.integers(0, 500_000_000).map(lambda s: NOW - timedelta(seconds=s)),
        "rssi_dbm": st.floats(-150, 30),
        "battery_pct": st.floats(0, 100),
        "battery_mv": st.integers(0, 100_000),
        "temperature_c": st.floats(-273.15, 1000),
        "sequence": st.integers(-(2**63), 2**63 - 1),
        "motion": st.booleans(),
        "antenna": st.integers(0, 64),
        "technology": st.sampled_from(["ble", "rfid", "nfc"]),
        "unknown": st.integers(-(2**53), 2**53) | st.booleans() | st.none(),
    },
)


@given(sent=sightings)
@settings(max_examples=300, deadline=None)
def test_s7_an_item_comes_back_from_the_log_as_it_was_sent(sent: dict[str, Any]) -> None:
    body = msgspec.json.encode({"gateway_id": "g", "sightings": [sent]})
    decoded = raw(body)
    if sent["tag"].startswith("name"):
        assert reason(decoded) == "no_identity"
        return
    reading = decoded.readings[0]

    envelope = Envelope(
        id=event_id_of(reading),
        subject="tag-1",
        source="ingest/native",
        occurred_at=reading.occurred_at,
        data=to_event(reading, "tag-1"),
    )
    stored = open_body(seal(envelope).body).data

    assert isinstance(stored, TagSighted)
    assert stored.gateway_received_at == sent.get("at")
    for name in sent.keys() - {"tag", "at", "unknown"}:
        assert getattr(stored, name) == sent[name]
    assert ("unknown" in sent) == (stored.extra is not None)
    assert (stored.extra or {}).get("unknown") == sent.get("unknown")


def test_a_plain_item_gets_the_same_id_in_any_batch_and_at_any_time() -> None:
    alone = batch(item())
    mixed = batch(item(range_m=1.0), item(), firmware="2")
    later = ADAPTERS["native"].decode(
        Message(
            payload=json.dumps({"gateway_id": "dock-1", "sightings": [item()]}).encode(),
            received_at=NOW + timedelta(hours=1),
        )
    )

    ids = {event_id_of(r) for r in (alone.readings[0], mixed.readings[1], later.readings[0])}
    assert len(ids) == 1
    assert ids.pop().version == 8


def test_the_producers_own_id_is_the_events_id() -> None:
    assert str(event_id_of(batch(item(id=ID)).readings[0])) == ID
    assert str(event_id_of(batch(item(id=ID, range_m=1)).readings[0])) == ID


def test_items_without_a_time_differ_by_their_place() -> None:
    timeless = {"tag": "mac:58b1294494d3", "rssi_dbm": -60}

    first, second = batch(timeless, timeless).readings

    assert not first.has_own_time
    assert first.time_quality == "server_receive"
    assert event_id_of(first) != event_id_of(second)


def test_the_batchs_time_stands_in_for_a_missing_one() -> None:
    timeless = {"tag": "mac:58b1294494d3", "rssi_dbm": -60}

    reading = batch(timeless, sent_at="2026-11-24T11:00:00+01:00").readings[0]

    assert reading.occurred_at == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert reading.time_quality == "gateway_send"


def test_our_own_tag_id_needs_no_identity() -> None:
    reading = batch({"tag_id": "crate-7", "rssi_dbm": -60}).readings[0]

    assert (reading.tag_id, reading.identities) == ("crate-7", ())


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("58:B1:29:44:94:D3", "mac:58b1294494d3"),
        ("MAC:58-B1-29-44-94-D3", "mac:58b1294494d3"),
        ("epc:30140f4c", "epc:30140F4C"),
        (
            "ibeacon:E2C56DB5-DFFB-48D2-B060-D0F5A71096E0:1:65535",
            "ibeacon:e2c56db5dffb48d2b060d0f5a71096e0:1:65535",
        ),
        (
            "eddystone:00112233445566778899:AABBCCDDEEFF",
            "eddystone:00112233445566778899:aabbccddeeff",
        ),
        ("espresense:watch:Darrell", "espresense:watch:Darrell"),
    ],
)
def test_identities_are_normalised(written: str, normal: str) -> None:
    assert batch(item(tag=written)).readings[0].identities == (normal,)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"sightings":5}',
        b'{"sightings":[],"gateway_id":5}',
        b'{"sightings":[],"sent_at":"yesterday"}',
        b'{"sightings":[],"batch_id":{}}',
        b'{"sightings":[{}]',
        b"\xff",
    ],
)
def test_a_body_that_is_no_batch_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        raw(body)


def test_an_empty_batch_is_no_error() -> None:
    assert raw(b'{"sightings":[]}') == Decoded()


def test_a_batch_of_nobody_is_refused_item_by_item() -> None:
    decoded = raw(b'{"sightings":[{"tag":"mac:58b1294494d3"}]}')

    assert reason(decoded) == "no_gateway"


def test_the_keys_gateway_is_used_when_the_message_names_none() -> None:
    decoded = raw(b'{"sightings":[{"tag":"mac:58b1294494d3"}]}', gateway_id="dock-9")

    assert only(decoded).gateway_id == "dock-9"


def test_on_mqtt_nobody_speaks_for_another_gateway() -> None:
    topic = "tagtrail/v1/north/dock-1/sightings"

    assert reason(batch(item(gateway_id="dock-2"), topic=topic)) == "bad_gateway"
    with pytest.raises(UnreadableError, match="contradicts the topic"):
        batch(item(), topic=topic, gateway_id="dock-2")


def test_over_http_an_item_may_name_its_own_gateway() -> None:
    assert only(batch(item(gateway_id="dock-2"))).gateway_id == "dock-2"


def test_a_retained_batch_is_refused() -> None:
    body = json.dumps({"gateway_id": "g", "sightings": [item(), item(range_m=1)]}).encode()

    decoded = raw(body, retained=True)

    assert [r.reason for r in decoded.refused] == ["retained", "retained"]


@pytest.mark.parametrize(
    ("payload", "online", "kind", "figures"),
    [
        (b"online", True, "status", None),
        (b"offline", False, "status", None),
        (b'{"online":false,"free_bytes":7}', False, "status", {"free_bytes": 7}),
        (b'{"free_bytes":7,"at":"2026-11-24T11:00:00Z"}', None, "telemetry", {"free_bytes": 7}),
    ],
)
def test_a_gateway_reports_its_status(
    payload: bytes, online: bool | None, kind: str, figures: dict[str, Any] | None
) -> None:
    decoded = raw(payload, topic="tagtrail/v1/north/dock-1/status", retained=True)

    event = decoded.gateway_facts[0].event
    assert (event.gateway_id, event.site_id) == ("dock-1", "north")
    assert (event.online, event.kind, event.values) == (online, kind, figures)
    assert event.retained


def test_a_status_that_says_nothing_known_is_unreadable() -> None:
    with pytest.raises(UnreadableError):
        raw(b"sleeping", topic="tagtrail/v1/north/dock-1/status")
