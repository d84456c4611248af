"""What a reading is worth after others that share its error.

Levels of one gateway are off the map together: the map errs, and the fading of a point stays while
the tag does. Per reading, a share s of the variance is common and fades over a correlation time, the
rest is new. A Kalman filter of the common error alone tells by how much each reading narrows what
is sought: after n readings without fading, all together are worth n / (1 + s (n - 1)) independent
ones, so those of a tag at rest never more than 1 / s.

Arrays: B tags, N readings, K masts; elementwise operations only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

MOST_SHARED: Final = 0.95
"""Share of the variance that is common at most; readings always differ a little."""


def faded(told: Singles, still: Singles, dt_s: Floats, moving_s: float, still_s: float) -> Singles:
    """Return the told share of the common error after some time.

    Args:
        told: Shape (B, K), 0 to 1.
        still: Probability of being at rest, shape (B,).
        dt_s: Time passed, shape (B,), seconds.
        moving_s: Correlation time while moving, seconds.
        still_s: At rest, seconds.
    """
    rest = still.astype(np.float64)
    rate = (1.0 - rest) / moving_s + rest / still_s
    kept: Singles = (1.0 / (1.0 + rate * dt_s)).astype(np.float32)[:, None]
    return told * kept


def worth(told: Singles, shared: Singles, mast: Indices, count: Singles) -> Singles:
    """Return the independent readings that each reading is worth, shape (B, N).

    Args:
        told: Share of each mast's common error that earlier readings told, shape (B, K), 0 to 1;
            changed in place.
        shared: Common share of the variance, shape (B,), 0 to `MOST_SHARED`.
        mast: Index per reading, shape (B, N).
        count: Adverts whose mean each reading is, shape (B, N), >= 0; 0 is worth nothing.
    """
    one, rows = np.float32(1.0), np.arange(len(told))
    weight = np.zeros(mast.shape, dtype=np.float32)
    for reading in range(mast.shape[1]):
        which, own = mast[:, reading], count[:, reading]
        open_share = one - told[rows, which]
        common = shared * open_share
        total = common * own + (one - shared)
        weight[:, reading] = open_share * open_share * own / total
        told[rows, which] += open_share * (common * own / total)
    return weight
