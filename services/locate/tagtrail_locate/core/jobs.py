"""Evaluations of tags that became due, computed together: many tags at once, round by round.

When an evaluation is due follows from the log alone. When it is computed does not matter: a job
holds everything that it depends on as it was when it became due, and each tag's jobs are computed
in their order.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

import msgspec

from tagtrail_locate.core import memory_bytes
from tagtrail_locate.core.answers import Cause
from tagtrail_locate.core.readings import Reading
from tagtrail_locate.core.site_model import SiteModel
from tagtrail_locate.core.state import TagState, Track
from tagtrail_locate.core.thresholds import Thresholds

CALM_LOOKS: Final = 3
"""Looks at a tag that has rested for long after which its belief is computed anew."""

GATHERED_LOOKS: Final = 2
"""One at what was gathered of it counts as so many."""

EAGER_S: Final = 15.0
"""The belief of a tag that (re)appeared is computed at every look for so long, seconds."""

STEP_S: Final = 0.5
"""Readings within this time are one look at the tag: it moves less than a metre meanwhile."""

CALM_RECENT: Final = 16
CALM_KEEP_S: Final = 150.0
"""As long as so few readings came since the last but one memory, it may be this much older than
must be: gateways that send rarely send late, and to compute a few readings anew costs little."""

MOST_RECENT: Final = 512
"""Readings kept for computing anew; a tag that shouts more is computed anew from later on."""


class Listeners(msgspec.Struct, frozen=True, gc=False):
    """The gateways of a site's clock, as they were when a job became due; see `clocks.Clock`."""

    names: list[str]
    lasts: list[float]
    resumed: list[float]
    lonely: list[bool]


class Job(msgspec.Struct, frozen=True, gc=False):
    """One evaluation.

    Attributes:
        order: Running number of what came out of the log; jobs and facts share it.
        tag: The tag.
        site_id: Site whose gateways heard it.
        readings: What was heard since the evaluation before, in order of time.
        cause: What led to it.
        ears: Who listened.
        settle_s: When the tag (re)appeared.
        gathered_s: Time up to which the readings are one look, because the tag was calm; None if
            it was not.
    """

    order: int
    tag: TagState
    site_id: str
    readings: list[Reading]
    cause: Cause
    ears: Listeners
    settle_s: float
    gathered_s: float | None


class Look(msgspec.Struct, frozen=True, gc=False):
    """Readings of one tag that are taken together.

    Attributes:
        at_s: Time of the newest of them, seconds.
        readings: In order of time.
        gathered: Whether they are of several adverts of a tag at rest.
    """

    at_s: float
    readings: list[Reading]
    gathered: bool = False


class Course:
    """The way of one job through the filter: where it starts, and the looks it takes.

    Attributes:
        job: The job.
        track: The tag's track, changed in place.
        memory: What is remembered now.
        at_s: Its time; None before the first look.
        looks: Looks that remain, the next one last.
        eager: Whether the decision is pending, so that every look counts.
        late: Readings that came too late.
        new: Whether there is anything new.
        revised: Whether readings came late of a tag of which all that was ever heard is known
            still, so that even its first zone may be chosen anew.
    """

    __slots__ = (
        "at_s", "eager", "job", "late", "looks", "memory", "mid_after_s", "new", "revised", "track"
    )  # fmt: skip

    def __init__(self, job: Job, model: SiteModel, thresholds: Thresholds) -> None:
        self.job = job
        self.late, self.revised = 0, False
        self.mid_after_s: float | None = None
        tag, readings = job.tag, job.readings
        track = tag.track
        if track is None or track.site_id != job.site_id or track.form != model.form:
            first_s = readings[0][0]
            before_s = first_s - max(thresholds.keep_s, CALM_KEEP_S)
            track = Track(job.site_id, model.form, first_s, model.prior, before_s, model.prior)
            tag.track = track
            self.at_s: float | None = None
        else:
            self.at_s = track.head_s
            if readings[0][0] <= track.anchor_s:
                kept = [r for r in readings if r[0] > track.anchor_s]
                self.late = len(readings) - len(kept)
                readings = kept
        hold = tag.radio
        self.eager = (
            track.skipped >= CALM_LOOKS
            or thresholds.lag_s > 0
            or hold.candidate_count > 0
            or hold.zone_id is None
            or job.cause.last_heard_s - job.settle_s < EAGER_S
        )
        self.track = track
        self.memory = track.head
        self.new = bool(readings)
        self.looks: list[Look] = []
        if readings:
            self._plan(readings, model.prior)

    def _plan(self, readings: list[Reading], prior: bytes) -> None:
        track = self.track
        until_s = track.gathered[-1][1] if track.gathered else 0.0
        if self.at_s is None or readings[0][0] > max(track.head_s, until_s):
            track.recent += readings
            gathered_s = self.job.gathered_s
            own = [] if gathered_s is None else [(max(track.head_s, until_s), gathered_s)]
            track.gathered += own
            self.looks = _looks(readings, own)
            if len(self.looks) == 1:
                return
        else:
            track.recent = sorted([*track.recent, *readings])
            again = track.recent
            self.revised = track.anchor == prior
            if track.mid_s is not None and track.mid_s < _begin_s(readings[0][0], track.gathered):
                again = [r for r in again if r[0] > track.mid_s]
                self.memory, self.at_s = track.mid, track.mid_s
            else:
                self.memory, self.at_s = track.anchor, None if self.revised else track.anchor_s
                self.mid_after_s = track.mid_s
            self.looks = _looks(again, track.gathered)
        self.looks.reverse()

    def took(self, at_s: float, memory: bytes) -> None:
        """Note what is remembered after a look."""
        self.memory, self.at_s = memory, at_s
        track = self.track
        if self.mid_after_s is not None and at_s >= self.mid_after_s:
            track.mid, track.mid_s, self.mid_after_s = memory, at_s, None

    def finish(self, keep_s: float) -> None:
        """Store the newest belief, and let the oldest one give way when it is old enough."""
        track = self.track
        track.head = self.memory
        track.head_s = head_s = track.head_s if self.at_s is None else self.at_s
        if len(track.recent) <= CALM_RECENT:
            keep_s = max(keep_s, CALM_KEEP_S)
        if track.mid_s is None:
            if head_s - track.anchor_s >= keep_s:
                track.mid_s, track.mid = head_s, track.head
        elif head_s - track.mid_s >= keep_s or len(track.recent) > MOST_RECENT:
            track.anchor_s, track.anchor = track.mid_s, track.mid
            del track.recent[: bisect_right(track.recent, track.anchor_s, key=itemgetter(0))]
            track.gathered = [g for g in track.gathered if g[1] > track.anchor_s]
            track.mid_s, track.mid = head_s, track.head


