"""What is stored of a tag that is followed through its ranges, and how it changes.

`RangeTracker` is plain numbers. Beside the newest state of the filter it keeps an older one and the
ranges since, so that a range that comes late or out of order is sorted in, and so that an answer
for a moment may use what was measured after it. A range in order costs one step of the filter.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from tagtrail_locate.core.errors import UnusableRangeError
from tagtrail_locate.core.range_smoothing import Estimate, smoothed
from tagtrail_locate.core.range_tracking import Indexes, RangeModel
from tagtrail_locate.core.range_walk import Heard, Placement, Verdict, Walk

MOST_RECENT: Final = 2000
"""Ranges kept apart at most; a tag that is measured more often is recomputed less far back."""


class Filtered(msgspec.Struct, array_like=True):
    """The filter of one tag between two ranges; never changed once made.

    Attributes:
        at_s: Event time of the newest range in it; None before the first.
        believed_s: Event time of the last range that was believed; None before the start.
        slots: Anchor in each slot of range errors.
        slot_s: When each was heard, seconds.
        slot_m: Where each stands: x, y, z, metres.
        means: One state per hypothesis.
        covariances: The lower triangle of each covariance, row by row.
        evidence: Log likelihood of each hypothesis less that of the best.
        misses: Ranges in a row that no hypothesis believed.
        waiting: Ranges since the tag was lost or first heard.
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


class RangeTracker(msgspec.Struct, array_like=True):
    """What is stored of a tag between two rounds of ranges; changed by `take` alone.

    Attributes:
        head: The filter after all ranges.
        base: The filter after all ranges that are no longer kept apart.
        base_s: Event time up to which ranges are in `base`; None while it is empty.
        mid: The filter after the ranges up to `mid_s`, which takes the place of `base` in time.
        mid_s: Its event time; None if there is none yet.
        recent: Ranges that are not in `base`, in order of time.
        late: Ranges that came too late to be used.
    """

    head: Filtered = msgspec.field(default_factory=Filtered)
    base: Filtered = msgspec.field(default_factory=Filtered)
    base_s: float | None = None
    mid: Filtered = msgspec.field(default_factory=Filtered)
    mid_s: float | None = None
    recent: list[Heard] = []
    late: int = 0


def take(
    tracker: RangeTracker, heard: Iterable[Heard], model: RangeModel, *, keep_s: float
) -> dict[str, Verdict]:
    """Give a tracker the ranges of a round; a repeated one changes nothing.

    Args:
        tracker: Changed in place.
        heard: The ranges, in any order.
        model: Motion and noise; MUST be of one size for all ranges of a tracker.
        keep_s: How long ranges are kept apart for smoothing and for late ones, seconds, >= 0.

    Returns:
        How the newest range of each anchor in the round fitted, as far as the filter knew it.

    Raises:
        UnusableRangeError: a number is not finite, a range is negative, or a noise is not > 0;
            nothing is taken then.
    """
    fresh = sorted(set(heard), key=_key)
    for range_ in fresh:
        _check(range_)
    if tracker.base_s is not None:
        kept = [h for h in fresh if h.at_s > tracker.base_s]
        tracker.late += len(fresh) - len(kept)
        fresh = kept
    fresh = [h for h in fresh if not _holds(tracker.recent, h)]
    if not fresh:
        return {}
    verdicts = _appended(tracker, fresh, model)
    if verdicts is None:
        verdicts = _sorted_in(tracker, fresh, model)
    _let_go(tracker, keep_s)
    names = {h.anchor_id for h in fresh}
    return {a: v for a, v in verdicts.items() if a in names}


def _appended(
    tracker: RangeTracker, fresh: list[Heard], model: RangeModel
) -> dict[str, Verdict] | None:
    """Go on from the newest state; None if a range belongs before it."""
    if tracker.recent and _key(fresh[0]) < _key(tracker.recent[-1]):
        return None
    if tracker.mid_s is not None and fresh[0].at_s <= tracker.mid_s:
        return None
    walk = _walk_of(tracker.head, model, record=False)
    walk.feed_all(fresh)
    walk.start()
    tracker.recent = [*tracker.recent, *fresh]
    tracker.head = _stored(walk, fresh[-1].at_s)
    return walk.verdicts


def _sorted_in(tracker: RangeTracker, fresh: list[Heard], model: RangeModel) -> dict[str, Verdict]:
    """Compute anew from the last state before the oldest of the ranges."""
    tracker.recent = sorted([*tracker.recent, *fresh], key=_key)
    ranges, before, cut_s = tracker.recent, tracker.base, tracker.mid_s
    if cut_s is not None and fresh[0].at_s > cut_s:
        ranges = [h for h in ranges if h.at_s > cut_s]
        before, cut_s = tracker.mid, None
    walk = _walk_of(before, model, record=False)
    if cut_s is not None:
        walk.feed_all([h for h in ranges if h.at_s <= cut_s])
        walk.start()
        tracker.mid = _stored(walk, cut_s)
        ranges = [h for h in ranges if h.at_s > cut_s]
    walk.feed_all(ranges)
    walk.start()
    tracker.head = _stored(walk, tracker.recent[-1].at_s)
    return walk.verdicts


