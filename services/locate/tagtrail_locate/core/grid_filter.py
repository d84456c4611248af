"""A Bayesian filter over the cells of a grid, for many tags at once, and its fixed-lag smoother.

    tracker = GridFilter(grid, radio_map, FilterSettings())
    belief = tracker.start(B)                                    # every tag may be anywhere
    belief = tracker.step(belief, dt_s, gateway, level_db, count)
    place = tracker.summary(belief.mass)                         # zones, position, area

Arrays: B tags, N readings each (padded with gateway = G), M modes, C cells, Z zones. A tag's
answer never depends on the other rows, and its bytes never on the machine: readings are looked up
in a rounded table (`level_table`), exponentials in a table made of products, the rest is
elementwise IEEE arithmetic and sums along the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core import map_errors
from tagtrail_locate.core.grid import Grid
from tagtrail_locate.core.grid_belief import BeliefMotion, Evidence, last_sum, normal
from tagtrail_locate.core.grid_motion import Gait
from tagtrail_locate.core.grid_place import Place, over_modes, place_of
from tagtrail_locate.core.level_table import PER_NAT, LevelTable, table_of
from tagtrail_locate.core.radio_map import RadioMap
from tagtrail_locate.core.shared_errors import MOST_SHARED, faded, worth

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

MOST_NATS: Final = 40
"""Cells that fit worse than the best by more than this get this: e^-40 is less than the outside
chance `jump_per_s` gives, and a float32 holds it."""

PER_NAT_EXP: Final = 64
"""Steps of the exponential's table per nat: an error of at most 0.8 % of a likelihood."""

STEP_EXP: Final = 0.984496437005408405986
"""exp(-1/64), from which the table is made by products, which are the same on every machine."""


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """What the filter assumes; the same for every site.

    Attributes:
        gait: How things move.
        correlation_s: How long readings of one gateway share an error while the tag moves, seconds.
        still_correlation_s: The same while it is still, seconds.
        follow_paths: Whether these errors are followed along every path (for surveyed maps; costs as
            much as G more tags) or only once per tag.
        jump_per_s: Rate at which a thing turns up anywhere (carried off unheard, or the belief was
            wrong).
        map_error_db: How far one gateway's levels of one tag stay off the map (the tag's power, how it
            is worn, what changed since the survey), standard deviation; 0 = not at all.
        map_error_s: How long such an error lasts, seconds.
        area_share: Share of the belief that the area holds: more than 95 %, since the belief errs
            too; so chosen, the area held 93 to 98 % of the truth on two measured sites.
        median_rounds: Rounds of Weiszfeld from the mean towards the spatial median, the point of the
            least expected error; 0 = the mean.
    """

    gait: Gait = field(default_factory=Gait)
    correlation_s: float = 2.0
    still_correlation_s: float = 120.0
    jump_per_s: float = 0.002
    map_error_db: float = 1.5
    map_error_s: float = 60.0
    follow_paths: bool = False
    area_share: float = 0.98
    median_rounds: int = 8


class Belief(NamedTuple):
    """What is known of B tags.

    Attributes:
        mass: Probability per mode and cell, shape (B, M, C), float32; sums to 1 per tag.
        recent: Share of the error common to a mast's readings that the recent ones have told, 0 to
            1, shape (B, G + 1), float32; see `shared_errors`.
        error_db: What each gateway hears of the tag above the map, dB; shape (B, G), or
            (B, G, M, C) if followed along every path; float32.
        error_db2: Variance of it, shape (B, G), dB².
    """

    mass: Singles
    recent: Singles
    error_db: Singles
    error_db2: Floats


