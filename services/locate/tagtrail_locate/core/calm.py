"""Which tags are so calm that their readings may wait for each other.

Goods rest for hours, and one more advert of a tag at rest says nothing new. So what is heard of a
tag that has been steady for some looks is gathered for a few seconds and looked at together. What
decides is a function of the readings alone, in the order in which they come: a cumulative sum of
their squared deviations from their links' running means (Page 1954). Levels that are off by more
than noise explains end the calm at once, and the tag is looked at advert by advert again.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from tagtrail_locate.core.readings import NO_EVENT, Reading

GATHER_S: Final = 4.0
"""Readings of a calm tag wait for so long; the age of its row grows by as much, seconds."""

LONGEST_GAP_S: Final = 2.0
"""A tag that speaks less often is looked at advert by advert: little would be gathered."""

STEADY_LOOKS: Final = 12
"""Looks without a sign of a move after which a tag is calm."""

STEADY_S: Final = 10.0
"""And the time that must have passed since then, seconds: a tag that is carried may rest for some."""

USUAL_DB2: Final = 24.0
"""What the squared deviation of one reading at rest stays below on average, dB²: still links of the
public captures vary by 2.8 dB, crowded ones by 3.5 to 4 dB."""

DOUBT_DB2: Final = 150.0
"""Sum of what lies above it that ends the calm, dB². Five decibels on each of four links take one or
two adverts; one reading of 13 dB suffices. Noise of 3.5 dB gets there once in 1,000 readings."""

NEW_SHARE: Final = 0.25
STEADY_SHARE: Final = 0.0625
"""Weight of a reading in the running mean of its link, before and during the calm."""


class Calm(msgspec.Struct, array_like=True):
    """How steady a tag's levels are.

    Attributes:
        levels_dbm: Running mean of each gateway's normalised levels, dBm.
        doubt_db2: Cumulative sum of squared deviations, dB².
        looks: Looks since the last sign of a move.
        since_s: Event time of the first of them, seconds.
        gathers: Whether what is heard next is gathered.
        until_s: Event time up to which readings were gathered into looks.
        roused_s: Event time of the reading that ended the calm while others waited; else 0.
        later: Readings that are newer than what the look under way is of.
        later_position: Log position of the newest of them by arrival.
        later_event: Id of that event.
    """

    levels_dbm: dict[str, float] = {}
    doubt_db2: float = 0.0
    looks: int = 0
    since_s: float = 0.0
    gathers: bool = False
    until_s: float = 0.0
    roused_s: float = 0.0
    later: list[Reading] = []
    later_position: int = 0
    later_event: UUID = NO_EVENT

    def heed(self, gateway_id: str, level_dbm: float) -> None:
        """Take in a reading; one that is off, or of another gateway, ends the calm."""
        levels = self.levels_dbm
        mean = levels.get(gateway_id)
        if mean is None:
            levels[gateway_id] = level_dbm
            self.rouse()
            return
        off = level_dbm - mean
        levels[gateway_id] = mean + (STEADY_SHARE if self.gathers else NEW_SHARE) * off
        doubt = self.doubt_db2 + off * off - USUAL_DB2
        if doubt <= 0.0:
            self.doubt_db2 = 0.0
        elif doubt <= DOUBT_DB2:
            self.doubt_db2 = doubt
        else:
            self.rouse()

    def rouse(self) -> None:
        """Look at every advert from now on, until the levels are steady again."""
        self.doubt_db2, self.looks, self.gathers = 0.0, 0, False

    def looked(self, at_s: float, *, able: bool) -> None:
        """Note one more look.

        Args:
            at_s: Event time of the newest reading, seconds.
            able: Whether the tag speaks often enough for gathering.
        """
        if self.looks == 0:
            self.since_s = at_s
        self.looks += 1
        steady = self.looks >= STEADY_LOOKS and at_s - self.since_s >= STEADY_S
        self.gathers = able and steady
