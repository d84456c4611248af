"""UWB two-way ranging between some tags and the anchors of a site."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tagtrail.simulator.layout import Floats, Ints
from tagtrail.simulator.plan import Asset
from tagtrail.simulator.radio import STEP_S, Motion
from tagtrail.simulator.roster import Gateway
from tagtrail.simulator.scenario import Uwb


@dataclass(frozen=True, slots=True)
class Ranged:
    """Ranges of one step, in order of time; all arrays have shape (n,).

    Attributes:
        at_s: True time, seconds since the start.
        tag: Index of the tag on its site.
        anchor: Index among the anchors.
        range_m: Measured distance, metres, >= 0.
        nlos: Whether the line of sight was blocked.
    """

    at_s: Floats
    tag: Ints
    anchor: Ints
    range_m: Floats
    nlos: Ints


class Ranging:
    """All UWB links of one site.

    Args:
        assets: All assets of the site; the first `model.tags` of them carry UWB.
        anchors: The site's anchors.
        model: How ranges err.
        rng: The only source of chance.
    """

    def __init__(
        self, assets: list[Asset], anchors: list[Gateway], model: Uwb, rng: np.random.Generator
    ) -> None:
        self.tags = assets[: model.tags] if anchors else []
        self._model, self._rng = model, rng
        count = len(self.tags)
        self._motion = Motion(self.tags)
        self._where = np.array(
            [(a.station.x_m, a.station.y_m, a.station.z_m) for a in anchors], dtype=np.float64
        )
        self._height = np.array([a.height_m for a in self.tags])
        self._dies_s = np.array(
            [math.inf if a.dies_at_s is None else a.dies_at_s for a in self.tags]
        )
        self._next = rng.uniform(0.0, model.interval_s, count)
        self._nlos = rng.random((count, len(anchors))) < model.nlos_share

    def step(self, at_s: float) -> Ranged:
        """Simulate one second from a time on; steps MUST follow one another from 0."""
        self._motion.step(at_s)
        self._flicker()
        due = np.flatnonzero(self._next < at_s + STEP_S)
        sent_s = self._next[due]
        self._next[due] += self._model.interval_s
        x, y = self._motion.at(due, sent_s)
        place = np.stack([x, y, self._height[due]], axis=1)
        true_m = np.linalg.norm(place[:, None, :] - self._where[None, :, :], axis=2)
        blocked = self._nlos[due]
        error = self._rng.normal(0.0, self._model.sigma_m, true_m.shape)
        error += blocked * self._rng.exponential(self._model.nlos_bias_m, true_m.shape)
        alive = (sent_s < self._dies_s[due])[:, None]
        row, anchor = np.nonzero(alive & (true_m <= self._model.reach_m))
        order = np.lexsort((anchor, row, sent_s[row]))
        row, anchor = row[order], anchor[order]
        measured = np.maximum((true_m + error)[row, anchor], 0.0)
        return Ranged(
            sent_s[row], due[row], anchor, measured, blocked[row, anchor].astype(np.int64)
        )

    def _flicker(self) -> None:
        model = self._model
        leave = STEP_S / max(model.nlos_time_s, STEP_S)
        enter = leave * model.nlos_share / max(1 - model.nlos_share, 1e-9)
        chance = self._rng.random(self._nlos.shape)
        self._nlos = np.where(self._nlos, chance >= leave, chance < enter)
