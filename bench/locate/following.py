"""Runs the grid filter over the packets of one tag and smooths with a fixed lag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid_belief import Evidence
from tagtrail_locate.core.grid_filter import GridFilter
from tagtrail_locate.core.grid_place import Place

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
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

    @classmethod
    def of(cls, read: Iterable[tuple[float, float, int, float]]) -> Packets:
        """Return packets read in any order: sent, known (seconds), gateway, level (dBm)."""
        columns = np.array(sorted(read), dtype=np.float64).reshape(-1, 4).T
        sent, known, gateway, level = columns
        return cls(sent, gateway.astype(np.intp), level, known)

    @property
    def begin_s(self) -> float:
        """When the first was sent, seconds; infinite without packets."""
        return float(self.at_s[0]) if len(self.at_s) else np.inf

    def only(self, kept: Bools) -> Packets:
        """Return some of the packets, `kept` of shape (n,)."""
        return Packets(self.at_s[kept], self.gateway[kept], self.level_db[kept], self.known_s[kept])

    def earlier(self, seconds: float) -> Packets:
        """Return packets that were sent earlier than thought, and became known when they did."""
        return self._replace(at_s=self.at_s - seconds)

    def complete_s(self, moments: Floats) -> Floats:
        """Return until when all that was sent is known at each moment, shape (k,), seconds.

        Infinite once nothing is left to come.
        """
        latest = np.maximum.accumulate(self.known_s)
        first_open = np.searchsorted(latest, moments, side="right")
        complete: Floats = np.append(self.at_s, np.inf)[first_open]
        return complete


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
    """Return an answer every `TICK_S`, each from packets that are known `delay_s` after it.

    The first is for the moment when the first packet was sent, the last for when the last became
    known; without packets there is none.
    """
    if not len(packets.at_s):
        return []
    ticks = ticks_of(packets)
    count = len(ticks)
    belief, masses, heard = tracker.start(1), [], []
    for part in _ticks(packets, ticks, len(tracker.radio_map.gateways)):
        belief, evidence = tracker.step_with_evidence(belief, *part)
        masses.append(belief.mass[0])
        heard.append(evidence)
    # A packet sent at the very moment until which all is known is not known itself.
    complete = np.searchsorted(ticks, packets.complete_s(ticks + delay_s), side="left") - 1
    moments: list[Moment] = []
    for start in range(0, count, WINDOWS):
        rows = np.arange(start, min(start + WINDOWS, count))
        mass = _known(tracker, masses, heard, rows, complete[rows])
        moments.extend(_moments(tracker, ticks[rows], tracker.summary(mass)))
    return moments


def ticks_of(packets: Packets) -> Floats:
    """Return the moments that are answered: from the first packet until the last became known."""
    first, last = packets.begin_s, float(packets.known_s.max())
    count = int(np.ceil((last - first) / TICK_S)) + 1
    ticks: Floats = first + TICK_S * np.arange(count, dtype=np.float64)
    return ticks


def _known(
    tracker: GridFilter,
    masses: list[Singles],
    heard: list[Evidence],
    rows: Indices,
    complete: Indices,
) -> Singles:
    """Return what is believed about the moments `rows`, given all that was heard until `complete`.

    What is complete only up to an earlier moment is moved on from there.
    """
    base = np.clip(np.minimum(rows, complete), 0, None)
    lags = complete - base
    later = [
        _stacked(
            heard,
            [row + ahead if ahead <= lag else None for row, lag in zip(base, lags, strict=True)],
        )
        for ahead in range(1, int(lags.max()) + 1)
    ]
    none_yet = tracker.start(1).mass[0]
    known = [
        masses[row] if upto >= 0 else none_yet for row, upto in zip(base, complete, strict=True)
    ]
    mass = tracker.smoothed(np.stack(known), later)
    ahead_s = TICK_S * (rows - base)
    return tracker.predict(mass, ahead_s) if ahead_s.any() else mass


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


def _stacked(heard: list[Evidence], rows: list[int | None]) -> Evidence:
    """Return the evidence of several steps as rows; at None nothing happens or is heard."""
    silent = Evidence(np.zeros(1), np.ones_like(heard[0].likelihood))
    picked = [silent if row is None else heard[row] for row in rows]
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
