"""How well each level of each gateway fits each cell, rounded into a table.

Building uses transcendental functions, whose last bits differ between machines; the rounding to
1/256 nat takes that away, so whoever only looks values up gets the same bytes everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.radio_map import SHAPE_HALF, SHAPE_STEP, RadioMap

Floats = npt.NDArray[np.float64]
Fits = npt.NDArray[np.int16]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

LOW_DBM: Final = -110
HIGH_DBM: Final = -20
"""Levels that radios report; beyond them the end counts."""

PER_NAT: Final = 256
"""Steps of the table per nat."""

STRAY_SHARE: Final = 0.02
STRAY_SPAN_DB: Final = 60.0
"""Share of readings that fit no map (bursts, a foreign tag with the same address), spread evenly
over the levels that occur: it bounds what one reading can say."""

MOST_HEARD: Final = 0.95
SENSITIVITY_DBM: Final = -95.0
FADING_DB: Final = 6.0
"""Adverts heard of a near tag (the rest collide), the level of which half are heard, and the
normal spread around it: common BLE receivers."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelTable:
    """Log-likelihoods in steps of 1/256 nat.

    Attributes:
        fits: Shape (G + 1, L + 1, C). Along L: first "advert not heard", then LOW_DBM to HIGH_DBM
            in steps of 1 dB. The last gateway is nobody: zero everywhere, for padding.
    """

    fits: Fits

    def rows(self, level_db: Floats) -> Indices:
        """Return the table's level index of each level, dBm; NaN = an advert that was not heard."""
        heard = np.rint(level_db) - LOW_DBM
        index = np.clip(np.where(np.isnan(heard), 0.0, heard), 0.0, float(HIGH_DBM - LOW_DBM)) + 1.0
        rows: Indices = np.where(np.isnan(level_db), 0.0, index).astype(np.intp)
        return rows


def table_of(radio_map: RadioMap) -> LevelTable:
    """Tabulate a radio map."""
    gateways, cells = radio_map.mean_db.shape
    levels = np.arange(LOW_DBM, HIGH_DBM + 1, dtype=np.float64)
    nats = np.zeros((gateways + 1, len(levels) + 1, cells))
    for gateway in range(gateways):
        mean, sd = radio_map.mean_db[gateway], radio_map.sd_db[gateway]
        nats[gateway, 1:] = np.log(_density(radio_map.shape, levels[:, None], mean, sd))
        nats[gateway, 0] = np.log(1.0 - heard_share(mean))
    nats -= nats.max(axis=2, keepdims=True)
    return LevelTable(np.rint(nats * PER_NAT).astype(np.int16))


def heard_share(mean_db: Floats) -> Floats:
    """Return the share of adverts heard at a mean level, same shape."""
    z = (mean_db - SENSITIVITY_DBM) / FADING_DB
    share: Floats = MOST_HEARD / (1.0 + np.exp(-1.702 * z))
    return share


def _density(shape: Floats, level: Floats, mean: Floats, sd: Floats) -> Floats:
    at = np.arange(-SHAPE_HALF, SHAPE_HALF + 1) * SHAPE_STEP
    deviation = (level - mean) / sd
    near = np.interp(deviation, at, shape, left=0.0, right=0.0) / sd
    density: Floats = (1.0 - STRAY_SHARE) * near + STRAY_SHARE / STRAY_SPAN_DB
    return density
