"""State folded from the log, disposable: what a service keeps in its own tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Context:
    """What a projection may know while it applies events.

    Attributes:
        log_id: The tenant's log.
        live: False in a rebuild or a replay: no effects beyond the projection's own tables.
    """

    log_id: int
    live: bool = True


class Projection:
    """State folded from events, disposable. Subclasses set the class variables and `apply`.

    All SQL uses unqualified table names: a rebuild runs the same code in a shadow schema.

    Attributes:
        name: Unique within the service.
        families: Families it needs; other batches are skipped unread.
        version: Raise it when the meaning of the tables changes; it is rebuilt then.
        tables: The projection's own tables, all with `log_id`, parents before children. They
            hold nothing that depends on the wall clock, so two rebuilds give the same hash.
    """

    name: ClassVar[str]
    families: ClassVar[Family] = BUSINESS_FAMILIES
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ()

    async def restore(self, tx: Connection, context: Context, position: int) -> int:
        """Load memory from the tables at start and after a failure.

        Returns:
            The position that the memory stands at, at most `position`. Events between it and
            `position` are given to `replay` first. Projections without memory return `position`.
        """
        return position

    async def replay(self, context: Context, events: Sequence[Recorded]) -> None:
        """Bring memory forward over events whose effects are already in the tables."""

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """Fold events into the tables.

        MUST be a pure function of the state and the events in position order, whatever the
        batches: no wall clock, no randomness.

        Args:
            tx: The transaction that also moves the position.
            context: Tenant, and whether effects are allowed.
            events: Events of `families`, in position order.

        Returns:
            Derived facts to publish before the commit. Their ids MUST be deterministic (UUIDv8
            of the cause), because they are published again after a crash.
        """
        raise NotImplementedError
