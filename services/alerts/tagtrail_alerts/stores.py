"""Keeps the rules' memory in tables: loads it at start, writes what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from tagtrail_alerts.core import memory as m
from tagtrail_alerts.core.memory import Expectation, Memory, RuleSetting, Shelf
from tagtrail_kernel.database import Connection
from tagtrail_kernel.events.alerts import AlertFired

KINDS: Final[Mapping[str, type[m.Thing]]] = {
    "sites": m.Site,
    "zones": m.Zone,
    "assets": m.Asset,
    "tags": m.Tag,
    "places": m.Place,
    "shipments": m.Shipment,
    "deliveries": m.Deliveries,
    "clock": m.EventClock,
}
"""Kind in the table and name of the shelf; never renamed without raising the projection's version."""


def json_of(value: object) -> str:
    """Return JSON text for a jsonb column."""
    return msgspec.json.encode(value).decode()


def fired_of(body: str) -> AlertFired:
    """Return the content of an alert from its jsonb column."""
    return msgspec.json.decode(body, type=AlertFired)


async def load(tx: Connection, log_id: int) -> Memory:
    """Return the memory that the tables hold."""
    memory = Memory()
    for row in await tx.fetch("select kind, key, body from memory where log_id = $1", log_id):
        thing = msgspec.json.decode(row["body"], type=KINDS[row["kind"]])
        _shelf(memory, row["kind"]).load(row["key"], thing)
    for row in await tx.fetch("select body from expectation where log_id = $1", log_id):
        memory.load_expectation(msgspec.json.decode(row["body"], type=Expectation))
    for row in await tx.fetch(
        "select rule_id, version, values, position, error from rule_setting where log_id = $1",
        log_id,
    ):
        setting = RuleSetting(
            version=row["version"],
            values=msgspec.json.decode(row["values"]),
            position=row["position"],
            error=row["error"],
        )
        memory.rules.load(row["rule_id"], setting)
    return memory


async def save(tx: Connection, log_id: int, memory: Memory) -> None:
    """Write what changed since the last call."""
    for kind in KINDS:
        changes = _shelf(memory, kind).take_changes()
        if changes:
            await _save_things(tx, log_id, kind, changes)
    await _save_expectations(tx, log_id, memory.expectations.take_changes())
    for rule_id, setting in memory.rules.take_changes().items():
        if setting is not None:
            await _save_setting(tx, log_id, rule_id, setting)


def _shelf(memory: Memory, kind: str) -> Shelf[Any]:
    shelf: Shelf[Any] = getattr(memory, kind)
    return shelf


def _gone(changes: Mapping[str, m.Thing | None]) -> list[str]:
    return [key for key, thing in changes.items() if thing is None]


async def _save_things(
    tx: Connection, log_id: int, kind: str, changes: Mapping[str, m.Thing | None]
) -> None:
    gone = _gone(changes)
    if gone:
        await tx.execute(
            "delete from memory where log_id = $1 and kind = $2 and key = any($3::text[])",
            log_id, kind, gone,
        )  # fmt: skip
    kept = [(key, json_of(thing)) for key, thing in changes.items() if thing is not None]
    if kept:
        await tx.execute(
            "insert into memory (log_id, kind, key, body) "
            "select $1, $2, k, b::jsonb from unnest($3::text[], $4::text[]) as u (k, b) "
            "on conflict (log_id, kind, key) do update set body = excluded.body",
            log_id, kind, [k for k, _ in kept], [b for _, b in kept],
        )  # fmt: skip


async def _save_expectations(
    tx: Connection, log_id: int, changes: Mapping[str, Expectation | None]
) -> None:
    gone = _gone(changes)
    if gone:
        await tx.execute(
            "delete from expectation where log_id = $1 and alert_id = any($2::text[])", log_id, gone
        )
    rows: Iterable[Expectation] = [e for e in changes.values() if e is not None]
    await tx.executemany(
        "insert into expectation (log_id, alert_id, rule_id, key, state, decide_at, body) "
        "values ($1, $2, $3, $4, $5, $6, $7::jsonb) on conflict (log_id, alert_id) do update "
        "set state = excluded.state, body = excluded.body",
        [(log_id, e.alert_id, e.rule_id, e.key, e.state, e.decide_at, json_of(e)) for e in rows],
    )


async def _save_setting(tx: Connection, log_id: int, rule_id: str, setting: RuleSetting) -> None:
    await tx.execute(
        "insert into rule_setting (log_id, rule_id, version, values, position, error) "
        "values ($1, $2, $3, $4::jsonb, $5, $6) on conflict (log_id, rule_id) do update set "
        "version = excluded.version, values = excluded.values, position = excluded.position, "
        "error = excluded.error",
        log_id, rule_id, setting.version, json_of(setting.values), setting.position, setting.error,
    )  # fmt: skip
