"""What was dropped, by reason: counts that only grow and outlive a restart."""

from __future__ import annotations

from collections.abc import Mapping


class Tally:
    """Counts by reason.

    Args:
        start: Counts so far, as the outbox kept them.
    """

    def __init__(self, start: Mapping[str, int] | None = None) -> None:
        self._counts = dict(start or {})
        self.changed = False

    def add(self, reason: str, count: int = 1) -> None:
        """Count what was dropped for a reason."""
        if count:
            self._counts[reason] = self._counts.get(reason, 0) + count
            self.changed = True

    def figures(self) -> dict[str, int]:
        """Return all counts, by reason."""
        return dict(sorted(self._counts.items()))

    def __getitem__(self, reason: str) -> int:
        return self._counts.get(reason, 0)
