"""Received power in a form that readings of all gateways and tags share.

A normalised level is what a standard receiver would report of a tag that is received with -59 dBm
at 1 m, the iBeacon convention: received power minus the power at 1 m that applies, plus -59.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.facts import Sighting
from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.smoothing import level_db

STANDARD_DBM: Final = -59.0
"""Power at 1 m that normalised levels refer to, dBm."""


Floats = npt.NDArray[np.float64]

EDGE_DBM: Final = -96.0
EDGE_SD_DB: Final = 3.0
"""Level of which half of the adverts are heard by a common receiver, and the deviation of single
adverts around the mean level of their link."""

WEAK_DBM: Final = -89.0
WEAK_RAMP_DB: Final = 3.0
"""Links that are stronger than this on average lose adverts by collisions and clocks that differ,
not by weakness; from so much below it on they lose them by weakness alone."""

EDGE_STEPS: Final = 200


def _edge_table() -> npt.NDArray[np.float64]:
    normal = NormalDist(EDGE_DBM, EDGE_SD_DB)
    shares = [min(max(n / EDGE_STEPS, 0.005), 0.995) for n in range(EDGE_STEPS + 1)]
    return np.rint(np.array([normal.inv_cdf(share) for share in shares]) * 64.0) / 64.0


EDGE_TABLE: Final = _edge_table()
"""Mean level of a link by the share of its adverts that are heard, in steps of 1 / EDGE_STEPS."""


def _excess_table() -> npt.NDArray[np.float64]:
    normal = NormalDist()
    shares = [min(max(n / EDGE_STEPS, 0.005), 0.995) for n in range(EDGE_STEPS + 1)]
    found = [EDGE_SD_DB * normal.pdf(normal.inv_cdf(share)) / share for share in shares]
    return np.rint(np.array(found) * 64.0) / 64.0


EXCESS_TABLE: Final = _excess_table()
"""By how much the mean of the adverts that are heard is above that of all, by the share that is
heard, in steps of 1 / EDGE_STEPS, dB: the mean of a normal cut off from below."""


def excess_db(mean_dbm: Floats | float, share: Floats | float) -> Floats:
    """Return by how much the mean of the adverts that are heard is above that of all, dB.

    Only the stronger adverts of a weak link are heard. Above `WEAK_DBM` it is none: the correction
    begins little by little, so that a link that varies around it does not jump.

    Args:
        mean_dbm: Means of those that are heard, any shape, dBm.
        share: Of the adverts that are heard, of that shape, 0 to 1.
    """
    weak = np.clip((WEAK_DBM - np.asarray(mean_dbm)) / WEAK_RAMP_DB, 0.0, 1.0)
    found: Floats = weak * EXCESS_TABLE[np.rint(np.asarray(share) * EDGE_STEPS).astype(np.intp)]
    return found


def edge_level(share: float) -> float:
    """Return the mean level of a link of which a share of the adverts is heard, dBm.

    Args:
        share: 0 to 1.
    """
    return float(EDGE_TABLE[round(min(max(share, 0.0), 1.0) * EDGE_STEPS)])


def shift_of(registry: Registry, gateway_id: str) -> float:
    """Return what is added to a gateway's readings without an own power at 1 m, dB."""
    power_dbm = registry.powers_dbm.get(gateway_id)
    if power_dbm is None:
        power_dbm = registry.thresholds.default_rssi_1m_dbm
    return STANDARD_DBM - power_dbm


def level_of(registry: Registry, fact: Sighting, shift_db: float, power_db: float) -> float | None:
    """Return the normalised level of a sighting, dBm; None if it tells no power.

    The power at 1 m is the message's own, else the gateway's, else the default; the last two are
    corrected by what is registered of the tag. A distance without power stands for the level that
    the gateway's path loss gives at that distance.

    Args:
        registry: Path loss of gateways.
        fact: The sighting.
        shift_db: Of its gateway, see `shift_of`.
        power_db: What the tag sends above the standard, dB.
    """
    if fact.rssi_dbm is None:
        return _of_distance(registry, fact)
    if fact.rssi_1m_dbm is not None:
        return fact.rssi_dbm - fact.rssi_1m_dbm + STANDARD_DBM
    return fact.rssi_dbm + shift_db - power_db


def _of_distance(registry: Registry, fact: Sighting) -> float | None:
    if fact.distance_m is None:
        return None
    gateway = registry.gateways.get(fact.gateway_id)
    exponent = gateway.path_loss_exponent if gateway is not None else None
    loss_db = level_db(fact.distance_m, exponent or registry.thresholds.default_exponent)
    return loss_db + STANDARD_DBM
