"""Letters: what webhooks are sent, one for each beginning and end of an alert.

A letter is written in the transaction that makes the alert, as CloudEvents 1.0 lays facts out,
with the alert as the API shows it. Letters are never grouped and never left out because the alert
is over already: programs want every fact, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from tagtrail_alerts import views
from tagtrail_alerts.channels.contract import Letter
from tagtrail_alerts.core.card import AlertCard
from tagtrail_alerts.core.transitions import SOURCE
from tagtrail_alerts.stores import json_of
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded


def letter_of(log_id: int, event: Recorded, alert: Mapping[str, Any]) -> Letter:
    """Return the letter about an event.

    Args:
        log_id: Tenant.
        event: `alert.fired` or `alert.resolved`.
        alert: The alert's row after the event.
    """
    shown = views.alert_json(alert, event.recorded_at)
    del shown["age_s"]  # a letter is read later than it is written
    return _letter(
        log_id,
        {
            "id": str(event.id),
            "type": event.type,
            "kind": event.type.removeprefix("alert."),
            "subject": event.subject,
            "time": event.envelope.occurred_at,
            "position": event.position,
            "recordedtime": event.recorded_at,
            "data": shown,
        },
    )


def ping_of(log_id: int, webhook_id: str, channel_id: str, now: datetime) -> Letter:
    """Return a letter that only shows that letters arrive."""
    data = {"channel_id": channel_id, "says": "Test from Tagtrail. Nothing has happened."}
    members = {"id": webhook_id, "type": "alert.test", "kind": "test", "time": now, "data": data}
    return _letter(log_id, members)


def _letter(log_id: int, members: dict[str, Any]) -> Letter:
    head = {
        "specversion": "1.0",
        "source": f"/logs/{log_id}/{SOURCE}",
        "datacontenttype": "application/json",
    }
    body = orjson.dumps(head | members, default=str, option=orjson.OPT_UTC_Z)
    return Letter(members["id"], body)


async def enqueue(
    tx: Connection,
    log_id: int,
    event: Recorded,
    card: AlertCard,
    *,
    channels: Sequence[str],
    at: datetime,
    stale: str | None = None,
) -> None:
    """Queue a letter for every webhook.

    Args:
        tx: The transaction that makes or ends the alert; the alert's row is written already.
        log_id: Tenant.
        event: What happened.
        card: The alert, for lists of the outbox.
        channels: Webhooks.
        at: Wall clock.
        stale: Why it shall not be sent; None to send it.
    """
    if not channels:
        return
    (row,) = await tx.fetch(
        "select * from alert where log_id = $1 and alert_id = $2", log_id, card.alert_id
    )
    letter = letter_of(log_id, event, dict(row))
    about = row["asset_id"] or row["tag_id"] or card.alert_id
    await tx.executemany(
        "insert into outbox (log_id, channel_id, dedup_key, alert_id, phase, group_key, card, "
        "state, created_at, next_at, done_at, reason, kind, order_key, event_id, letter) "
        "values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $9, $10, $11, 'webhook', $12, $13, "
        "$14) on conflict (log_id, dedup_key) do nothing",
        [
            (
                log_id, channel, f"{card.alert_id}/{card.phase}/{channel}", card.alert_id,
                card.phase, f"letter|{letter.webhook_id}", json_of(card),
                "queued" if stale is None else "superseded", at,
                None if stale is None else at, stale, about, event.id,
                letter.body.decode(),
            )
            for channel in channels
        ],
    )  # fmt: skip


async def told(tx: Connection, log_id: int, alert_id: str) -> list[str]:
    """Return the webhooks that were to be told of an alert's beginning."""
    rows = await tx.fetch(
        "select channel_id from outbox where log_id = $1 and alert_id = $2 and kind = 'webhook' "
        "and phase = 'fired' and state <> 'superseded' order by channel_id",
        log_id, alert_id,
    )  # fmt: skip
    return [row["channel_id"] for row in rows]
