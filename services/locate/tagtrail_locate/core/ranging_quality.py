"""What the received power says about a range: features, and the error to expect as a mixture.

A radio that sees the anchor receives what free space leaves over its distance, nearly all of it on
the first path. Walls and racks take power away, and most from the first path (Decawave APS006
part 3). The features are therefore the received power, its excess over free space at the measured
distance, and the gap between it and the first path's power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEATURES: Final = 4
"""A constant 1, excess power, received power, gap to the first path."""

_KNOTS_M: Final = tuple(0.25 * 2.0**k * half for k in range(14) for half in (1.0, 2.0**0.5))
_DOUBLING_DB: Final = 6.020599913279624
_KNOTS_DB: Final = tuple(_DOUBLING_DB * (0.5 * k - 2.0) for k in range(28))

MIDDLE_DB: Final = (-73.0, -91.0, 7.0)
"""Where the features are zero: values half way between sight and none for DW1000 radios at
-41.3 dBm/MHz, which are -65 to -80, -80 to -102 and 1 to 15 (Decawave APS006 part 3, table 2)."""

UNIT_DB: Final = (4.0, 6.0, 5.0)
"""A feature of one is this far from the middle: a quarter of these spans."""

LIMIT: Final = 3.0
"""Features end here: a reading beyond what radios report says no more than the last sound one."""

STUDENT_5: Final = 0.37960668982249445
"""8 / (3 pi sqrt 5): density of Student's t with five degrees of freedom at zero."""

FLOOR: Final = 1e-4
"""Density per metre of an error that no component explains: once in ten thousand per metre."""


def features(range_m: Floats, rssi_dbm: Floats, first_path_dbm: Floats) -> Floats:
    """Return the features of ranges; a power that is not known counts as a middling one.

    Args:
        range_m: Measured distances, shape (n,), metres, >= 0.
        rssi_dbm: Received powers, shape (n,), dBm; NaN = not known.
        first_path_dbm: Powers of the first paths, shape (n,), dBm; NaN = not known.

    Returns:
        Shape (n, 4).
    """
    raw = (rssi_dbm + spreading_db(range_m), rssi_dbm, rssi_dbm - first_path_dbm)
    columns = [np.ones(len(range_m))]
    for value, middle, unit in zip(raw, MIDDLE_DB, UNIT_DB, strict=True):
        scaled = np.minimum(np.maximum((value - middle) / unit, -LIMIT), LIMIT)
        columns.append(np.where(np.isfinite(scaled), scaled, 0.0))
    return np.stack(columns, axis=1)


def spreading_db(range_m: Floats) -> Floats:
    """Return 20 log10 of distances by interpolation: to 0.14 dB, and alike on every machine."""
    knots, levels = np.array(_KNOTS_M), np.array(_KNOTS_DB)
    inside = np.minimum(np.maximum(range_m, knots[0]), knots[-1])
    at = np.minimum(np.searchsorted(knots, inside, side="right") - 1, len(knots) - 2)
    share = (inside - knots[at]) / (knots[at + 1] - knots[at])
    found: Floats = levels[at] + share * (levels[at + 1] - levels[at])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Errors to expect of n ranges, measured minus true: in sight, delayed, blocked.

    Each component is Student's t with five degrees of freedom.

    Attributes:
        shares: Probabilities of the components, shape (n, 3).
        means_m: Their middles, shape (n, 3), metres.
        scales_m: Their scales, shape (3,), metres.
    """

    shares: Floats
    means_m: Floats
    scales_m: Floats

    def density(self, index: int, error_m: Floats, *, widened_m: float = 0.0) -> Floats:
        """Return the density of errors of one range.

        Args:
            index: Which range.
            error_m: Any shape, metres.
            widened_m: Added to the scales, metres.

        Returns:
            The same shape, per metre, >= `FLOOR`.
        """
        total = np.full(error_m.shape, FLOOR)
        for k in range(self.shares.shape[1]):
            scale = self.scales_m[k] + widened_m
            off = (error_m - self.means_m[index, k]) / scale
            heavy = 1.0 + off * off * 0.2
            total += (self.shares[index, k] * STUDENT_5 / scale) / (heavy * heavy * heavy)
        return total

    def blocked(self, error_m: Floats | None = None) -> Floats:
        """Return the probability that ranges are not in line of sight, shape (n,).

        Args:
            error_m: Their errors, shape (n,), metres, once a fix tells; None = not known yet.
        """
        if error_m is None:
            return 1.0 - self.shares[:, 0]
        off = (error_m[:, None] - self.means_m) / self.scales_m
        heavy = 1.0 + off * off * 0.2
        each = self.shares * STUDENT_5 / self.scales_m / (heavy * heavy * heavy)
        total = each[:, 0] + each[:, 1] + each[:, 2] + FLOOR
        return 1.0 - each[:, 0] / total

    def moments(self) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of each range's error, shapes (n,), metres.

        For filters that know one normal error per range.
        """
        mean = np.zeros(len(self.shares))
        square = np.zeros(len(self.shares))
        for k in range(self.shares.shape[1]):
            middle = self.means_m[:, k]
            mean = mean + self.shares[:, k] * middle
            spread = self.scales_m[k] * self.scales_m[k] / 0.6
            square = square + self.shares[:, k] * (middle * middle + spread)
        return mean, np.sqrt(np.maximum(square - mean * mean, 1e-6))


def gated(levels: Floats) -> Floats:
    """Return shares that grow with levels, shape (n, 3) both: a softmax without exponentials.

    (1 + u/16)^16 takes the place of exp(u): elementwise products alone, alike on every machine.
    """
    base = 1.0 + np.abs(levels) * 0.0625
    for _ in range(4):
        base = base * base
    grown = np.where(levels >= 0.0, base, 1.0 / base)
    total = grown[:, 0] + grown[:, 1] + grown[:, 2]
    shares: Floats = grown / total[:, None]
    return shares
