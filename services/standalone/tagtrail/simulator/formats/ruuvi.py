"""Ruuvi Gateway: one JSON message per reading, whole seconds, sensor data format 5."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from tagtrail.simulator.formats.voice import Message, Reading, Speaker, colons

_encode = msgspec.json.Encoder().encode
_PREFIX = bytes.fromhex("0201061BFF990405")
"""Flags, then manufacturer data of company 0x0499, then the number of the data format."""


class RuuviVoice(Speaker):
    """A Ruuvi Gateway with network time; the tag's address is only in the topic and the data."""

    def sightings(self, readings: list[Reading], step_end_s: float) -> Iterator[Message]:
        """Spell each reading as one message; the measurement number tells readings apart."""
        del step_end_s
        gateway = colons(self.gateway.wire_id)
        for r in readings:
            second = r.at_ms // 1000
            body = {
                "gw_mac": gateway, "rssi": round(r.rssi_dbm), "aoa": [], "gwts": second,
                "ts": second, "data": data_format_5(r).hex().upper(), "coords": "",
            }  # fmt: skip
            topic = f"ruuvi/{gateway}/{colons(r.mac)}"
            yield Message(
                r.true_s, topic, _encode(body), 1, 1, copies=2 if r.twice else 1
            )  # fmt: skip

    def status(self, at_s: float, *, online: bool, will: bool = False) -> Iterator[Message]:
        """Publish the retained connection state."""
        del will
        topic = f"ruuvi/{colons(self.gateway.wire_id)}/gw_status"
        payload = _encode({"state": "online" if online else "offline"})
        yield Message(at_s, topic, payload, retained=True)


def data_format_5(r: Reading) -> bytes:
    """Return the advert of a reading: temperature, humidity, pressure, counters, address.

    The measurement number is the tag's advert number, 65535 being reserved for "unknown".
    """
    temperature_c = 18.0 + int(r.mac[-2:], 16) % 40 / 10
    humidity_pct = 45.0 + int(r.mac[-4:-2], 16) % 100 / 10
    battery_mv = round(2000 + 10 * r.battery_pct)
    power = (battery_mv - 1600) << 5 | (4 + 40) // 2
    body = struct.pack(
        ">hHHhhhHBH", round(temperature_c / 0.005), round(humidity_pct / 0.0025), 101_325 - 50_000,
        12, -24, 1012, power, r.advert // 64 % 255, r.advert % 65_535,
    )  # fmt: skip
    return _PREFIX + body + bytes.fromhex(r.mac)
