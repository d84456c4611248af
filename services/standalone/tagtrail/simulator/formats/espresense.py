"""ESPresense v4: one JSON message per reading, QoS 0, no time at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from tagtrail.simulator.formats.voice import Message, Reading, Speaker
from tagtrail.simulator.roster import Gateway

ABSORPTION: Final = 2.7
MAX_DISTANCE_M: Final = 16.0
"""Firmware defaults: exponent of its distance, and beyond which distance it stays silent."""
SMOOTHING: Final = 0.2
"""Weight of the newest reading in the variance that the firmware reports."""

_encode = msgspec.json.Encoder().encode


class EspresenseVoice(Speaker):
    """An ESP32 with ESPresense; its room is the gateway's id.

    It keeps a running variance per device and reports only what it believes to be near.
    """

    def __init__(self, gateway: Gateway, start: datetime, rssi_1m_dbm: float) -> None:
        super().__init__(gateway, start, rssi_1m_dbm)
        self._seen: dict[str, tuple[float, float]] = {}

    def sightings(self, readings: list[Reading], step_end_s: float) -> Iterator[Message]:
        """Spell each reading as one message; doubles are exact repeats."""
        del step_end_s
        for r in readings:
            distance_m = 10 ** ((self.rssi_1m_dbm - r.rssi_dbm) / (10 * ABSORPTION))
            if distance_m > MAX_DISTANCE_M:
                continue
            copies = 2 if r.twice else 1
            device = f"tt:{r.mac}"
            payload = _encode(
                {
                    "mac": r.mac, "id": device, "rssi@1m": round(self.rssi_1m_dbm),
                    "rssi": round(r.rssi_dbm, 2), "rxAdj": 0, "rssiVar": self._variance(r),
                    "distance": round(distance_m, 2), "var": round(distance_m * 0.1, 2),
                    "int": round(r.interval_s * 1000),
                }
            )  # fmt: skip
            topic = f"espresense/devices/{device}/{self.gateway.wire_id}"
            yield Message(r.true_s, topic, payload, 1, 1, qos=0, copies=copies)

    def _variance(self, r: Reading) -> float:
        mean, variance = self._seen.get(r.mac, (r.rssi_dbm, 0.0))
        error = r.rssi_dbm - mean
        mean += SMOOTHING * error
        variance = (1 - SMOOTHING) * (variance + SMOOTHING * error * error)
        self._seen[r.mac] = (mean, variance)
        return round(variance, 2)

    def status(self, at_s: float, *, online: bool, will: bool = False) -> Iterator[Message]:
        """Publish the retained state, and telemetry while alive."""
        del will
        room = f"espresense/rooms/{self.gateway.wire_id}"
        yield Message(at_s, f"{room}/status", b"online" if online else b"offline", retained=True)
        if online:
            telemetry = {
                "ip": "192.0.2.10", "uptime": int(at_s) + 60, "firm": "esp32", "rssi": -58,
                "ver": "v4.0.6", "adverts": 0, "seen": len(self._seen), "reported": 0,
                "freeHeap": 82344,
            }  # fmt: skip
            yield Message(at_s, f"{room}/telemetry", _encode(telemetry), qos=0)
