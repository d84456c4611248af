"""Items of phones: taps, codes and scans, each taken once."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.agent_inputs import NOON
from tests.support.phone_counter import OTHER, counter, tap

from tagtrail_agent.inputs.phone_items import ItemError, event_id, read_item
from tagtrail_agent.readings import Advert


async def test_a_tap_is_heard_with_its_person_counter_and_time() -> None:
    async with counter() as at_counter:
        verdicts = await at_counter.send(tap())

    (reading,) = at_counter.listener.readings
    assert verdicts == [{"id": "item-1", "verdict": "taken"}]
    assert (reading.tag, reading.gateway_id) == ("nfc:04a2b3c4d5e680", "phone-anna")
    assert (reading.at, reading.elapsed_s) == (NOON - timedelta(seconds=60), 940.0)
    assert UUID(reading.members.pop("id")).version == 8
    assert reading.members == {
        "technology": "nfc",
        "counter": 41,
        "source_class": "own_phone",
        "actor_id": "operator-7",
    }


async def test_fifty_scans_sent_again_and_again_are_fifty_readings() -> None:
    queue = [tap(n, uid=f"04a2b3c4d5e6{n:02x}") for n in range(50)]
    chance = random.Random(1)
    async with counter() as at_counter:
        for _ in range(8):
            await at_counter.send(*chance.sample(queue, 30))
        last = await at_counter.send(*queue, queue[0])

    assert len({r.tag for r in at_counter.listener.readings}) == 50
    assert len(at_counter.listener.readings) == 50
    assert last[-1] == {"id": "item-0", "verdict": "repeated"}


async def test_an_endpoint_that_restarted_gives_the_same_event_ids() -> None:
    ids = []
    for _ in range(2):
        async with counter() as at_counter:
            await at_counter.send(tap())
        ids.append(at_counter.listener.readings[0].members["id"])

    assert ids[0] == ids[1]


async def test_the_same_id_of_two_phones_is_two_items() -> None:
    async with counter() as at_counter:
        await at_counter.send(tap())
        await at_counter.post("items", {"items": [tap()]}, OTHER)

    first, second = at_counter.listener.readings
    assert first.members["id"] != second.members["id"]
    assert "actor_id" not in second.members


def test_an_event_id_of_the_phones_own_is_kept() -> None:
    own = "0193588a-7c00-7abc-8def-0123456789ab"

    assert event_id("anna", own, NOON) == own
    assert event_id("anna", own, NOON, "position") != own
    assert event_id("anna", "0193588a-7c00-4abc-8def-0123456789ab", NOON)[14] == "8"


@pytest.mark.parametrize(
    ("item", "tag"),
    [
        (tap(uid=None, url="https://shop.example/t/crate-7?c=1"), "nfc:shop.example/t/crate-7"),
        (tap(uid=None, ndef="d1010b5504736d616c6c2e6578616d"), None),
        (tap(uid=None, ndef="d1010c5504736d616c6c2e65782f3761"), "nfc:small.ex/7a"),
        (tap(kind="qr", text="epc:30140f4c"), "epc:30140F4C"),
        (tap(kind="qr", text="https://shop.example/t/9"), "nfc:shop.example/t/9"),
    ],
)
def test_labels_are_named_by_what_is_on_them(item: dict[str, Any], tag: str | None) -> None:
    if tag is None:
        with pytest.raises(ItemError, match="no_identity"):
            read_item(item)
    else:
        assert read_item(item).tags == (tag,)


async def test_a_scan_of_a_browser_is_put_together_again() -> None:
    scan = {
        "id": "s1",
        "at": NOON.isoformat(),
        "kind": "ble",
        "rssi_dbm": -61,
        "manufacturer_data": {"76": "0215" + "f7826da64fa24e988024bc5b71e0893e0007002ac5"},
        "service_data": {"0000fe95-0000-1000-8000-00805f9b34fb": "5020aa01"},
    }
    async with counter() as at_counter:
        await at_counter.send(scan, scan | {"id": "s2"})

    first, second = at_counter.listener.adverts
    assert first.ad.hex() == (
        "1aff4c000215f7826da64fa24e988024bc5b71e0893e0007002ac5" + "071695fe5020aa01"
    )
    assert (first.rssi_dbm, first.gateway_id) == (-61, "phone-anna")
    assert first.address != second.address, "adverts without address are not linked"


async def test_a_scan_with_address_and_bytes_is_taken_as_it_is() -> None:
    scan = {"id": "s1", "at": NOON.isoformat(), "kind": "ble", "rssi_dbm": -61,
            "ad": "020106", "address": "58:B1:29:44:94:D3"}  # fmt: skip
    async with counter() as at_counter:
        await at_counter.send(scan)

    assert at_counter.listener.heard == [
        Advert("58b1294494d3", b"\x02\x01\x06", -61, NOON, 1000.0, None, "phone-anna")
    ]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", "no_object"),
        ({}, "bad_id"),
        (tap(id="no spaces"), "bad_id"),
        (tap(at=None), "no_time"),
        (tap(at="2009-12-31T00:00:00Z"), "implausible_time"),
        (tap(at=(NOON + timedelta(minutes=6)).isoformat()), "implausible_time"),
        (tap(kind="barcode"), "bad_kind"),
        (tap(kind=["nfc"]), "bad_kind"),
        (tap(uid="12"), "no_identity"),
        (tap(kind="ble", rssi_dbm=None), "no_signal"),
        (tap(kind="ble", rssi_dbm=-60, ad="00" * 1651), "too_large"),
    ],
)
async def test_a_bad_item_is_refused_alone(item: object, reason: str) -> None:
    async with counter() as at_counter:
        verdicts = await at_counter.send(item, tap(2))

    assert verdicts[0]["reason"] == reason
    assert verdicts[1]["verdict"] == "taken"
    assert at_counter.phones.counts[reason] == 1


ITEMS = st.dictionaries(
    st.sampled_from(["id", "at", "kind", "uid", "url", "ndef", "text", "rssi_dbm", "ad", "x_m"])
    | st.sampled_from(["manufacturer_data", "service_data", "latitude_deg", "y_m", "address"]),
    st.sampled_from(["nfc", "qr", "ble", "item-1", NOON.isoformat(), "0x00", "https://["])
    | st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)
    | st.lists(st.integers(), max_size=2),
)


@given(ITEMS)
@settings(max_examples=300, deadline=None)
def test_no_item_raises_anything_but_its_refusal(item: dict[str, Any]) -> None:
    with contextlib.suppress(ItemError):
        read_item({"id": "x", "at": NOON.isoformat(), "kind": "nfc"} | item)


async def test_memory_for_repeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagtrail_agent.inputs.phone.REMEMBERED", 10)
    async with counter() as at_counter:
        await at_counter.send(*(tap(n) for n in range(30)))
        verdicts = await at_counter.send(tap(29), tap(0))

    assert [v["verdict"] for v in verdicts] == ["repeated", "taken"]
    first, *_, again = at_counter.listener.readings
    assert first.members["id"] == again.members["id"]
