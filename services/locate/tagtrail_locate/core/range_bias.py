"""The error of ranges learned from a survey: by power features, with an offset per anchor.

A mixture of three kinds of ranges: in sight, delayed through thin things, blocked. What share of
each to expect depends on the features of `ranging_quality`; the anchors' offsets are shrunk to
zero, because with few places an anchor's mean error is mostly that of the walls around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.descent import minimised
from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.ranging_quality import FEATURES, FLOOR, STUDENT_5, Mixture, gated

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]

MEANS_M: Final = (-0.06, 0.15, 0.7)
"""Expected before any survey: antenna delays as delivered, one wall, several or a rack."""

MEANS_SPREAD_M: Final = (0.05, 0.1, 0.3)
"""How far surveys may move these."""

SCALES_M: Final = (0.08, 0.2, 0.6)
"""Expected scatter of each kind."""

SCALES_SPREAD: Final = 0.3
"""How far surveys may move these, in the logarithm: by a third."""

OFFSET_SPREAD_M: Final = 0.04
"""Between anchors of one make with the antenna delay of the data sheet (Decawave APS014: 30 cm
over radios, less within one lot; a survey shrinks what it cannot tell from walls)."""

GATE_SPREAD: Final = 2.0**0.5
"""How strongly a feature may turn the shares, per unit."""

BASE_SPREAD: Final = 10.0**0.5
"""How far the shares may be from equal at middling features."""

FEWEST_LINKS: Final = 30
"""A link is one anchor heard from one place; each of the dozen shared constants takes some."""

FEWEST_PLACES: Final = 3
"""Errors of one place hang together by its surveyed coordinates; three show that they do not."""

RAIL_M: Final = 2.0
"""A constant beyond this is no antenna delay or wall but a wrong coordinate."""


@dataclass(frozen=True, slots=True)
class RangeErrorModel:
    """What errors to expect of ranges.

    Attributes:
        gates: Level of each kind by feature, shape (4, 3).
        means_m: Middle of each kind, metres.
        scales_m: Scale of each kind, metres.
        offsets_m: What an anchor adds, metres; anchors not named add nothing.
    """

    gates: tuple[tuple[float, ...], ...]
    means_m: tuple[float, ...]
    scales_m: tuple[float, ...]
    offsets_m: Mapping[str, float]

    def mixture(self, anchor_ids: Sequence[str], features: Floats) -> Mixture:
        """Return the errors to expect.

        Args:
            anchor_ids: Names, length n.
            features: Of `ranging_quality.features`, shape (n, 4).
        """
        gates = np.array(self.gates)
        levels = np.zeros((len(anchor_ids), gates.shape[1]))
        for f in range(gates.shape[0]):
            levels = levels + features[:, f, None] * gates[f]
        offsets = np.array([self.offsets_m.get(a, 0.0) for a in anchor_ids])
        means = offsets[:, None] + np.array(self.means_m)
        return Mixture(gated(levels), means, np.array(self.scales_m))


UNSURVEYED: Final = RangeErrorModel(
    ((0.0, -0.5, -1.5), (0.8, 0.0, -0.8), (0.8, 0.0, -0.8), (-0.4, 0.2, 0.2)),
    MEANS_M,
    (0.12, 0.25, 0.6),
    {},
)
"""Before a survey: the less power, the more in the way; wider, because no offset is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Anchors heard from surveyed places, one row per anchor and place: medians over time.

    Attributes:
        place: Which place, shape (n,).
        anchor_ids: Names, length n.
        error_m: Measured minus true, shape (n,), metres.
        features: Shape (n, 4).
    """

    place: Indexes
    anchor_ids: tuple[str, ...]
    error_m: Floats
    features: Floats

    def without(self, place: int) -> Links:
        """Return the links of all other places."""
        kept = np.flatnonzero(self.place != place)
        return Links(
            self.place[kept],
            tuple(self.anchor_ids[i] for i in kept),
            self.error_m[kept],
            self.features[kept],
        )


def fit_range_errors(links: Links) -> RangeErrorModel:
    """Learn the errors of ranges from a survey, by penalised maximum likelihood.

    Raises:
        RefusedCalibrationError: too few links or places, no convergence, or a constant at a rail.
    """
    count, places = len(links.error_m), len(np.unique(links.place))
    if count < FEWEST_LINKS or places < FEWEST_PLACES:
        raise RefusedCalibrationError(
            f"{count} links from {places} places do not tell errors from walls; it takes "
            f"{FEWEST_LINKS} from {FEWEST_PLACES}: survey more places",
            links=count,
            places=places,
        )
    ids = sorted(set(links.anchor_ids))
    fit = _Fit(links, np.array([ids.index(a) for a in links.anchor_ids], dtype=np.intp), len(ids))
    found, _, ended = minimised(fit.cost, fit.start())
    gates, means, scales, offsets = fit.parts(found)
    railed = max(float(np.max(np.abs(means))), float(np.max(np.abs(offsets))))
    if not ended or not np.isfinite(found).all() or railed > RAIL_M:
        raise RefusedCalibrationError(
            f"the fit ran to {railed:.2f} m: check the coordinates of anchors and places",
            largest_m=railed,
        )
    return RangeErrorModel(
        tuple(tuple(round(float(g), 4) for g in row) for row in gates),
        tuple(round(float(m), 4) for m in means),
        tuple(round(float(s), 4) for s in scales),
        {a: round(float(o), 4) for a, o in zip(ids, offsets, strict=True)},
    )


class _Fit:
    """Penalised likelihood of links, with its gradient.

    Variables: gates of the kinds after the first (the first's are zero), means, logarithms of the
    scales, offsets.
    """

    def __init__(self, links: Links, anchor: Indexes, anchors: int) -> None:
        self._links, self._anchor, self._anchors = links, anchor, anchors
        self._kinds = len(MEANS_M)
        self._gates = FEATURES * (self._kinds - 1)

    def start(self) -> Floats:
        return np.concatenate(
            [np.zeros(self._gates), MEANS_M, np.log(SCALES_M), np.zeros(self._anchors)]
        )

    def parts(self, at: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return gates (4, 3), means (3,), scales (3,), offsets (a,)."""
        gates = np.zeros((FEATURES, self._kinds))
        gates[:, 1:] = at[: self._gates].reshape(FEATURES, self._kinds - 1)
        means, logs, offsets = np.split(at[self._gates :], [self._kinds, 2 * self._kinds])
        return gates, means, np.exp(logs), offsets

    def cost(self, at: Floats) -> tuple[float, Floats]:
        """Return minus the log likelihood plus the penalties, and the gradient."""
        gates, means, scales, offsets = self.parts(at)
        levels = self._links.features @ gates
        shares = gated(levels)
        off = (self._links.error_m - offsets[self._anchor])[:, None] - means
        off = off / scales
        heavy = 1.0 + off * off / 5.0
        each = shares * STUDENT_5 / scales / heavy**3
        total = each.sum(axis=1) + FLOOR
        owed = each / total[:, None]
        pull = owed * (1.2 * off / heavy)
        by_mean = pull / scales
        rise = (owed - shares * owed.sum(axis=1, keepdims=True)) / (1.0 + np.abs(levels) / 16.0)
        penalty, slopes = self._penalties(at)
        gradient = np.concatenate(
            [
                (self._links.features.T @ rise)[:, 1:].ravel(),
                by_mean.sum(axis=0),
                (pull * off - owed).sum(axis=0),
                np.bincount(self._anchor, by_mean.sum(axis=1), self._anchors),
            ]
        )
        return float(penalty - np.log(total).sum()), slopes - gradient

    def _penalties(self, at: Floats) -> tuple[float, Floats]:
        gate_spread = np.full((FEATURES, self._kinds - 1), GATE_SPREAD)
        gate_spread[0] = BASE_SPREAD
        spread = np.concatenate(
            [
                gate_spread.ravel(),
                MEANS_SPREAD_M,
                np.full(self._kinds, SCALES_SPREAD),
                np.full(self._anchors, OFFSET_SPREAD_M),
            ]
        )
        off = (at - self.start()) / spread
        return float(0.5 * (off * off).sum()), off / spread
