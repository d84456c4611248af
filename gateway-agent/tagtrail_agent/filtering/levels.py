"""The level of one link: which readings are blips, and when the level has really changed.

Blips: a reading far from the median of the last seven (Hampel's test) is doubted and held; if the
next ones are off to the same side, it was a change and all of them count; if one is as before, the
doubted ones were blips. Changes: a two-sided cumulative sum (Page 1954) against the level last
believed, with half of the step as allowance, so that a step of `level_change_db` is seen after
`change_readings` readings, a larger one sooner and noise hardly ever.
"""

from __future__ import annotations

from typing import Final

from tagtrail_agent.filtering.profile import Profile

RING: Final = 7
"""Readings behind the median: up to three blips in a row do not move it."""

FEWEST: Final = 5
"""Fewer readings have no median worth comparing with."""

FRESH_S: Final = 60.0
"""A ring that is spread over more time than this is about the past; slow tags are not tested."""

MAD_SIGMA: Final = 1.4826
"""Median absolute deviation of a normal distribution, in standard deviations."""

MEMORY: Final = 32
"""Readings over which the believed level and the noise are averaged."""

NOISE_DB: Final = 3.0
"""Noise assumed of a new link; the median of the links of a public capture was 2.8 dB."""


class Level:
    """The level of one link; times in seconds, levels in dBm."""

    __slots__ = ("_down", "_noise2", "_ring", "_times_s", "_trust", "_up", "believed_dbm")

    def __init__(self) -> None:
        self._ring: list[float] = []
        self._times_s: list[float] = []
        self.believed_dbm: float | None = None
        self._trust = 0
        self._noise2 = NOISE_DB * NOISE_DB
        self._up = self._down = 0.0

    def side(self, level_dbm: float, at_s: float, profile: Profile) -> int | None:
        """Tell on which side of the last readings a reading is.

        Returns:
            +1 far above the median, -1 far below, 0 near; None: there is nothing to compare with.
        """
        ring = self._ring
        if len(ring) < FEWEST or at_s - self._times_s[0] > FRESH_S:
            return None
        ordered = sorted(ring)
        median = ordered[len(ordered) // 2]
        off_db = level_dbm - median
        reach_db = profile.outlier_db
        if abs(off_db) <= reach_db:
            return 0
        spread_db = MAD_SIGMA * sorted(abs(v - median) for v in ring)[len(ring) // 2]
        if abs(off_db) <= profile.outlier_sigmas * spread_db:
            return 0
        return 1 if off_db > 0 else -1

    def remember(self, level_dbm: float, at_s: float) -> None:
        """Put a good reading into the ring."""
        self._ring.append(level_dbm)
        self._times_s.append(at_s)
        if len(self._ring) > RING:
            del self._ring[0], self._times_s[0]

    def forget(self) -> None:
        """Start anew, as for a tag that comes back; the noise of the link is kept."""
        self._ring.clear()
        self._times_s.clear()
        self.believed_dbm, self._trust = None, 0
        self._up = self._down = 0.0

    def drifts(self, level_dbm: float, profile: Profile) -> bool | None:
        """Add a good reading to the evidence of a change.

        Returns:
            True: the level has changed, call `believe`. None: some evidence. False: none.
        """
        if self.believed_dbm is None:
            self.believed_dbm, self._trust = level_dbm, 1
            return False
        off_db = level_dbm - self.believed_dbm
        step_db = max(profile.level_change_db, profile.change_sigmas * self._noise2**0.5)
        allowance_db = step_db / 2
        self._up = max(0.0, self._up + off_db - allowance_db)
        self._down = max(0.0, self._down - off_db - allowance_db)
        evidence_db = max(self._up, self._down)
        if evidence_db >= profile.change_readings * allowance_db:
            return True
        self._trust = min(self._trust + 1, MEMORY)
        self._noise2 += (min(off_db * off_db, 4 * step_db * step_db) - self._noise2) / MEMORY
        if evidence_db > 0.0:
            return None
        self.believed_dbm += off_db / self._trust
        return False

    def believe(self, level_dbm: float, readings: int) -> None:
        """Take a mean of some readings as the level from now on."""
        self.believed_dbm, self._trust = level_dbm, max(1, min(readings, MEMORY))
        self._up = self._down = 0.0
