"""The traps of the foreign formats, each with the message that springs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tagtrail_ingest.adapters import (
    ADAPTERS,
    Decoded,
    Message,
    Reading,
    UnreadableError,
    adapter_for_topic,
)
from tagtrail_ingest.adapters.times import Times, choose
from tagtrail_kernel.events.sightings import (
    TagSensed,
    TagSighted,
    TagZoneReported,
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


# --- the choice of the event time ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "at", "quality"),
    [
        (Times(NOW - 3 * MINUTE, NOW - 2 * MINUTE, NOW - MINUTE), NOW - 3 * MINUTE, "tag"),
        (Times(None, NOW - 2 * MINUTE, NOW - MINUTE), NOW - 2 * MINUTE, "gateway_receive"),
        (Times(None, None, NOW - MINUTE), NOW - MINUTE, "gateway_send"),
        (Times(None, None, None), NOW, "server_receive"),
        (Times(None, NOW + 5 * MINUTE, None), NOW + 5 * MINUTE, "gateway_receive"),
        (Times(None, NOW + 6 * MINUTE, NOW - MINUTE), NOW - MINUTE, "gateway_send"),
        (Times(None, datetime(2009, 12, 31, tzinfo=UTC), None), NOW, "server_receive"),
        (Times(None, datetime(2010, 1, 1, tzinfo=UTC), None), datetime(2010, 1, 1, tzinfo=UTC),
         "gateway_receive"),
        (Times(NOW, NOW - 4 * MINUTE, None), NOW, "tag"),
        (Times(NOW, NOW - 6 * MINUTE, None), NOW - 6 * MINUTE, "gateway_receive"),
    ],
)  # fmt: skip
def test_the_event_time_is_the_first_plausible_clock(
    times: Times, at: datetime, quality: str
) -> None:
    chosen = choose(times, NOW)

    assert (chosen.at, chosen.quality) == (at, quality)
    assert chosen.own == (quality != "server_receive")


def test_s7_a_foreign_time_in_the_future_is_kept_but_not_believed() -> None:
    reading = one(on("ruuvi/AA:BB:CC:DD:EE:FF/F4:1F:0C:28:CB:D6",
                     {"rssi": -60, "ts": 4102444800, "gwts": 4102444800}))  # fmt: skip

    assert reading.draft.gateway_received_at == datetime(2100, 1, 1, tzinfo=UTC)
    assert (reading.occurred_at, reading.time_quality) == (NOW, "server_receive")
    assert not reading.has_own_time


# --- ESPresense ---------------------------------------------------------------------------------


def test_espresense_keeps_every_figure_of_version_4() -> None:
    draft = sighting(on("espresense/devices/itag:ffff10a1b2c3/dock_2", {
        "mac": "ffff10a1b2c3", "id": "itag:ffff10a1b2c3", "name": "iTAG", "rssi@1m": -75,
        "rssi": -64.25, "rxAdj": 20, "rssiVar": 6.12, "distance": 0.39, "var": 0.31, "close": True,
        "int": 488, "mV": 2980, "batt": 86, "temp": 21.5, "rh": 40.25,
    }))  # fmt: skip

    assert (draft.rssi_dbm, draft.rssi_1m_dbm, draft.rssi_adjustment_db) == (-64.25, -75, 20)
    assert (draft.rssi_variance_db2, draft.distance_m, draft.interval_ms) == (6.12, 0.39, 488)
    assert (draft.battery_mv, draft.battery_pct) == (2980, 86)
    assert (draft.temperature_c, draft.humidity_pct) == (21.5, 40.25)
    assert draft.extra == {"var": 0.31, "close": True}


@pytest.mark.parametrize(
    ("tag", "identities"),
    [
        ("iBeacon:E5CA1ADE-F007-BA11-0000-000000000000-80-31213",
         ("ibeacon:e5ca1adef007ba110000000000000000:80:31213", "mac:7c9ebd4fa1b2")),
        ("irk:0123456789ABCDEF0123456789ABCDEF",
         ("irk:0123456789abcdef0123456789abcdef", "mac:7c9ebd4fa1b2")),
        ("apple:1005:9-24", ("mac:7c9ebd4fa1b2",)),
        ("eddy:00112233445566778899-aabbccddeeff",
         ("espresense:eddy:00112233445566778899-aabbccddeeff", "mac:7c9ebd4fa1b2")),
        ("known:7c9ebd4fa1b2", ("espresense:known:7c9ebd4fa1b2", "mac:7c9ebd4fa1b2")),
        ("7c9ebd4fa1b2", ("mac:7c9ebd4fa1b2",)),
    ],
)  # fmt: skip
def test_espresense_ids_lead_to_identities(tag: str, identities: tuple[str, ...]) -> None:
    payload = {"mac": "7c9ebd4fa1b2", "id": tag, "rssi": -71, "rssi@1m": -65}

    assert one(on(f"espresense/devices/{tag}/kitchen", payload)).identities == identities


@pytest.mark.parametrize("name", ["known_macs", "known_irks", "include", "exclude", "query"])
def test_espresense_settings_that_list_addresses_become_counts(name: str) -> None:
    fact = on(f"espresense/rooms/office/{name}", b"aabbccddeeff 58:b1:29:44:94:d3").gateway_facts[0]

    assert fact.event.values == {f"{name}_count": 2}


def test_espresense_keys_names_and_ids_of_settings_stay_out_of_the_log() -> None:
    payload = {"id": "phone:anna", "name": "Anna's phone", "rssi@1m": -59}
    fact = on("espresense/settings/irk:0123456789abcdef0123456789abcdef/config", payload)

    assert "anna" not in repr(fact).lower()
    assert "0123456789abcdef" not in repr(fact)


def test_espresense_empty_settings_mean_deleted() -> None:
    fact = on("espresense/settings/phone:anna/config", b"").gateway_facts[0]

    assert fact.event.values == {"device_settings": "deleted"}


def test_espresense_commands_to_all_rooms_are_messages_to_gateways() -> None:
    event = on("espresense/rooms/*/max_distance/set", b"10").gateway_facts[0].event

    assert (event.kind, event.gateway_id) == ("sync", "*")


def test_espresense_companion_says_a_room_or_nobody() -> None:
    claim = one(on("espresense/companion/phone:anna", b"Office"))
    absence = one(on("espresense/companion/phone:anna", b"not_home"))

    assert isinstance(claim.draft, TagZoneReported)
    assert claim.draft.zone == "Office"
    assert absence.draft.TYPE == "tag.absence_reported"


def test_espresense_without_signal_is_no_sighting() -> None:
    with pytest.raises(UnreadableError, match="no_signal"):
        on("espresense/devices/a/office", {"mac": "7c9ebd4fa1b2", "id": "a"})


# --- OpenMQTTGateway and Theengs ----------------------------------------------------------------


def test_omg_absence_claims_are_not_sightings() -> None:
    for payload in ({"id": "A4:C1:38:B7:5A:81", "state": "offline"},
                    {"id": "A4:C1:38:B7:5A:81", "presence": "absent", "unlocked": False}):  # fmt: skip
        reading = one(on("home/OMG/BTtoMQTT/A4C138B75A81", payload))

        assert reading.draft.TYPE == "tag.absence_reported"
        assert reading.identities == ("mac:a4c138b75a81",)


def test_omg_sensor_values_without_signal_are_sensed_with_the_topics_address() -> None:
    reading = one(on("home/OMG/BTtoMQTT/4C33A6603C79", {"hum": "52.6", "tempc": "19.2"}))

    assert isinstance(reading.draft, TagSensed)
    assert reading.draft.readings == {"humidity_pct": 52.6, "temperature_c": 19.2}
    assert reading.identities == ("mac:4c33a6603c79",)


def test_omg_numbers_may_be_text() -> None:
    draft = sighting(on("home/OMG/BTtoMQTT/4C33A6603C79", {"rssi": "-71", "tempc": "19.2"}))

    assert (draft.rssi_dbm, draft.temperature_c) == (-71, 19.2)


def test_omg_doubles_on_two_topics_are_one_observation() -> None:
    payload = {"id": "45:e1:74:12:6e:00", "rssi": -89, "distance": 21.5}

    first = one(on("home/OMG/BTtoMQTT/45E174126E00", payload))
    second = one(on("home/presence/OMG", payload))

    assert first.dedupe == second.dedupe
    assert first.repeat_window_s == 0.5


def test_omg_one_advert_with_several_service_data_fields_is_one_observation() -> None:
    payload = {"id": "45:e1:74:12:6e:00", "rssi": -89, "servicedatauuid": "0xfe9f"}

    first = one(on("home/OMG/BTtoMQTT/45E174126E00", {**payload, "servicedata": "0011"}))
    second = one(on("home/OMG/BTtoMQTT/45E174126E00", {**payload, "servicedata": "2233"}))

    assert first.dedupe == second.dedupe


def test_omg_decoded_values_tell_two_messages_of_one_advert_apart() -> None:
    payload = {"id": "45:e1:74:12:6e:00", "rssi": -89}

    first = one(on("home/OMG/BTtoMQTT/45E174126E00", {**payload, "tempc": 20.1}))
    second = one(on("home/OMG/BTtoMQTT/45E174126E00", {**payload, "hum": 51}))

    assert first.dedupe != second.dedupe


def test_omg_an_id_that_is_a_beacon_leaves_the_address_in_mac() -> None:
    reading = one(on("home/presence/OMG", {
        "id": "1de4b189115e45f6b44e509352269977", "rssi": -78, "txpower": -66,
        "uuid": "1de4b189115e45f6b44e509352269977", "major": 0, "minor": 0,
        "mac": "60:87:57:4C:9B:C2",
    }))  # fmt: skip

    assert reading.identities == (
        "ibeacon:1de4b189115e45f6b44e509352269977:0:0", "mac:6087574c9bc2",
    )  # fmt: skip
    assert isinstance(reading.draft, TagSighted)
    assert (reading.draft.rssi_1m_dbm, reading.draft.tx_power_dbm) == (-66, None)


def test_omg_tracker_sync_names_no_tag() -> None:
    fact = on("home/OMG/trackersync", {"gatewayid": "OMG", "trackerid": "A4:C1:38:B7:5A:81"})

    assert fact.gateway_facts[0].event.kind == "sync"
    assert "a4c138" not in repr(fact).lower().replace(":", "")


def test_omg_utc_time_is_when_the_gateway_sent() -> None:
    reading = one(on("home/OMG/BTtoMQTT/45E174126E00", {
        "id": "45:e1:74:12:6e:00", "rssi": -89, "UTCtime": "2026-11-24T11:00:00Z",
    }))  # fmt: skip

    assert (reading.occurred_at, reading.time_quality) == (NOW - 60 * MINUTE, "gateway_send")
