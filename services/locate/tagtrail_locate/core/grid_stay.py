"""Where a tag lies that keeps still, and by how much each gateway is off the map by now.

All that was heard of a stay counts as one reading per gateway: noise averages out, the fading of the
place and the map's own error do not, however long one listens. What the map cannot know is how the
gateways changed since it was made (replaced antennas, moved shelves) and what this tag sends. Both are
offsets in decibels with a normal prior. They are integrated out together with the place, and what a
stay told of them is kept for the next one: the stays need no known places for that, since an offset
is common to all of them and the place is not.

For a given place all is linear and nearly normal (with the tails of Student's distribution, so that one
gateway that was moved does not pull the place along), so each cell runs a Kalman filter over the offsets, gateway
by gateway, whose innovations give the cell's likelihood. After a stay the filters are mixed by the
belief over the cells and replaced by the normal distribution of the same mean and covariance.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid import Grid
from tagtrail_locate.core.grid_place import Place, place_of
from tagtrail_locate.core.grid_stay_map import StayMap, power_mean_db

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

GATEWAY_SD_DB: Final = 2.0
"""How far a gateway is off its map after some months, standard deviation."""

TAG_SD_DB: Final = 3.0
"""How far a tag is off the tag of the survey, at all gateways alike: batteries, cases, orientation."""

DRIFT_DB2_PER_DAY: Final = GATEWAY_SD_DB**2 / 180.0
"""How fast a gateway that is known becomes unknown again."""

DAY_S: Final = 86400.0

TAILS: Final = 8.0
"""Degrees of freedom of what a gateway's levels miss: the fewer, the less is believed of a gateway that
fits nowhere. One that hangs elsewhere since the survey is off by more than any offset says."""

AREA_SHARE: Final = 0.98
MEDIAN_ROUNDS: Final = 8
"""As the filter of carried tags has them: more than 95 %, since the belief errs too."""

NOT_WORTH: Final = 1e-6
"""Cells of less belief than this do not teach offsets."""


class Heard(NamedTuple):
    """What was heard of a tag while it lay still.

    Attributes:
        level_db: Mean power per gateway, shape (G,), dBm; NaN = nothing.
        readings: Their number per gateway, shape (G,).
    """

    level_db: Floats
    readings: Floats

    @classmethod
    def of(cls, gateway: Indices, level_db: Floats, gateways: int) -> Heard:
        """Return readings by gateway.

        Args:
            gateway: Index per reading, shape (n,).
            level_db: Level per reading, shape (n,), dBm.
            gateways: Their number G.
        """
        count = np.bincount(gateway, minlength=gateways).astype(np.float64)
        level = np.full(gateways, np.nan)
        for index in np.flatnonzero(count):
            own = level_db[gateway == index]
            level[index] = power_mean_db(own, np.ones(len(own)))
        return cls(level, count)


class Offsets(NamedTuple):
    """What gateways hear of a tag above the map.

    Attributes:
        mean_db: Shape (G,), dB.
        covariance_db2: Shape (G, G), dB².
        at_s: When this was known, seconds; None = before anything was heard.
    """

    mean_db: Floats
    covariance_db2: Floats
    at_s: float | None


class StayLocator:
    """Locates still tags over the map of one site; holds the map only.

    Args:
        grid: C cells; a still tag lies in any that is inside.
        stay_map: What G gateways hear there.
    """

    def __init__(self, grid: Grid, stay_map: StayMap) -> None:
        self.grid, self.stay_map = grid, stay_map
        self._cells = np.flatnonzero(grid.inside)
        self._mean_db = stay_map.mean_db[:, self._cells]
        self._error_db2 = stay_map.error_db2[:, self._cells]

    def start(self) -> Offsets:
        """Return what is known of the offsets before anything was heard."""
        count = len(self.stay_map.gateways)
        covariance = GATEWAY_SD_DB**2 * np.eye(count) + TAG_SD_DB**2
        return Offsets(np.zeros(count), covariance, None)

    def locate(self, offsets: Offsets, heard: Heard) -> Place:
        """Tell zones, position and area of a tag, the one row of each."""
        belief = np.zeros((1, self.grid.cells))
        belief[0, self._cells] = self._filtered(offsets, heard, all_offsets=False)[0]
        return place_of(self.grid, belief, AREA_SHARE, MEDIAN_ROUNDS)

    def learned(self, offsets: Offsets, heard: Heard, at_s: float) -> Offsets:
        """Return what is known of the offsets after a stay.

        Args:
            offsets: What was known before.
            heard: All of the stay.
            at_s: When it ended, seconds, not before `offsets.at_s`.
        """
        passed_s = 0.0 if offsets.at_s is None else at_s - offsets.at_s
        drift = DRIFT_DB2_PER_DAY * passed_s / DAY_S * np.eye(len(offsets.mean_db))
        aged = offsets._replace(covariance_db2=offsets.covariance_db2 + drift)
        belief, means, covariances = self._filtered(aged, heard, all_offsets=True)
        kept = belief > NOT_WORTH
        weight = belief[kept] / belief[kept].sum()
        mean = np.sum(weight * means[:, kept], axis=1)
        away = means[:, kept] - mean[:, None]
        spread = away[:, None] * away[None, :] + covariances[:, :, kept]
        return Offsets(mean, np.sum(weight * spread, axis=2), at_s)

    def _filtered(
        self, offsets: Offsets, heard: Heard, *, all_offsets: bool
    ) -> tuple[Floats, Floats, Floats]:
        """Return the belief over the cells inside, and mean and covariance of the offsets in each.

        Without `all_offsets` a gateway's own offset is left as it was before it was heard, which is
        enough for the belief.

        Returns:
            Shapes (K,), (G, K) and (G, G, K) for K cells inside.
        """
        cells = len(self._cells)
        mean = np.repeat(offsets.mean_db[:, None], cells, axis=1)
        covariance = np.repeat(offsets.covariance_db2[:, :, None], cells, axis=2)
        nats = np.zeros(cells)
        for gateway in np.flatnonzero(heard.readings).tolist():
            first = 0 if all_offsets else gateway
            noise = self.stay_map.noise_db2[gateway] / heard.readings[gateway]
            own = covariance[first:, gateway].copy()
            total = covariance[gateway, gateway] + self._error_db2[gateway] + noise
            away = heard.level_db[gateway] - self._mean_db[gateway] - mean[gateway]
            square = away * away / total
            nats -= 0.5 * ((TAILS + 1.0) * np.log1p(square / (TAILS - 2.0)) + np.log(total))
            # Where a reading fits badly it counts as one of more noise, and teaches less.
            doubt = np.maximum((TAILS + square) / (TAILS + 1.0), 1.0) - 1.0
            gain = own / (total + doubt * (self._error_db2[gateway] + noise))
            mean[first:] += gain * away
            covariance[first:, first:] -= own[:, None] * gain
        belief = np.exp(nats - nats.max())
        return belief / belief.sum(), mean, covariance
