"""How many adverts of what kind went where, by the hour. No address is ever held here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

_HOUR: Final = timedelta(hours=1)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
MOST_HOURS: Final = 26
"""A day and the hours at its ends; older hours are given up."""


class Counts:
    """Counts by reason and hour, in memory."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self._hours: dict[datetime, Counter[str]] = {}
        self._start = self._end = _NEVER
        self._current: Counter[str] = Counter()

    def add(self, reason: str, at: datetime) -> None:
        """Count one.

        Args:
            reason: What became of it, such as "resolved" or "anonymous_findmy".
            at: When it was heard, UTC.
        """
        if not self._start <= at < self._end:
            self._open(at)
        self._current[reason] += 1
        self.totals[reason] += 1

    def _open(self, at: datetime) -> None:
        self._start = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        self._end = self._start + _HOUR
        self._current = self._hours.setdefault(self._start, Counter())
        while len(self._hours) > MOST_HOURS:
            del self._hours[min(self._hours)]

    def hours(self) -> Mapping[datetime, Mapping[str, int]]:
        """Return the counts by start of the hour, UTC."""
        return {start: dict(counter) for start, counter in self._hours.items()}

    def take_hours(self, before: datetime) -> list[tuple[datetime, dict[str, int]]]:
        """Take away the hours that ended before a time, oldest first, to report them once.

        Args:
            before: Usually now, UTC.
        """
        ended = sorted(start for start in self._hours if start + _HOUR <= before)
        taken = [(start, dict(self._hours.pop(start))) for start in ended]
        if self._start not in self._hours:
            self._start = self._end = _NEVER
        return taken
