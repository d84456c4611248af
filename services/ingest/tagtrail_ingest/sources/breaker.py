"""When to ask again somebody who may be out of order: a circuit breaker and a pace. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

OPENS_AFTER: Final = 3
"""Failures in a row that open the circuit: one may be an accident, two bad luck."""

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 900.0
"""Waits double from the first to the longest: a quarter of an hour is soon enough for a cloud."""

LONGEST_ASKED_S: Final = 3600.0
"""A wait that the other side asks for is kept to, but no longer than this."""

State = Literal["closed", "open", "half_open"]


@dataclass(slots=True)
class Breaker:
    """Stops questions while they fail, and lets one through from time to time.

    Attributes:
        first_wait_s: Wait after the first failure, seconds; it doubles with each.
        longest_wait_s: But never beyond this.
        failures: Failures in a row.
        not_before_s: Time of the next question, seconds; 0 = now.
    """

    first_wait_s: float = FIRST_WAIT_S
    longest_wait_s: float = LONGEST_WAIT_S
    failures: int = 0
    not_before_s: float = 0.0

    def state(self, now_s: float) -> State:
        """Return the state of the circuit."""
        if self.failures < OPENS_AFTER:
            return "closed"
        return "open" if now_s < self.not_before_s else "half_open"

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next question, seconds."""
        return max(0.0, self.not_before_s - now_s)

    def succeeded(self) -> None:
        """Close the circuit."""
        self.failures, self.not_before_s = 0, 0.0

    def failed(self, now_s: float, *, asked_s: float | None = None) -> float:
        """Note a failure; returns the wait until the next question, seconds.

        Args:
            now_s: The time, seconds.
            asked_s: Wait that the other side asked for, seconds.
        """
        self.failures += 1
        wait_s = min(self.first_wait_s * 2.0 ** min(self.failures - 1, 30), self.longest_wait_s)
        if asked_s is not None:
            wait_s = max(wait_s, min(asked_s, LONGEST_ASKED_S))
        self.not_before_s = now_s + wait_s
        return wait_s


@dataclass(slots=True)
class Pace:
    """Keeps questions apart.

    Attributes:
        last_s: Time of the last question, seconds; None before the first.
    """

    last_s: float | None = None

    def wait_s(self, now_s: float, *, per_minute: float) -> float:
        """Return how long to wait before the next question, seconds."""
        if self.last_s is None:
            return 0.0
        return max(0.0, self.last_s + 60.0 / per_minute - now_s)
