"""When a tag lies still, told by its levels alone.

While a tag lies still, what each gateway hears of it keeps its mean; while it is carried, the mean
changes by several decibels within a step or two, at every gateway on its own. Time is cut into blocks.
The means of each block are compared with those of the stay so far: how probable is the change if the tag
kept still, and how probable if it did not? The logarithms of these ratios add up over gateways and
blocks. From `TOLD_NATS` on the tag lies still, and a stay ends with the block that takes all of the
evidence away.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

BLOCK_S: Final = 3.0
"""A carried tag goes 1 to 4 m in it, as far as shadows reach; ten readings or so per gateway."""

NOISE_DB2: Final = 8.0
"""Variance of single readings of a still tag: its three advertising channels fade apart."""

STILL_DB2: Final = 0.5
"""Variance of the change of a mean at rest, beside that noise: people pass by."""

MOVED_DB2: Final = 16.0
"""The same on the way, added to it: shadows and fading are others within a metre."""

MOST_CHANGE_DB: Final = 12.0
MOST_LINK_NATS: Final = 2.0
"""One gateway says at most so much, for and against: a body may stand before it."""

TOLD_NATS: Final = 6.0
MOST_NATS: Final = 10.0
"""From this evidence on a tag lies still, and more than this is not collected."""

FIRST_NATS: Final = -4.0
"""Evidence of a block alone: tags are carried rather than not, before anything is known."""


class Stay(NamedTuple):
    """A time during which a tag lay still, all in seconds.

    Attributes:
        start_s: Begin.
        told_s: When this was known, later than the begin.
        end_s: When it was over; infinite if it was not.
        ended_s: When that was known; infinite likewise.
    """

    start_s: float
    told_s: float
    end_s: float
    ended_s: float


def stays_of(at_s: Floats, gateway: Indices, level_db: Floats, gateways: int) -> list[Stay]:
    """Return the stays of a tag, in order; each verdict uses only what was heard until then.

    Args:
        at_s: Time of each reading, shape (n,), seconds, ascending.
        gateway: Index per reading, shape (n,).
        level_db: Level per reading, shape (n,), dBm.
        gateways: Their number G.
    """
    if not len(at_s):
        return []
    first_s = float(at_s[0])
    counts, totals = _blocks(at_s - first_s, gateway, level_db, gateways)
    found: list[Stay] = []
    count, total = np.zeros(gateways), np.zeros(gateways)
    nats, start, told = FIRST_NATS, 0, False
    for index in range(len(counts)):
        begin_s = first_s + BLOCK_S * index
        gained = unchanged_nats(count, total, counts[index], totals[index])
        nats = min(nats + gained, MOST_NATS)
        if nats < 0.0 and gained < 0.0:
            if told:
                found[-1] = found[-1]._replace(end_s=begin_s, ended_s=begin_s + BLOCK_S)
            count, total = np.zeros(gateways), np.zeros(gateways)
            nats, start, told = FIRST_NATS, index, False
        count, total = count + counts[index], total + totals[index]
        if not told and nats >= TOLD_NATS:
            told = True
            found.append(Stay(first_s + BLOCK_S * start, begin_s + BLOCK_S, np.inf, np.inf))
    return found


def _blocks(
    passed_s: Floats, gateway: Indices, level_db: Floats, gateways: int
) -> tuple[Floats, Floats]:
    """Return the readings per block and gateway and the sums of their levels, each (N, G)."""
    block = np.floor(passed_s / BLOCK_S).astype(np.intp)
    size = (int(block[-1]) + 1) * gateways
    slot = block * gateways + gateway
    counts = np.bincount(slot, minlength=size).astype(np.float64)
    totals = np.bincount(slot, weights=level_db, minlength=size).astype(np.float64)
    return counts.reshape(-1, gateways), totals.reshape(-1, gateways)


def unchanged_nats(count: Floats, total: Floats, own_count: Floats, own_total: Floats) -> float:
    """Return how much a block speaks for a tag that still lies where it lay, in nats.

    Args:
        count: Readings of the stay per gateway, shape (G,).
        total: Sum of their levels, shape (G,), dB.
        own_count: Readings of the block, shape (G,).
        own_total: Sum of their levels, shape (G,), dB.
    """
    both = (count > 0.0) & (own_count > 0.0)
    count, own_count = count[both], own_count[both]
    change = own_total[both] / own_count - total[both] / count
    square = np.minimum(np.abs(change), MOST_CHANGE_DB) ** 2
    still = NOISE_DB2 * (1.0 / count + 1.0 / own_count) + STILL_DB2
    moved = still + MOVED_DB2
    nats = 0.5 * (np.log(moved / still) - square * (1.0 / still - 1.0 / moved))
    return float(np.clip(nats, -MOST_LINK_NATS, MOST_LINK_NATS).sum())
