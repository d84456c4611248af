"""Belief over the cells of a grid as time passes and later evidence comes: what filters share.

A belief is mass (B, M, C) of float32: B tags, M modes of motion, C cells; it sums to 1 per tag.
Only elementwise IEEE arithmetic and sums along the last axis: a tag's answer depends neither on
the other rows nor on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid import Grid
from tagtrail_locate.core.grid_motion import Gait, Motion

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

NOTHING: Final = np.float32(1e-30)
"""Mass below this is none: evidence and belief exclude each other."""


class Evidence(NamedTuple):
    """What one step heard, as the smoother needs it again.

    Attributes:
        dt_s: Time passed before it, shape (B,), seconds.
        likelihood: Fit relative to the best, shape (B, 1, C) or (B, M, C), float32, 0 to 1.
    """

    dt_s: Floats
    likelihood: Singles


class BeliefMotion:
    """How belief moves on, turns up elsewhere once in a while, and is smoothed."""

    def __init__(self, grid: Grid, gait: Gait, prior: Singles, jump_per_s: float) -> None:
        """Prepare.

        Args:
            grid: C cells.
            gait: How tags move.
            prior: Belief about a tag that was never heard, shape (M, C), sum 1.
            jump_per_s: Rate at which a tag turns up anywhere, by the prior.
        """
        self.motion, self.prior, self._jump_per_s = Motion(grid, gait), prior, jump_per_s

    def start(self, count: int) -> Singles:
        """Return the belief about tags of which nothing was heard, shape (count, M, C)."""
        return np.repeat(self.prior[None], count, axis=0)

    def predict(self, mass: Singles, dt_s: Floats) -> Singles:
        """Let time pass, shape (B,), seconds, >= 0, without hearing anything."""
        return self.jumped(self.motion.forward(mass, dt_s), dt_s)

    def jumped(self, moved: Singles, dt_s: Floats) -> Singles:
        """Let some of a belief turn up anywhere after it was moved."""
        jump = self._jump(dt_s)
        mixed = moved * (np.float32(1.0) - jump) + jump * self.prior
        singles: Singles = mixed.astype(np.float32, copy=False)
        return singles

    def smoothed(self, mass: Singles, later: Sequence[Evidence]) -> Singles:
        """Return the belief about a past moment, given what was heard since.

        Args:
            mass: The belief at that moment, shape (B, M, C).
            later: What the following steps heard, in order.

        Returns:
            Shape (B, M, C); sums to 1 per tag.
        """
        value = np.ones_like(mass)
        for heard in reversed(later):
            value *= heard.likelihood
            value = scaled(value)
            jump = self._jump(heard.dt_s)
            everywhere = last_sum(value * self.prior)
            value = self.motion.backward(value, heard.dt_s)
            value *= np.float32(1.0) - jump
            value += jump * everywhere[:, None, None]
        return normal(mass * value, mass)

    def _jump(self, dt_s: Floats) -> Singles:
        rate = dt_s * self._jump_per_s
        jump: Singles = (rate / (1.0 + rate)).astype(np.float32)[:, None, None]
        return jump


def last_sum(values: Singles) -> Singles:
    """Return the total of each tag, shape (B,)."""
    total: Singles = np.add.reduce(values.reshape(len(values), -1), axis=-1)
    return total


def scaled(values: Singles) -> Singles:
    """Return values divided by the greatest of each tag."""
    best = np.maximum.reduce(values.reshape(len(values), -1), axis=-1)
    relative: Singles = values / np.maximum(best, NOTHING)[:, None, None]
    return relative


def normal(mass: Singles, otherwise: Singles) -> Singles:
    """Return mass that sums to 1 per tag; for a tag whose mass vanished, something else."""
    total = last_sum(mass)[:, None, None]
    lost = total < NOTHING
    share: Singles = np.where(lost, otherwise, mass / np.where(lost, np.float32(1.0), total))
    return share
