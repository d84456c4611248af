"""The outbox: what people are to be told, and what became of it.

A row is written in the transaction that makes the alert, so an alert is never lost between log
and chat. Cards of the same rule, site and phase that are not sent yet go out as one message; a
letter (see `letters.py`) goes alone, and never before an earlier one about the same thing. Each
row passes queued → sending → sent, or dead with its reason, or superseded when it is over before
anybody was told. A row that is found `sending` after its sender died may have arrived: a card
is sent once more and says so, a letter is sent again under its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from tagtrail_alerts.channels.contract import Kind, Letter, Outcome
from tagtrail_alerts.core.card import AlertCard, GroupCard
from tagtrail_alerts.stores import json_of
from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import ConflictError, NotFoundError

MOST: Final = 5000
"""Alerts in one message; a storm of more takes a second one."""

STATES: Final = ("queued", "sending", "sent", "dead", "superseded")

_BLOCKED: Final = (
    "(o.phase = 'resolved' and exists (select from outbox f where f.log_id = o.log_id "
    "and f.channel_id = o.channel_id and f.alert_id = o.alert_id and f.phase = 'fired' "
    "and f.state in ('queued', 'sending')) or exists (select from outbox f "
    "where f.log_id = o.log_id and f.channel_id = o.channel_id and f.order_key = o.order_key "
    "and f.outbox_id < o.outbox_id and f.state in ('queued', 'sending')))"
)
"""An end is not told before its beginning, nor a letter before an earlier one of its order."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this worker is to send.

    Attributes:
        log_id: Tenant.
        channel_id: Where to.
        message_id: Identity of this try.
        group: What to say.
        attempts: Tries so far, this one included.
        letter: The same for a program; None for people.
    """

    log_id: int
    channel_id: str
    message_id: UUID
    group: GroupCard
    attempts: int
    letter: Letter | None = None


async def enqueue_fired(
    tx: Connection,
    log_id: int,
    card: AlertCard,
    *,
    channels: Sequence[str],
    site_id: str | None,
    at: datetime,
    wait: timedelta,
    stale: str | None,
) -> None:
    """Queue the card of a new alert for every channel.

    Args:
        tx: The transaction that makes the alert.
        log_id: Tenant.
        card: What to say.
        channels: Where to.
        site_id: Groups together with alerts of the same site.
        at: Wall clock.
        wait: How long to wait for more of the group.
        stale: Why nobody shall be told; None to tell.
    """
    await tx.executemany(
        "insert into outbox (log_id, channel_id, dedup_key, alert_id, phase, group_key, card, "
        "state, created_at, next_at, done_at, reason) "
        "values ($1, $2, $3, $4, 'fired', $5, $6::jsonb, $7, $8, $9, $10, $11) "
        "on conflict (log_id, dedup_key) do nothing",
        [
            (
                log_id, channel, f"{card.alert_id}/fired/{channel}", card.alert_id,
                f"fired|{card.rule_id}|{site_id or ''}", json_of(card),
                "queued" if stale is None else "superseded", at, at + wait,
                None if stale is None else at, stale,
            )
            for channel in channels
        ],
    )  # fmt: skip


async def enqueue_resolved(
    tx: Connection,
    log_id: int,
    card: AlertCard,
    *,
    site_id: str | None,
    at: datetime,
    wait: timedelta,
) -> None:
    """Queue the end of an alert for the channels that were told of it; cancel what was not sent."""
    await tx.execute(
        "update outbox set state = 'superseded', done_at = $3, reason = 'over before it was told' "
        "where log_id = $1 and alert_id = $2 and phase = 'fired' and state = 'queued' "
        "and attempts = 0 and order_key is null",
        log_id, card.alert_id, at,
    )  # fmt: skip
    await tx.execute(
        "insert into outbox (log_id, channel_id, dedup_key, alert_id, phase, group_key, card, "
        "created_at, next_at) select log_id, channel_id, alert_id || '/resolved/' || channel_id, "
        "alert_id, 'resolved', $3, $4::jsonb, $5, $6 from outbox where log_id = $1 "
        "and alert_id = $2 and phase = 'fired' and state in ('queued', 'sending', 'sent') "
        "and order_key is null "
        "on conflict (log_id, dedup_key) do nothing",
        log_id, card.alert_id, f"resolved|{card.rule_id}|{site_id or ''}", json_of(card), at,
        at + wait,
    )  # fmt: skip


async def busy_channels(connection: Connection, log_id: int) -> list[tuple[str, Kind]]:
    """Return id and kind of the channels that have unsent messages."""
    rows = await connection.fetch(
        "select distinct channel_id, kind from outbox "
        "where log_id = $1 and state in ('queued', 'sending') order by channel_id, kind",
        log_id,
    )
    return [(row["channel_id"], row["kind"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Terms:
    """How messages are taken from the outbox.

    Attributes:
        interval: Least time between two messages of one channel.
        lease: A message that has been `sending` for longer lost its sender.
        most: Most alerts in one message.
    """

    interval: timedelta
    lease: timedelta
    most: int = MOST


async def claim(
    tx: Connection, log_id: int, channel_id: str, *, message_id: UUID, now: datetime, terms: Terms
) -> Claimed | None:
    """Take the next message of a channel, if the channel's pace allows one now.

    The row of the channel's pace is locked, so several processes keep one pace together.

    Args:
        tx: A transaction of its own: it must be committed before anything is sent.
        log_id: Tenant.
        channel_id: Channel.
        message_id: Identity of the try.
        now: Wall clock.
        terms: Rate, lease and size.
    """
    if not await take_pace(tx, log_id, channel_id, now=now, interval=terms.interval):
        return None
    await _recover(tx, log_id, channel_id, now=now, lease=terms.lease)
    rows = await _next_group(tx, log_id, channel_id, now=now, most=terms.most)
    if not rows:
        await set_pace(tx, log_id, channel_id, now)
        return None
    await tx.execute(
        "update outbox set state = 'sending', attempts = attempts + 1, message_id = $3, "
        "sending_at = $4 where log_id = $1 and outbox_id = any($2::bigint[])",
        log_id, [row["outbox_id"] for row in rows], message_id, now,
    )  # fmt: skip
    return Claimed(
        log_id=log_id,
        channel_id=channel_id,
        message_id=message_id,
        group=GroupCard(
            cards=[msgspec.json.decode(row["card"], type=AlertCard) for row in rows],
            maybe_duplicate=rows[0]["ambiguous"],
        ),
        attempts=max(row["attempts"] for row in rows) + 1,
        letter=_letter(rows[0]),
    )


def _letter(row: Any) -> Letter | None:
    return None if row["letter"] is None else Letter(str(row["event_id"]), row["letter"].encode())


async def _next_group(
    tx: Connection, log_id: int, channel_id: str, *, now: datetime, most: int
) -> list[Any]:
    """Return and lock the rows of the oldest group that is due; those in doubt go by themselves."""
    group_key = await tx.fetchval(
        "select o.group_key from outbox o where o.log_id = $1 and o.channel_id = $2 "  # noqa: S608 - constant
        f"and o.state = 'queued' and not {_BLOCKED} group by o.group_key having "
        "coalesce(max(o.next_at) filter (where o.attempts > 0), min(o.next_at)) <= $3 "
        "order by min(o.outbox_id) limit 1",
        log_id, channel_id, now,
    )  # fmt: skip
    if group_key is None:
        return []
    rows = await tx.fetch(
        "select o.outbox_id, o.card, o.attempts, o.ambiguous, o.event_id, o.letter "  # noqa: S608 - constant
        "from outbox o where o.log_id = $1 "
        f"and o.channel_id = $2 and o.group_key = $3 and o.state = 'queued' and not {_BLOCKED} "
        "order by o.ambiguous desc, o.outbox_id limit $4 for update skip locked",
        log_id, channel_id, group_key, most,
    )  # fmt: skip
    return [row for row in rows if row["ambiguous"] == rows[0]["ambiguous"]]


async def take_pace(
    tx: Connection, log_id: int, channel_id: str, *, now: datetime, interval: timedelta
) -> bool:
    """Take the channel's turn, if it is due and nobody else holds it."""
    await tx.execute(
        "insert into pace (log_id, channel_id, next_at) values ($1, $2, $3) on conflict do nothing",
        log_id, channel_id, now,
    )  # fmt: skip
    mine = await tx.fetchval(
        "select true from pace where log_id = $1 and channel_id = $2 and next_at <= $3 "
        "for update skip locked",
        log_id, channel_id, now,
    )  # fmt: skip
    if mine:
        await set_pace(tx, log_id, channel_id, now + interval)
    return bool(mine)


