"""What a gateway received at a place of a survey where it heard nothing: too little, not just so.

Silence says only that the level lay below what can be heard. A level just there for each such place
would make the path loss look smaller than it is, near places weaker and far ones stronger. So the
level to be expected below the limit is taken, by the log-distance law that makes what was heard and
what was not most probable together: a Tobit regression, by expectation and maximisation (Tobin,
"Estimation of relationships for limited dependent variables", Econometrica 26, 1958).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.borders import LEVEL_SD_DB, LOSS_SD_DB
from tagtrail_locate.core.gaussian_process import (
    EXPONENT_MEAN,
    EXPONENT_SD,
    OFFSET_MEAN_DB,
    OFFSET_SD_DB,
)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

ROUNDS: Final = 12
"""Turns of expectation and maximisation: then a level changes by less than 0.1 dB."""

LEAST_CHANCE: Final = 1e-12
"""Below this chance the level to be expected is the limit itself."""


def expected(
    level_dbm: Floats, silent: Booleans, decades: Floats, passed: Floats, usual_db: float
) -> Floats:
    """Return the levels of one gateway at n places, with expected ones where it heard nothing.

    Args:
        level_dbm: What it heard, and where it heard nothing the limit of what it would have heard,
            shape (n,), dBm.
        silent: Where it heard nothing, shape (n,).
        decades: Regressor of the path loss exponent, shape (n,); see `gaussian_process.decades`.
        passed: Borders of zones on the way, shape (n,).
        usual_db: Loss that is usual at a border, dB.

    Returns:
        Shape (n,), dBm; at silent places not above the limit.
    """
    design = np.stack([np.ones(len(decades)), decades, -passed], axis=1)
    usual = np.array([OFFSET_MEAN_DB, EXPONENT_MEAN, usual_db])
    pull = np.diag((LEVEL_SD_DB / np.array([OFFSET_SD_DB, EXPONENT_SD, LOSS_SD_DB])) ** 2)
    normal = design.T @ design + pull
    found = level_dbm
    for _ in range(ROUNDS if silent.any() else 0):
        law = design @ np.linalg.solve(normal, design.T @ found + pull @ usual)
        below = law - LEVEL_SD_DB * _hazard((level_dbm - law) / LEVEL_SD_DB)
        found = np.where(silent, np.minimum(below, level_dbm), level_dbm)
    return found


def _hazard(z: Floats) -> Floats:
    """Return the density of the standard normal over the chance to be below, same shape."""
    chance = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()])
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    found: Floats = np.where(chance > LEAST_CHANCE, density / np.maximum(chance, LEAST_CHANCE), -z)
    return found
