"""Reads what the API shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from tagtrail_alerts.core.memory import RuleSetting
from tagtrail_alerts.core.parameters import (
    CLONE_SUSPECTED,
    LEFT_OUTBOUND,
    MISSING_TAG,
    RULES,
    parameters_of,
    values_of,
)
from tagtrail_alerts.projection import NAME
from tagtrail_alerts.stores import fired_of
from tagtrail_kernel.database import Connection
from tagtrail_kernel.events.alerts import AlertFired

SAYS = {
    MISSING_TAG: "A tag is silent although it should have been heard.",
    LEFT_OUTBOUND: "If a pallet leaves the outbound zone without POD, trigger investigation.",
    CLONE_SUSPECTED: "Two reads of a label cannot both be of one label: it was probably copied.",
}
_STATED = (
    "state", "fired_at", "fired_recorded_at", "acknowledged_at", "acknowledged_by", "note",
    "resolved_at", "resolved_by", "cause",
)  # fmt: skip


async def as_of(connection: Connection, log_id: int) -> int:
    """Return the position that the alerts reflect."""
    position = await connection.fetchval(
        "select position from consumer where name = $1 and log_id = $2", NAME, log_id
    )
    return int(position or 0)


def alert_json(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return an alert as the API shows it, without its evidence."""
    fired = fired_of(row["body"])
    shown = {name: row[name] for name in _STATED}
    return {
        **_fields(fired),
        **shown,
        "age_s": round((now - row["fired_recorded_at"]).total_seconds(), 3),
        "position": row["fired_position"],
        "changed_position": row["changed_position"],
    }


def _fields(fired: AlertFired) -> dict[str, Any]:
    hidden = ("anchor_event_id", "evidence")
    return {name: getattr(fired, name) for name in fired.__struct_fields__ if name not in hidden}


def alert_with_evidence(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return an alert with the events that made it, each readable at `/v1/events/{id}`."""
    fired = fired_of(row["body"])
    return alert_json(row, now) | {
        "evidence": {
            "anchor_event_id": fired.anchor_event_id,
            "event_ids": list(fired.evidence),
            "fired_event_id": row["fired_event_id"],
            "acknowledged_event_id": row["acknowledged_event_id"],
            "resolved_event_id": row["resolved_event_id"],
        }
    }


async def alerts_page(
    connection: Connection,
    log_id: int,
    *,
    state: str | None,
    rule_id: str | None,
    site_id: str | None,
    subject: str | None,
    before: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return alerts, newest first."""
    rows = await connection.fetch(
        "select * from alert where log_id = $1 and ($2::text is null or state = $2) "
        "and ($3::text is null or rule_id = $3) and ($4::text is null or site_id = $4) "
        "and ($5::text is null or asset_id = $5 or tag_id = $5) "
        "and ($6::bigint is null or fired_position < $6) order by fired_position desc limit $7",
        log_id, state, rule_id, site_id, subject, before, limit,
    )  # fmt: skip
    return [dict(row) for row in rows]


async def changed_alerts(
    connection: Connection, log_id: int, *, after: int, limit: int
) -> list[dict[str, Any]]:
    """Return alerts that changed after a position, in the order of their latest change."""
    rows = await connection.fetch(
        "select * from alert where log_id = $1 and changed_position > $2 "
        "order by changed_position limit $3",
        log_id, after, limit,
    )  # fmt: skip
    return [dict(row) for row in rows]


async def rules(connection: Connection, log_id: int) -> list[dict[str, Any]]:
    """Return all rules with the parameters in force."""
    rows = await connection.fetch(
        "select rule_id, version, values, position, error from rule_setting where log_id = $1",
        log_id,
    )
    known = {
        r["rule_id"]: RuleSetting(
            version=r["version"],
            values=msgspec.json.decode(r["values"]),
            position=r["position"],
            error=r["error"],
        )
        for r in rows
    }
    counts = await connection.fetch(
        "select rule_id, state, count(*) as n from alert where log_id = $1 group by 1, 2", log_id
    )
    found = {(r["rule_id"], r["state"]): r["n"] for r in counts}
    return [_rule(rule_id, known.get(rule_id) or RuleSetting(), found) for rule_id in RULES]


def _rule(
    rule_id: str, setting: RuleSetting, counts: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    return {
        "rule_id": rule_id,
        "says": SAYS[rule_id],
        "version": setting.version,
        "parameters": values_of(parameters_of(rule_id, setting.values)),
        "set_at_position": setting.position or None,
        "refused": setting.error,
        "alerts": {s: counts.get((rule_id, s), 0) for s in ("open", "acknowledged", "resolved")},
    }


async def live_alerts_in(
    connection: Connection, log_id: int, rule_id: str, first: int, last: int
) -> int:
    """Return how many alerts of a rule were decided at positions of a window."""
    number = await connection.fetchval(
        "select count(*) from alert a join expectation e using (log_id, alert_id) "
        "where log_id = $1 and a.rule_id = $2 "
        "and (e.body ->> 'fired_position')::bigint between $3 and $4",
        log_id, rule_id, first, last,
    )  # fmt: skip
    return int(number)
