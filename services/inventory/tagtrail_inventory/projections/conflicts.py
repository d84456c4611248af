"""Claims that contradict what was known when they came; kept for people to settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded

ConflictKind = Literal["identity_taken", "bound_twice", "not_bound_there"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """One contradiction.

    Attributes:
        kind: `identity_taken`: another tag had the identity, the newer registration has it now.
            `bound_twice`: the tag was on another asset, it is on the claimed one from then on.
            `not_bound_there`: the tag was not on the asset it is said to have left; put aside.
        subject: The tag.
        claimed: Identity or asset that the fact claims.
        held_by: Who held it: a tag, or the asset that the tag was on.
        occurred_at: Time of the fact.
        event_id: The fact.
        position: Its position.
    """

    kind: ConflictKind
    subject: str
    claimed: str
    held_by: str | None
    occurred_at: datetime
    event_id: UUID
    position: int

    @classmethod
    def of(
        cls, event: Recorded, kind: ConflictKind, subject: str, claimed: str, held_by: str | None
    ) -> Conflict:
        """Return a conflict that an event brings."""
        at = event.envelope.occurred_at
        return cls(kind, subject, claimed, held_by, at, event.id, event.position)


async def write_conflicts(tx: Connection, log_id: int, conflicts: Sequence[Conflict]) -> None:
    """Store the conflicts of a page."""
    await tx.copy_records_to_table(
        "conflict",
        records=[
            (log_id, c.position, c.kind, c.subject, c.claimed, c.held_by, c.occurred_at, c.event_id)
            for c in conflicts
        ],
        columns=[
            "log_id", "position", "kind", "subject", "claimed", "held_by", "occurred_at", "event_id",
        ],
    )  # fmt: skip
