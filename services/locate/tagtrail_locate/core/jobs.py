"""Evaluations of tags that became due, computed together: many tags at once, round by round.

When an evaluation is due follows from the log alone. When it is computed does not matter: a job
holds everything that it depends on as it was when it became due, and each tag's jobs are computed
in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from tagtrail_locate.core.answers import Cause
from tagtrail_locate.core.site_model import SiteModel
from tagtrail_locate.core.state import Reading, TagState, Track
from tagtrail_locate.core.thresholds import Thresholds

CALM_LOOKS: Final = 3
"""Looks at a tag that has rested for long after which its belief is computed anew."""

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
        readings: What was heard since the evaluation before, in order of arrival.
        cause: What led to it.
        ears: Who listened.
        settle_s: When the tag (re)appeared.
    """

    order: int
    tag: TagState
    site_id: str
    readings: list[Reading]
    cause: Cause
    ears: Listeners
    settle_s: float


class Look(msgspec.Struct, frozen=True, gc=False):
    """Readings of one tag that are taken together.

    Attributes:
        at_s: Time of the newest of them, seconds.
        readings: In order of time.
    """

    at_s: float
    readings: list[Reading]


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
        if len(readings) > 1:
            readings.sort()
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
            or job.cause.last_heard_s - job.settle_s < thresholds.settle_s
        )
        self.track = track
        self.memory = track.head
        self.new = bool(readings)
        self.looks: list[Look] = []
        if readings:
            self._plan(readings, model.prior)

    def _plan(self, readings: list[Reading], prior: bytes) -> None:
        track = self.track
        if self.at_s is None or readings[0][0] > track.head_s:
            track.recent += readings
            self.looks = _looks(readings)
            if len(self.looks) == 1:
                return
        else:
            track.recent = sorted([*track.recent, *readings])
            again = track.recent
            self.revised = track.anchor == prior
            if track.mid_s is not None and readings[0][0] > track.mid_s:
                again = [r for r in again if r[0] > track.mid_s]
                self.memory, self.at_s = track.mid, track.mid_s
            else:
                self.memory, self.at_s = track.anchor, None if self.revised else track.anchor_s
                self.mid_after_s = track.mid_s
            self.looks = _looks(again)
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
            track.recent = [r for r in track.recent if r[0] > track.anchor_s]
            track.mid_s, track.mid = head_s, track.head


def _looks(readings: list[Reading]) -> list[Look]:
    """Cut readings in order of time into looks."""
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


def is_complete(waits: list[Reading], choir: int) -> bool:
    """Tell whether as many gateways as usual are among the readings that wait.

    Args:
        waits: At least `choir` of them.
        choir: Gateways that heard the tag lately.
    """
    return choir <= 1 or len({reading[1] for reading in waits}) >= choir
