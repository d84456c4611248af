"""What every input needs: clocks given from outside, waiting with jitter, times from messages."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tagtrail_agent.clock import Clock

EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)
"""Earlier times are clocks that were never set."""
TOLERANCE: Final = timedelta(minutes=5)
"""How far ahead of ours another gateway's clock may be; the server's own limit."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Two clocks as functions; a `Clock`.

    Attributes:
        utc: Gives the wall clock, aware UTC; may jump.
        elapsed_s: Gives the monotonic clock, seconds; never goes back.
    """

    utc: Callable[[], datetime]
    elapsed_s: Callable[[], float]

    def now(self) -> datetime:
        """Return the wall clock, aware UTC."""
        return self.utc()


class Backoff:
    """Waiting times between attempts: doubling, with jitter, up to a limit.

    Args:
        least_s: The first wait, seconds, > 0.
        most_s: The longest, seconds, >= least_s.
        chance: Gives numbers from 0 to 1; other gateways wait differently.
    """

    def __init__(
        self, least_s: float, most_s: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._least_s, self._most_s, self._chance = least_s, most_s, chance
        self._next_s = least_s

    def next_s(self) -> float:
        """Return the next wait, between half and all of the current step, seconds."""
        step_s = self._next_s
        self._next_s = min(step_s * 2, self._most_s)
        return step_s * (0.5 + 0.5 * self._chance())

    def reset(self) -> None:
        """Start again at the least wait, since an attempt succeeded."""
        self._next_s = self._least_s


def heard_at(own: datetime | None, clock: Clock) -> tuple[datetime, float]:
    """Return when something was heard, by both clocks.

    Args:
        own: The time that came with it; passed over before 2010 and more than 5 minutes ahead.
        clock: Of this gateway.

    Returns:
        The wall clock, UTC, and the monotonic clock, seconds. Both lie in the past together if the
        message was late.
    """
    now, elapsed_s = clock.now(), clock.elapsed_s()
    if own is None or not EARLIEST <= own <= now + TOLERANCE:
        return now, elapsed_s
    return own, elapsed_s - max((now - own).total_seconds(), 0.0)
