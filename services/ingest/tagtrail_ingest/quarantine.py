"""Messages that cannot be read, kept with their bytes until somebody drives them again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tagtrail_ingest.adapters import Message
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.errors import NotFoundError

_COLUMNS: Final = (
    "quarantine_id, adapter, topic, route, site_id, gateway_id, content_type, payload, reason, "
    "detail, first_at, last_at, count, redriven_at, redriven_events"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A quarantined message.

    Attributes:
        quarantine_id: Its number in the tenant.
        adapter: Format that was to read it; None if no rule fits its topic.
        topic: MQTT topic.
        route: Format of the HTTP route.
        site_id: Site of its topic rule or key.
        gateway_id: Gateway of its key.
        content_type: HTTP media type.
        payload: Its bytes.
        reason: Stable code.
        detail: Sentence.
        first_at: When it first came.
        last_at: When the same bytes last came.
        count: How often they came.
        redriven_at: When it was read after all.
        redriven_events: How many events it gave then.
    """

    quarantine_id: int
    adapter: str | None
    topic: str | None
    route: str | None
    site_id: str | None
    gateway_id: str | None
    content_type: str | None
    payload: bytes
    reason: str
    detail: str
    first_at: datetime
    last_at: datetime
    count: int
    redriven_at: datetime | None
    redriven_events: int | None

    def message(self) -> Message:
        """Return the message as it came."""
        return Message(
            payload=self.payload,
            received_at=self.first_at,
            topic=self.topic,
            route=self.route,
            content_type=self.content_type,
            site_id=self.site_id,
            gateway_id=self.gateway_id,
        )


@dataclass(frozen=True, slots=True)
class Unread:
    """A message on its way into quarantine.

    Attributes:
        message: The message.
        adapter: Format that refused it.
        reason: Stable code.
        detail: Sentence.
    """

    message: Message
    adapter: str | None
    reason: str
    detail: str


def _digest(message: Message) -> bytes:
    where = (message.topic or message.route or "").encode("utf-8", "surrogatepass")
    return hashlib.sha256(where + b"\x00" + message.payload).digest()


def _text(value: str | None) -> str | None:
    """Return text that PostgreSQL can store: no NUL, no lone surrogates."""
    if value is None:
        return None
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


class Quarantine:
    """Table `quarantine`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, log_id: int, unread: Sequence[Unread]) -> None:
        """Store messages; the same bytes on the same topic again only count up.

        Raises:
            UnavailableError: nothing was stored; do not acknowledge.
        """
        if not unread:
            return
        rows = sorted(
            (
                log_id, _digest(u.message), u.adapter, _text(u.message.topic), u.message.route,
                _text(u.message.site_id), _text(u.message.gateway_id),
                _text(u.message.content_type), u.message.payload, u.reason,
                _text(u.detail), u.message.received_at,
            )
            for u in unread
        )  # fmt: skip
        async with self._database.transaction() as tx:
            await tx.executemany(
                "insert into quarantine as q (log_id, digest, adapter, topic, route, site_id, "
                "gateway_id, content_type, payload, reason, detail, first_at, last_at) "
                "values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) "
                "on conflict (log_id, digest) do update set count = q.count + 1, "
                "last_at = excluded.last_at, reason = excluded.reason, detail = excluded.detail, "
                "redriven_at = null, redriven_events = null",
                rows,
            )

    async def page(
        self, log_id: int, *, after: int, limit: int, redriven: bool | None
    ) -> list[Kept]:
        """Return messages in order of their number."""
        async with self._database.connection() as c:
            rows = await c.fetch(
                f"select {_COLUMNS} from quarantine "  # noqa: S608 - constant columns
                "where log_id = $1 and quarantine_id > $2 "
                "and ($4::boolean is null or (redriven_at is not null) = $4) "
                "order by quarantine_id limit $3",
                log_id, after, limit, redriven,
            )  # fmt: skip
        return [Kept(*row) for row in rows]

    async def get(self, log_id: int, quarantine_id: int) -> Kept:
        """Return one message. Raises NotFoundError."""
        async with self._database.connection() as c:
            row = await c.fetchrow(
                f"select {_COLUMNS} from quarantine where log_id = $1 and quarantine_id = $2",  # noqa: S608 - constant columns
                log_id, quarantine_id,
            )  # fmt: skip
        if row is None:
            raise NotFoundError(
                f"no message {quarantine_id} in quarantine; GET /v1/quarantine lists them"
            )
        return Kept(*row)

    async def mark(self, log_id: int, quarantine_id: int, at: datetime, events: int) -> None:
        """Note that a message was read after all."""
        async with self._database.connection() as c:
            await c.execute(
                "update quarantine set redriven_at = $3, redriven_events = $4 "
                "where log_id = $1 and quarantine_id = $2",
                log_id, quarantine_id, at, events,
            )  # fmt: skip

    async def remove(self, log_id: int, quarantine_id: int) -> None:
        """Delete a message with its bytes. Raises NotFoundError."""
        async with self._database.connection() as c:
            gone = await c.fetchval(
                "delete from quarantine where log_id = $1 and quarantine_id = $2 "
                "returning quarantine_id",
                log_id, quarantine_id,
            )  # fmt: skip
        if gone is None:
            raise NotFoundError(
                f"no message {quarantine_id} in quarantine; GET /v1/quarantine lists them"
            )

    async def remove_formats(self, log_id: int, adapters: Sequence[str]) -> None:
        """Delete all messages that some formats were to read."""
        async with self._database.connection() as c:
            await c.execute(
                "delete from quarantine where log_id = $1 and adapter = any ($2)",
                log_id, list(adapters),
            )  # fmt: skip

    async def prune(self, log_id: int, before: datetime) -> int:
        """Delete messages that last came before a time; returns how many."""
        async with self._database.connection() as c:
            gone = await c.fetch(
                "delete from quarantine where log_id = $1 and last_at < $2 returning 1",
                log_id, before,
            )  # fmt: skip
        return len(gone)

    async def counts(self, log_id: int) -> dict[str, int]:
        """Return messages that came and wait, by reason."""
        async with self._database.connection() as c:
            rows = await c.fetch(
                "select reason, sum(count)::bigint as n from quarantine "
                "where log_id = $1 and redriven_at is null group by reason order by reason",
                log_id,
            )
        return {row["reason"]: row["n"] for row in rows}


async def add_tallies(tx: Connection, rows: Sequence[tuple[int, datetime, str, str, int]]) -> None:
    """Add hourly counts: (log_id, hour, adapter, outcome, count)."""
    await tx.executemany(
        "insert into tally as t (log_id, hour, adapter, outcome, count) values ($1, $2, $3, $4, $5) "
        "on conflict (log_id, hour, adapter, outcome) do update set count = t.count + excluded.count",
        sorted(rows),
    )
