"""OpenMQTTGateway: one JSON message per reading, without time, sometimes doubled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from tagtrail.simulator.formats.voice import Message, Reading, Speaker, colons

NAME_EVERY: Final = 5
"""Adverts between two scan responses, which carry the name."""

_encode = msgspec.json.Encoder().encode


class OpenMqttGatewayVoice(Speaker):
    """An ESP32 with OpenMQTTGateway in its default settings."""

    def sightings(self, readings: list[Reading], step_end_s: float) -> Iterator[Message]:
        """Spell each reading as one message; its doubles are exact repeats within milliseconds."""
        del step_end_s
        base = f"home/{self.gateway.wire_id}/BTtoMQTT"
        for r in readings:
            rssi = round(r.rssi_dbm)
            body: dict[str, object] = {"id": colons(r.mac), "mac_type": 1, "adv_type": 0}
            if r.advert % NAME_EVERY == 0:
                body["name"] = "TT-" + r.mac[-4:].upper()
            body |= {"rssi": rssi, "distance": _distance_m(rssi)}
            yield Message(
                r.true_s, f"{base}/{r.mac.upper()}", _encode(body), 1, 1, qos=0,
                copies=2 if r.twice else 1,
            )  # fmt: skip

    def status(self, at_s: float, *, online: bool, will: bool = False) -> Iterator[Message]:
        """Publish the retained connection state."""
        del will
        topic = f"home/{self.gateway.wire_id}/LWT"
        yield Message(at_s, topic, b"online" if online else b"offline", retained=True)


def _distance_m(rssi_dbm: int, rssi_1m_dbm: int = -59) -> float:
    """Return the distance as the firmware computes it (a fitted power law), metres."""
    ratio = rssi_dbm / rssi_1m_dbm
    if ratio < 1:
        return round(float(ratio**10), 5)
    return round(float(0.89976 * ratio**7.7095 + 0.111), 5)