def _let_go(tracker: RangeTracker, keep_s: float) -> None:
    """Let the oldest state give way when it is old enough."""
    newest_s = tracker.recent[-1].at_s
    if tracker.mid_s is None:
        tracker.mid, tracker.mid_s = tracker.head, newest_s
    elif newest_s - tracker.mid_s >= keep_s or len(tracker.recent) > MOST_RECENT:
        tracker.base, tracker.base_s = tracker.mid, tracker.mid_s
        tracker.recent = [h for h in tracker.recent if h.at_s > tracker.base_s]
        tracker.mid, tracker.mid_s = tracker.head, newest_s


def place(tracker: RangeTracker, at_s: float, model: RangeModel) -> Placement | None:
    """Say where a tag most probably was at a moment; see `places`."""
    return next(iter(places(tracker, at_s, model)), None)


def places(tracker: RangeTracker, at_s: float, model: RangeModel) -> list[Placement]:
    """Say where a tag may have been at a moment, from everything taken so far.

    Args:
        tracker: Not changed.
        at_s: The moment, seconds; one before the oldest range kept is answered with the oldest
            possible.
        model: As given to `take`.

    Returns:
        One place per hypothesis, the most probable first. None before the start (fewer than three
        anchors in a second) and long after the last range.
    """
    if tracker.head.at_s is not None and at_s >= tracker.head.at_s:
        return _extrapolated(tracker, at_s, model)
    walk = _walk_of(tracker.base, model, record=True)
    before = [h for h in tracker.recent if h.at_s <= at_s]
    walk.feed_all(before)
    walk.start()
    index = walk.mark(at_s)
    if index is None:
        return []
    after = tracker.recent[len(before) :]
    walk.feed_all(list(itertools.takewhile(lambda h: not walk.is_lost_by(h.at_s), after)))
    return [walk.placed(smoothed(walk.steps, [index], row)[0], row) for row in _ranked(walk)]


def _extrapolated(tracker: RangeTracker, at_s: float, model: RangeModel) -> list[Placement]:
    """Return where the newest state says that the tag may be."""
    walk = _walk_of(tracker.head, model, record=False)
    if not walk.evidence or walk.is_lost_by(at_s):
        return []
    if at_s > (walk.at_s or at_s):
        walk.mark(at_s)
    found = []
    for row in _ranked(walk):
        x, y, vx, vy = (float(v) for v in walk.mean[row, :4])
        spread = walk.covariance[row]
        area = (float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1]))
        found.append(walk.placed(Estimate(at_s, x, y, vx, vy, area), row))
    return found


def _ranked(walk: Walk) -> list[int]:
    return sorted(range(len(walk.evidence)), key=lambda row: -walk.evidence[row])


def _key(heard: Heard) -> tuple[float, str, float]:
    return heard.at_s, heard.anchor_id, heard.range_m


def _holds(recent: list[Heard], heard: Heard) -> bool:
    index = bisect.bisect_left(recent, _key(heard), key=_key)
    return index < len(recent) and _key(recent[index]) == _key(heard)


def _check(heard: Heard) -> None:
    numbers = (heard.at_s, heard.x_m, heard.y_m, heard.z_m, heard.range_m)
    noise = 1.0 if heard.noise_m is None else heard.noise_m
    if not all(math.isfinite(n) for n in (*numbers, noise)) or heard.range_m < 0 or noise <= 0:
        raise UnusableRangeError(
            f"the range to {heard.anchor_id} is no usable number; look at the gateway that sent it",
            anchor_id=heard.anchor_id,
        )


@functools.cache
def _triangle(size: int) -> tuple[Indexes, Indexes]:
    return np.tril_indices(size)


def _walk_of(stored: Filtered, model: RangeModel, *, record: bool) -> Walk:
    size = model.size
    covariance = np.zeros((len(stored.means), size, size))
    rows, columns = _triangle(size)
    for i, lower in enumerate(stored.covariances):
        covariance[i, rows, columns] = lower
        covariance[i, columns, rows] = lower
    return Walk(
        model, record, stored.at_s, [], stored.believed_s, list(stored.slots),
        list(stored.slot_s), list(stored.slot_m), np.array(stored.means).reshape(-1, size),
        covariance, list(stored.evidence), stored.misses, list(stored.waiting),
    )  # fmt: skip


def _stored(walk: Walk, at_s: float) -> Filtered:
    rows, columns = _triangle(walk.model.size)
    known = bool(walk.evidence)
    return Filtered(
        at_s, walk.believed_s, list(walk.slots), list(walk.slot_s), list(walk.slot_m),
        walk.mean.tolist() if known else [],
        [c[rows, columns].tolist() for c in walk.covariance] if known else [],
        list(walk.evidence), walk.misses, list(walk.waiting),
    )  # fmt: skip