async def set_pace(tx: Connection, log_id: int, channel_id: str, next_at: datetime) -> None:
    """Say when a channel may be used again."""
    await tx.execute(
        "update pace set next_at = $3 where log_id = $1 and channel_id = $2",
        log_id, channel_id, next_at,
    )  # fmt: skip


async def _recover(
    tx: Connection, log_id: int, channel_id: str, *, now: datetime, lease: timedelta
) -> None:
    """Put back what a dead sender left; a card that is in doubt for the second time is dead."""
    await tx.execute(
        "update outbox set state = case when ambiguous then 'dead' else 'queued' end, "
        "done_at = case when ambiguous then $3::timestamptz end, ambiguous = letter is null, "
        "next_at = $3, "
        "reason = 'the sender stopped while sending; it may have arrived' "
        "where log_id = $1 and channel_id = $2 and state = 'sending' and sending_at <= $4",
        log_id, channel_id, now, now - lease,
    )  # fmt: skip


async def finish(
    tx: Connection,
    claimed: Claimed,
    outcome: Outcome,
    *,
    now: datetime,
    delay: timedelta,
    max_attempts: int,
) -> str:
    """Note what became of a message.

    Args:
        tx: A transaction.
        claimed: The message.
        outcome: What happened to it.
        now: Wall clock.
        delay: Wait before the next try, if there is one.
        max_attempts: Tries before it is a dead letter.

    Returns:
        The rows' new state.
    """
    state = _state_after(claimed, outcome, max_attempts)
    await tx.execute(
        "update outbox set state = $3, next_at = $4, reason = $5, ambiguous = ambiguous or $6, "
        "attempts = attempts - $7::integer, done_at = case when $3 = 'queued' then null "
        "else $8::timestamptz end where log_id = $1 and message_id = $2 and state = 'sending'",
        claimed.log_id, claimed.message_id, state, now + delay,
        None if state == "sent" else outcome.reason, outcome.result == "ambiguous",
        int(outcome.result == "rate_limited"), now,
    )  # fmt: skip
    if outcome.result == "rate_limited":
        await set_pace(tx, claimed.log_id, claimed.channel_id, now + delay)
    if state == "dead":
        await _supersede_ends(tx, claimed, now)
    return state


