"""Constant offsets of ranges: one for all, one per anchor, one per pair of tag and anchor.

From tags at known points (`from_references`), or from ranges that anchors measure between
themselves (`from_anchors`), where each error is the sum of what its two ends add. Every answer
comes with the error of ranges that were left out of the fit, and is refused if that is no better
than doing nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tagtrail_locate.core.errors import RefusedCalibrationError

Mode = Literal["constant", "anchor", "pair"]

RAIL_M: Final = 2.0
"""Antenna delays are off by 0.3 m as delivered; metres are a wrong coordinate."""

FEWEST_PLACES: Final = 3
"""With fewer, an offset cannot be told from a wall or from a wrong coordinate of the place."""

FEWEST_PAIRS: Final = 2
"""A pair is corrected by itself if it was measured from so many places."""

OWN_M: Final = 0.1
"""Standard deviation of antenna delays between devices (Decawave APS014)."""

ERROR_M: Final = 0.15
"""Of one link around its offsets: multipath; residuals of this size count half."""


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """Ranges of a tag at a known point to one anchor: their median.

    Attributes:
        place_id: The point.
        tag_id: The tag.
        anchor_id: The anchor.
        true_m: Distance by the coordinates, metres.
        range_m: Measured, metres.
    """

    place_id: str
    tag_id: str
    anchor_id: str
    true_m: float
    range_m: float


@dataclass(frozen=True, slots=True)
class AnchorRange:
    """Ranges between two anchors: their median.

    Attributes:
        first_id: One anchor.
        second_id: The other.
        true_m: Distance by the coordinates, metres.
        range_m: Measured, metres.
    """

    first_id: str
    second_id: str
    true_m: float
    range_m: float


@dataclass(frozen=True, slots=True)
class RangeOffsets:
    """What to take off ranges.

    Attributes:
        constant_m: Off every range, metres.
        anchors_m: Off ranges of an anchor besides, metres.
        pairs_m: Off ranges of (tag, anchor) besides, metres.
        left_out_m: Root mean square error of ranges left out of the fit, metres.
        before_m: The same without any correction, metres.
    """

    constant_m: float
    anchors_m: Mapping[str, float]
    pairs_m: Mapping[tuple[str, str], float]
    left_out_m: float
    before_m: float

    def expected_m(self, tag_id: str, anchor_id: str) -> float:
        """Return the error to expect of a range, metres."""
        own = self.anchors_m.get(anchor_id, 0.0)
        return self.constant_m + own + self.pairs_m.get((tag_id, anchor_id), 0.0)


def from_references(links: Sequence[ReferenceRange], mode: Mode) -> RangeOffsets:
    """Learn offsets from tags at known points; each place is left out once to test them.

    Raises:
        RefusedCalibrationError: too few places, an offset at a rail, or ranges of places left out
            are not better with the offsets than without.
    """
    places = sorted({link.place_id for link in links})
    if len(places) < FEWEST_PLACES:
        raise RefusedCalibrationError(
            f"{len(places)} places do not tell offsets from walls; survey {FEWEST_PLACES} or more",
            places=len(places),
        )
    misses = []
    for place in places:
        found = _learned([k for k in links if k.place_id != place], mode)
        misses += [_error(k) - _of(found, k) for k in links if k.place_id == place]
    constant, anchors, pairs = _learned(links, mode)
    return _accepted(constant, anchors, pairs, misses, [_error(k) for k in links])


def from_anchors(ranges: Sequence[AnchorRange]) -> RangeOffsets:
    """Learn what each anchor adds from ranges between anchors; each is left out once.

    What a tag adds stays unknown: `constant_m` is the anchors' mean in its place.

    Raises:
        RefusedCalibrationError: the ranges do not fix the offsets, an offset at a rail, or ranges
            left out are not better with the offsets than without.
    """
    ids = sorted({a for r in ranges for a in (r.first_id, r.second_id)})
    if len(ranges) <= len(ids) or len(ids) < FEWEST_PLACES:
        raise RefusedCalibrationError(
            f"{len(ranges)} ranges between {len(ids)} anchors do not fix and test an offset for "
            "each; let every anchor range with three others",
            ranges=len(ranges),
            anchors=len(ids),
        )
    misses = []
    for i, left in enumerate(ranges):
        ends = _ends([*ranges[:i], *ranges[i + 1 :]], ids)
        misses.append(left.range_m - left.true_m - ends[left.first_id] - ends[left.second_id])
    ends = _ends(ranges, ids)
    mean = statistics.fmean(ends.values())
    own = {a: ends[a] - mean for a in ids}
    return _accepted(2.0 * mean, own, {}, misses, [r.range_m - r.true_m for r in ranges])


def _error(link: ReferenceRange) -> float:
    return link.range_m - link.true_m


Learned = tuple[float, dict[str, float], dict[tuple[str, str], float]]


def _learned(links: Sequence[ReferenceRange], mode: Mode) -> Learned:
    """Return constant, anchors' and pairs' offsets; what few links say is shrunk to zero."""
    constant = statistics.median(_error(k) for k in links)
    anchors: dict[str, float] = {}
    pairs: dict[tuple[str, str], float] = {}
    if mode in ("anchor", "pair"):
        for anchor in sorted({k.anchor_id for k in links}):
            anchors[anchor] = _shrunk(_error(k) - constant for k in links if k.anchor_id == anchor)
    if mode == "pair":
        for pair in sorted({(k.tag_id, k.anchor_id) for k in links}):
            own = [
                _error(k) - constant - anchors[k.anchor_id]
                for k in links
                if (k.tag_id, k.anchor_id) == pair
            ]
            if len(own) >= FEWEST_PAIRS:
                pairs[pair] = _shrunk(own)
    return constant, anchors, pairs


def _of(found: Learned, link: ReferenceRange) -> float:
    constant, anchors, pairs = found
    own = anchors.get(link.anchor_id, 0.0) + pairs.get((link.tag_id, link.anchor_id), 0.0)
    return constant + own


def _shrunk(errors: Iterable[float]) -> float:
    """Return the robust mean of errors, drawn to zero as far as they are few."""
    values = list(errors)
    middle = statistics.median(values)
    weights = [1.0 / (1.0 + ((v - middle) / ERROR_M) ** 2) for v in values]
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    trust = sum(weights) * OWN_M * OWN_M
    return mean * trust / (trust + ERROR_M * ERROR_M)


def _ends(ranges: Sequence[AnchorRange], ids: Sequence[str]) -> dict[str, float]:
    """Return what each end adds, by robust least squares around their common mean."""
    at = {a: i for i, a in enumerate(ids)}
    design = np.zeros((len(ranges), len(ids)))
    for row, r in enumerate(ranges):
        design[row, at[r.first_id]] = design[row, at[r.second_id]] = 1.0
    error = np.array([r.range_m - r.true_m for r in ranges])
    middle = 0.5 * float(np.median(error))
    off = error - 2.0 * middle
    prior = np.eye(len(ids)) * (ERROR_M / OWN_M) ** 2
    weight, found = np.ones(len(error)), np.zeros(len(ids))
    for _ in range(10):
        weighed = design * weight[:, None]
        solved = np.linalg.solve(weighed.T @ design + prior, weighed.T @ off)
        found = np.asarray(solved, dtype=np.float64)
        left = (off - design @ found) / ERROR_M
        weight = np.asarray(1.0 / (1.0 + left * left), dtype=np.float64)
    return {a: middle + float(found[i]) for a, i in at.items()}


def _accepted(
    constant: float,
    anchors: Mapping[str, float],
    pairs: Mapping[tuple[str, str], float],
    misses: Sequence[float],
    errors: Sequence[float],
) -> RangeOffsets:
    """Return offsets, or refuse those that no one should use."""
    largest = max(abs(v) for v in (constant, *anchors.values(), *pairs.values()))
    if not largest <= RAIL_M:
        raise RefusedCalibrationError(
            f"an offset of {largest:.2f} m is no antenna delay: check the coordinates",
            largest_m=round(largest, 3),
        )
    after, before = (math.sqrt(statistics.fmean(v * v for v in e)) for e in (misses, errors))
    if after >= before:
        raise RefusedCalibrationError(
            f"ranges left out are wrong by {after:.3f} m with these offsets and by {before:.3f} m "
            "without: survey more places, or use a simpler mode",
            with_offsets_m=round(after, 4),
            without_m=round(before, 4),
        )
    return RangeOffsets(
        round(constant, 4),
        {a: round(v, 4) for a, v in anchors.items()},
        {p: round(v, 4) for p, v in pairs.items()},
        round(after, 4),
        round(before, 4),
    )