def _apart(readings: list[Reading]) -> list[Look]:
    """Cut readings in order of time into looks of at most `STEP_S`."""
    if readings[-1][0] - readings[0][0] <= STEP_S:
        return [Look(readings[-1][0], readings)]
    looks: list[Look] = []
    part: list[Reading] = []
    for reading in readings:
        if part and reading[0] - part[0][0] > STEP_S:
            looks.append(Look(part[-1][0], part))
            part = []
        part.append(reading)
    looks.append(Look(part[-1][0], part))
    return looks


def _begin_s(at_s: float, gathered: list[tuple[float, float]]) -> float:
    """Return from when on looks are to be computed again for a late reading, seconds.

    That is its own time, or just after the beginning of what it would have been gathered with.
    """
    own = [after_s for after_s, until_s in gathered if after_s < at_s <= until_s]
    return math.nextafter(own[0], math.inf) if own else at_s


def _looks(readings: list[Reading], gathered: list[tuple[float, float]]) -> list[Look]:
    """Cut readings in order of time into looks; what was gathered up to a time is one look."""
    looks: list[Look] = []
    left = readings
    for after_s, until_s in gathered:
        before = [r for r in left if r[0] <= after_s]
        own = [r for r in left if after_s < r[0] <= until_s]
        left = left[len(before) + len(own) :]
        looks += _apart(before) if before else []
        looks += [Look(own[-1][0], own, True)] if own else []
    return looks + _apart(left) if left else looks


def by_rounds(jobs: Iterable[Job]) -> list[list[Job]]:
    """Deal jobs out so that no tag is in a round twice, each tag's jobs in their order."""
    rounds: list[list[Job]] = []
    seen: dict[str, int] = {}
    for job in jobs:
        turn = seen.get(job.tag.tag_id, 0)
        seen[job.tag.tag_id] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(job)
    return rounds


def adverts_of(job: Job) -> tuple[int, float]:
    """Return of how many adverts a job tells at least, and the time that they span, seconds."""
    readings = job.readings
    if job.gathered_s is None or readings[-1][0] > job.gathered_s:
        return max(r[4] for r in readings), max(r[5] for r in readings)
    most = max(Counter(r[1] for r in readings).values())
    return most, readings[-1][0] - readings[0][0]


MOVED_S: Final = 10.0
"""A tag that the filter saw move is looked at advert by advert for so long at least, seconds."""


def has_moved(tag: TagState) -> bool:
    """Tell whether the filter saw a tag move lately, or knows nothing of it."""
    track = tag.track
    if track is None:
        return True
    moved_s = memory_bytes.moved_s(track.head)
    return moved_s > 0.0 and track.head_s - moved_s < MOVED_S


CHOIR_INTERVALS: Final = 2.5
CHOIR_S: Final = 60.0
CHOIR_SPANS: Final = 1.5
"""Gateways that heard a tag within so many intervals (of a minute at most), or within so many of
the times that its items span, are expected to hear it again: once they all have, nobody is waited
for."""


def choir_s(tag: TagState) -> float:
    """Return within which time a gateway must have heard a tag to be waited for, seconds."""
    usual_s = min(max(tag.interval_s, 1.0), CHOIR_S)
    return max(CHOIR_INTERVALS * usual_s, CHOIR_SPANS * tag.span_s)


def is_complete(waits: list[Reading], choir: int, at_s: float) -> bool:
    """Tell whether as many gateways as usual have heard the newest advert.

    Args:
        waits: Readings that wait, at least `choir` of them.
        choir: Gateways that heard the tag lately.
        at_s: Event time of the newest reading by arrival, seconds.
    """
    since_s = at_s - STEP_S
    return choir <= 1 or len({reading[1] for reading in waits if reading[0] > since_s}) >= choir