def _state_after(claimed: Claimed, outcome: Outcome, max_attempts: int) -> str:
    if outcome.result == "delivered":
        return "sent"
    if outcome.result == "rate_limited":
        return "queued"
    doubtful_again = outcome.result == "ambiguous" and claimed.group.maybe_duplicate
    hopeless = outcome.result == "permanent" or doubtful_again
    return "dead" if hopeless or claimed.attempts >= max_attempts else "queued"


async def _supersede_ends(tx: Connection, claimed: Claimed, now: datetime) -> None:
    alert_ids = [c.alert_id for c in claimed.group.cards if c.phase == "fired"]
    await tx.execute(
        "update outbox set state = 'superseded', done_at = $4, "
        "reason = 'its beginning could not be told' where log_id = $1 and channel_id = $2 "
        "and alert_id = any($3::text[]) and phase = 'resolved' and state = 'queued' "
        "and order_key is null",
        claimed.log_id, claimed.channel_id, alert_ids, now,
    )  # fmt: skip


async def page(
    connection: Connection, log_id: int, *, state: str | None, after: int, limit: int
) -> list[dict[str, Any]]:
    """Return rows by id, without their cards."""
    rows = await connection.fetch(
        "select outbox_id, channel_id, kind, alert_id, event_id, phase, state, attempts, "
        "ambiguous, created_at, next_at, done_at, message_id, reason from outbox "
        "where log_id = $1 and outbox_id > $2 and ($3::text is null or state = $3) order by outbox_id limit $4",
        log_id, after, state, limit,
    )  # fmt: skip
    return [dict(row) for row in rows]


async def counts(connection: Connection, log_id: int) -> dict[str, int]:
    """Return how many rows are in each state."""
    rows = await connection.fetch(
        "select state, count(*) as n from outbox where log_id = $1 group by state", log_id
    )
    return dict.fromkeys(STATES, 0) | {row["state"]: row["n"] for row in rows}


async def redrive(tx: Connection, log_id: int, outbox_id: int, now: datetime) -> int:
    """Queue a dead message again, with everything that was in it; returns how many rows.

    Raises:
        NotFoundError: there is no such row.
        ConflictError: it is not a dead letter.
    """
    row = await tx.fetchrow(
        "select state, message_id from outbox where log_id = $1 and outbox_id = $2 for update",
        log_id, outbox_id,
    )  # fmt: skip
    if row is None:
        raise NotFoundError(f"no message {outbox_id} in the outbox", outbox_id=outbox_id)
    if row["state"] != "dead":
        raise ConflictError(
            f"message {outbox_id} is {row['state']}; only dead letters are sent again",
            state=row["state"],
        )
    rows = await tx.fetch(
        "update outbox set state = 'queued', attempts = 0, next_at = $4, "
        "done_at = null, reason = null where log_id = $1 and state = 'dead' "
        "and (outbox_id = $2 or message_id = $3) returning outbox_id",
        log_id, outbox_id, row["message_id"], now,
    )  # fmt: skip
    return len(rows)
