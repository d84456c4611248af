"""What is stored of a tag that is followed through its ranges, and how it changes.

`RangeTracker` is plain numbers. It keeps the ranges of the last `lag` seconds apart, so that a
range that comes late or out of order is sorted in, and so that an answer for a moment may use what
was measured after it.
"""

from __future__ import annotations

import bisect
import math
from typing import Literal

import msgspec
import numpy as np

from tagtrail_locate.core.errors import UnusableRangeError
from tagtrail_locate.core.range_smoothing import smoothed
from tagtrail_locate.core.range_tracking import RangeModel
from tagtrail_locate.core.range_walk import Heard, Placement, Walk


class RangeTracker(msgspec.Struct, array_like=True):
    """What is stored of a tag between two ranges; changed by `take` alone.

    Attributes:
        at_s: Event time up to which ranges are folded in; None before the first.
        believed_s: Event time of the last range that was believed; None before the start.
        slots: Anchor in each slot of range errors, "" for none.
        slot_s: When each was heard, seconds.
        slot_m: Where each stands: x, y, z, metres.
        means: One state per hypothesis.
        covariances: The lower triangle of each covariance, row by row.
        evidence: Log likelihood of each hypothesis less that of the best.
        misses: Ranges in a row that no hypothesis believed.
        waiting: Ranges since the tag was lost or first heard.
        pending: Ranges younger than the lag, ascending.
        newest_s: Event time of the newest range; None before the first.
        late: Ranges that came too late to be used.
    """

    at_s: float | None = None
    believed_s: float | None = None
    slots: list[str] = []
    slot_s: list[float] = []
    slot_m: list[tuple[float, float, float]] = []
    means: list[list[float]] = []
    covariances: list[list[float]] = []
    evidence: list[float] = []
    misses: int = 0
    waiting: list[Heard] = []
    pending: list[Heard] = []
    newest_s: float | None = None
    late: int = 0


def take(
    tracker: RangeTracker, heard: Heard, model: RangeModel, *, lag_s: float
) -> Literal["taken", "duplicate", "late"]:
    """Give a tracker one range.

    Args:
        tracker: Changed in place.
        heard: The range.
        model: Motion and noise; MUST be the same for all ranges of a tracker, or its size at least.
        lag_s: How long ranges are kept apart for smoothing and for late ones, seconds, >= 0.

    Returns:
        "late" if the time of the range was folded in already; it changes nothing then.

    Raises:
        UnusableRangeError: a number is not finite, the range is negative, or a noise is not > 0.
    """
    _check(heard)
    if tracker.at_s is not None and heard.at_s < tracker.at_s:
        tracker.late += 1
        return "late"
    key = (heard.at_s, heard.anchor_id, heard.range_m)
    keys = [(p.at_s, p.anchor_id, p.range_m) for p in tracker.pending]
    index = bisect.bisect_left(keys, key)
    if index < len(keys) and keys[index] == key:
        return "duplicate"
    tracker.pending = [*tracker.pending[:index], heard, *tracker.pending[index:]]
    tracker.newest_s = heard.at_s if tracker.newest_s is None else max(tracker.newest_s, heard.at_s)
    ripe = bisect.bisect_right([p.at_s for p in tracker.pending], tracker.newest_s - lag_s)
    if ripe:
        walk = _walk_of(tracker, model, record=False)
        for past in tracker.pending[:ripe]:
            walk.feed(past)
        _store(tracker, walk, tracker.pending[ripe - 1].at_s)
        tracker.pending = tracker.pending[ripe:]
    return "taken"


def place(tracker: RangeTracker, at_s: float, model: RangeModel) -> Placement | None:
    """Say where a tag was at a moment, from everything taken so far.

    Args:
        tracker: Not changed.
        at_s: The moment, seconds; one before the lag is answered with the oldest possible.
        model: As given to `take`.

    Returns:
        None before the start (fewer than three anchors in a second) and long after the last range.
    """
    walk = _walk_of(tracker, model, record=True)
    before = [p for p in tracker.pending if p.at_s <= at_s]
    for heard in before:
        walk.feed(heard)
    index = walk.mark(at_s)
    if index is None:
        return None
    for heard in tracker.pending[len(before) :]:
        if walk.is_lost_by(heard.at_s):
            break
        walk.feed(heard)
    row = walk.best()
    return walk.placed(smoothed(walk.steps, [index], row)[0], row)


def _check(heard: Heard) -> None:
    numbers = (heard.at_s, heard.x_m, heard.y_m, heard.z_m, heard.range_m)
    noise = 1.0 if heard.noise_m is None else heard.noise_m
    if not all(math.isfinite(n) for n in (*numbers, noise)) or heard.range_m < 0 or noise <= 0:
        raise UnusableRangeError(
            f"the range to {heard.anchor_id} is no usable number; look at the gateway that sent it",
            anchor_id=heard.anchor_id,
        )


def _walk_of(tracker: RangeTracker, model: RangeModel, *, record: bool) -> Walk:
    size = model.size
    covariance = np.zeros((len(tracker.means), size, size))
    rows, columns = np.tril_indices(size)
    for i, lower in enumerate(tracker.covariances):
        covariance[i, rows, columns] = lower
        covariance[i, columns, rows] = lower
    return Walk(
        model, record, tracker.at_s, [], tracker.believed_s, list(tracker.slots),
        list(tracker.slot_s), list(tracker.slot_m), np.array(tracker.means).reshape(-1, size),
        covariance, list(tracker.evidence), tracker.misses, list(tracker.waiting),
    )  # fmt: skip


def _store(tracker: RangeTracker, walk: Walk, at_s: float) -> None:
    rows, columns = np.tril_indices(walk.model.size)
    known = bool(walk.evidence)
    tracker.at_s, tracker.believed_s = at_s, walk.believed_s
    tracker.slots, tracker.slot_s, tracker.slot_m = walk.slots, walk.slot_s, walk.slot_m
    tracker.means = walk.mean.tolist() if known else []
    tracker.covariances = [c[rows, columns].tolist() for c in walk.covariance] if known else []
    tracker.evidence, tracker.misses, tracker.waiting = walk.evidence, walk.misses, walk.waiting
