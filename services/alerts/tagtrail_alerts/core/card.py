"""The neutral card: what people are told, whichever channel tells them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tagtrail_kernel.events.alerts import AlertFired, Severity

Phase = Literal["fired", "resolved"]
LISTED: Final = 10
"""Alerts that a card names one by one; more are counted."""


class AlertCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert, for people.

    Attributes:
        alert_id: The alert.
        rule_id: Its rule.
        phase: Whether it began or is over.
        severity: How urgent.
        title: One line.
        what: The thing.
        where: Last known place.
        since_at: When the condition began.
        why: The reason with its figures.
        next_step: What to do.
        cause: Why it is over.
        link: Address of the alert in the console.
    """

    alert_id: str
    rule_id: str
    phase: Phase = "fired"
    severity: Severity = "warning"
    title: str
    what: str | None = None
    where: str | None = None
    since_at: datetime | None = None
    why: str | None = None
    next_step: str | None = None
    cause: str | None = None
    link: str | None = None


class GroupCard(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of the same rule, site and phase that are told in one message.

    Attributes:
        cards: At least one, oldest first.
        maybe_duplicate: An earlier try got no answer, so this may be the second copy.
    """

    cards: Annotated[Sequence[AlertCard], Meta(min_length=1)]
    maybe_duplicate: bool = False


def card_of(fired: AlertFired, *, console_url: str, cause: str | None = None) -> AlertCard:
    """Return the card of an alert that fired, or, with a cause, of one that is over."""
    return AlertCard(
        alert_id=fired.alert_id,
        rule_id=fired.rule_id,
        phase="fired" if cause is None else "resolved",
        severity=fired.severity,
        title=fired.title,
        what=fired.what,
        where=fired.where,
        since_at=fired.since_at,
        why=fired.why,
        next_step=fired.next_step,
        cause=cause,
        link=f"{console_url.rstrip('/')}/console/?alert={fired.alert_id}",
    )
