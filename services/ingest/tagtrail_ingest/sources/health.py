"""How a partner's cloud is, in one word with its age. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from tagtrail_ingest.sources.partner_rules import PartnerRules

STALE_ROUNDS: Final = 3.0
"""Rounds without any answer after which a source is degraded although nothing failed."""

Word = Literal["off", "starting", "ok", "degraded"]


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that asks a partner wrote down.

    Attributes:
        name: The partner.
        cursor: What to ask from next; None before the first page.
        last_success_at: When a page was last taken.
        failing_since: When the present row of failures began; None if the last question was answered.
        failures: Failures in a row.
        error: What went wrong last.
        retry_at: When it is asked again.
        pages: Pages taken.
        sightings: Sightings that they put into the log.
    """

    name: str
    cursor: str | None = None
    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    error: str | None = None
    retry_at: datetime | None = None
    pages: int = 0
    sightings: int = 0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a partner's cloud is.

    Attributes:
        name: The partner.
        state: `off` (never asked); `starting` (not answered yet); `ok`; `degraded` (it fails, or
            has not answered for three rounds): what it told last is older than it should be.
        why: One sentence.
        age_s: Time since it last answered, seconds; None if it never did.
        last_success_at: When it last answered.
        failing_since: Since when it fails.
        failures: Failures in a row.
        retry_at: When it is asked again.
        sightings: Sightings taken from it.
        agreement: Reference of the agreement.
    """

    name: str
    state: Word
    why: str
    age_s: float | None = None
    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None
    sightings: int = 0
    agreement: str | None = None


def obstacle(rules: PartnerRules, *, known: bool, class_off: bool, kept: bool) -> str | None:
    """Return why a partner is not asked; None if it is.

    Args:
        rules: What the tenant decided.
        known: Whether the server's settings name this partner.
        class_off: Whether the class of partners' networks is switched off.
        kept: Whether there is a rule for how long sightings are kept.
    """
    if not known:
        return "the server has no entry for it: set TAGTRAIL_INGEST_PARTNERS"
    if not rules.enabled or rules.agreement is None:
        return "it is not enabled: POST /v1/config/partner.<name> with enabled and agreement"
    if class_off:
        return "the class partner_network is off: POST /v1/config/sources"
    if not kept:
        return "no rule says how long sightings are kept: POST /v1/retention"
    return None


def health_of(
    name: str, rules: PartnerRules, stored: Stored, now: datetime, *, off: str | None
) -> Health:
    """Judge a partner's cloud.

    Args:
        name: The partner.
        rules: What the tenant decided.
        stored: What was written down.
        now: The time.
        off: Why it is not asked; None if it is.
    """
    last = stored.last_success_at
    age_s = None if last is None else round((now - last).total_seconds(), 3)
    state, why = _word(rules, stored, age_s, off)
    return Health(
        name=name,
        state=state,
        why=why,
        age_s=age_s,
        last_success_at=last,
        failing_since=stored.failing_since if off is None else None,
        failures=stored.failures if off is None else 0,
        retry_at=stored.retry_at if off is None else None,
        sightings=stored.sightings,
        agreement=None if rules.agreement is None else rules.agreement.reference,
    )


def _word(
    rules: PartnerRules, stored: Stored, age_s: float | None, off: str | None
) -> tuple[Word, str]:
    if off is not None:
        return "off", off
    if stored.failing_since is not None:
        return "degraded", stored.error or "it does not answer"
    if age_s is None:
        return "starting", "it has not answered yet"
    if age_s > STALE_ROUNDS * rules.every_s + 60.0:
        return "degraded", "nobody has asked it for long; is the server that asks it running?"
    return "ok", "it answers"
