"""Runs the grid filter over the packets of one tag and smooths with a fixed lag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid_filter import Evidence, GridFilter
from tagtrail_locate.core.grid_place import Place

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

TICK_S: Final = 0.25
"""Time between fixes: the score wants one every 0.3 s."""

WINDOWS: Final = 32
"""Moments that are smoothed at once, to save on calls."""


class Packets(NamedTuple):
    """What was heard of one tag, in the order of time.

    Attributes:
        at_s: When it was sent, shape (n,), seconds, ascending.
        gateway: Index of the gateway, shape (n,).
        level_db: Level, shape (n,), dBm.
        known_s: When it became known, shape (n,), seconds; not before `at_s`.
    """

    at_s: Floats
    gateway: Indices
    level_db: Floats
    known_s: Floats

    def as_known(self) -> Packets:
        """Return the packets as if each were sent when it became known."""
        order = np.argsort(self.known_s, kind="stable")
        known = self.known_s[order]
        return Packets(known, self.gateway[order], self.level_db[order], known)


class Moment(NamedTuple):
    """An answer.

    Attributes:
        at_s: The moment it is for, seconds.
        x_m: Metres.
        y_m: Metres.
        zone: Most probable zone.
        radius_m: Of the area that should hold the tag.
    """

    at_s: float
    x_m: float
    y_m: float
    zone: str
    radius_m: float


def follow(tracker: GridFilter, packets: Packets, delay_s: float) -> list[Moment]:
    """Return an answer every `TICK_S`, each from packets that are known `delay_s` after it."""
    late_s = float(np.max(packets.known_s - packets.at_s))
    if late_s > delay_s:
        packets, late_s = packets.as_known(), 0.0
    first, last = float(packets.at_s[0]), float(packets.at_s[-1])
    count = int(np.ceil((last - first) / TICK_S)) + 1
    ticks: Floats = first + TICK_S * np.arange(count, dtype=np.float64)
    belief, masses, heard = tracker.start(1), [], []
    for part in _ticks(packets, ticks, len(tracker.radio_map.gateways)):
        belief, evidence = tracker.step_with_evidence(belief, *part)
        masses.append(belief.mass[0])
        heard.append(evidence)
    lag = int(np.floor((delay_s - late_s) / TICK_S + 1e-9))
    moments: list[Moment] = []
    for start in range(0, len(ticks), WINDOWS):
        rows = range(start, min(start + WINDOWS, len(ticks)))
        later = [_stacked(heard, [row + ahead for row in rows]) for ahead in range(1, lag + 1)]
        mass = tracker.smoothed(np.stack([masses[row] for row in rows]), later)
        moments.extend(_moments(tracker, ticks[rows.start : rows.stop], tracker.summary(mass)))
    return moments


def _ticks(
    packets: Packets, ticks: Floats, nobody: int
) -> Iterator[tuple[Floats, Indices, Floats, Floats]]:
    """Yield, per tick, the time passed and what became known since: the filter's arguments."""
    ends = np.searchsorted(packets.at_s, ticks, side="right")
    begin, before = 0, ticks[0]
    for at_s, end in zip(ticks, ends, strict=True):
        gateway, level = packets.gateway[begin:end], packets.level_db[begin:end]
        if begin == end:
            gateway, level = np.array([nobody]), np.zeros(1)
        count = np.ones(len(gateway))
        yield np.array([at_s - before]), gateway[None], level[None], count[None]
        begin, before = end, at_s


def _stacked(heard: list[Evidence], rows: list[int]) -> Evidence:
    """Return the evidence of several steps as rows; beyond the end nothing happens or is heard."""
    silent = Evidence(np.zeros(1), np.ones_like(heard[0].likelihood))
    picked = [heard[row] if row < len(heard) else silent for row in rows]
    return Evidence(
        np.concatenate([one.dt_s for one in picked]),
        np.concatenate([one.likelihood for one in picked]),
    )


def _moments(tracker: GridFilter, ticks: Floats, place: Place) -> Iterator[Moment]:
    names = tracker.grid.zone_names
    best = np.argmax(place.zones[:, : len(names)], axis=1)
    for row, at_s in enumerate(ticks):
        x, y, radius = (float(values[row]) for values in (place.x_m, place.y_m, place.radius_m))
        yield Moment(float(at_s), x, y, names[best[row]], radius)
