"""Writes the effects of a fold to the tables, only what changed, a statement per table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tagtrail_kernel.database import Connection
from tagtrail_locate.core.effects import (
    Effects,
    GatewayRow,
    HistoryRow,
    PlaceRow,
    PresenceRow,
)

PLACE: Final = {
    "tag_id": "text", "site_id": "text", "zone_id": "text", "since_at": "timestamptz",
    "floor": "float8", "x_m": "float8", "y_m": "float8", "accuracy_m": "float8",
    "radius_95_m": "float8", "method": "text",
    "confidence": "float8", "presence": "text", "last_heard_at": "timestamptz",
    "gateway_id": "text", "configuration": "int8", "position": "int8", "event_id": "uuid",
    "source_class": "text",
}  # fmt: skip
GATEWAY: Final = {
    "gateway_id": "text", "site_id": "text", "registered": "bool", "zone_id": "text",
    "last_heard_at": "timestamptz", "alive_since_at": "timestamptz",
    "last_sighting_at": "timestamptz", "sightings_per_min": "int4", "tags_heard": "int4",
    "sightings": "int8", "online": "bool", "clock_ahead_s": "float8",
    "position": "int8",
}  # fmt: skip
"""Columns and types of the tables that are written by arrays, in the order of the rows."""

HISTORY: Final = HistoryRow._fields
PRESENCE: Final = PresenceRow._fields


def _upsert(table: str, columns: Mapping[str, str], key: str) -> str:
    names = ", ".join(columns)
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), start=2))
    changes = ", ".join(f"{c} = excluded.{c}" for c in columns if c != key)
    return (
        f"insert into {table} (log_id, {names}) select $1, * from unnest({arrays}) "  # noqa: S608 - constants
        f"on conflict (log_id, {key}) do update set {changes}"
    )


def _insert(table: str, columns: Sequence[str], key: str | None) -> str:
    names = ", ".join(columns)
    values = ", ".join(f"${n}" for n in range(2, len(columns) + 2))
    text = f"insert into {table} (log_id, {names}) values ($1, {values})"  # noqa: S608 - constants
    if key is None:
        return text
    changes = ", ".join(f"{c} = excluded.{c}" for c in columns if c != key)
    return f"{text} on conflict (log_id, {key}) do update set {changes}"


_PLACE: Final = _upsert("place", PLACE, "tag_id")
_GATEWAY: Final = _upsert("gateway", GATEWAY, "gateway_id")
_HISTORY: Final = _insert("place_history", HISTORY, None)
_PRESENCE: Final = _insert("presence", PRESENCE, "tag_id")
_SNAPSHOT: Final = _insert("snapshot", ("position", "memory"), None) + (
    " on conflict (log_id) do update set position = excluded.position, memory = excluded.memory"
)


async def write(tx: Connection, log_id: int, effects: Effects) -> None:
    """Write everything that came out of a fold.

    Args:
        tx: The transaction that also moves the consumer's position.
        log_id: The tenant's log.
        effects: What came out.
    """
    await _latest(tx, log_id, "place", "tag_id", _PLACE, effects.places)
    await _latest(tx, log_id, "gateway", "gateway_id", _GATEWAY, effects.gateways)
    if effects.history:
        await tx.executemany(_HISTORY, [(log_id, *row) for row in effects.history])
    gone = [tag_id for tag_id, row in effects.presence.items() if row is None]
    if gone:
        await tx.execute(
            "delete from presence where log_id = $1 and tag_id = any($2)", log_id, gone
        )
    kept = [(log_id, *row) for row in effects.presence.values() if row is not None]
    if kept:
        await tx.executemany(_PRESENCE, kept)
    if effects.snapshot is not None:
        await tx.execute(_SNAPSHOT, log_id, *effects.snapshot)


async def _latest(
    tx: Connection,
    log_id: int,
    table: str,
    key: str,
    statement: str,
    rows: Mapping[str, PlaceRow | None] | Mapping[str, GatewayRow | None],
) -> None:
    gone = [name for name, row in rows.items() if row is None]
    if gone:
        await tx.execute(
            f"delete from {table} where log_id = $1 and {key} = any($2)",  # noqa: S608 - constants
            log_id,
            gone,
        )
    kept: list[Any] = [row for row in rows.values() if row is not None]
    if kept:
        kept.sort(key=lambda row: str(row[0]))
        await tx.execute(statement, log_id, *(list(column) for column in zip(*kept, strict=True)))
