"""What is remembered of a tag's ranges; part of a tag's memory."""

from __future__ import annotations

import msgspec

from tagtrail_locate.core.range_tracker import RangeTracker
from tagtrail_locate.core.still_ranges import StillRanges


class Anchored(msgspec.Struct, array_like=True):
    """The newest range of one anchor: time, metres, standard deviation, event id."""

    at_s: float
    range_m: float
    sigma_m: float
    event: bytes


class Measured(msgspec.Struct, array_like=True, frozen=True):
    """One range as it came, with what the configuration of that moment says of its anchor.

    Attributes:
        at_s: Event time, seconds.
        anchor_id: Which anchor.
        x_m: Where it stands, metres.
        y_m: Where it stands, metres.
        z_m: Its height, metres; as high as the tag if it is not registered.
        range_m: Measured distance less the anchor's own offset, metres.
        sigma_m: Standard deviation, stated or assumed, metres.
        rssi_dbm: Received power; None if it is not known.
        first_path_dbm: Power of the first path; None if it is not known.
    """

    at_s: float
    anchor_id: str
    x_m: float
    y_m: float
    z_m: float
    range_m: float
    sigma_m: float
    rssi_dbm: float | None
    first_path_dbm: float | None


class Rest(msgspec.Struct, array_like=True):
    """Where a tag that has not moved is, from all its ranges since it came there.

    Attributes:
        rounds: Rounds it rests on.
        x_m: East, metres.
        y_m: North, metres.
        accuracy_m: Radius of about 68 %, metres.
        elsewhere: Probability of being more than a metre from there.
        blocked: Probability of each anchor not to be in line of sight.
    """

    rounds: int
    x_m: float
    y_m: float
    accuracy_m: float
    elsewhere: float
    blocked: dict[str, float]


class Ranging(msgspec.Struct, array_like=True):
    """All that is remembered of a tag's ranges.

    Attributes:
        site_id: Site of the anchors.
        ranges: Newest range per anchor.
        waiting: Ranges that wait for the rest of their round, in order of time.
        before: Anchors of the round before.
        choir: Anchors of the two rounds before: they are waited for.
        tracker: The filter.
        still: Ranges since the tag last moved, where anchors state received powers.
        rests_from: Rounds of `still` before the tag came where it is.
        rest: Where it is by those; None while it moves, or was not computed yet.
        rejected: Anchors whose newest range was hardly believed, with its residual in metres.
        places: Places that fit nearly as well: x, y, probability, the best first; empty if there
            is but one.
        trouble: Why there is no position; None if there is one.
    """

    site_id: str
    ranges: dict[str, Anchored] = {}
    waiting: list[Measured] = []
    before: list[str] = []
    choir: list[str] = []
    tracker: RangeTracker = msgspec.field(default_factory=RangeTracker)
    still: StillRanges = msgspec.field(default_factory=StillRanges)
    rests_from: int = 0
    rest: Rest | None = None
    rejected: dict[str, float] = {}
    places: list[tuple[float, float, float]] = []
    trouble: str | None = None
