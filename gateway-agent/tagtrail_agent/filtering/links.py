"""What the filter knows of one tag at one gateway, and what it makes of its next reading."""

from __future__ import annotations

import math
import zlib
from typing import Any, Final

from tagtrail_agent.filtering.counts import Books
from tagtrail_agent.filtering.folds import Fold, is_chatter, level_of
from tagtrail_agent.filtering.levels import Level
from tagtrail_agent.filtering.news import News
from tagtrail_agent.filtering.profile import Profile
from tagtrail_agent.readings import Reading

SILENT_INTERVALS: Final = 5.0
"""A tag that missed so many of its own intervals has fallen silent; one in 10⁵ loses as many."""

AT_ONCE_S: Final = 0.9
"""Changes of level of one link pass at most this often, seconds: locate averages over more."""

RECENT: Final = 4
"""Readings that a new one is compared with: three channels and one frame of another kind."""

OF_THE_RECEPTION: Final = frozenset(
    {"rssi_dbm", "channel", "rssi_variance_db2", "distance_m", "id", "samples"}
)
"""Members that differ between receptions of one and the same advert."""


class Link:
    """One tag at one gateway.

    Args:
        profile: How its readings are filtered.
        heartbeat_s: Longest time between items while it is heard, seconds.
    """

    __slots__ = (
        "_base", "_changed_s", "_doubted", "_frozen", "_gate_open", "_heartbeat_s", "_interval_s", "_level",
        "_level_dbm", "_news", "_next_s", "_profile", "_raw", "_recent", "_run", "_same",
        "_same_since_s", "_sequence", "_side", "_spacing_s", "last_s", "sent_s",
    )  # fmt: skip

    def __init__(self, profile: Profile, heartbeat_s: float) -> None:
        self._profile, self._heartbeat_s = profile, heartbeat_s
        self._spacing_s = profile.first_spacing_s
        self.last_s: float | None = None
        self.sent_s = self._next_s = 0.0
        self._changed_s = -math.inf
        self._interval_s = 0.0
        self._recent: list[Reading] = []
        self._gate_open = False
        self._level = Level()
        self._base, self._run, self._doubted = Fold(), Fold(), Fold()
        self._side = 0
        self._news = News()
        self._raw = 0
        self._sequence: Any = None
        self._level_dbm: float | None = None
        self._same, self._same_since_s, self._frozen = 0, 0.0, False

    @property
    def frozen(self) -> bool:
        """Whether its level has stood still for longer than a radio's does."""
        return self._frozen

    @property
    def waiting(self) -> int:
        """Readings that are held."""
        return self._base.readings + self._run.readings + self._doubted.readings

    def adopt(self, profile: Profile, heartbeat_s: float) -> None:
        """Go on with other rules; what is held stays."""
        self._profile, self._heartbeat_s = profile, heartbeat_s
        self._spacing_s = min(max(self._spacing_s, profile.first_spacing_s), heartbeat_s)
        self._next_s = min(self._next_s, self.sent_s + heartbeat_s)

    def hear(self, reading: Reading, books: Books) -> None:
        """Take a reading; what is to be sent is appended."""
        books.counts.taken += 1
        chatter = is_chatter(reading.members)
        if self._is_repeated(reading, chatter=chatter):
            books.drop("duplicate")
            return
        late = self.last_s is not None and reading.elapsed_s < self.last_s
        if not chatter or late:
            if not late:
                self.last_s = reading.elapsed_s
            books.send(reading)
            return
        level_dbm = level_of(reading.members)
        if level_dbm is not None and not self._is_let_in(level_dbm):
            books.drop("weak")
            return
        before_s, self.last_s = self.last_s, reading.elapsed_s
        books.counts.held += 1
        self._watch(reading, level_dbm, books)
        urgent = self._news.take(reading.members, self._profile)
        self._take(reading, level_dbm, before_s, books, urgent=urgent)

    def due(self, now_s: float, books: Books) -> None:
        """Send what is held if its time has come, or if the tag has fallen silent."""
        if self.last_s is None or not self.waiting:
            return
        patience_s = max(self._profile.silence_s, SILENT_INTERVALS * self._interval_s)
        if now_s - self.last_s >= patience_s:
            self.flush(books)
        elif now_s >= self._next_s:
            self._send_all(now_s, books)

    def flush(self, books: Books) -> None:
        """Send everything that is held; doubted readings become an item of their own."""
        self._send_all(self.last_s or 0.0, books)
        self._send(self._doubted, books)

    # -- what a reading is

    def _is_repeated(self, reading: Reading, *, chatter: bool) -> bool:
        profile, at_s = self._profile, reading.elapsed_s
        window_s = profile.duplicate_s if chatter else profile.read_duplicate_s
        if "range_m" in reading.members:
            window_s = profile.duplicate_s
        recent = self._recent
        for other in recent:
            if abs(at_s - other.elapsed_s) <= window_s and _is_same(reading, other):
                return True
        recent.append(reading)
        if len(recent) > RECENT:
            del recent[0]
        return False

    def _is_let_in(self, level_dbm: float) -> bool:
        floor_dbm = self._profile.gate_dbm
        if self._gate_open:
            floor_dbm -= self._profile.gate_hysteresis_db
        self._gate_open = level_dbm >= floor_dbm
        return self._gate_open

    def _watch(self, reading: Reading, level_dbm: float | None, books: Books) -> None:
        """Look for a level that stands still, such as that of a receiver that repeats itself."""
        sequence = reading.members.get("sequence")
        moves = level_dbm is None or level_dbm != self._level_dbm
        if moves or (sequence is not None and sequence != self._sequence):
            self._same, self._same_since_s, self._frozen = 0, reading.elapsed_s, False
        self._level_dbm, self._sequence = level_dbm, sequence
        self._same += 1
        if self._frozen or self._same < self._profile.freeze_readings:
            return
        if reading.elapsed_s - self._same_since_s >= self._profile.freeze_s:
            self._frozen = True
            books.counts.frozen += 1

    # -- what becomes of it

    def _take(
        self,
        reading: Reading,
        level_dbm: float | None,
        before_s: float | None,
        books: Books,
        *,
        urgent: bool,
    ) -> None:
        at_s, profile = reading.elapsed_s, self._profile
        if before_s is None or at_s - before_s > profile.lost_s:
            self._come_back(reading, level_dbm, books)
            return
        gap_s = at_s - before_s
        self._interval_s += (gap_s - self._interval_s) / (8.0 if self._interval_s else 1.0)
        if profile.raw_every is not None and self._is_raw():
            alone = Reading(
                reading.tag, reading.at, at_s, {**reading.members, "raw": True}, reading.gateway_id
            )
            books.send(alone, held=1)
        elif level_dbm is None:
            self._base.absorb(self._run)
            self._base.add(reading, None, before_s)
            self._send_if(books, at_s, urgent=urgent)
        elif not self._doubt(reading, level_dbm, before_s, books, urgent=urgent):
            self._weigh(reading, level_dbm, before_s, books, urgent=urgent)

    def _come_back(self, reading: Reading, level_dbm: float | None, books: Books) -> None:
        """Pass the first reading of a tag, or the first after a long silence, at once."""
        self.flush(books)
        self._level.forget()
        if level_dbm is not None:
            self._level.remember(level_dbm, reading.elapsed_s)
            self._level.drifts(level_dbm, self._profile)
        self._spacing_s = self._profile.first_spacing_s / 2
        self._base.add(reading, level_dbm, None)
        self._send_all(reading.elapsed_s, books)

    def _is_raw(self) -> bool:
        self._raw += 1
        if self._raw < (self._profile.raw_every or 0):
            return False
        self._raw = 0
        return True

    def _doubt(
        self,
        reading: Reading,
        level_dbm: float,
        before_s: float,
        books: Books,
        *,
        urgent: bool,
    ) -> bool:
        """Hold a reading that is off; tells whether it was."""
        at_s = reading.elapsed_s
        side = self._level.side(level_dbm, at_s, self._profile)
        if self._doubted.readings and side != self._side:
            self._judge_doubted(at_s, books, believed=side is None)
        if not side:
            return False
        self._side = side
        self._doubted.add(reading, level_dbm, before_s)
        if self._doubted.readings >= self._profile.change_readings:
            self._judge_doubted(at_s, books, believed=True)
        elif urgent:
            self.flush(books)
        return True

    def _judge_doubted(self, at_s: float, books: Books, *, believed: bool) -> None:
        """Send the doubted readings as a change of level, or drop them as blips."""
        if not believed:
            books.drop("outlier", held=self._doubted.readings)
            self._doubted.clear()
            return
        mean_dbm = self._doubted.mean_dbm
        self._level.forget()
        if mean_dbm is not None:
            self._level.remember(mean_dbm, at_s)
        self._base.absorb(self._run)
        self._run.absorb(self._doubted)
        self._change(at_s, books)

    def _weigh(
        self,
        reading: Reading,
        level_dbm: float,
        before_s: float,
        books: Books,
        *,
        urgent: bool,
    ) -> None:
        """Fold a reading whose level is as expected, or shows that it has changed."""
        at_s = reading.elapsed_s
        self._level.remember(level_dbm, at_s)
        drift = self._level.drifts(level_dbm, self._profile)
        if drift is False:
            self._base.absorb(self._run)
            self._base.add(reading, level_dbm, before_s)
        else:
            self._run.add(reading, level_dbm, before_s)
            if drift and at_s - self.sent_s >= AT_ONCE_S:
                self._change(at_s, books)
                return
        self._send_if(books, at_s, urgent=urgent)

    # -- sending

    def _change(self, at_s: float, books: Books) -> None:
        """Send what was before the change and what is after it, each by itself."""
        mean_dbm, readings = self._run.mean_dbm, self._run.readings
        if mean_dbm is not None:
            self._level.believe(mean_dbm, readings)
        self._send(self._base, books)
        self._send(self._run, books)
        self.sent_s = self._changed_s = at_s
        self._spacing_s = self._profile.first_spacing_s
        self._next_s = at_s + self._spacing_s

    def _send_if(self, books: Books, at_s: float, *, urgent: bool) -> None:
        if urgent or at_s >= self._next_s:
            self._send_all(at_s, books)

    def _send_all(self, at_s: float, books: Books) -> None:
        self._base.absorb(self._run)
        last = self._base.last
        if last is not None:
            self._send(self._base, books)
            self.sent_s = at_s
            if at_s - self._changed_s >= self._profile.lively_s:
                self._spacing_s = min(2.0 * self._spacing_s, self._heartbeat_s)
            self._next_s = at_s + min(self._spacing_s, _to_beat_s(last, at_s, self._heartbeat_s))

    def _send(self, fold: Fold, books: Books) -> None:
        last = fold.last
        if last is None:
            return
        item = fold.item(self._profile.omit_unchanged)
        item.members.update(self._news.tell(self._profile, last.elapsed_s))
        if self._frozen:
            item.members["frozen"] = True
        books.send(item, held=fold.readings)
        fold.clear()


def _to_beat_s(last: Reading, at_s: float, heartbeat_s: float) -> float:
    """Return the time to the tag's next beat, seconds.

    Beats follow the wall clock and the tag, so that all gateways report a tag at about the same
    time: levels that are compared with each other belong to one moment.
    """
    phase = zlib.crc32(last.tag.encode()) / 2**32
    beats = (last.at.timestamp() + at_s - last.elapsed_s) / heartbeat_s + phase
    return (1.0 - beats % 1.0) * heartbeat_s


def _is_same(a: Reading, b: Reading) -> bool:
    """Tell whether two readings say the same, whatever their levels."""
    one = {n: v for n, v in a.members.items() if n not in OF_THE_RECEPTION}
    other = {n: v for n, v in b.members.items() if n not in OF_THE_RECEPTION}
    return one == other
