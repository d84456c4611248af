"""Follows who is heard when, and judges silence when it is due; see `presence`."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from tagtrail_kernel.envelope import Recorded
from tagtrail_locate.core import answers, coverage, presence, sources
from tagtrail_locate.core.clocks import Clocks
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.readings import Reading
from tagtrail_locate.core.state import State, TagState

MOST_HEARD: Final = 48
"""Gateways per tag whose last hearing is remembered for presence."""


class Silence:
    """The presence of all tags.

    Args:
        state: The memory.
        clocks: The time of each site.
    """

    def __init__(self, state: State, clocks: Clocks) -> None:
        self._state = state
        self._clocks = clocks

    def broken(self, tag: TagState, readings: Sequence[Reading], site_id: str | None) -> bool:
        """Note that a tag spoke; returns whether that ends a silence that was told of.

        Args:
            tag: Changed in place.
            readings: Who heard it when, at least one, in order of time.
            site_id: Site of those gateways.
        """
        coverage.note(tag, readings)
        heard, newest_s = tag.heard, readings[-1][0]
        if tag.last_heard_s is not None and readings[0][0] > tag.last_heard_s:
            heard.update({reading[1]: reading[0] for reading in readings})
        else:
            for at_s, name, _, _, _, _ in readings:
                if at_s > heard.get(name, 0.0):
                    heard[name] = at_s
        if len(heard) > MOST_HEARD:
            del heard[min(heard, key=lambda g: (heard[g], g))]
        if tag.last_heard_s is None or newest_s > tag.last_heard_s:
            tag.last_heard_s = newest_s
        tag.site_id = tag.site_id or site_id
        if tag.active_s is not None and newest_s <= tag.active_s:
            return False
        tag.active_s = newest_s
        if site_id is not None and site_id != tag.site_id:
            tag.site_id, tag.check_s = site_id, None
        if tag.check_s is None:
            self.check_at(tag, newest_s + tag.overdue_s)
        if tag.presence == "present":
            return False
        watermark_s = self._clocks.of(tag.site_id or "").newest_s or newest_s
        return watermark_s - newest_s < tag.overdue_s

    def end(self, effects: Effects, tag: TagState, at_s: float, event: Recorded) -> None:
        """Tell that a tag is present again."""
        self.check_at(tag, at_s + tag.overdue_s)
        watermark_s = self._clocks.of(tag.site_id or "").newest_s or at_s
        verdict = presence.Verdict("present", None, max(watermark_s - at_s, 0.0), 0.0)
        answers.change_presence(self._state, effects, tag, verdict, at_s, event)

    def check_at(self, tag: TagState, watermark_s: float) -> None:
        """Have a tag's silence judged when its site's time has come that far."""
        tag.check_s = watermark_s
        heapq.heappush(self._clocks.of(tag.site_id or "").checks, (watermark_s, tag.tag_id))

    def is_broken(self, tag: TagState, watermark_s: float) -> bool:
        """Tell whether a present tag was heard so lately that there is nothing to judge."""
        if tag.presence != "present" or tag.habits.lost or tag.active_s is None:
            return False
        sources.refresh(self._state, tag)
        return watermark_s - tag.active_s < tag.overdue_s

    def judge_later(self, tag: TagState, order: int) -> coverage.Lesson | None:
        """Have a tag judged once it may be overdue; returns what its zone learns meanwhile."""
        lesson = coverage.lesson_of(self._state, tag, order)
        self.check_at(tag, (tag.active_s or 0.0) + tag.overdue_s)
        return lesson

    def judge(self, effects: Effects, tag: TagState, watermark_s: float, event: Recorded) -> None:
        """Judge a tag's silence now."""
        self.learn(tag)
        verdict = presence.judge(self._state, tag, watermark_s)
        tag.check_s = None
        if verdict.check_s is not None:
            self.check_at(tag, verdict.check_s)
        if verdict.presence != tag.presence or verdict.lost != tag.habits.lost:
            answers.change_presence(self._state, effects, tag, verdict, watermark_s, event)

    def learn(self, tag: TagState) -> None:
        """Bring a tag's expected interval up to what was learned; a shorter one is judged sooner."""
        sources.refresh(self._state, tag)
        if tag.active_s is None or tag.check_s is None:
            return
        if tag.check_s > tag.active_s + tag.overdue_s:
            self.check_at(tag, tag.active_s + tag.overdue_s)

    def expect_anew(self, tag: TagState) -> None:
        """Forget the learned interval, because the mode may have changed, and judge soon."""
        tag.gaps_s = []
        coverage.forget(tag)
        sources.refresh(self._state, tag)
        if tag.active_s is not None:
            self.check_at(tag, tag.active_s)
