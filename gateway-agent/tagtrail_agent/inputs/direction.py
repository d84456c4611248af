"""Which way a tag went through a portal, from the order in which two groups of antennas read it.

Time runs from -1 to 1 over the pass. Two kinds of evidence are fitted with the line P1(u) = u and the
arc P2(u) = (3 u² - 1) / 2, by weighted least squares, a read weighing less the weaker it is:

- how *often* each side reads: +1 for a read by the inner antennas, -1 by the outer;
- how *strongly*: the sides' power in dB, with what both sides share (the way to the tag) fitted too.

A line means that the tag changed sides, an arc that it came and went back. Each coefficient is divided
by its standard error and the two kinds are added. The larger sum decides, if it is large enough. The
constants of both fits are free, so antennas of unequal power do no harm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import sqrt
from typing import Final, Literal, NamedTuple

Direction = Literal["in", "out", "turned_back", "unknown"]

KEPT: Final = 40
"""Reads kept at each end of a pass; those between are counted only, so a tag that stands in the portal
for hours takes no more memory than one that passes."""
LONGEST_GAP_S: Final = 1.0
"""Time that stands for the reads between both ends, seconds."""
MIN_EVIDENCE: Final = 2.5
"""Sums of standard scores below this are noise: "unknown" is better than wrong."""
_WEAK_DB, _WEAK_WEIGHT = 20.0, 0.1
"""A read so far below the strongest has the least weight: strays are weak."""
_TRIMMED: Final = 0.05
"""Share of the weight at each end that does not stretch the time of a pass."""
_LEAST_OFTEN, _LEAST_DB2 = 0.2, 4.0
"""Least variances of one read: a good fit of few reads claims no certainty."""
_POWER_READS, _POWER_READS_OF_SIDE = 9, 3
"""The fit of powers has six unknowns; fewer reads are left to the other."""

_Row = tuple[float, ...]


class Sighting(NamedTuple):
    """Reads of a tag by one side at about one time.

    Attributes:
        elapsed_s: When, by the monotonic clock, seconds.
        inner: By which side.
        rssi_dbm: Their power, dBm; None = not told.
        reads: How many, >= 1.
    """

    elapsed_s: float
    inner: bool
    rssi_dbm: float | None
    reads: int = 1


class Evidence(NamedTuple):
    """Sums of standard scores.

    Attributes:
        line: Positive = from outside in.
        arc: Negative = from outside and back; positive = from inside and back.
    """

    line: float
    arc: float


@dataclass(slots=True)
class Track:
    """The reads of one tag in one pass, in bounded memory."""

    _head: list[Sighting] = field(default_factory=list)
    _tail: deque[Sighting] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, sighting: Sighting) -> None:
        """Add reads, nearly in order of time."""
        (self._head if len(self._head) < KEPT else self._tail).append(sighting)

    def sightings(self) -> list[Sighting]:
        """Return what is kept, in order of time; a long time between both ends is shortened."""
        head, tail = sorted(self._head, key=_when), sorted(self._tail, key=_when)
        if not tail:
            return head
        cut_s = max(tail[0].elapsed_s - head[-1].elapsed_s - LONGEST_GAP_S, 0.0)
        return sorted(
            (*head, *(s._replace(elapsed_s=s.elapsed_s - cut_s) for s in tail)), key=_when
        )


def _when(sighting: Sighting) -> float:
    return sighting.elapsed_s


def direction_of(sightings: Sequence[Sighting], *, min_reads: int = 4) -> Direction:
    """Say which way a tag went.

    Args:
        sightings: Its reads in one pass, in order of time.
        min_reads: Fewer reads say nothing.

    Returns:
        "unknown" where one side alone read it, or where the reads show neither line nor arc.

    Example:
        >>> out = [Sighting(t / 10, False, -50.0) for t in range(10)]
        >>> inside = [Sighting(1 + t / 10, True, -50.0) for t in range(10)]
        >>> direction_of([*out, *inside]), direction_of(out)
        ('in', 'unknown')
    """
    sides = {s.inner for s in sightings}
    if len(sides) < 2 or sum(s.reads for s in sightings) < min_reads:
        return "unknown"
    line, arc = evidence_of(sightings)
    if max(abs(line), abs(arc)) < MIN_EVIDENCE:
        return "unknown"
    if abs(arc) > abs(line):
        return "turned_back"
    return "in" if line > 0 else "out"


def evidence_of(sightings: Sequence[Sighting]) -> Evidence:
    """Return the evidence for a line and for an arc.

    Args:
        sightings: Reads of both sides, in order of time.
    """
    weights = _weights(sightings)
    shapes = [(u, 1.5 * u * u - 0.5) for u in _pass_time(sightings, weights)]
    sides = [1.0 if s.inner else -1.0 for s in sightings]
    often = _scores([(1.0, *shape) for shape in shapes], sides, weights, _LEAST_OFTEN)
    line, arc = often[1], often[2]
    powers = [s.rssi_dbm for s in sightings if s.rssi_dbm is not None]
    inner = sum(s.inner for s in sightings)
    fewer = min(inner, len(sightings) - inner)
    if len(powers) == len(sightings) >= _POWER_READS and fewer >= _POWER_READS_OF_SIDE:
        rows = [(1.0, p1, p2, g, g * p1, g * p2) for (p1, p2), g in zip(shapes, sides, strict=True)]
        strongly = _scores(rows, powers, weights, _LEAST_DB2)
        line, arc = line + strongly[4], arc + strongly[5]
    return Evidence(line, arc)


def _weights(sightings: Sequence[Sighting]) -> list[float]:
    peak_dbm = max((s.rssi_dbm for s in sightings if s.rssi_dbm is not None), default=0.0)

    def weight(sighting: Sighting) -> float:
        if sighting.rssi_dbm is None:
            return float(sighting.reads)
        strength = 1.0 - (peak_dbm - sighting.rssi_dbm) / _WEAK_DB
        return sighting.reads * max(strength, _WEAK_WEIGHT)

    return [weight(s) for s in sightings]


def _pass_time(sightings: Sequence[Sighting], weights: Sequence[float]) -> list[float]:
    """Return each read's time within the pass, -1 to 1 but for strays, which end at ±1.2."""
    sums = list(accumulate(weights))
    first_s = next(
        s.elapsed_s for s, c in zip(sightings, sums, strict=True) if c >= _TRIMMED * sums[-1]
    )
    last_s = next(
        s.elapsed_s for s, c in zip(sightings, sums, strict=True) if c >= (1 - _TRIMMED) * sums[-1]
    )
    middle_s, half_s = (first_s + last_s) / 2, max((last_s - first_s) / 2, 1e-3)
    return [max(-1.2, min(1.2, (s.elapsed_s - middle_s) / half_s)) for s in sightings]


