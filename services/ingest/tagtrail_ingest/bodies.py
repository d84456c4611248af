"""Shapes of ingest's HTTP requests and answers. msgspec, because this is the hot path."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from tagtrail_ingest.intake import Prepared, Verdict
from tagtrail_kernel.envelope import Envelope, TimeQuality
from tagtrail_kernel.errors import DomainError, RejectedError
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES, decode_data, type_of
from tagtrail_kernel.events.sightings import Aware, Id, Text
from tagtrail_kernel.sinks import AppendReply, AppendResult

__all__ = ["AppendReply", "AppendResult", "EventsBody", "SightingsReply", "envelope_of"]


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One business event as a producer sends it.

    Attributes:
        type: Wire name, docs/events.md.
        data: The fact.
        id: UUIDv7 or UUIDv8 of the producer; made here if absent.
        version: Version of `data`.
        subject: What it is about; by default the id of the thing that the type is about.
        source: Producer; `api` by default.
        occurred_at: When it happened; now by default.
        time_quality: Which clock gave `occurred_at`.
        correlation_id: Ties events of one business act.
        causation_id: Event that led to this one.
    """

    type: Text
    data: msgspec.Raw
    id: UUID | None = None
    version: Annotated[int, Meta(ge=1)] | None = None
    subject: Id | None = None
    source: Id = "api"
    occurred_at: Aware | None = None
    time_quality: TimeQuality = "stated"
    correlation_id: Text | None = None
    causation_id: UUID | None = None


class EventsBody(msgspec.Struct, frozen=True):
    """Body of `POST /v1/events`: all are appended, or none."""

    events: Annotated[list[NewEvent], Meta(min_length=1)]


class SightingsReply(msgspec.Struct):
    """Answer of `POST /v1/sightings` and `POST /v1/messages/{format}`.

    Attributes:
        accepted: Items that are in the log now.
        duplicates: Items that were in the log before.
        unenrolled: Items whose identity no tag has.
        rejected: Items that were refused, with reasons in `results`.
        results: One verdict per item, in the order of the message.
        received_at: When the message came, by the server's clock.
        batch_id: The message, as its sender calls it.
    """

    accepted: int
    duplicates: int
    unenrolled: int
    rejected: int
    results: list[Verdict]
    received_at: datetime
    batch_id: str | None = None

    @classmethod
    def of(cls, prepared: Prepared, results: Literal["all", "faults"] = "all") -> SightingsReply:
        """Count verdicts; `faults` shows only those of items that are not in the log."""
        verdicts = prepared.verdicts
        counts = {"accepted": 0, "duplicate": 0, "unenrolled": 0, "rejected": 0, "repeated": 0}
        for verdict in verdicts:
            counts[verdict.status] += 1
        shown = [v for v in verdicts if results == "all" or v.status in ("unenrolled", "rejected")]
        return cls(
            counts["accepted"],
            counts["duplicate"] + counts["repeated"],
            counts["unenrolled"],
            counts["rejected"],
            sorted(shown, key=lambda v: v.index),
            prepared.at,
            prepared.batch_id,
        )


_SUBJECTS = (
    "alert_id", "asset_id", "shipment_id", "tag_id", "gateway_id", "zone_id", "site_id", "sku",
    "section", "event_class", "consumer", "quarantine_id", "subject_id",
)  # fmt: skip
"""Member that is a type's subject, in order of preference, where the producer names none."""


def envelope_of(
    new: NewEvent,
    index: int,
    *,
    event_id: UUID,
    at: datetime,
    trace: str | None,
    radio: bool = False,
) -> Envelope:
    """Return the fact of one item.

    Args:
        new: The item.
        index: Its place, for the error.
        event_id: Id to use if it has none.
        at: Time to use if it has none.
        trace: Correlation to use if it has none.
        radio: Whether radio facts are taken, and decisions about updates and erasures: only a service's own key
            may send them here, because it has found their tag itself.

    Raises:
        RejectedError: unknown type or version, data that do not fit, or a radio fact (those come
            as sightings). The error names the item and the member.
    """
    try:
        cls = type_of(new.type)
        if not radio and not cls.FAMILY & BUSINESS_FAMILIES:
            raise RejectedError(f"{new.type} is a radio fact; send it to POST /v1/sightings")
        elsewhere = _elsewhere(new.type)
        if not radio and elsewhere is not None:
            raise RejectedError(f"{new.type} is decided at {elsewhere}")
        data = decode_data(new.type, new.version or cls.VERSION, new.data)
        subject = new.subject or _subject_of(data)
        if "\x00" in subject:
            raise RejectedError("a subject may not hold a NUL character")
    except DomainError as error:
        raise RejectedError(
            f"item {index}: {error.detail}",
            errors=[{"pointer": f"#/events/{index}", "detail": error.detail}],
        ) from error
    return Envelope(
        id=new.id or event_id,
        subject=subject,
        source=new.source,
        occurred_at=new.occurred_at or at,
        time_quality=new.time_quality,
        correlation_id=new.correlation_id or trace,
        causation_id=new.causation_id,
        data=data,
    )


def _elsewhere(type_: str) -> str | None:
    """Return where facts of a type are decided, because they set something going; None if here."""
    if type_.startswith("update."):
        return "POST /v1/updates"
    if type_ == "sightings.erased":
        return "DELETE /v1/sources/{source_class}/sightings"
    return "`tagtrail rebuild --swap`" if type_ == "conclusions.renewed" else None


def _subject_of(data: Any) -> str:
    for name in _SUBJECTS:
        value = getattr(data, name, None)
        if isinstance(value, str):
            return value
    assets = getattr(data, "asset_ids", ())
    if assets:
        return str(assets[0])
    raise RejectedError("name the subject of this event")
