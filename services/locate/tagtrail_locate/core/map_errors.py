"""What gateways hear of one tag beside the map, followed along every path that the tag may have taken.

Levels stay off the map for a while: the tag sends more or less than the survey's, a body shields it
from one side, a shelf was moved. Each cell and mode therefore keeps, per gateway, the error that the
readings would have shown had the tag come there, moved along with the belief (the average over the
paths that meet in a cell stands for them). It is a Rao-Blackwellised filter: given the path, the
error is a Kalman filter whose variance depends only on how much was heard.

Arrays: B tags, G gateways, M modes, C cells; elementwise operations only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid_motion import Motion
from tagtrail_locate.core.level_table import HIGH_DBM, LOW_DBM, LevelTable

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

STRAY_DB: Final = np.float32(10.0)
"""A reading further from the map than twice its deviation teaches no more than this."""

NOTHING: Final = np.float32(1e-30)
"""Mass below this has no history worth keeping."""


def forgotten(variance: Floats, kept: Floats, prior_db2: float) -> Floats:
    """Return the variance of errors after some time, shape (B, G).

    Args:
        variance: Shape (B, G), dB².
        kept: Share of an error that is left, shape (B, 1), 0 to 1.
        prior_db2: Variance when nothing was heard, dB².
    """
    return variance * kept * kept + prior_db2 * (1.0 - kept * kept)


def carried(
    motion: Motion, mass: Singles, error_db: Singles, dt_s: Floats, kept: Floats
) -> tuple[Singles, Singles]:
    """Move belief and the errors of its paths on in time.

    Args:
        motion: How things move.
        mass: Shape (B, M, C).
        error_db: Shape (B, G, M, C), dB.
        dt_s: Shape (B,), seconds.
        kept: Share of an error that is left, shape (B, 1), 0 to 1.
    """
    weighted = mass[:, None] * error_db * kept.astype(np.float32)[:, :, None, None]
    stacked = np.concatenate([mass[:, None], weighted], axis=1)
    planes = stacked.shape[1]
    flat = stacked.reshape(-1, *mass.shape[1:])
    moved = motion.forward(flat, np.repeat(dt_s, planes)).reshape(stacked.shape)
    total = moved[:, :1]
    known = total > NOTHING
    errors: Singles = np.where(known, moved[:, 1:] / np.where(known, total, NOTHING), np.float32(0))
    return moved[:, 0], errors


def stayed(moved: Singles, expected: Singles) -> Singles:
    """Return which share of each cell's belief came by a path, not by a jump, shape (B, M, C).

    What jumped there has no history: its errors are 0.
    """
    share: Singles = np.minimum(moved / np.maximum(expected, NOTHING), np.float32(1.0))
    return share


def weighed(
    table: LevelTable,
    mean_db: Singles,
    error_db: Singles,
    gateway: Indices,
    level_db: Floats,
    weight: Singles,
    gain: Singles,
) -> Singles:
    """Weigh readings against the map as corrected per path, and correct `error_db` in place.

    Args:
        table: Fits per gateway, level and cell.
        mean_db: Expected levels, shape (G + 1, C), dBm.
        error_db: Shape (B, G, M, C), dB; changed in place.
        gateway: Index per reading, shape (B, N); G = no reading.
        level_db: Shape (B, N), dBm; NaN = adverts were not heard.
        weight: Independent readings that each is worth, shape (B, N); 0 for no reading.
        gain: Share of its innovation by which a reading corrects the error, shape (B, N); 0 where
            there is none.

    Returns:
        Fit in table steps, shape (B, M, C).
    """
    tags, gateways = error_db.shape[:2]
    rows, cells = np.arange(tags), np.arange(mean_db.shape[1])
    fit = np.zeros(error_db[:, 0].shape, dtype=np.float32)
    for reading in range(gateway.shape[1]):
        which = gateway[:, reading]
        own = np.minimum(which, gateways - 1)
        level = level_db[:, reading].astype(np.float32)[:, None, None]
        heard = ~np.isnan(level)
        corrected = np.where(heard, level, np.float32(LOW_DBM)) - error_db[rows, own]
        at = np.clip(corrected - np.float32(LOW_DBM), np.float32(0), np.float32(HIGH_DBM - LOW_DBM))
        low = np.floor(at)
        part = at - low
        index = np.where(heard, low.astype(np.intp) + 1, 0)
        above = np.where(heard, np.minimum(index + 1, HIGH_DBM - LOW_DBM + 1), 0)
        fits, next_fits = (table.fits[which[:, None, None], i, cells] for i in (index, above))
        near = fits + part * (next_fits.astype(np.float32) - fits)
        fit += weight[:, reading, None, None] * near
        innovation = np.clip(corrected - mean_db[which][:, None], -STRAY_DB, STRAY_DB)
        error_db[rows, own] += gain[:, reading, None, None] * innovation
    return fit
