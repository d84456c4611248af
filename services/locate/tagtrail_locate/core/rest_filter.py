"""The live filter: a belief over cells per tag, for things that rest for long and are then moved.

Goods rest for minutes to days. While one rests, every gateway's readings become one running mean;
noise averages out, but what the map does not know of the place does not, however long one listens.
So the evidence of a rest is that of its means, with the map's own error as its limit, and it is
weighed against the belief with which the rest began. When the levels say that the tag was moved,
that belief is spread over where it may have got to, through open ways only, and a new rest begins.
The power of the tag is unknown by some decibels; that is integrated out, and learned from rest to
rest.

Arrays: b tags, g gateways, c cells. A tag's answer never depends on the other rows, nor its bytes
on the machine: elementwise IEEE operations, sums along the last axis, and tables that are rounded
when they are built.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core import rests
from tagtrail_locate.core.cells import Cells
from tagtrail_locate.core.rests import (
    COUNT,
    HEAD,
    LAST,
    LINKS,
    LOST_DBM,
    MEAN,
    MOVED,
    NOISE_DB2,
    OFFSET,
    POWER,
    SCALE,
    Heard,
)

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Bytes = npt.NDArray[np.uint8]

MOVING_S: Final = 6.0
"""A tag is on its way for so long after its levels last said so, seconds."""

FIRST_DOUBT: Final = 0.5
MOVED_DOUBT: Final = 3.0
"""n readings are worth n / (n + doubt) of what the map can tell: the first ones may be of a body.
Of a tag of which nothing is known they are taken as they are; one that seems to have been moved was
known to be somewhere."""

AWAY_M: Final = 3.0
"""How far a tag has got when its levels tell that it was moved, standard deviation, metres."""

WALK_M2_PER_S: Final = 0.7
"""Diffusion per axis of what is carried or driven, m² per second."""

DIFFUSED: Final = 0.2
"""Share that passes to each of four neighbours at once; 0.25 would be the limit."""

MOST_ROUNDS: Final = 8
"""Rounds of diffusion at once; the rest is left to the chance of turning up anywhere."""

LEARNED_READINGS: Final = 30.0
"""A rest of so many readings teaches the power of its tag."""

POWER_DB2: Final = 6.0
LEAST_POWER_DB2: Final = 1.5
"""Variance of tags' power around what is registered of them, at first and at best, dB²."""

LEAST_UNHEARD: Final = 1e-4
"""Least chance that a gateway hears nothing at a place, however near: it may be covered."""

PART: Final = 64
"""Beliefs computed at once: so many stay in the processor's cache from step to step."""

STEPS: Final = 255.0
"""Steps of a belief's bytes: what is below 4 millionths of the greatest cell is gone."""

MOST_NATS: Final = 30
STEPS_PER_NAT: Final = 32
STEP_EXP: Final = 0.969233234476344081849
"""exp(-1/32), from which the exponential's table is made by products."""


class Tags(NamedTuple):
    """What is remembered of b tags.

    Attributes:
        head: Shape (b, 5): scale of the belief's bytes, power above the registered one in dB, its
            variance in dB², time of the last move in seconds (0 = none), usual interval in seconds.
        links: Shape (b, 9, g): time of the newest reading, mean level of the rest in dBm, its
            readings, fast mean in dBm, its readings, readings ever, looks of the rest during which
            the gateway listened, those of them in which it heard the tag, and the longest time that its
            items lately spanned in seconds.
        base: Belief with which the rest began, shape (b, c): square root of the share of the
            greatest cell in 255 steps. Only square roots and roundings occur in making it, so the
            bytes are the same on every machine.
    """

    head: Floats
    links: Floats
    base: Bytes

    def of(self, rows: Indices) -> Tags:
        """Return what is remembered of some of the tags."""
        return Tags(self.head[rows], self.links[rows], self.base[rows])

    def begun(self) -> Singles:
        """Return the belief with which the rests began, shape (b, c)."""
        found = self.base.astype(np.float32)
        found *= found
        found *= self.head[:, SCALE, None].astype(np.float32)
        return found


