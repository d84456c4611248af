"""The gateway's own adapter. No radio was at hand: a package like bleak stands in for it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.agent_inputs import REAL_CLOCKS, Listener, hearing, until

from tagtrail_agent.decoding import decode
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.bluetooth import (
    NO_RSSI_DBM,
    PATTERNS,
    Bluetooth,
    BluetoothOptions,
    structure,
    structures_of,
)


class BleakError(Exception):
    pass


class NotAvailableError(BleakError):
    pass


class DBusError(BleakError):
    def __init__(self, dbus_error: str) -> None:
        super().__init__(dbus_error)
        self.dbus_error = dbus_error


class Radio:
    """A package like bleak.

    Args:
        failures: What the first starts raise, in order.
        adverts: What each scanner hears at once.
        stops: Whether a scanner can be stopped.
    """

    def __init__(
        self,
        failures: list[Exception] | None = None,
        adverts: list[tuple[str, Any]] | None = None,
        *,
        stops: bool = True,
    ) -> None:
        self.exc = SimpleNamespace(
            BleakError=BleakError, BleakBluetoothNotAvailableError=NotAvailableError
        )
        self.failures, self.adverts, self.stops = failures or [], adverts or [], stops
        self.modes: list[str] = []
        self.bluez: list[dict[str, Any]] = []
        self.scanning = 0

    def BleakScanner(  # noqa: N802 - bleak's name
        self, callback: Callable[[Any, Any], None], *, scanning_mode: str, bluez: dict[str, Any]
    ) -> Any:
        self.modes.append(scanning_mode)
        self.bluez.append(bluez)

        async def start() -> None:
            if self.failures:
                raise self.failures.pop(0)
            self.scanning += 1
            for address, data in self.adverts:
                callback(SimpleNamespace(address=address), data)

        async def stop() -> None:
            if not self.stops:
                raise BleakError("frozen")
            self.scanning -= 1

        return SimpleNamespace(start=start, stop=stop)


def advert(**changed: object) -> Any:
    return SimpleNamespace(
        **{
            "manufacturer_data": {},
            "service_data": {},
            "service_uuids": [],
            "tx_power": None,
            "rssi": -61,
            "platform_data": ("/org/bluez/x", {"AddressType": "random"}),
            **changed,
        }
    )


def bluetooth(radio: Radio, **changed: object) -> Bluetooth:
    given: dict[str, object] = {"retry_least_s": 0.01, "retry_most_s": 0.05, **changed}
    return Bluetooth(BluetoothOptions(**given), REAL_CLOCKS, bleak=radio)  # type: ignore[arg-type]


BEACON = "0215f7826da64fa24e988024bc5b71e0893e0007002ac5"


async def test_what_the_adapter_hears_becomes_adverts() -> None:
    data = advert(manufacturer_data={0x004C: bytes.fromhex(BEACON)})
    radio = Radio(adverts=[("58:B1:29:44:94:D3", data)])

    async with hearing(bluetooth(radio)) as listener:
        await until(lambda: listener.adverts)

    heard = listener.adverts[0]
    assert (heard.address, heard.rssi_dbm, heard.random_address) == ("58b1294494d3", -61, True)
    assert heard.ad.hex() == "1aff4c00" + BEACON
    assert radio.scanning == 0


def taken_apart(ad: bytes) -> Any:
    """Take an advert apart as bleak does."""
    data = advert(manufacturer_data={}, service_data={})
    while ad and ad[0]:
        kind, value, ad = ad[1], ad[2 : ad[0] + 1], ad[ad[0] + 1 :]
        if kind == 0xFF:
            data.manufacturer_data[int.from_bytes(value[:2], "little")] = value[2:]
        elif kind == 0x16:
            short = int.from_bytes(value[:2], "little")
            data.service_data[f"0000{short:04x}-0000-1000-8000-00805f9b34fb"] = value[2:]
    return data


def test_the_decoders_find_the_same_in_adverts_put_together_again(shared_data: Path) -> None:
    vectors = json.loads((shared_data / "adverts.json").read_text())
    adverts = [
        bytes.fromhex(v["ad_hex"])
        for v in (vectors["vectors"] if isinstance(vectors, dict) else vectors)
        if "ad_hex" in v
    ]

    assert len(adverts) >= 10
    for ad in adverts:
        again = decode(structures_of(taken_apart(ad)))
        assert again.identities == decode(ad).identities
        assert again.members == decode(ad).members


def test_every_kind_of_structure_is_written_as_on_the_air() -> None:
    data = advert(
        service_data={
            "0000fe95-0000-1000-8000-00805f9b34fb": b"\x01",
            "12345678-0000-1000-8000-00805f9b34fb": b"\x02",
            "6e400001-b5a3-f393-e0a9-e50e24dcca9e": b"\x03",
        },
        service_uuids=["0000180f-0000-1000-8000-00805f9b34fb", "no uuid"],
        tx_power=-4,
    )

    assert structures_of(data).hex() == (
        "041695fe010620785634120212219ecadc240ee5a9e093f3a3b50100406e0303030f18020afc"
    )
    assert structure(0xFF, bytes(254))[0] == 255
    assert structure(0xFF, bytes(255)) == b""


async def test_an_advert_without_address_or_rssi_is_counted_and_left_out() -> None:
    radio = Radio(
        adverts=[
            ("A-UUID-OF-MACOS", advert()),
            ("58:B1:29:44:94:D3", advert(rssi=NO_RSSI_DBM)),
            ("58:B1:29:44:94:D3", advert(rssi=NO_RSSI_DBM + 1)),
        ]
    )
    source = bluetooth(radio)

    async with hearing(source) as listener:
        await until(lambda: listener.adverts)

    assert source.counts == {"starts": 1, "no_address": 1, "no_rssi": 1, "adverts": 1}


@pytest.mark.parametrize("stops", [True, False])
async def test_a_scanner_that_goes_deaf_is_started_again(stops: bool) -> None:
    radio = Radio(adverts=[("58:B1:29:44:94:D3", advert())], stops=stops)
    source = bluetooth(radio, silence_s=0.1)

    async with hearing(source) as listener:
        await until(lambda: len(listener.adverts) >= 3)

    assert source.counts["silences"] >= 2
    assert source.mode == "passive"


async def test_a_scanner_that_hears_is_left_alone() -> None:
    radio = Radio()
    source = bluetooth(radio, silence_s=0.3)
    async with hearing(source) as listener:
        await until(lambda: radio.scanning)
        for _ in range(10):
            source._detected("58:B1:29:44:94:D3", advert(), listener)
            await asyncio.sleep(0.1)

    assert source.counts["starts"] == 1


async def test_passive_scanning_that_is_refused_becomes_active() -> None:
    radio = Radio([BleakError("passive scanning needs experimental features")])
    source = bluetooth(radio, adapter="hci1")

    async with hearing(source):
        await until(lambda: radio.scanning)

    assert radio.modes == ["passive", "active"]
    assert radio.bluez == [{"adapter": "hci1", "or_patterns": list(PATTERNS)}, {"adapter": "hci1"}]


async def test_an_adapter_that_is_switched_off_is_awaited() -> None:
    radio = Radio([NotAvailableError("powered off")] * 3)
    source = bluetooth(radio)

    async with hearing(source):
        await until(lambda: radio.scanning)

    assert source.counts["failed_starts"] == 3
    assert radio.modes == ["passive"] * 4


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), "no D-Bus here: install and start"),
        (DBusError("org.freedesktop.DBus.Error.ServiceUnknown"), "BlueZ does not run"),
    ],
)
async def test_without_the_systems_services_it_ends_with_what_to_do(
    failure: Exception, words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        await bluetooth(Radio([failure])).run(Listener())


async def test_services_that_go_away_later_are_awaited() -> None:
    radio = Radio(adverts=[("58:B1:29:44:94:D3", advert())])
    source = bluetooth(radio, silence_s=0.1)

    async with hearing(source):
        await until(lambda: source.counts["starts"] == 1)
        radio.failures += [FileNotFoundError(2, "gone"), FileNotFoundError(2, "gone")]
        await until(lambda: source.counts["starts"] == 2)

    assert source.counts["failed_starts"] == 2


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleak", None)

    with pytest.raises(AgentError, match=r"pip install \"tagtrail-agent\[bluetooth\]\""):
        Bluetooth(BluetoothOptions(), REAL_CLOCKS)
