"""The envelope around every fact, and its canonical bytes.

The bytes that are stored are the bytes that are hashed: leaf = SHA-256(0x00 ‖ body), as in
RFC 6962 section 2.1. Position and time of recording are columns of the log, not part of the body.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from tagtrail_kernel.errors import RejectedError, TooLargeError
from tagtrail_kernel.events.registry import (
    Event,
    Family,
    decode_data,
    type_of,
)
from tagtrail_kernel.events.sightings import Aware, Id, Text

MAX_BODY_BYTES: Final = 65_535
"""Largest body: C2SP tlog-tiles prefixes an entry with its length in 16 bits."""

TimeQuality = Literal["tag", "gateway_receive", "gateway_send", "server_receive", "stated"]
"""Which clock gave `occurred_at`; `stated` = the producer of a business fact said so."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact with its identity, before it is recorded.

    Attributes:
        id: Identity given by the producer, the key of de-duplication; UUIDv7 or UUIDv8.
        subject: What the fact is about: the id of a tag, asset, gateway, shipment, …
        source: Who says so, for example "ingest/espresense" or "locate".
        occurred_at: When it happened in the world, aware UTC.
        data: The fact.
        time_quality: Which clock gave `occurred_at`.
        correlation_id: Ties the facts of one business act, or the trace id of the request.
        causation_id: The event that led to this one.
    """

    id: UUID
    subject: Id
    source: Id
    occurred_at: Aware
    data: Event
    time_quality: TimeQuality = "stated"
    correlation_id: Text | None = None
    causation_id: UUID | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The stored form: a JSON object whose members stand in this order."""

    id: UUID
    type: str
    version: int
    subject: Id
    source: Id
    occurred_at: Aware
    time_quality: TimeQuality
    correlation_id: Text | None = None
    causation_id: UUID | None = None
    data: Any


class _RawBody(_Body, frozen=True, kw_only=True):
    data: msgspec.Raw


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A fact as bytes, ready for the log.

    Attributes:
        id: The envelope's id.
        subject: The envelope's subject.
        type: Wire name.
        family: Reach of the type.
        body: Canonical bytes, at most `MAX_BODY_BYTES`.
        leaf: SHA-256(0x00 ‖ body), 32 bytes.
    """

    id: UUID
    subject: str
    type: str
    family: Family
    body: bytes
    leaf: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_RawBody).decode
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of U+0000, not preceded by a backslash that is itself escaped."""


def leaf_hash(body: bytes) -> bytes:
    """Return the RFC 6962 leaf hash of a body, 32 bytes."""
    return hashlib.sha256(b"\x00" + body).digest()


def seal(envelope: Envelope) -> Sealed:
    """Turn a fact into its canonical bytes.

    A business fact is read back, because one that readers cannot decode or store would stop
    every consumer. Radio facts are many and were checked by their adapter.

    Raises:
        TooLargeError: the body would be longer than `MAX_BODY_BYTES`.
        RejectedError: a business fact that does not fit its type, or holds the character U+0000,
            which PostgreSQL's text cannot.
    """
    data = envelope.data
    body = _encode(
        _Body(
            id=envelope.id,
            type=data.TYPE,
            version=data.VERSION,
            subject=envelope.subject,
            source=envelope.source,
            occurred_at=envelope.occurred_at,
            time_quality=envelope.time_quality,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            data=data,
        )
    )
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError(
            f"an event may have {MAX_BODY_BYTES} bytes, this one has {len(body)}; split it",
            bytes=len(body),
        )
    if data.FAMILY is not Family.RADIO:
        _check_readable(data, body)
    return Sealed(envelope.id, envelope.subject, data.TYPE, data.FAMILY, body, leaf_hash(body))


def _check_readable(data: Event, body: bytes) -> None:
    if _NUL.search(body):
        raise RejectedError(
            f"{data.TYPE}: text may not hold the character U+0000; leave it out", type=data.TYPE
        )
    open_body(body)


def seal_all(envelopes: Iterable[Envelope]) -> list[Sealed]:
    """Seal several facts; see `seal`."""
    return [seal(e) for e in envelopes]


def open_body(body: bytes) -> Envelope:
    """Decode stored bytes, upcasting the data to the newest version.

    Raises:
        UnknownEventTypeError: the type or version is not known.
        RejectedError: the bytes are not an envelope.
    """
    try:
        raw = _decode(body)
    except msgspec.DecodeError as error:
        raise RejectedError(f"not an event: {error}") from error
    return Envelope(
        id=raw.id,
        subject=raw.subject,
        source=raw.source,
        occurred_at=raw.occurred_at,
        data=decode_data(raw.type, raw.version, raw.data),
        time_quality=raw.time_quality,
        correlation_id=raw.correlation_id,
        causation_id=raw.causation_id,
    )


class Recorded:
    """A fact in the log.

    Attributes:
        position: Its number in its log, from 1, dense.
        recorded_at: When the log took it, aware UTC, never decreasing with position.
        id: Event id.
        subject: What it is about.
        type: Wire name.
        body: Canonical bytes.
    """

    __slots__ = ("_envelope", "body", "id", "position", "recorded_at", "subject", "type")

    def __init__(
        self,
        position: int,
        recorded_at: datetime,
        id: UUID,  # noqa: A002 - the envelope's own name
        subject: str,
        type: str,  # noqa: A002 - the envelope's own name
        body: bytes,
    ) -> None:
        self.position = position
        self.recorded_at = recorded_at
        self.id = id
        self.subject = subject
        self.type = type
        self.body = body
        self._envelope: Envelope | None = None

    def __repr__(self) -> str:
        return f"<{self.position} {self.type} {self.id}>"

    @property
    def family(self) -> Family:
        """Reach of the type. Raises UnknownEventTypeError."""
        return type_of(self.type).FAMILY

    @property
    def envelope(self) -> Envelope:
        """The decoded envelope, decoded once. Raises as `open_body`."""
        if self._envelope is None:
            self._envelope = open_body(self.body)
        return self._envelope

    @property
    def data(self) -> Event:
        """The decoded fact. Raises as `open_body`."""
        return self.envelope.data
