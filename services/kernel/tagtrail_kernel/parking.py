"""What an operator does about a paused consumer: try again, or pass over the event. Both explicit."""

from __future__ import annotations

from tagtrail_kernel.clock import Clock, uuid8
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError
from tagtrail_kernel.events.operations import ConsumerEventParked
from tagtrail_kernel.log import EventSink


async def resume(database: Database, name: str, log_id: int) -> None:
    """Let a paused consumer try again."""
    async with database.transaction() as tx:
        await tx.execute(
            "update consumer set state = 'running', error = null, error_position = null "
            "where name = $1 and log_id = $2",
            name, log_id,
        )  # fmt: skip


async def park(
    database: Database,
    sink: EventSink,
    clock: Clock,
    *,
    service: str,
    name: str,
    log_id: int,
    reason: str,
    by: str,
) -> int:
    """Let a paused consumer pass over the one event that it cannot apply.

    The act is appended to the log first, under an id of this pause: repeated after a crash it is
    recorded once. The parked position is kept beside the consumer, and
    its projection never sees that event, also in a rebuild.

    Returns:
        The parked position.

    Raises:
        ConflictError: the consumer is not paused at an event.
    """
    async with database.transaction() as tx:
        row = await tx.fetchrow(
            "select state, error, error_position, updated_at from consumer "
            "where name = $1 and log_id = $2 for update",
            name, log_id,
        )  # fmt: skip
        if row is None or row["state"] != "paused" or row["error_position"] is None:
            raise ConflictError(f"{service}.{name} is not paused at an event; nothing to park")
        position = int(row["error_position"])
        now = clock.now()
        fact = ConsumerEventParked(
            consumer=f"{service}.{name}",
            position=position,
            error=(row["error"] or "")[:500],
            reason=reason,
            by=by,
        )
        await sink.publish(
            log_id,
            [
                Envelope(
                    id=uuid8(row["updated_at"], f"{service}.{name}/{log_id}/{position}".encode()),
                    subject=f"{service}.{name}",
                    source=service,
                    occurred_at=now,
                    data=fact,
                )
            ],
        )
        await tx.execute(
            "insert into parked (name, log_id, position, reason) values ($1, $2, $3, $4) "
            "on conflict do nothing",
            name, log_id, position, reason,
        )  # fmt: skip
        await tx.execute(
            "update consumer set state = 'running', error = null, error_position = null "
            "where name = $1 and log_id = $2",
            name, log_id,
        )  # fmt: skip
    return position
