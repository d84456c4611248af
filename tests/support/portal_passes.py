"""Tags carried through an RFID portal, as a reader with two antennas on each side reads them.

Backscatter falls with the fourth power of the distance; every read fades on its own (carton, metal,
people), every tag is turned differently; tags on a pallet are not all at its middle.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tagtrail_agent.inputs.portal import PortalOptions, Read

PORTAL = PortalOptions(outer=(1, 2), inner=(3, 4))
ANTENNA_X_M = {1: -1.0, 2: -1.0, 3: 1.0, 4: 1.0}
"""Where the antennas stand along the way, metres; negative = outside."""
ASIDE_M = {1: 1.0, 2: 1.4, 3: 1.0, 4: 1.4}
"""How far beside the way, metres."""
AT_ONE_METRE_DBM = -48.0
SENSITIVITY_DBM = -64.0
"""Together: without fading, antennas read to 2.5 m, so the two fields share the middle metre."""

Way = Literal["in", "out", "turned_back"]


@dataclass(frozen=True)
class Noise:
    """What goes wrong.

    Attributes:
        fading_db: Standard deviation of one read, dB.
        missed: Share of reads that do not come through.
        stray: Share of reads by an antenna at random, at any time of the pass, near the sensitivity.
        orientation_db: Standard deviation of the antennas' different views of one tag, dB.
        overlap_db: Power above what the portal needs: the fields reach further into each other.
    """

    fading_db: float = 4.0
    missed: float = 0.0
    stray: float = 0.02
    orientation_db: float = 2.0
    overlap_db: float = 0.0


def position_m(way: Way, share: float, reach_m: float) -> float:
    """Return where the pallet is at a share of its time; outside is negative."""
    if way == "turned_back":
        return -2.5 + (2.5 + reach_m) * math.sin(math.pi * share)
    along = -2.5 + 5.0 * share
    return along if way == "in" else -along


def reads_of(
    epc: str, way: Way, chance: random.Random, *, noise: Noise, start_s: float, lasting_s: float
) -> list[Read]:
    """Return the 50 reads of one tag less the missed ones, in order of time."""
    offset_m, reach_m = chance.gauss(0, 0.3), chance.uniform(0.6, 1.6)
    turn_db = {a: chance.gauss(0, noise.orientation_db) for a in ANTENNA_X_M}

    def power_dbm(antenna: int, share: float) -> float:
        x_m = position_m(way, share, reach_m) + offset_m
        distance_m = math.hypot(x_m - ANTENNA_X_M[antenna], ASIDE_M[antenna])
        clean_dbm = (
            AT_ONE_METRE_DBM + noise.overlap_db - 40 * math.log10(distance_m) + turn_db[antenna]
        )
        return clean_dbm + chance.gauss(0, noise.fading_db)

    reads: list[Read] = []
    while len(reads) < 50:
        read = _one(epc, chance, noise, power_dbm)
        if read is not None:
            reads.append(read._replace(elapsed_s=start_s + read.elapsed_s * lasting_s))
    return sorted((r for r in reads if chance.random() >= noise.missed), key=lambda r: r.elapsed_s)


def _one(
    epc: str, chance: random.Random, noise: Noise, power_dbm: Callable[[int, float], float]
) -> Read | None:
    antenna, share = chance.choice(list(ANTENNA_X_M)), chance.random()
    if chance.random() < noise.stray:
        return Read(epc, antenna, round(SENSITIVITY_DBM + chance.uniform(0, 4)), share)
    heard_dbm = power_dbm(antenna, share)
    return Read(epc, antenna, round(heard_dbm), share) if heard_dbm > SENSITIVITY_DBM else None
