"""Smooth functions of a few dozen variables minimised, for calibrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SLOPE: Final = 1e-4
"""Share of the promised decrease that a step has to bring (Nocedal and Wright 2006, ch. 3)."""


def minimised(
    function: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    *,
    steps: int = 300,
    enough: float = 1e-6,
) -> tuple[Floats, float, bool]:
    """Follow a function downhill by BFGS with halved steps (Nocedal and Wright 2006, ch. 6).

    Args:
        function: Returns value and gradient.
        start: Shape (n,).
        steps: The most that are taken.
        enough: A decrease below this, twice in a row, ends it.

    Returns:
        Where it ended, the value there, and whether it ended by itself.
    """
    place, (value, slope) = start.copy(), function(start)
    inverse, small = np.eye(len(start)), 0
    for _ in range(steps):
        way = -inverse @ slope
        promise = float(way @ slope)
        if promise >= 0.0:
            inverse, way = np.eye(len(start)), -slope
            promise = float(way @ slope)
        length = min(1.0, 1.0 / max(float(np.max(np.abs(way))), 1e-12))
        while True:
            new, new_slope = function(place + length * way)
            if new <= value + SLOPE * length * promise or length < 1e-10:
                break
            length *= 0.5
        if new > value:
            return place, value, True
        moved, turned = length * way, new_slope - slope
        small = small + 1 if value - new < enough else 0
        place, value, slope = place + moved, new, new_slope
        if small >= 2:
            return place, value, True
        inverse = _updated(inverse, moved, turned)
    return place, value, False


def _updated(inverse: Floats, moved: Floats, turned: Floats) -> Floats:
    along = float(moved @ turned)
    if along <= 1e-12:
        return inverse
    bent = inverse @ turned
    scale = (1.0 + float(turned @ bent) / along) / along
    cross = np.outer(bent, moved) / along
    return inverse + scale * np.outer(moved, moved) - cross - cross.T
