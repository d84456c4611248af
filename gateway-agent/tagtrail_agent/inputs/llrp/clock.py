"""The reader's clock against ours: when a tag was really read."""

from __future__ import annotations

from typing import Final

STEP_S: Final = 30.0
"""No report is under way longer than this; a larger lag means that the reader's clock was set."""
DRIFT: Final = 1e-3
"""How much slower than ours a reader's clock may run: ten times what a cheap quartz does."""


class ReaderClock:
    """Turns a reader's times into our monotonic clock's.

    A report is always late, never early: the smallest lag seen is the difference of the clocks. It may
    grow slowly, so that a drifting clock is followed, and at once where the reader's clock was set.
    """

    def __init__(self) -> None:
        self._lag_s: float | None = None
        self._arrived_s = 0.0

    def elapsed_s(self, reader_s: float, arrived_s: float) -> float:
        """Return when it was by our clock.

        Args:
            reader_s: A time by the reader's clock, seconds since whatever.
            arrived_s: When we received it, by our monotonic clock, seconds.

        Returns:
            Seconds by our monotonic clock, never after `arrived_s`.
        """
        lag_s = arrived_s - reader_s
        if self._lag_s is None or lag_s < self._lag_s or lag_s - self._lag_s > STEP_S:
            self._lag_s = lag_s
        else:
            followed_s = self._lag_s + DRIFT * max(arrived_s - self._arrived_s, 0.0)
            self._lag_s = min(followed_s, lag_s)
        self._arrived_s = arrived_s
        return min(reader_s + self._lag_s, arrived_s)
