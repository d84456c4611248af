"""What rules decide, and how it becomes facts with deterministic ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from tagtrail_alerts.core.memory import Expectation, Memory, State
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.alerts import AlertResolved

SOURCE: Final = "alerts"
MAX_TEXT: Final = 512
"""Most characters of a text in an event; ingest refuses more."""


@dataclass(frozen=True, slots=True)
class Fire:
    """An expectation was not fulfilled.

    Attributes:
        expectation: It, after the decision.
    """

    expectation: Expectation


@dataclass(frozen=True, slots=True)
class Resolve:
    """An alert's condition ended, or was never true.

    Attributes:
        expectation: The one that had fired.
        cause: Why it is over; begins with `retracted:` if it was never true.
        at: Event time.
        event_id: The event that ended it.
    """

    expectation: Expectation
    cause: str
    at: datetime
    event_id: str


Transition = Fire | Resolve


def alert_identity(rule_id: str, key: str, anchor_event_id: str) -> str:
    """Return an alert's id: the same cause always has the same, so a replay repeats it."""
    text = "\x00".join((rule_id, key, anchor_event_id))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def clip(text: str, most: int = MAX_TEXT) -> str:
    """Return a text of at most so many characters; what was cut is marked."""
    return text if len(text) <= most else text[: most - 1] + "…"


def end(memory: Memory, expectation: Expectation, state: State, cause: str) -> Expectation:
    """Store that an expectation reached a final state."""
    ended = msgspec.structs.replace(expectation, state=state, cause=clip(cause))
    memory.expect(ended)
    return ended


def end_or_resolve(
    memory: Memory,
    expectation: Expectation,
    *,
    state: State,
    cause: str,
    at: datetime,
    event_id: str,
) -> list[Transition]:
    """End an expectation: quietly if it waits, by resolving its alert if it has fired.

    Args:
        memory: Memory to change.
        expectation: An active one.
        state: Final state of one that waits: `met` or `cancelled`.
        cause: Why it ended.
        at: Event time of the cause. One inside the deadline retracts an alert.
        event_id: Event that is the cause.
    """
    if expectation.state == "waiting":
        end(memory, expectation, state, cause)
        return []
    in_time = at <= expectation.due_at
    text = f"retracted: {cause}" if in_time else cause
    ended = end(memory, expectation, "retracted" if in_time else "closed", text)
    return [Resolve(ended, clip(text), at, event_id)]


def envelopes_of(transitions: Iterable[Transition]) -> list[Envelope]:
    """Return the facts that transitions are, in their order."""
    return [
        fired_envelope(t.expectation) if isinstance(t, Fire) else _resolved_envelope(t)
        for t in transitions
    ]


def fired_envelope(expectation: Expectation) -> Envelope:
    """Return `alert.fired` of an expectation: the same whoever publishes it, and when."""
    card = expectation.card
    return Envelope(
        id=uuid8(expectation.due_at, f"{expectation.alert_id}/fired".encode()),
        subject=card.asset_id or card.tag_id or expectation.key,
        source=SOURCE,
        occurred_at=expectation.decide_at,
        data=card,
        causation_id=UUID(expectation.anchor_event_id),
    )


def _resolved_envelope(resolve: Resolve) -> Envelope:
    expectation = resolve.expectation
    card = expectation.card
    return Envelope(
        id=uuid8(resolve.at, f"{expectation.alert_id}/resolved/{resolve.event_id}".encode()),
        subject=card.asset_id or card.tag_id or expectation.key,
        source=SOURCE,
        occurred_at=resolve.at,
        data=AlertResolved(
            alert_id=expectation.alert_id, rule_id=expectation.rule_id, cause=resolve.cause
        ),
        causation_id=UUID(resolve.event_id),
    )
