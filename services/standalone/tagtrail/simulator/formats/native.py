"""Tagtrail's own format: one batch per second, UUIDv7 per reading, QoS 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tagtrail.simulator.formats.voice import (
    Message,
    RangeReading,
    Reading,
    Speaker,
    rfc3339,
    uuid7_text,
)

BATTERY_EVERY: Final = 60
"""Adverts between two reports of the battery."""


class NativeVoice(Speaker):
    """A gateway with the Tagtrail agent."""

    echoes = True

    @property
    def _base(self) -> str:
        return f"tagtrail/v1/{self.gateway.site_id}/{self.gateway.wire_id}"

    def sightings(self, readings: list[Reading], step_end_s: float) -> Iterator[Message]:
        """Spell one batch."""
        items = []
        for r in readings:
            item = _item(r)
            items.append(item)
            if r.twice:
                items.append(item)
        if items:
            yield self._batch(items, len(readings), step_end_s)

    def ranges(self, readings: list[RangeReading], step_end_s: float) -> Iterator[Message]:
        """Spell one batch of UWB ranges."""
        items = [
            f'{{"id":"{uuid7_text(r.at_ms, r.random)}","tag":"mac:{r.mac}",'
            f'"at":"{rfc3339(r.at_ms)}","range_m":{r.range_m:.3f},"sigma_m":{r.sigma_m:.3f}}}'
            for r in readings
        ]
        if items:
            yield self._batch(items, len(items), step_end_s)

    def status(self, at_s: float, *, online: bool, will: bool = False) -> Iterator[Message]:
        """Say whether the gateway is connected; a last will knows no time."""
        state = "true" if online else "false"
        sent = "" if will else f',"sent_at":"{rfc3339(self.clock_ms(at_s))}"'
        payload = f'{{"online":{state}{sent}}}'.encode()
        yield Message(at_s, f"{self._base}/status", payload, retained=True)

    def _batch(self, items: list[str], unique: int, ready_s: float) -> Message:
        sent_at = rfc3339(self.clock_ms(ready_s))
        payload = f'{{"sent_at":"{sent_at}","sightings":[{",".join(items)}]}}'
        return Message(
            ready_s, f"{self._base}/sightings", payload.encode(), unique=unique, sent=len(items)
        )


def _item(r: Reading) -> str:
    battery = f',"battery_pct":{r.battery_pct:.0f}' if r.advert % BATTERY_EVERY == 1 else ""
    return (
        f'{{"id":"{uuid7_text(r.at_ms, r.random)}","tag":"mac:{r.mac}","at":"{rfc3339(r.at_ms)}",'
        f'"rssi_dbm":{r.rssi_dbm:.0f},"interval_ms":{r.interval_s * 1000:.0f}{battery}}}'
    )
