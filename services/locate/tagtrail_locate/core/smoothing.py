"""Robust averages of signal strength, and the distance that a level stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

FENCE: Final = 1.5
"""Tukey's factor: values further than 1.5 interquartile ranges outside the quartiles are dropped."""

FEWEST_FOR_FENCE: Final = 4
"""Below four values the quartiles are the values themselves, so nothing could ever be dropped."""

FAR_M: Final = 1000.0
"""A level that stands for more than this is noise; it also keeps 10**x finite."""


class Smoothed(NamedTuple):
    """Robust mean of a window.

    Attributes:
        mean: Mean of the survivors, unit of the values.
        spread: Their standard deviation (population), same unit.
        kept: How many survived, >= 1.
    """

    mean: float
    spread: float
    kept: int


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation between order statistics.

    Args:
        ordered: Values in ascending order, n >= 1.
        share: 0 to 1.
    """
    at = share * (len(ordered) - 1)
    low = int(at)
    if low + 1 >= len(ordered):
        return ordered[-1]
    return ordered[low] + (at - low) * (ordered[low + 1] - ordered[low])


def tukey_mean(values: Sequence[float]) -> Smoothed:
    """Return the mean of the values inside Tukey's fence.

    The sum runs over the values in ascending order, so the result depends only on which values
    there are, never on the order in which they came.

    Args:
        values: n >= 1.

    Raises:
        ValueError: there are no values.

    Example:
        >>> tukey_mean([-70.0, -71.0, -69.0, -70.0, -30.0]).mean
        -70.0
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a mean needs at least one value")
    if len(ordered) >= FEWEST_FOR_FENCE:
        first, third = quantile(ordered, 0.25), quantile(ordered, 0.75)
        reach = FENCE * (third - first)
        low, high = first - reach, third + reach
        if ordered[0] < low or ordered[-1] > high:
            ordered = [value for value in ordered if low <= value <= high]
    kept = len(ordered)
    mean = sum(ordered) / kept
    if kept == 1:
        return Smoothed(mean, 0.0, 1)
    square = sum([value * value for value in ordered]) / kept
    return Smoothed(mean, max(square - mean * mean, 0.0) ** 0.5, kept)


def distance_m(level_db: float, exponent: float) -> float:
    """Return the distance of the log-distance model, metres, at most `FAR_M`.

    Args:
        level_db: Received power minus the power expected at 1 m, dB.
        exponent: Path loss exponent, 1 to 6.

    Example:
        >>> distance_m(-20.0, 2.0)
        10.0
    """
    tens = -level_db / (10.0 * exponent)
    return FAR_M if tens >= 3.0 else float(10.0**tens)


def level_db(distance: float, exponent: float) -> float:
    """Return the level that a distance stands for, dB; the inverse of `distance_m`.

    Args:
        distance: Metres; below 1 cm counts as 1 cm.
        exponent: Path loss exponent, 1 to 6.
    """
    return -10.0 * exponent * math.log10(max(distance, 0.01))