class GridFilter:
    """The filter of one site and floor; holds tables only, never a tag's belief."""

    def __init__(self, grid: Grid, radio_map: RadioMap, settings: FilterSettings) -> None:
        """Build the tables.

        Args:
            grid: Cells, C of them; some MUST have presence.
            radio_map: Levels of G gateways in the same cells.
            settings: Assumptions.

        Raises:
            ValueError: the map has other cells than the grid, or no cell has presence.
        """
        if radio_map.mean_db.shape[1] != grid.cells or not grid.inside.any():
            raise ValueError(
                "the radio map needs the grid's cells, and the grid a cell with presence"
            )
        self.grid, self.radio_map, self.settings = grid, radio_map, settings
        self.table: LevelTable = table_of(radio_map)
        prior = _prior(grid, settings.gait.modes)
        self.moving = BeliefMotion(grid, settings.gait, prior, settings.jump_per_s)
        self._inside = grid.inside.astype(np.float32)
        self._exp = _exp_table()
        self._mast = np.append(radio_map.mast, len(radio_map.gateways))
        self._mean_db = np.concatenate([radio_map.mean_db, np.zeros((1, grid.cells))]).astype(
            np.float32
        )
        self._noise_db2 = np.append(np.mean(radio_map.sd_db**2, axis=1), 1.0)

    def start(self, count: int) -> Belief:
        """Return the belief about `count` tags of which nothing was heard."""
        mass = self.moving.start(count)
        gateways = len(self.radio_map.gateways)
        recent = np.zeros((count, gateways + 1), dtype=np.float32)
        paths = mass.shape[1:] if self.settings.follow_paths else ()
        error = np.zeros((count, gateways, *paths), dtype=np.float32)
        variance = np.full((count, gateways), self.settings.map_error_db**2)
        return Belief(mass, recent, error, variance)

    def step(
        self, belief: Belief, dt_s: Floats, gateway: Indices, level_db: Floats, count: Floats
    ) -> Belief:
        """Move on in time, then weigh what was heard.

        Args:
            belief: Of B tags.
            dt_s: Time since the belief's moment per tag, shape (B,), seconds, >= 0.
            gateway: Index per reading, shape (B, N); G = no reading.
            level_db: Mean level per reading, shape (B, N), dBm; NaN = adverts were not heard.
            count: Adverts behind each reading, shape (B, N), >= 0; fractions are weights.
        """
        return self.step_with_evidence(belief, dt_s, gateway, level_db, count)[0]

    def step_with_evidence(
        self, belief: Belief, dt_s: Floats, gateway: Indices, level_db: Floats, count: Floats
    ) -> tuple[Belief, Evidence]:
        """Do a step and return what the smoother needs of it; arguments as `step`."""
        still = np.minimum(last_sum(belief.mass[:, :1]), np.float32(1.0))
        own = self.settings
        recent = faded(belief.recent, still, dt_s, own.correlation_s, own.still_correlation_s)
        weight = self._weights(recent, still, gateway, count)
        kept = (1.0 / (1.0 + dt_s / self.settings.map_error_s))[:, None]
        prior_db2 = self.settings.map_error_db**2
        variance = map_errors.forgotten(belief.error_db2, kept, prior_db2)
        gain, variance = self._gains(variance, gateway, level_db, weight)
        if self.settings.follow_paths:
            moved, error = map_errors.carried(
                self.moving.motion, belief.mass, belief.error_db, dt_s, kept
            )
            expected = self.moving.jumped(moved, dt_s)
            error *= map_errors.stayed(moved, expected)[:, None]
            fit = map_errors.weighed(
                self.table, self._mean_db, error, gateway, level_db, weight, gain
            )
            likelihood = self._relative(fit)
        else:
            error = belief.error_db * kept.astype(np.float32)
            fit = self._fit(error, gateway, level_db, weight)
            likelihood = self._relative(fit[:, None])
            expected = self.predict(belief.mass, dt_s)
            self._learn(error, expected, gateway, level_db, gain)
        mass = normal(expected * likelihood, self.moving.prior)
        return Belief(mass, recent, error, variance), Evidence(dt_s, likelihood)

    def predict(self, mass: Singles, dt_s: Floats) -> Singles:
        """Move belief on in time without hearing anything, shape (B, M, C)."""
        return self.moving.predict(mass, dt_s)

    def smoothed(self, mass: Singles, later: Sequence[Evidence]) -> Singles:
        """Return the belief about a past moment, given what was heard since.

        Args:
            mass: The filter's belief at that moment, shape (B, M, C).
            later: What the following steps heard, in order.

        Returns:
            Shape (B, M, C); sums to 1 per tag.
        """
        return self.moving.smoothed(mass, later)

    def summary(self, mass: Singles) -> Place:
        """Tell zones, position and area of a belief, shape (B, M, C)."""
        rounds = self.settings.median_rounds
        return place_of(self.grid, over_modes(mass), self.settings.area_share, rounds)

    def _weights(self, recent: Singles, still: Singles, gateway: Indices, count: Floats) -> Singles:
        """Return the independent readings that each reading is worth; counts it as recent."""
        moving, at_rest = (
            np.float32(min(share, MOST_SHARED))
            for share in (self.radio_map.shared_share, self.radio_map.still_share)
        )
        shared = moving + still * (at_rest - moving)
        return worth(recent, shared, self._mast[gateway], count.astype(np.float32))

    def _gains(
        self, variance: Floats, gateway: Indices, level_db: Floats, weight: Singles
    ) -> tuple[Singles, Floats]:
        """Return by which share each reading corrects its gateway's error, and what stays open.

        Returns:
            Gains, shape (B, N), 0 where nothing was heard; variance, shape (B, G), dB².
        """
        gain, rows = np.zeros(weight.shape, dtype=np.float32), np.arange(len(weight))
        left = np.concatenate([variance, np.zeros((len(variance), 1))], axis=1)
        for reading in range(gateway.shape[1]):
            which = gateway[:, reading]
            used = np.where(np.isnan(level_db[:, reading]), 0.0, weight[:, reading])
            own = left[rows, which]
            share = own * used / (own * used + self._noise_db2[which])
            left[rows, which] = own * (1.0 - share)
            gain[:, reading] = share.astype(np.float32)
        return gain, left[:, :-1]

    def _fit(
        self, error_db: Singles, gateway: Indices, level_db: Floats, weight: Singles
    ) -> Singles:
        """Return how well each cell fits the readings, in table steps, shape (B, C)."""
        rows = np.arange(len(gateway))[:, None]
        own = np.minimum(gateway, error_db.shape[1] - 1)
        level = self.table.rows(level_db - error_db[rows, own])
        fit = np.zeros((len(gateway), self.grid.cells), dtype=np.float32)
        for reading in range(gateway.shape[1]):
            fits = self.table.fits[gateway[:, reading], level[:, reading]]
            fit += fits * weight[:, reading, None]
        return fit

    def _relative(self, fit: Singles) -> Singles:
        """Return the likelihood relative to the best cell's, same shape, 0 outside."""
        reachable = np.where(self._inside > 0, fit, np.float32(-3e38)).reshape(len(fit), -1)
        best = np.maximum.reduce(reachable, axis=-1)[:, None, None]
        steps = np.rint((best - fit) * np.float32(PER_NAT_EXP / PER_NAT))
        index = np.clip(steps, 0, len(self._exp) - 1).astype(np.intp)
        likelihood: Singles = np.take(self._exp, index) * self._inside
        return likelihood

    def _learn(
        self,
        error_db: Singles,
        expected: Singles,
        gateway: Indices,
        level_db: Floats,
        gain: Singles,
    ) -> None:
        """Correct the errors in place by what the map expected over the predicted belief.

        The spread of the map's mean over the belief counts as noise, so that a tag whose place is
        open teaches little.
        """
        if self.settings.map_error_db <= 0.0:
            return
        cells = over_modes(expected).astype(np.float32)
        rows = np.arange(len(cells))
        for reading in range(gateway.shape[1]):
            which, level = gateway[:, reading], level_db[:, reading]
            levels = self._mean_db[which]
            mean = np.add.reduce(cells * levels, axis=-1)
            away = levels - mean[:, None].astype(np.float32)
            spread = np.add.reduce(cells * away * away, axis=-1)
            noise = self._noise_db2[which]
            share = gain[:, reading] * noise / (noise + spread)
            own = np.minimum(which, error_db.shape[1] - 1)
            innovation = np.where(np.isnan(level), 0.0, level - mean - error_db[rows, own])
            error_db[rows, own] += (share * np.clip(innovation, -10.0, 10.0)).astype(np.float32)


def _prior(grid: Grid, modes: int) -> Singles:
    """Return the belief about a tag of which nothing was heard, shape (M, C)."""
    prior = np.empty((modes, grid.cells))
    prior[0] = 0.5 * grid.inside / grid.inside.sum()
    prior[1:] = 0.5 / (modes - 1) * grid.presence / grid.presence.sum()
    return prior.astype(np.float32)


def _exp_table() -> Singles:
    table = np.empty(MOST_NATS * PER_NAT_EXP + 1)
    value = 1.0
    for index in range(len(table)):
        table[index] = value
        value *= STEP_EXP
    return table.astype(np.float32)
