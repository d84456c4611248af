"""A whole stream of one tag's ranges turned into places at given moments: replay and harness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from tagtrail_locate.core.range_smoothing import Estimate, smoothed
from tagtrail_locate.core.range_tracking import RangeModel
from tagtrail_locate.core.range_walk import Heard, Placement, Walk


def follow(
    heard: Sequence[Heard], moments_s: Iterable[float], model: RangeModel, *, lag_s: float
) -> Iterator[Placement]:
    """Yield places at moments from the ranges measured up to `lag_s` later.

    Args:
        heard: Ranges in order of time.
        moments_s: Event times, ascending, seconds.
        model: Motion and noise.
        lag_s: How much later than a moment ranges may be, seconds; negative if they have to be
            older (the place is then a prediction), infinite to use all.

    Yields:
        One place per moment at which the tag's track was known.
    """
    walk = Walk(model)
    waiting: list[tuple[float, int]] = []
    moments = iter(moments_s)
    wanted = next(moments, None)
    for range_ in itertools.chain(heard, [None]):
        now = math.inf if range_ is None else range_.at_s
        while wanted is not None and wanted + min(lag_s, 0.0) <= now:
            yield from _emit(walk, waiting, wanted + min(lag_s, 0.0), lag_s)
            if walk.is_lost_by(wanted):
                yield from _emit(walk, waiting, math.inf, lag_s)
            index = walk.mark(wanted + min(lag_s, 0.0))
            if index is not None:
                waiting.append((wanted, index))
            wanted = next(moments, None)
        yield from _emit(walk, waiting, now, lag_s)
        if range_ is None or walk.is_lost_by(now):
            yield from _emit(walk, waiting, math.inf, math.nan)
        if range_ is not None:
            walk.feed(range_)


def _emit(
    walk: Walk, waiting: list[tuple[float, int]], now_s: float, lag_s: float
) -> Iterator[Placement]:
    """Yield what is due: all if the track ends here, else what the next range comes too late for."""
    due = [w for w in waiting if math.isnan(lag_s) or w[0] + lag_s < now_s]
    if not due or not walk.evidence:
        return
    del waiting[: len(due)]
    first, row = due[0][1], walk.best()
    for (at_s, _), estimate in zip(
        due, smoothed(walk.steps[first:], [i - first for _, i in due], row), strict=True
    ):
        yield walk.placed(_moved(estimate, at_s), row)


def _moved(estimate: Estimate, at_s: float) -> Estimate:
    """Return an estimate carried on by its own speed to a moment."""
    dt = at_s - estimate.at_s
    return Estimate(
        at_s,
        estimate.x_m + dt * estimate.vx_mps,
        estimate.y_m + dt * estimate.vy_mps,
        estimate.vx_mps,
        estimate.vy_mps,
        estimate.covariance_m2,
    )
