"""How belief moves over a grid: standing still, wandering, or walking in one of eight directions.

A belief is an array (B, M, C) of float32: B tags, M modes, C cells. Mode 0 is still. A directed
gait has eight more, counter-clockwise from east; an undirected one has one more that diffuses,
which costs a quarter and suits coarse cells and rare readings. Walking is upwind transport through
open borders, whose numerical spread stands for the spread of walking speeds; what meets a wall
stays where it is. Only elementwise IEEE operations, so every tag's result is its own to the bit.

`Motion.forward` moves belief on; `Motion.backward` is its exact transpose, for smoothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.grid import Grid

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

DIAGONAL: Final = 0.7071067811865476
HEADINGS: Final = (
    (1.0, 0.0), (DIAGONAL, DIAGONAL), (0.0, 1.0), (-DIAGONAL, DIAGONAL),
    (-1.0, 0.0), (-DIAGONAL, -DIAGONAL), (0.0, -1.0), (DIAGONAL, -DIAGONAL),
)  # fmt: skip
"""Unit vectors east and north of the eight headings."""

COURANT: Final = 0.65
"""Cells walked per substep at most: below 0.7 the two axes of a diagonal together never take more
out of a cell than is in it."""

DIFFUSED: Final = 0.2
"""Share that diffuses to each of four neighbours per substep at most; 0.25 would be the limit."""

SUBSTEPS: Final = 16
"""Substeps of one step at most: motion beyond it is cut short, and `forget_s` spreads the rest."""

ONE: Final = np.float32(1.0)


@dataclass(frozen=True, slots=True)
class Gait:
    """How tagged things move.

    Attributes:
        walk_m_per_s: Usual speed while moving.
        start_per_s: Rate at which a still thing starts to move.
        stop_per_s: Rate at which a moving thing stops.
        turn_per_s: Rate at which a moving thing takes a new heading.
        sway_m2_per_s: Diffusion of a thing that counts as still (it is shuffled about).
        directed: Whether headings are followed (nine modes) or motion only diffuses (two).
    """

    walk_m_per_s: float = 0.5
    start_per_s: float = 0.3
    stop_per_s: float = 0.03
    turn_per_s: float = 0.2
    sway_m2_per_s: float = 0.01
    directed: bool = True

    @property
    def modes(self) -> int:
        """Number of modes M, the still one included."""
        return 1 + len(HEADINGS) if self.directed else 2

    @property
    def wander_m2_per_s(self) -> float:
        """Diffusion per axis of motion at the usual speed that turns at the usual rate."""
        return self.walk_m_per_s**2 / (2.0 * self.turn_per_s)


class Motion:
    """The moves of a gait over a grid."""

    def __init__(self, grid: Grid, gait: Gait) -> None:
        """Take the grid's gates over."""
        self.grid, self.gait = grid, gait
        gates = (grid.east, grid.west, grid.north, grid.south)
        self._gates = tuple(gate.astype(np.float32) for gate in gates)
        across, along = np.maximum(grid.east, grid.west), np.maximum(grid.north, grid.south)
        walls = (across, across, along, along)
        self._walls = tuple(wall.astype(np.float32) for wall in walls)

    @property
    def modes(self) -> int:
        """Number of modes M of the gait."""
        return self.gait.modes

    def forward(self, mass: Singles, dt_s: Floats) -> Singles:
        """Move belief on in time.

        Args:
            mass: Shape (B, M, C).
            dt_s: Time passed per tag, shape (B,), seconds, >= 0.

        Returns:
            Belief after it, shape (B, M, C); the total of each tag stays.
        """
        moved = self._planes(mass)
        self._diffuse(moved[:, 0], self._swayed_m2(dt_s), self._walls, back=False)
        for part_s in self._parts(dt_s):
            self._change_mode(moved, part_s)
            if self.gait.directed:
                self._walk(moved, part_s)
            else:
                self._wander(moved, part_s, back=False)
        return moved.reshape(mass.shape)

    def backward(self, value: Singles, dt_s: Floats) -> Singles:
        """Apply the transpose of `forward`: what later evidence says about the time before.

        Args:
            value: Shape (B, M, C).
            dt_s: As in `forward`.
        """
        before = self._planes(value)
        for part_s in reversed(self._parts(dt_s)):
            if self.gait.directed:
                self._walk_back(before, part_s)
            else:
                self._wander(before, part_s, back=True)
            self._change_mode_back(before, part_s)
        self._diffuse(before[:, 0], self._swayed_m2(dt_s), self._walls, back=True)
        return before.reshape(value.shape)

    def _planes(self, mass: Singles) -> Singles:
        return mass.reshape(len(mass), self.modes, self.grid.rows, self.grid.columns).copy()

    def _parts(self, dt_s: Floats) -> list[Singles]:
        """Return the lengths of the substeps, seconds, each (B, 1, 1); 0 for tags that are done."""
        gait, cell = self.gait, self.grid.cell_m
        if gait.directed:
            longest = COURANT * cell / max(gait.walk_m_per_s, 1e-9)
        else:
            longest = DIFFUSED * cell * cell / max(gait.wander_m2_per_s, 1e-9)
        own = np.clip(np.ceil(dt_s / longest - 1e-9), 1.0, float(SUBSTEPS))
        part = np.minimum(dt_s / own, longest)
        return [
            np.where(index < own, part, 0.0).astype(np.float32)[:, None, None]
            for index in range(int(own.max(initial=1.0)))
        ]

    def _shares(self, part_s: Singles) -> tuple[Singles, Singles, Singles]:
        """Return the shares that start, stop and turn within a substep, each (B, 1, 1)."""
        rates = (self.gait.start_per_s, self.gait.stop_per_s, self.gait.turn_per_s)
        passed = [part_s * np.float32(rate) for rate in rates]
        start, stop, turn = [(p / (ONE + p)).astype(np.float32, copy=False) for p in passed]
        return start, stop, turn

    def _change_mode(self, mass: Singles, part_s: Singles) -> None:
        start, stop, turn = self._shares(part_s)
        still, ways = mass[:, 0], np.float32(self.modes - 1)
        total = _total(mass)
        spread = total * (turn * (ONE - stop) / ways) + still * (start / ways)
        mass[:, 0] = still * (ONE - start) + total * stop
        for way in range(1, self.modes):
            mass[:, way] = mass[:, way] * ((ONE - turn) * (ONE - stop)) + spread

    def _change_mode_back(self, value: Singles, part_s: Singles) -> None:
        start, stop, turn = self._shares(part_s)
        still, ways = value[:, 0], np.float32(self.modes - 1)
        total = _total(value)
        spread = total * (turn * (ONE - stop) / ways) + still * stop
        value[:, 0] = still * (ONE - start) + total * (start / ways)
        for way in range(1, self.modes):
            value[:, way] = value[:, way] * ((ONE - turn) * (ONE - stop)) + spread

    def _swayed_m2(self, dt_s: Floats) -> Singles:
        """Return how far still things spread in a whole step, (B, 1, 1), cut short after long."""
        most = DIFFUSED * self.grid.cell_m * self.grid.cell_m
        spread = np.minimum(dt_s * self.gait.sway_m2_per_s, most)
        return spread.astype(np.float32)[:, None, None]

    def _wander(self, mass: Singles, part_s: Singles, *, back: bool) -> None:
        spread = part_s * np.float32(self.gait.wander_m2_per_s)
        self._diffuse(mass[:, 1], spread, self._gates, back=back)

    def _diffuse(
        self, plane: Singles, spread_m2: Singles, ways: tuple[Singles, ...], *, back: bool
    ) -> None:
        share = spread_m2 / np.float32(self.grid.cell_m * self.grid.cell_m)
        east, west, north, south = (share * gate for gate in ways)
        if back:
            gain_x = plane[:, :, 1:] - plane[:, :, :-1]
            gain_y = plane[:, 1:] - plane[:, :-1]
            plane[:, :, :-1] += gain_x * east
            plane[:, :, 1:] -= gain_x * west
            plane[:, :-1] += gain_y * north
            plane[:, 1:] -= gain_y * south
            return
        flow_x = plane[:, :, :-1] * east - plane[:, :, 1:] * west
        flow_y = plane[:, :-1] * north - plane[:, 1:] * south
        plane[:, :, :-1] -= flow_x
        plane[:, :, 1:] += flow_x
        plane[:, :-1] -= flow_y
        plane[:, 1:] += flow_y

    def _gate(self, east: float, north: float) -> tuple[Singles, Singles]:
        """Return the gates that a heading meets along both axes."""
        return self._gates[0 if east >= 0.0 else 1], self._gates[2 if north >= 0.0 else 3]

    def _walk(self, mass: Singles, part_s: Singles) -> None:
        share = part_s * np.float32(self.gait.walk_m_per_s / self.grid.cell_m)
        for way, (east, north) in enumerate(HEADINGS, start=1):
            plane, (gate_x, gate_y) = mass[:, way], self._gate(east, north)
            flow_x = plane[:, :, _source(east)] * (share * np.float32(abs(east)) * gate_x)
            flow_y = plane[:, _source(north)] * (share * np.float32(abs(north)) * gate_y)
            plane[:, :, _source(east)] -= flow_x
            plane[:, :, _target(east)] += flow_x
            plane[:, _source(north)] -= flow_y
            plane[:, _target(north)] += flow_y

    def _walk_back(self, value: Singles, part_s: Singles) -> None:
        share = part_s * np.float32(self.gait.walk_m_per_s / self.grid.cell_m)
        for way, (east, north) in enumerate(HEADINGS, start=1):
            plane, (gate_x, gate_y) = value[:, way], self._gate(east, north)
            gain_x = plane[:, :, _target(east)] - plane[:, :, _source(east)]
            gain_y = plane[:, _target(north)] - plane[:, _source(north)]
            plane[:, :, _source(east)] += gain_x * (share * np.float32(abs(east)) * gate_x)
            plane[:, _source(north)] += gain_y * (share * np.float32(abs(north)) * gate_y)


def _total(mass: Singles) -> Singles:
    """Return the sum over the moving modes, shape (B, rows, columns)."""
    total = mass[:, 1].copy()
    for way in range(2, mass.shape[1]):
        total += mass[:, way]
    return total


def _source(along: float) -> slice:
    """Return the cells that a heading leaves across the borders of an axis."""
    return slice(None, -1) if along >= 0.0 else slice(1, None)


def _target(along: float) -> slice:
    """Return the cells that it enters."""
    return slice(1, None) if along >= 0.0 else slice(None, -1)
