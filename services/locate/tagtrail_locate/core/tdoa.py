"""Where a blink may have been sent, from when the anchors heard it (time difference of arrival).

The anchors share a clock up to a constant each; the moment of the blink is unknown. Through walls
the times are wrong by decimetres, and by the same decimetres whenever the tag is at that place
again: `TdoaMap` therefore says for every cell of the grid what each anchor measures too much, and
how much it scatters. Without a survey it holds zeros and one scatter.

The likelihood is that of Student's t with three degrees of freedom, to the power of three
quarters, because successive blinks share part of their error. Both make it a product of quotients and roots:
the same bytes on every machine, and nothing here depends on which other tags are looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.errors import UnusableBlinkError
from tagtrail_locate.core.grid import Grid

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

LIGHT_M_PER_S: Final = 299_792_458.0

FREEDOM: Final = 3.0
"""Degrees of freedom of Student's t: residuals on known ways have such tails."""

REWEIGHTED: Final = 5
"""Rounds that find the blink's own moment; further ones move it by less than a millimetre."""

FEWEST_ANCHORS: Final = 3
"""Two anchors give one difference, a hyperbola through the whole floor: not worth a step."""

UNSURVEYED_M: Final = 0.4
"""Scatter of a time of arrival through walls, metres, where nothing was learned."""

MOST_M: Final = 1000.0
"""Differences beyond this are counters that belong to another blink."""

LEAK: Final = 5e-5
"""Two crystals drift apart by less than this, seconds per second."""


@dataclass(frozen=True, slots=True, eq=False)
class TdoaMap:
    """What A anchors measure in C cells.

    Attributes:
        expected_m: Time of arrival times the speed of light, less the moment of the blink: the
            distance, the anchor's clock constant and the learned bias, shape (A, C), metres.
        scatter_m: Its standard deviation, shape (A, C), metres, > 0.
        offset_m: The clock constants alone, shape (A,), metres, mean 0.
        surveyed: Share of the anchors' readings of a survey in each cell, shape (C,), 0 to 1:
            how much of `expected_m` is known and not supposed.
    """

    expected_m: Floats
    scatter_m: Floats
    offset_m: Floats
    surveyed: Floats


def distances_m(grid: Grid, anchors_m: Floats, tag_height_m: float) -> Floats:
    """Return the distances from anchors (A, 3) to the cells at the tag's height, shape (A, C)."""
    dx = grid.x_m - anchors_m[:, 0, None]
    dy = grid.y_m - anchors_m[:, 1, None]
    dz = tag_height_m - anchors_m[:, 2, None]
    away: Floats = np.sqrt(dx * dx + dy * dy + dz * dz)
    return away


def map_of_plan(
    grid: Grid, anchors_m: Floats, *, tag_height_m: float, offset_m: Floats | None = None
) -> TdoaMap:
    """Return the map of a site without a survey.

    Args:
        grid: Cells.
        anchors_m: Shape (A, 3), metres.
        tag_height_m: Metres, same frame.
        offset_m: Clock constants, shape (A,), metres; None = 0.
    """
    away = distances_m(grid, anchors_m, tag_height_m)
    offset = np.zeros(len(anchors_m)) if offset_m is None else offset_m
    return TdoaMap(
        away + offset[:, None],
        np.full(away.shape, UNSURVEYED_M),
        offset,
        np.zeros(grid.cells),
    )


def likelihood(table: TdoaMap, heard_m: Floats) -> Floats | None:
    """Weigh every cell by one blink.

    Args:
        table: What A anchors measure in C cells.
        heard_m: Times of arrival times the speed of light, any common origin, shape (A,), metres;
            NaN = not heard.

    Returns:
        Shape (C,), greatest 1; None if fewer than `FEWEST_ANCHORS` heard it.

    Raises:
        UnusableBlinkError: a number is infinite, or they lie `MOST_M` apart.
        ValueError: another number of anchors than the map's.
    """
    if heard_m.shape != table.offset_m.shape:
        raise ValueError(f"the map has {len(table.offset_m)} anchors, the blink {len(heard_m)}")
    used = np.flatnonzero(~np.isnan(heard_m))
    if len(used) < FEWEST_ANCHORS:
        return None
    values = heard_m[used]
    if not np.isfinite(values).all() or float(values.max() - values.min()) > MOST_M:
        raise UnusableBlinkError(
            "the times of arrival belong to no one blink; look at the anchors' synchronisation"
        )
    # The mean keeps the numbers small: the origin of the times is arbitrary.
    local = values - values.min()
    excess = local[:, None] - table.expected_m[used]
    return _weighed(excess, table.scatter_m[used])


