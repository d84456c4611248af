"""Readings added up until one item is sent for all of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from tagtrail_agent.readings import Reading

OF_ONE_ADVERT: Final = ("sequence", "channel", "id", "raw")
"""Members that say something about one advert only, so an item for several leaves them out."""

ACTIVE_TECHNOLOGIES: Final = frozenset({"ble", "wifi", "unknown"})
"""Tags that speak by themselves, again and again; the others are read, and every read counts."""

OTHER_FACTS: Final = ("range_m", "x_m", "latitude_deg", "zone")
"""Members that make an item something else than a sighting (docs/wire-format.md)."""


def is_chatter(members: Mapping[str, Any]) -> bool:
    """Tell whether a reading is one of many that say the same, so that it may be folded.

    Reads by RFID, NFC and camera, ranges, positions, zones and what phones hear are not.
    """
    if members.get("technology", "ble") not in ACTIVE_TECHNOLOGIES:
        return False
    if members.get("source_class", "own_gateway") != "own_gateway":
        return False
    return not any(name in members for name in OTHER_FACTS)


def level_of(members: Mapping[str, Any]) -> float | None:
    """Return the received power, dBm; None if there is none or it is impossible.

    Radios say 127 when they do not know; nothing that is heard has 0 dBm or more.
    """
    level = members.get("rssi_dbm")
    if isinstance(level, bool) or not isinstance(level, (int, float)):
        return None
    return float(level) if -150.0 <= level < 0.0 else None


class Fold:
    """Sums over readings of one tag at one gateway, in order of time.

    Attributes:
        readings: How many readings are in it.
        first_s: Time of the reading before the first one in it, or of the first, seconds.
        last: The newest reading; None = empty.
    """

    __slots__ = ("_last_samples", "_level", "_square", "_weight", "first_s", "last", "readings",
                 "samples")  # fmt: skip

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.readings = self.samples = 0
        self._weight, self._level, self._square = 0, 0.0, 0.0
        self.first_s = 0.0
        self.last: Reading | None = None

    def add(self, reading: Reading, level_dbm: float | None, since_s: float | None) -> None:
        """Add a reading.

        A reading that its receiver has already averaged counts with its own `samples`.

        Args:
            reading: Not older than those in it.
            level_dbm: Its power; None = it does not count for the level.
            since_s: Time of the reading before it, seconds; None = it is the first ever.
        """
        members = reading.members
        samples = members.get("samples", 1)
        count = samples if isinstance(samples, int) and samples >= 1 else 1
        if not self.readings:
            self.first_s = reading.elapsed_s if since_s is None else since_s
        self.readings += 1
        self.samples += count
        self.last = reading
        if level_dbm is not None:
            spread = members.get("rssi_variance_db2", 0.0)
            self._weight += count
            self._level += count * level_dbm
            self._square += count * (level_dbm * level_dbm + spread)

    def absorb(self, later: Fold) -> None:
        """Take over all of a later fold, which is empty afterwards."""
        if later.readings:
            if not self.readings:
                self.first_s = later.first_s
            self.readings += later.readings
            self.samples += later.samples
            self._weight += later._weight
            self._level += later._level
            self._square += later._square
            self.last = later.last
            later.clear()

    @property
    def mean_dbm(self) -> float | None:
        """Mean level, dBm; None if no reading had one."""
        return self._level / self._weight if self._weight else None

    def item(self, leave_out: Collection[str]) -> Reading:
        """Return the one reading that stands for all of them.

        It has the time and the members of the newest; of several, the mean `rssi_dbm`, its
        variance, the number of `samples` and the mean time between them as `interval_ms`.

        Args:
            leave_out: Members that the server knows already.

        Raises:
            ValueError: it is empty.
        """
        last = self.last
        if last is None:
            raise ValueError("nothing was folded")
        members = {n: v for n, v in last.members.items() if n not in leave_out}
        if not self._weight:
            members.pop("rssi_dbm", None)
        if self.readings > 1:
            self._sum_up(members, last)
        return Reading(last.tag, last.at, last.elapsed_s, members, last.gateway_id)

    def _sum_up(self, members: dict[str, Any], last: Reading) -> None:
        for name in OF_ONE_ADVERT:
            members.pop(name, None)
        mean_dbm = self.mean_dbm
        if mean_dbm is not None:
            members["rssi_dbm"] = round(mean_dbm, 1)
            variance_db2 = self._square / self._weight - mean_dbm * mean_dbm
            members["rssi_variance_db2"] = round(max(variance_db2, 0.0), 1)
        members["samples"] = self.samples
        spacing_ms = 1000.0 * (last.elapsed_s - self.first_s) / self.readings
        if spacing_ms >= 1.0:
            members["interval_ms"] = _two_digits(spacing_ms)


def _two_digits(value: float) -> int:
    """Round to two significant digits: more would be noise, and noise does not compress."""
    scale = 10 ** max(int(math.log10(value)) - 1, 0)
    return int(round(value / scale) * scale)
