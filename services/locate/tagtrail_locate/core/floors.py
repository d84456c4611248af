"""Floors as numbers with fractions: 1.5 is half way up from the first floor to the second."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def fractional_floor(z_m: float, floors: Sequence[tuple[float, float]]) -> float:
    """Return the floor that a height belongs to, as omlox and lift shafts count it.

    Between two floors the fraction is that of the height; above the highest and below the lowest
    the storey next to it is continued, by at most one floor.

    Args:
        z_m: Height in the site frame, metres.
        floors: Number and height (metres) of each floor's ground, at least one, in any order.

    Raises:
        ValueError: there is no floor, or two have one height.

    Example:
        >>> fractional_floor(4.5, [(0, 0.0), (1, 3.0), (2, 6.0)])
        1.5
    """
    levels = sorted(floors, key=lambda f: f[1])
    if not levels:
        raise ValueError("no floors are given")
    if any(low[1] == high[1] for low, high in itertools.pairwise(levels)):
        raise ValueError("two floors have the same height")
    if len(levels) == 1:
        return float(levels[0][0])
    above = next((i for i, (_, height) in enumerate(levels) if height > z_m), len(levels) - 1)
    (low, low_m), (high, high_m) = levels[max(above - 1, 0)], levels[max(above, 1)]
    found = low + (high - low) * (z_m - low_m) / (high_m - low_m)
    least, most = sorted((float(levels[0][0]), float(levels[-1][0])))
    return min(max(found, least - 1.0), most + 1.0)