def _weighed(excess: Floats, scatter: Floats) -> Floats:
    """Return the likelihoods of cells from (n, C) residuals that share an unknown constant."""
    precision = 1.0 / (scatter * scatter)
    moment = _middle(excess)
    for _ in range(REWEIGHTED):
        miss = excess - moment
        weight = precision / (FREEDOM + miss * miss * precision)
        moment = moment + _total(weight * miss) / _total(weight)
    miss = excess - moment
    value = 1.0 / _to_three_quarters(np.sqrt(_total(precision)))
    for i in range(len(excess)):
        tail = 1.0 + miss[i] * miss[i] * precision[i] / FREEDOM
        value = value / _to_three_quarters(tail * tail * scatter[i])
    scaled: Floats = value / value.max()
    return scaled


def _to_three_quarters(values: Floats) -> Floats:
    root: Floats = np.sqrt(values)
    return root * np.sqrt(root)


def _total(values: Floats) -> Floats:
    """Add rows one by one: an order that no library chooses."""
    total: Floats = values[0].copy()
    for row in values[1:]:
        total += row
    return total


def _middle(values: Floats) -> Floats:
    """Return the medians over the rows."""
    ordered, half = np.sort(values, axis=0), len(values) // 2
    if len(values) % 2:
        middle: Floats = ordered[half]
    else:
        middle = 0.5 * (ordered[half - 1] + ordered[half])
    return middle


@dataclass(slots=True)
class BlinkClock:
    """Recovers when blinks were sent from the counters of their arrival.

    Servers get blinks in batches, up to a second late; the counters know the time between blinks
    exactly but not the time of day. The earliest arrival so far ties the two together.

    Attributes:
        tick_s: Length of a tick, seconds.
        bits: Width of the counter, which starts again at 0 when full.
        lead_s: Arrival less counter of the blink that came with the least delay; None at first.
        at_s: Arrival of the newest blink, seconds.
        sent_s: When it was sent, seconds.
    """

    tick_s: float = 15.65e-12
    bits: int = 40
    lead_s: float | None = None
    at_s: float = -math.inf
    sent_s: float = -math.inf

    def sent(self, arrival_s: float, ticks: float) -> float:
        """Return the time at which a blink was sent, seconds; never before that of the one before.

        Args:
            arrival_s: When the server got it, seconds, ascending.
            ticks: Counter of its first arrival at an anchor.
        """
        round_s = self.tick_s * 2.0**self.bits
        clock_s = ticks * self.tick_s
        if self.lead_s is None:
            self.lead_s = arrival_s - clock_s
        else:
            leak = LEAK * max(arrival_s - self.at_s, 0.0)
            lead = arrival_s - clock_s
            lead -= round_s * math.floor((lead - self.lead_s) / round_s + 0.5)
            self.lead_s = min(self.lead_s + leak, lead)
        rounds = math.floor((arrival_s - self.lead_s - clock_s) / round_s + 0.5)
        sent_s = min(clock_s + self.lead_s + rounds * round_s, arrival_s)
        self.at_s, self.sent_s = arrival_s, max(sent_s, self.sent_s)
        return self.sent_s


def spread_ticks(ticks: Floats, bits: int = 40) -> Floats:
    """Return counters of one blink without the jump where some had just started again.

    Args:
        ticks: Counters at the anchors, shape (A,); NaN = not heard.
        bits: Width of the counter.
    """
    full = 2.0**bits
    return np.where(ticks - np.nanmin(ticks) > full / 2.0, ticks - full, ticks)