class Step(NamedTuple):
    """What a look leads to.

    Attributes:
        tags: What is remembered now.
        silent: Whose silence was held against places, shape (b, g).
        rows: Rows of the tags whose belief was asked for and is new, shape (n,).
        belief: Where they are, shape (n, c); sums to 1 per tag.
    """

    tags: Tags
    silent: Booleans
    rows: Indices
    belief: Singles


class RestFilter:
    """The filter of one site; holds tables only, never a tag's belief.

    Args:
        grid: Cells, c of them.
        mean_dbm: Expected level per gateway and cell, shape (g, c), dBm.
        sd_db: Deviation of a rest's mean from it, shape (g, c) or (g, 1), dB.
        anywhere: Chance that a moved tag turns up anywhere, 0 to 1.
        unheard_share: Chance that a gateway hears none of several adverts at a cell, shape (g, c).
    """

    def __init__(
        self,
        grid: Cells,
        mean_dbm: Floats,
        sd_db: Floats,
        *,
        anywhere: float,
        unheard_share: Floats,
        borders_db: Floats,
    ) -> None:
        self.grid, self._anywhere = grid, np.float32(anywhere)
        self.prior = (grid.presence / grid.presence.sum()).astype(np.float32)
        self.mean_dbm = mean_dbm.astype(np.float32)
        variance = np.broadcast_to(sd_db**2, mean_dbm.shape)
        steady = variance + NOISE_DB2 / 20.0
        self._weight = (1.0 / steady).astype(np.float32)
        self._depth = _rounded(np.log(steady))
        self._variance = variance.mean(axis=1)
        slope = borders_db / steady
        self._slope, self._steep = slope.astype(np.float32), (slope * borders_db).astype(np.float32)
        self._bordered = np.logical_or.reduce(borders_db > 0.0, axis=1).tolist()
        self._unheard = _rounded(np.log(np.clip(unheard_share, LEAST_UNHEARD, 1.0)))
        self._gates = tuple(gate.astype(np.float32) for gate in grid.gates)
        self._exp = _exp_table()

    @property
    def gateways(self) -> int:
        """Number of gateways."""
        return len(self.mean_dbm)

    def start(self, count: int) -> Tags:
        """Return what is known of tags of which nothing was heard."""
        head = np.zeros((count, HEAD))
        head[:, POWER] = POWER_DB2
        links = np.zeros((count, LINKS, self.gateways))
        base, head[:, SCALE] = _as_bytes(np.tile(self.prior, (count, 1)))
        return Tags(head, links, base)

    def step(self, tags: Tags, heard: Heard) -> Step:
        """Take a look at each tag.

        Args:
            tags: What is remembered; not changed.
            heard: What was heard.
        """
        head, links = tags.head.copy(), tags.links.copy()
        rests.note_pace(head, links, heard)
        silent = rests.silent(head, links, heard)
        fast, fasts = rests.fast(links, heard)
        lost = (links[:, COUNT] >= 1.0) & (
            (silent & (links[:, MEAN] > LOST_DBM)) | (links[:, LAST] < 0.0)
        )
        moved = rests.deviates(links, heard, fast, fasts) | rests.turns_up(links, heard)
        moved |= np.logical_or.reduce(lost, axis=1)
        moving = moved | ((head[:, MOVED] > 0.0) & (heard.at_s - head[:, MOVED] < MOVING_S))
        base = tags.base
        rows = np.flatnonzero(moving)
        if rows.size:
            part, base = tags.of(rows), base.copy()
            nats, pull, slack = self._nats(part)
            belief = self._belief(part, nats)
            head[rows] = self._learned(part, belief, pull, slack)
            carried = self._carried(belief, heard.since_s[rows], moved[rows])
            base[rows], head[rows, SCALE] = _as_bytes(carried)
        head[:, MOVED] = np.where(moved, heard.at_s, head[:, MOVED])
        rests.follow(head, links, heard, fast, fasts, moved, moving, lost)
        asked = np.flatnonzero(heard.wanted & (heard.eager | ~rests.is_calm(links, heard, moving)))
        found = Tags(head, links, base)
        return Step(found, rests.unheard(links), asked, self._beliefs(found, asked))

    def _beliefs(self, tags: Tags, rows: Indices) -> Singles:
        """Return the beliefs about some tags, a part at a time."""
        parts = [rows[at : at + PART] for at in range(0, len(rows), PART)]
        found = [self.belief(tags.of(part)) for part in parts]
        return np.concatenate(found) if found else np.zeros((0, len(self.prior)), np.float32)

    def belief(self, tags: Tags) -> Singles:
        """Return the belief about tags, shape (b, c): where the rest began, and its evidence."""
        return self._belief(tags, self._nats(tags)[0])

    def _belief(self, tags: Tags, nats: Singles) -> Singles:
        """Return the belief that follows from the evidence of readings, which is changed."""
        unheard = rests.unheard(tags.links)
        for gateway in np.flatnonzero(np.logical_or.reduce(unheard, axis=0)).tolist():
            nats += unheard[:, gateway, None] * self._unheard[gateway]
        return self._normal(tags.begun() * self._exponential(nats))

    def expected_dbm(self, tags: Tags) -> Floats:
        """Return what each gateway is expected to hear, shape (b, g), dBm."""
        belief = self.belief(tags)
        found = [np.add.reduce(belief * row, axis=1) for row in self.mean_dbm]
        return np.stack(found, axis=1) + tags.head[:, OFFSET, None]

    def _nats(self, tags: Tags) -> tuple[Singles, Singles, Singles]:
        """Return the evidence of the rests, and the weighted residual and weight of the power.

        With residuals r and weights w of the links, and a power of variance t², the evidence is
        -(sum of w r² - (sum of w r)² / (1/t² + sum of w)) / 2: the power is integrated out.
        What all borders of zones take more or less than expected is integrated out before, in the
        same way, with f (standard deviations of it in each link) in the place of ones.
        """
        links, head = tags.links, tags.head
        count = links[:, COUNT]
        doubt = np.where(head[:, MOVED] > 0.0, MOVED_DOUBT, FIRST_DOUBT)[:, None]
        worth = count / (count + doubt)
        noise = NOISE_DB2 / np.maximum(count, 1.0)
        worth *= (self._variance + NOISE_DB2 / 20.0) / (self._variance + noise)
        worth = worth.astype(np.float32)
        level = (rests.mean_of_all(links) - head[:, OFFSET, None]).astype(np.float32)
        square, pull, total, away, part, tilt, lean, steep = [
            np.zeros(tags.base.shape, dtype=np.float32) for _ in range(8)
        ]
        steep += np.float32(1.0)
        for gateway in np.flatnonzero(np.logical_or.reduce(count > 0.0, axis=0)).tolist():
            own = worth[:, gateway, None]
            np.subtract(level[:, gateway, None], self.mean_dbm[gateway], out=away)
            if self._bordered[gateway]:
                np.multiply(own, self._steep[gateway], out=part)
                steep += part
                np.multiply(own, self._slope[gateway], out=part)
                lean += part
                part *= away
                tilt += part
            np.multiply(own, self._weight[gateway], out=part)
            total += part
            part *= away
            pull += part
            part *= away
            square += part
            np.multiply(own, self._depth[gateway], out=part)
            square += part
        slack = (1.0 / head[:, POWER]).astype(np.float32)[:, None] + total
        np.divide(lean, steep, out=part)
        slack -= part * lean
        part *= tilt
        pull -= part
        tilt *= tilt
        tilt /= steep
        square -= tilt
        np.multiply(pull, pull, out=part)
        part /= slack
        part -= square
        part *= np.float32(0.5)
        return part, pull, slack

    def _exponential(self, nats: Singles) -> Singles:
        """Return exp(nats - most), from a table; where no tag can be does not count as most."""
        inside = np.where(self.prior > 0.0, nats, np.float32(-3e38))
        below = np.maximum.reduce(inside, axis=1)[:, None] - nats
        below *= np.float32(STEPS_PER_NAT)
        np.clip(below, 0.0, len(self._exp) - 1, out=below)
        found: Singles = np.take(self._exp, np.rint(below, out=below).astype(np.int32))
        return found

    def _normal(self, mass: Singles) -> Singles:
        total = np.add.reduce(mass, axis=1)[:, None]
        lost = total < np.float32(1e-30)
        if lost.any():
            return np.where(lost, self.prior, mass / np.where(lost, np.float32(1.0), total))
        mass /= total
        return mass

    def _learned(self, tags: Tags, belief: Singles, pull: Singles, slack: Singles) -> Floats:
        """Return the heads of tags whose rest ended: long rests teach the power.

        Args:
            tags: Of b tags.
            belief: About them.
            pull: Weighted residual of the power, see `_nats`.
            slack: Its weight.
        """
        head = tags.head.copy()
        shift = np.add.reduce(belief * (pull / slack), axis=1).astype(np.float64)
        left = np.add.reduce(belief / slack, axis=1).astype(np.float64)
        taught = np.maximum.reduce(tags.links[:, COUNT], axis=1) >= LEARNED_READINGS
        head[:, OFFSET] = np.where(taught, head[:, OFFSET] + shift, head[:, OFFSET])
        head[:, POWER] = np.where(taught, np.maximum(left, LEAST_POWER_DB2), head[:, POWER])
        return head

    def _carried(self, belief: Singles, since_s: Floats, moved: Booleans) -> Singles:
        """Return where tags may be that are on their way, from where they were believed to be.

        Args:
            belief: Where they were, shape (b, c); changed.
            since_s: Time since then, seconds.
            moved: Whether their levels say so now.
        """
        spread = np.where(moved, AWAY_M * AWAY_M / 2.0, 0.0) + WALK_M2_PER_S * np.minimum(
            since_s, 30
        )
        spread /= self.grid.cell_m * self.grid.cell_m
        rounds = np.clip(np.ceil(spread / DIFFUSED), 1.0, MOST_ROUNDS)
        share = np.minimum(spread / rounds, DIFFUSED).astype(np.float32)
        plane = belief.reshape(len(belief), self.grid.rows, self.grid.columns)
        for turn in range(int(rounds.max())):
            self._diffuse(plane, np.where(turn < rounds, share, np.float32(0.0))[:, None, None])
        chance = np.where(moved, self._anywhere, self._anywhere * np.float32(0.2))[:, None]
        spread_out: Singles = belief * (np.float32(1.0) - chance) + chance * self.prior
        return spread_out

    def _diffuse(self, plane: Singles, share: Singles) -> None:
        east, west, north, south = self._gates
        flow_x = plane[:, :, :-1] * (share * east) - plane[:, :, 1:] * (share * west)
        flow_y = plane[:, :-1] * (share * north) - plane[:, 1:] * (share * south)
        plane[:, :, :-1] -= flow_x
        plane[:, :, 1:] += flow_x
        plane[:, :-1] -= flow_y
        plane[:, 1:] += flow_y


def _as_bytes(belief: Singles) -> tuple[Bytes, Floats]:
    """Return beliefs as bytes, shape (b, c), and their scales, shape (b,)."""
    exact = belief.astype(np.float64)
    most = np.maximum(np.maximum.reduce(exact, axis=1), 1e-30)
    cells = np.rint(np.sqrt(exact / most[:, None]) * STEPS).astype(np.uint8)
    return cells, most / (STEPS * STEPS)


def _rounded(nats: Floats) -> Singles:
    """Return a table in steps of 1/256 nat, so that the last bits of logarithms do not show."""
    return (np.rint(nats * 256.0) / 256.0).astype(np.float32)


def _exp_table() -> Singles:
    table = np.empty(MOST_NATS * STEPS_PER_NAT + 1)
    value = 1.0
    for index in range(len(table)):
        table[index] = value
        value *= STEP_EXP
    return table.astype(np.float32)
