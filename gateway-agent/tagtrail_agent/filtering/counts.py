"""What became of every reading: in = out + folded + dropped + held, at every moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tagtrail_agent.readings import Reading

Reason = Literal["duplicate", "weak", "outlier"]
"""Why a reading is dropped: equal content within the window; below the gate; a blip of level."""


@dataclass(slots=True)
class Counts:
    """Counts since the start.

    Attributes:
        taken: Readings that came in.
        sent: Items that went out.
        folded: Readings that are in an item that stands for several, less one for the item.
        held: Readings that are in the filter now; 0 after `flush`.
        dropped: Readings that are in no item, by reason.
        frozen: Links whose level stands still, found since the start.
    """

    taken: int = 0
    sent: int = 0
    folded: int = 0
    held: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: {"duplicate": 0, "weak": 0, "outlier": 0}
    )
    frozen: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every reading is accounted for."""
        gone = self.sent + self.folded + sum(self.dropped.values())
        return self.taken == gone + self.held

    def figures(self) -> dict[str, Any]:
        """Return what the gateway's status says about the filter."""
        return {
            "in": self.taken, "out": self.sent, "folded": self.folded, "held": self.held,
            "dropped": dict(self.dropped), "frozen": self.frozen,
        }  # fmt: skip


@dataclass(slots=True)
class Books:
    """What one call of the filter lets out, entered into the counts.

    Attributes:
        counts: Changed in place.
        out: Items, in order.
    """

    counts: Counts
    out: list[Reading] = field(default_factory=list)

    def send(self, item: Reading, held: int = 0) -> None:
        """Let out an item that stands for so many held readings; 0 = for one that was not held."""
        self.out.append(item)
        self.counts.sent += 1
        self.counts.held -= held
        self.counts.folded += max(held - 1, 0)

    def drop(self, reason: Reason, held: int = 0) -> None:
        """Drop so many held readings; 0 = one that was not held."""
        self.counts.dropped[reason] += max(held, 1)
        self.counts.held -= held
