"""Checks sections of settings that ingest itself obeys, before they go into the log."""

from __future__ import annotations

from collections.abc import Iterable

from tagtrail_ingest.sources import partner_rules, policy
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import ConfigChanged


def check_settings(envelopes: Iterable[Envelope]) -> None:
    """Check the settings among some facts.

    Raises:
        RejectedError: a section does not fit; the detail says what does.
    """
    for envelope in envelopes:
        data = envelope.data
        if not isinstance(data, ConfigChanged):
            continue
        if data.section == policy.SECTION:
            policy.rules_of(data.values)
        elif partner_rules.partner_of(data.section) is not None:
            partner_rules.rules_of(data.section, data.values)
