"""Items that stand for several readings: gateways fold what says nothing new (docs/edge-filter.md).

An item carries the mean level of its readings, how many they are (`samples`), and the time between
them (`interval_ms`). Its time is that of the newest. The gateway promises the next one within about
twice the time that this one spans, or within the longest span that it keeps to; a change of level
comes at once. Until then its silence says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tagtrail_locate.core.readings import Reading
from tagtrail_locate.core.state import TagState

MOST_SAMPLES: Final = 1000
"""Readings that one item may stand for: a quarter of an hour of a tag at 1 Hz."""

LONGEST_SPAN_S: Final = 7200.0
"""Longest time that an item may span, seconds: edge filters forget a link after that."""

SPAN_FADE: Final = 0.7
"""Share of the longest span that is remembered after one more item: gateways that begin to fold
more often are believed after a few items."""

SPANS: Final = 1.4
SPANS_LEARNED: Final = 2.2
"""What a gateway holds back is told within so many of the times that its items span. Gateways that
know what interval is registered keep to it; others double the time from item to item until they
have reached theirs."""

FOLDED: Final = 2
"""An item of fewer readings is a reading."""


ALONE: Final = (1, 0.0)
"""A reading that stands for itself."""


def fold_of(samples: int, interval_ms: float | None) -> tuple[int, float]:
    """Return how many readings an item stands for, and the time that they span in seconds.

    What a receiver has decoded several times of one advert, without a time between, is one reading.

    Args:
        samples: As the gateway says.
        interval_ms: As the gateway says, milliseconds.
    """
    if samples < FOLDED or interval_ms is None or interval_ms <= 0:
        return ALONE
    count = min(samples, MOST_SAMPLES)
    return count, min(count * interval_ms / 1000.0, LONGEST_SPAN_S)


def held_s(tag: TagState) -> float:
    """Return for how long after an item its gateway may hold readings back, seconds."""
    return (SPANS_LEARNED if tag.learned else SPANS) * tag.span_s


def note(tag: TagState, readings: Sequence[Reading]) -> None:
    """Remember the longest time that the items of a tag lately spanned."""
    for reading in readings:
        span_s = reading[5]
        if span_s or tag.span_s:
            tag.span_s = max(span_s, SPAN_FADE * tag.span_s if tag.span_s > 1.0 else 0.0)
