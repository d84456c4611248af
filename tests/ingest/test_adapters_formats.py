"""Foreign formats: forms of a message that no sample shows, and how one bad item is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tagtrail_ingest.adapters import (
    ADAPTERS,
    Decoded,
    Message,
    Reading,
    UnreadableError,
    adapter_for_topic,
)
from tagtrail_kernel.events.sightings import (
    TagPositionReported,
    TagSighted,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def on(topic: str, payload: Any, **more: Any) -> Decoded:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    adapter = adapter_for_topic(topic)
    assert adapter is not None
    return adapter.decode(Message(payload=body, received_at=NOW, topic=topic, **more))


def posted(name: str, payload: Any, **more: Any) -> Decoded:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return ADAPTERS[name].decode(Message(payload=body, received_at=NOW, route=name, **more))


def one(decoded: Decoded) -> Reading:
    assert decoded.refused == ()
    assert len(decoded.readings) == 1
    return decoded.readings[0]


def sighting(decoded: Decoded) -> TagSighted:
    draft = one(decoded).draft
    assert isinstance(draft, TagSighted)
    return draft


@pytest.mark.parametrize("rssi", ["loud", True, [], {"a": 1}])
def test_a_signal_strength_that_is_no_number_refuses_the_item_alone(rssi: Any) -> None:
    decoded = posted("kontakt", [
        {"trackingId": "a", "sourceId": "g", "rssi": rssi},
        {"trackingId": "b", "sourceId": "g", "rssi": -60},
    ])  # fmt: skip

    assert [(r.index, r.reason) for r in decoded.refused] == [(0, "bad_value")]
    assert [r.identities for r in decoded.readings] == [("kontakt:b",)]


def test_a_value_out_of_range_refuses_the_item_alone() -> None:
    decoded = posted("minew", [
        {"type": "Gateway", "mac": "AC233FC03641"},
        {"type": "S1", "mac": "C3000025EF6A", "rssi": 900},
        {"type": "S1", "mac": "C3000025EF6B", "rssi": -60, "battery": 250},
        {"type": "S1", "mac": "C3000025EF6C", "rssi": -60, "battery": 25},
    ])  # fmt: skip

    assert [(r.index, r.reason) for r in decoded.refused] == [
        (1, "out_of_range"), (2, "out_of_range"),
    ]  # fmt: skip
    assert [r.index for r in decoded.readings] == [3]


def test_what_cannot_be_read_stays_visible() -> None:
    draft = sighting(posted("kontakt", {
        "trackingId": "a", "sourceId": "g", "rssi": -60, "temperature": "warm",
    }))  # fmt: skip

    assert draft.temperature_c is None
    assert draft.extra == {"temperature": "warm"}


def test_s7_unknown_members_of_a_foreign_message_survive() -> None:
    for decoded in (
        on("espresense/devices/a/office", {"mac": "7c9ebd4fa1b2", "rssi": -60, "novel": [1, "x"]}),
        posted("kontakt", {"trackingId": "a", "sourceId": "g", "rssi": -60, "novel": [1, "x"]}),
        on("ruuvi/AA:BB:CC:DD:EE:FF/F4:1F:0C:28:CB:D6", {"rssi": -60, "novel": [1, "x"]}),
        posted("omlox", {"position": {"type": "Point", "coordinates": [1, 2]}, "provider_id": "ab",
                         "source": "z", "novel": [1, "x"]}),
        posted("traccar", {"device_id": "1", "location": {
            "coords": {"latitude": 1, "longitude": 2}, "novel": [1, "x"]}}),
    ):  # fmt: skip
        extra = one(decoded).draft.extra
        assert extra is not None
        assert extra["novel"] == [1, "x"]


def test_april_brother_speaks_messagepack_on_the_wire() -> None:
    frame = bytes.fromhex(
        "00123b6a1a64cfaa0201061aff4c000215b5b182c7eab14988aa99b5c1517008d90001cf64c5"
    )
    packed = msgspec.msgpack.encode(
        {
            "v": "1.5.0",
            "mid": 1,
            "time": 1764000000,
            "mac": "123B6A1A64CF",
            "devices": [frame, b"x"],
        }
    )

    decoded = posted("aprilbrother", packed)

    assert decoded.readings[0].identities[0] == "ibeacon:b5b182c7eab14988aa99b5c1517008d9:1:53092"
    assert decoded.readings[0].draft.gateway_sent_at == datetime(2025, 11, 24, 16, tzinfo=UTC)
    assert [(r.index, r.reason) for r in decoded.refused] == [(1, "bad_value")]
    assert decoded.gateway_facts[0].event.values == {"v": "1.5.0", "mid": 1}


def test_shelly_rpc_events_come_with_their_envelope_and_device() -> None:
    scan = ["AA:BB:CC:DD:EE:FF", -50, "AgEaAgoM", ""]
    decoded = on("shellyplus1-a8032abe54dc/events/rpc", {
        "src": "shellyplus1-a8032abe54dc", "method": "NotifyEvent",
        "params": {"ts": 1764000000.5, "events": [
            {"component": "input:0", "event": "single_push"},
            {"component": "script:1", "event": "ble.scan_result", "data": [2, [scan, scan]]},
        ]},
    })  # fmt: skip

    assert [r.index for r in decoded.readings] == [0, 1]
    draft = decoded.readings[0].draft
    assert isinstance(draft, TagSighted)
    assert (draft.gateway_id, draft.tx_power_dbm) == ("shellyplus1-a8032abe54dc", 12)
    assert decoded.readings[0].time_quality == "gateway_send"
    assert [r.reason for r in decoded.refused] == ["unsupported"]


def test_cassia_scan_data_are_read_as_its_event_stream_has_them() -> None:
    decoded = on("up/CC:1B:E0:E2:8F:2C/scan", {
        "action": "data.scan", "gateway": "CC:1B:E0:E2:8F:2C", "timestamp": 1764000000000,
        "data": [
            {"bdaddrs": [{"bdaddr": "11:22:33:44:55:66", "bdaddrType": "public"}], "rssi": -42,
             "adData": "02011a020a0c", "name": "x"},
            {"mac": "11:22:33:44:55:67", "rssi": -43},
            {"mac": "11:22:33:44:55:68"},
        ],
    })  # fmt: skip

    assert [r.identities for r in decoded.readings] == [
        ("mac:112233445566",), ("mac:112233445567",),
    ]  # fmt: skip
    assert {r.draft.gateway_id for r in decoded.readings} == {"cc1be0e28f2c"}
    assert [(r.index, r.reason) for r in decoded.refused] == [(2, "no_signal")]


def test_impinj_streams_one_event_a_line() -> None:
    event = {"timestamp": "2026-11-24T11:00:00Z", "hostname": "door", "eventType": "tagInventory",
             "tagInventoryEvent": {"epc": "ftqQOAUQAnEAAsCu", "peakRssiCdbm": -6150}}  # fmt: skip
    status = {
        "timestamp": "2026-11-24T11:00:00Z",
        "hostname": "door",
        "eventType": "inventoryStatus",
    }
    lines = b"\n".join(json.dumps(e).encode() for e in (event, status))

    decoded = posted("impinj", lines)

    reading = decoded.readings[0]
    assert isinstance(reading.draft, TagSighted)
    assert reading.draft.rssi_dbm == -61.5
    assert reading.identities == ("epc:7EDA9038051002710002C0AE",)
    assert decoded.gateway_facts[0].event.values == {"event_type": "inventoryStatus"}


def test_traccar_old_form_is_a_query_string_in_knots() -> None:
    reading = one(posted(
        "traccar",
        b"id=48241179&lat=37.42&lon=-122.08&timestamp=1764000000&speed=10&batt=87&hdop=1",
    ))  # fmt: skip

    draft = reading.draft
    assert isinstance(draft, TagPositionReported)
    assert (draft.latitude_deg, draft.speed_mps, draft.battery_pct) == (37.42, 5.144, 87)
    assert reading.time_quality == "tag"


@pytest.mark.parametrize("latitude", [91, -91, "north"])
def test_a_message_with_nothing_usable_is_unreadable(latitude: Any) -> None:
    place = {"coords": {"latitude": latitude, "longitude": 0}}

    with pytest.raises(UnreadableError, match=r"nothing usable in it: (out_of_range|bad_value)"):
        posted("traccar", {"device_id": "1", "location": place})


def test_a_decision_is_no_fault_of_form_and_quarantines_nothing() -> None:
    decoded = on("owntracks/jane/phone", {"_type": "waypoints", "waypoints": []})

    assert [r.reason for r in decoded.refused] == ["unsupported"]


def test_owntracks_encrypted_by_the_app_is_unreadable_and_says_what_to_do() -> None:
    with pytest.raises(UnreadableError, match="use TLS"):
        on("owntracks/jane/phone", {"_type": "encrypted", "data": "…"})


def test_owntracks_personal_names_stay_out_of_events() -> None:
    decoded = on("owntracks/jane/phone", {
        "_type": "location", "lat": 1, "lon": 2, "tst": 1764000000, "tid": "ja",
        "SSID": "janes-wifi", "BSSID": "aa:bb:cc:dd:ee:ff", "vel": 36,
    })  # fmt: skip

    draft = one(decoded).draft
    assert "jan" not in repr(draft)
    assert isinstance(draft, TagPositionReported)
    assert draft.speed_mps == 10


def test_find3_turns_the_direction_round_and_asks_for_a_known_transmitter() -> None:
    decoded = posted("find3", {"d": "phone-1", "t": 1764000000000,
                               "s": {"bluetooth": {"20:25:64:b7:91:42": -72}}})  # fmt: skip

    reading = one(decoded)
    assert reading.identities == ("find3:phone-1",)
    assert reading.draft.gateway_id == "202564b79142"
    assert reading.needs_known_gateway


def test_raddec_of_a_label_is_rfid() -> None:
    reading = one(posted("raddec", {
        "transmitterId": "30140f4c0000000000000001", "transmitterIdType": 5,
        "rssiSignature": [{"receiverId": "001bc50940810000", "receiverIdType": 1, "rssi": -60}],
    }))  # fmt: skip

    assert reading.identities == ("epc:30140F4C0000000000000001",)
    assert reading.draft.technology == "rfid"


def test_omlox_coordinates_follow_their_reference_system() -> None:
    body = {"position": {"type": "Point", "coordinates": [13.4, 52.5]}, "provider_id": "ab",
            "provider_type": "uwb", "source": "zone-1"}  # fmt: skip

    local = one(posted("omlox", body)).draft
    world = one(posted("omlox", {**body, "crs": "EPSG:4326"})).draft
    other = posted("omlox", {**body, "crs": "EPSG:25832"})

    assert isinstance(local, TagPositionReported)
    assert isinstance(world, TagPositionReported)
    assert (local.x_m, local.y_m, local.frame_id) == (13.4, 52.5, "zone-1")
    assert (world.longitude_deg, world.latitude_deg, world.frame_id) == (13.4, 52.5, None)
    assert [r.reason for r in other.refused] == ["unsupported"]


def test_omlox_configuration_in_a_list_costs_only_itself() -> None:
    decoded = posted("omlox", [
        {"id": "z", "type": "uwb", "ground_control_points": []},
        {"position": {"type": "Point", "coordinates": [1, 2]}, "provider_id": "ab", "source": "z"},
    ])  # fmt: skip

    assert [(r.index, r.reason) for r in decoded.refused] == [(0, "unreadable")]
    assert [r.index for r in decoded.readings] == [1]


def test_omlox_motion_names_trackable_and_provider() -> None:
    reading = one(posted("omlox", {"id": "9B59961E-2A6A-4712-86E7-ABA5A3E8BE1F", "location": {
        "position": {"type": "Point", "coordinates": [1, 2]}, "provider_id": "ac:23:3f:ac:a3:55",
        "source": "z",
    }}))  # fmt: skip

    assert reading.identities == (
        "omlox:ac233faca355", "omlox:9b59961e2a6a471286e7aba5a3e8be1f", "mac:ac233faca355",
    )  # fmt: skip


def test_too_many_unnamed_bytes_refuse_the_item() -> None:
    body = {"trackingId": "a", "sourceId": "g", "rssi": -60}

    decoded = posted("kontakt", [{**body, "x": "y" * 17_000}, body])

    assert [(r.index, r.reason) for r in decoded.refused] == [(0, "too_large")]


def test_a_message_without_gateway_uses_the_keys() -> None:
    body = {"trackingId": "a", "rssi": -60}

    assert one(posted("kontakt", body, gateway_id="dock-1")).draft.gateway_id == "dock-1"
    with pytest.raises(UnreadableError, match="no_gateway"):
        posted("kontakt", body)
