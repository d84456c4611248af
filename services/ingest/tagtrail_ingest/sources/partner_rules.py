"""What a tenant decides about a partner's cloud: whether it is asked, and by which agreement. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.sightings import Text

SECTION: Final = "partner."
"""Beginning of the sections of `config.changed` that hold the rules, `partner.<name>`."""

_Said = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agreement by which the partner processes data for the tenant.

    Attributes:
        reference: Where the signed document is found.
        signed_by: Who signed it.
        signed_on: When, as a date.
    """

    reference: _Said
    signed_by: _Said
    signed_on: date


class PartnerRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The values of one section `partner.<name>`.

    Attributes:
        enabled: Whether the partner's cloud is asked at all.
        agreement: By which agreement; without one it is never asked.
        every_s: Pause between two rounds of questions, seconds.
        requests_per_minute: Most requests, also while pages are fetched one after the other.
        note: For people.
    """

    enabled: bool = False
    agreement: Agreement | None = None
    every_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    requests_per_minute: Annotated[float, Meta(ge=1, le=600)] = 30.0
    note: Text | None = None


def partner_of(section: str) -> str | None:
    """Return the partner that a section is about; None for other sections."""
    name = section.removeprefix(SECTION)
    return name if name and name != section else None


def rules_of(section: str, values: Mapping[str, Any]) -> PartnerRules:
    """Read the values of a section.

    Raises:
        RejectedError: they do not fit, or the partner is enabled without an agreement.
    """
    try:
        rules = msgspec.convert(dict(values), PartnerRules)
    except msgspec.ValidationError as error:
        raise RejectedError(
            f"section {section}: {error}; members are enabled, agreement (reference, signed_by, "
            "signed_on), every_s, requests_per_minute and note"
        ) from error
    if rules.enabled and rules.agreement is None:
        raise RejectedError(
            f"section {section}: enabled needs agreement (reference, signed_by, signed_on): no "
            "partner is asked before an agreement on the processing of data is on record"
        )
    return rules


def folded(values: Mapping[str, Any]) -> PartnerRules:
    """Return the rules that stand in the log; those that do not fit ask nobody."""
    try:
        return rules_of(SECTION, values)
    except RejectedError:
        return PartnerRules()
