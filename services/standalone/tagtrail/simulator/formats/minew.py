"""Minew gateways in JSON-LONG: an array per second, the gateway first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tagtrail.simulator.formats.voice import Message, Reading, Speaker, rfc3339

_encode = msgspec.json.Encoder().encode
IBEACON_UUID = "E2C56DB5DFFB48D2B060D0F5A71096E0"


class MinewVoice(Speaker):
    """A Minew G1 or MG gateway; every other tag is an iBeacon, the rest raw data."""

    echoes = True

    @property
    def _topic(self) -> str:
        return f"minew/{self.gateway.wire_id.upper()}"

    def sightings(self, readings: list[Reading], step_end_s: float) -> Iterator[Message]:
        """Spell one array; a reading sent twice stands in it twice."""
        devices: list[dict[str, Any]] = []
        for r in readings:
            device = _ibeacon(r) if int(r.mac[-1], 16) % 2 else _raw(r)
            devices += [device, device] if r.twice else [device]
        if devices:
            payload = _encode([self._self(step_end_s), *devices])
            yield Message(step_end_s, self._topic, payload, len(readings), len(devices))

    def status(self, at_s: float, *, online: bool, will: bool = False) -> Iterator[Message]:
        """Send an array without devices; this gateway has no last will."""
        del will
        if online:
            yield Message(at_s, self._topic, _encode([self._self(at_s)]))

    def _self(self, at_s: float) -> dict[str, Any]:
        return {
            "timestamp": rfc3339(self.clock_ms(at_s)), "type": "Gateway",
            "mac": self.gateway.wire_id.upper(), "gatewayFree": 89, "gatewayLoad": 0.03,
        }  # fmt: skip


def _ibeacon(r: Reading) -> dict[str, Any]:
    return {
        "timestamp": rfc3339(r.at_ms), "type": "iBeacon", "mac": r.mac.upper(), "bleName": "",
        "ibeaconUuid": IBEACON_UUID, "ibeaconMajor": int(r.mac[4:8], 16),
        "ibeaconMinor": int(r.mac[8:12], 16), "rssi": round(r.rssi_dbm), "ibeaconTxPower": -59,
        "battery": round(r.battery_pct),
    }  # fmt: skip


def _raw(r: Reading) -> dict[str, Any]:
    """Return a device with its advert: flags and manufacturer data of a test company."""
    advert = f"0201060BFFFFFF5454{r.mac}"
    return {
        "timestamp": rfc3339(r.at_ms), "type": "Unknown", "mac": r.mac.upper(), "bleName": "",
        "bleNo": 0, "rawData": advert.upper(), "rssi": round(r.rssi_dbm),
    }  # fmt: skip
