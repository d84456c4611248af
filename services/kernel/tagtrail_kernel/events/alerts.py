"""Alerts. `subject` of the envelope is what the alert is about (tag, asset, gateway)."""

from __future__ import annotations

from typing import Literal

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Aware, Id, Text

Severity = Literal["info", "warning", "critical"]


@event("alert.fired", version=1, family=Family.ALERT)
class AlertFired(Event, frozen=True, kw_only=True):
    """A rule found something that somebody should look at.

    Attributes:
        alert_id: Derived from rule, key and anchor event, so that a replay gives the same id.
        rule_id: The rule.
        rule_version: Version of the rule's settings.
        severity: How urgent.
        title: One line.
        what: The thing, for people.
        where: Last known place, for people.
        since_at: When the condition began.
        why: The reason with its figures.
        next_step: What to do.
        asset_id: Asset concerned.
        tag_id: Tag concerned.
        zone_id: Zone concerned.
        site_id: Site concerned.
        anchor_event_id: Event that started it.
        evidence: Event ids that support it.
    """

    alert_id: Id
    rule_id: Id
    rule_version: Text = "1"
    severity: Severity = "warning"
    title: Text
    what: Text | None = None
    where: Text | None = None
    since_at: Aware | None = None
    why: Text | None = None
    next_step: Text | None = None
    asset_id: Id | None = None
    tag_id: Id | None = None
    zone_id: Id | None = None
    site_id: Id | None = None
    anchor_event_id: Id | None = None
    evidence: tuple[Id, ...] = ()


@event("alert.resolved", version=1, family=Family.ALERT)
class AlertResolved(Event, frozen=True, kw_only=True):
    """The condition ended, or a person closed it.

    Attributes:
        alert_id: The alert.
        rule_id: Its rule.
        cause: Why it is over.
        by: Pseudonym of the person; None if the rule did it.
    """

    alert_id: Id
    rule_id: Id
    cause: Text
    by: Id | None = None


@event("alert.acknowledged", version=1, family=Family.ALERT)
class AlertAcknowledged(Event, frozen=True, kw_only=True):
    """A person took the alert on.

    Attributes:
        alert_id: The alert.
        by: Pseudonym of the person.
        note: What they said.
    """

    alert_id: Id
    by: Id | None = None
    note: Text | None = None