def _scores(
    rows: Sequence[_Row], values: Sequence[float], weights: Sequence[float], least: float
) -> list[float]:
    """Fit values by rows and return each coefficient divided by its standard error.

    Args:
        rows: Shape (n, k), k <= 6.
        values: Shape (n,).
        weights: Shape (n,), > 0.
        least: Least variance of a value of weight 1.
    """
    size = len(rows[0])
    normal = [
        [sum(w * r[i] * r[j] for r, w in zip(rows, weights, strict=True)) for j in range(size)]
        for i in range(size)
    ]
    right = [
        sum(w * r[i] * v for r, v, w in zip(rows, values, weights, strict=True))
        for i in range(size)
    ]
    inverse = _inverse(normal)
    found = [sum(a * b for a, b in zip(row, right, strict=True)) for row in inverse]
    squares = sum(
        w * (v - sum(c * x for c, x in zip(found, r, strict=True))) ** 2
        for r, v, w in zip(rows, values, weights, strict=True)
    )
    variance = max(squares / max(len(rows) - size, 1), least)
    return [c / sqrt(variance * inverse[i][i]) for i, c in enumerate(found)]


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Invert a symmetric matrix, not negative; a small ridge keeps it regular."""
    size = len(matrix)
    rows = [
        [matrix[i][j] + (1e-6 if i == j else 0.0) for j in range(size)]
        + [1.0 if i == j else 0.0 for j in range(size)]
        for i in range(size)
    ]
    for i in range(size):
        pivot = rows[i][i]
        rows[i] = [x / pivot for x in rows[i]]
        for k in range(size):
            if k != i:
                factor = rows[k][i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[size:] for row in rows]
