"""A tag followed over the cells of a grid by its blinks, forwards and with later ones.

    tracker = BlinkFilter(grid, tdoa_map, BlinkSettings())
    mass = tracker.start(B)
    mass = tracker.step(mass, dt_s, heard_m)      # one blink of each of B tags

A grid and not a Gaussian, because what walls leave of four arrival times is often two places.
Only elementwise IEEE arithmetic and sums along the last axis: a tag's answer depends neither on
the other rows nor on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid import Grid
from tagtrail_locate.core.grid_belief import BeliefMotion, Evidence, normal
from tagtrail_locate.core.grid_motion import Gait
from tagtrail_locate.core.tdoa import TdoaMap, likelihood

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BlinkSettings:
    """What the filter assumes.

    Attributes:
        gait: How tags move.
        jump_per_s: Rate at which a tag turns up anywhere.
        map_error_m: What the learned biases miss and blinks share, so that no number of them
            averages it out: standard deviation of x and of y, metres; widens the area only.
    """

    gait: Gait = field(default_factory=lambda: Gait(walk_m_per_s=0.5, sway_m2_per_s=0.005))
    jump_per_s: float = 0.001
    map_error_m: float = 0.11


class BlinkPlace(NamedTuple):
    """Where a tag is.

    Attributes:
        x_m: Mean, metres.
        y_m: Mean, metres.
        covariance_m2: xx, xy, yy, square metres.
        zones: Probability per zone of the grid, and of none, shape (Z + 1,).
    """

    x_m: float
    y_m: float
    covariance_m2: tuple[float, float, float]
    zones: Floats

    def zone(self, names: Sequence[str]) -> str | None:
        """Return the most probable zone; None if that is none."""
        best = int(np.argmax(self.zones))
        return names[best] if best < len(names) else None


class BlinkFilter:
    """The filter of one floor; holds tables, never a belief. A belief is mass (B, M, C), sum 1."""

    def __init__(self, grid: Grid, table: TdoaMap, settings: BlinkSettings) -> None:
        """Prepare.

        Args:
            grid: C cells, of which some MUST have presence.
            table: What the anchors measure in them.
            settings: Assumptions.

        Raises:
            ValueError: the map has other cells than the grid, or no cell has presence.
        """
        total = float(grid.presence.sum())
        if table.expected_m.shape[1] != grid.cells or total <= 0.0:
            raise ValueError("the map needs the grid's cells, and the grid a cell with presence")
        self.grid, self.table, self.settings = grid, table, settings
        modes = settings.gait.modes
        prior = np.tile((grid.presence / total / modes).astype(np.float32), (modes, 1))
        self.moving = BeliefMotion(grid, settings.gait, prior, settings.jump_per_s)
        self._least_m2 = grid.cell_m * grid.cell_m / 12.0 + settings.map_error_m**2
        self._inside = (grid.presence > 0.0).astype(np.float32)

    def start(self, count: int) -> Singles:
        """Return the belief about tags that were never heard, shape (count, M, C)."""
        return self.moving.start(count)

    def weigh(self, heard_m: Floats) -> Singles:
        """Return how each blink fits each cell, shape (B, C), 0 to 1; ones if too few heard it.

        Args:
            heard_m: Shape (B, A), metres; NaN = not heard.

        Raises:
            UnusableBlinkError: see `tdoa.likelihood`.
        """
        fits = np.ones((len(heard_m), self.grid.cells), dtype=np.float32)
        for i, row in enumerate(heard_m):
            found = likelihood(self.table, row)
            if found is not None:
                fits[i] = found.astype(np.float32) * self._inside
        return fits

    def step(self, mass: Singles, dt_s: Floats, heard_m: Floats) -> Singles:
        """Let time pass (B,), then take one blink of each tag (B, A); returns the new belief."""
        return self.take(self.predict(mass, dt_s), self.weigh(heard_m))

    def predict(self, mass: Singles, dt_s: Floats) -> Singles:
        """Let time pass, shape (B,), seconds, >= 0."""
        return self.moving.predict(mass, dt_s)

    def take(self, mass: Singles, fits: Singles) -> Singles:
        """Weigh a belief by `weigh`; one that nothing fits starts anew."""
        fresh = self.moving.prior * fits[:, None]
        return normal(mass * fits[:, None], normal(fresh, self.moving.prior))

    def smoothed(self, mass: Singles, later: Sequence[tuple[Floats, Singles]]) -> Singles:
        """Return the belief about a past moment, given what was heard since.

        Args:
            mass: The belief at that moment, shape (B, M, C).
            later: Time passed (B,) before each of the following blinks, and its `weigh`, in order.
        """
        heard = [Evidence(dt_s, fits[:, None]) for dt_s, fits in later]
        return self.moving.smoothed(mass, heard)

    def summary(self, mass: Singles, row: int = 0) -> BlinkPlace:
        """Tell zones, position and area of one tag's belief."""
        grid = self.grid
        cells = mass[row, 0].astype(np.float64)
        for mode in range(1, mass.shape[1]):
            cells += mass[row, mode]
        x = float(np.add.reduce(cells * grid.x_m))
        y = float(np.add.reduce(cells * grid.y_m))
        east, north, square = grid.x_m - x, grid.y_m - y, self._least_m2
        covariance = (
            float(np.add.reduce(cells * east * east)) + square,
            float(np.add.reduce(cells * east * north)),
            float(np.add.reduce(cells * north * north)) + square,
        )
        count = len(grid.zone_names) + 1
        zones = [float(np.add.reduce(cells * (grid.zone == z))) for z in range(count)]
        return BlinkPlace(x, y, covariance, np.array(zones))
