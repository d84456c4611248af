"""The gateway's two clocks, and what the server's clock says about them.

The wall clock of a small box jumps: it starts in 1970, a time server corrects it, somebody sets
it. The monotonic clock does not, but it means nothing after the next boot. So a reading keeps
both, and the difference between the server's clock and the monotonic one is measured with every
confirmation: it turns the age of a reading into the time at which it was heard.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

DRIFT: Final = 100e-6
"""How far a quartz may run off: 100 parts in a million, several times the usual."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Both clocks of the machine."""

    def now(self) -> datetime:
        """Return the wall clock, aware UTC; it may jump."""
        ...

    def elapsed_s(self) -> float:
        """Return the monotonic clock, seconds; it never goes back until the next boot."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall clock, aware UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the port's one adapter

    def elapsed_s(self) -> float:
        """Return the monotonic clock, seconds."""
        return time.monotonic()


def boot_id() -> str:
    """Return what tells this boot of the machine from every other; empty if the system has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class _Measured:
    offset_s: float
    error_s: float
    at_s: float

    def error_now_s(self, elapsed_s: float) -> float:
        return self.error_s + DRIFT * max(elapsed_s - self.at_s, 0.0)


class ServerTime:
    """Estimates the server's clock from what it says about messages.

    A time that the server notes for a message lies between the sending and the answer. The best
    of the measurements is the one that leaves the least room, allowing for drift since.
    """

    def __init__(self) -> None:
        self._best: _Measured | None = None

    def observe(self, server_at: datetime, sent_s: float, answered_s: float) -> None:
        """Take in one answer.

        Args:
            server_at: What the server's clock said.
            sent_s: Monotonic clock before the message was sent, seconds.
            answered_s: Monotonic clock when the answer was there, seconds; >= sent_s.
        """
        half_s = max(answered_s - sent_s, 0.0) / 2
        offset_s = (server_at - EPOCH).total_seconds() - (sent_s + half_s)
        new = _Measured(offset_s, half_s, answered_s)
        best = self._best
        if best is None or new.error_s <= best.error_now_s(answered_s):
            self._best = new

    @property
    def known(self) -> bool:
        """Whether there was any answer since the agent started."""
        return self._best is not None

    def at(self, elapsed_s: float) -> datetime | None:
        """Return the server's time at a moment of the monotonic clock; None if not known."""
        if self._best is None:
            return None
        return EPOCH + timedelta(seconds=self._best.offset_s + elapsed_s)

    def error_s(self, elapsed_s: float) -> float:
        """Return how far `at` may be off, seconds; infinite if nothing is known."""
        return self._best.error_now_s(elapsed_s) if self._best is not None else float("inf")

    def skew_s(self, clock: Clock) -> float | None:
        """Return how far the wall clock is ahead of the server's, seconds."""
        server = self.at(clock.elapsed_s())
        return (clock.now() - server).total_seconds() if server is not None else None
