"""What every gateway format is turned into: readings of tags and facts about gateways.

Adapters are pure functions of one message. They decide no identity: a reading carries the
candidate identities that the message names, and ingest asks the registry of tags for them.

For any bytes at all an adapter either returns a `Decoded` or raises `UnreadableError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

import msgspec

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import TimeQuality
from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.sightings import Radio, SourceClass

UNRESOLVED: Final = "unresolved"
"""Tag id of a draft. `to_event` replaces it; a draft is never appended."""


FAULTS_OF_FORM: Final = frozenset(
    {
        "bad_value",
        "no_gateway",
        "no_identity",
        "no_position",
        "no_signal",
        "out_of_range",
        "too_large",
        "unreadable",
    }
)
"""Reasons that a person may mend; the others are decisions (an anonymous tracker, replayed state)."""


class UnreadableError(RejectedError):
    """The message as a whole cannot be read; it belongs in quarantine.

    Args:
        detail: Why, and what to do; may quote names of members, never radio addresses.
    """

    code: ClassVar[str] = "unreadable-message"
    title: ClassVar[str] = "Message not readable"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it came from the wire.

    Attributes:
        payload: Raw bytes. For a GET (Traccar's old form) the query string.
        received_at: When ingest took it, aware UTC.
        topic: MQTT topic; None for HTTP.
        route: Format name of `POST /v1/messages/{format}`; None for MQTT.
        retained: MQTT retain flag as delivered: the broker replayed it from its store.
        content_type: HTTP media type. A hint only: some firmware sends a wrong one.
        site_id: Site of the sender's key or of the topic rule.
        gateway_id: Gateway of the sender's key, used when the message names none.
    """

    payload: bytes
    received_at: datetime
    topic: str | None = None
    route: str | None = None
    retained: bool = False
    content_type: str | None = None
    site_id: str | None = None
    gateway_id: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One observation of one tag, before its identity is resolved.

    Attributes:
        draft: The validated fact with `tag_id` = `UNRESOLVED`; `to_event` makes the real one.
        identities: Candidates, best first, normalised `kind:value` (docs/gateways.md). They hold
            radio addresses and MUST stay out of the log and of log lines.
        tag_id: Our own tag id, where a native producer sent it; then `identities` is empty.
        occurred_at: Event time, aware UTC.
        time_quality: Which clock gave it.
        has_own_time: The event time came with the message, so `event_id_of` gives the same id
            when the message comes again. False: only the broker's redelivery rule can tell.
        dedupe: Bytes that name the observation: gateway, identity, times, counter, content.
        event_id: Id that a native producer gave.
        index: Position of the item in the message, from 0, for verdicts.
        needs_known_gateway: The receiver's id is the address of a transmitter that a phone heard,
            perhaps a stranger's device. Ingest MUST drop the reading unless a gateway of that id
            is registered.
        repeat_window_s: The format sends exact doubles: readings with equal `dedupe` that arrive
            within this many seconds are one observation. 0 = it does not.
    """

    draft: Radio
    identities: tuple[str, ...]
    occurred_at: datetime
    time_quality: TimeQuality
    has_own_time: bool
    dedupe: bytes
    tag_id: str | None = None
    event_id: UUID | None = None
    index: int = 0
    needs_known_gateway: bool = False
    repeat_window_s: float = 0.0


class GatewayFact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about a gateway; it needs no identity.

    Attributes:
        event: The fact, complete. `event.retained` says that it is state, not news: ingest need
            not append it again while it equals the last one of that gateway.
        occurred_at: Event time, aware UTC.
        time_quality: Which clock gave it.
        has_own_time: As for `Reading`.
        dedupe: As for `Reading`.
        event_id: Id that a native producer gave.
        index: Position of the item in the message, from 0.
    """

    event: GatewayReported
    occurred_at: datetime
    time_quality: TimeQuality
    has_own_time: bool
    dedupe: bytes
    event_id: UUID | None = None
    index: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """One item of a readable message that was not accepted.

    Attributes:
        reason: Stable code, for counting: `anonymous_tracker`, `retained`, `no_identity`,
            `implausible_time`, `out_of_range`, … (docs/gateways.md lists them).
        index: Position of the item in the message, from 0.
        detail: One sentence for the sender; names members, never radio addresses.
    """

    reason: str
    index: int = 0
    detail: str = ""


class Decoded(msgspec.Struct, frozen=True):
    """What one message says. All three parts may be empty: an empty batch is no error.

    Attributes:
        readings: Observations, in message order.
        gateway_facts: Facts about gateways.
        refused: Items that were not accepted, each with its reason.
        batch_id: Id that a native producer gave to the whole message.
    """

    readings: tuple[Reading, ...] = ()
    gateway_facts: tuple[GatewayFact, ...] = ()
    refused: tuple[Refusal, ...] = ()
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """The reader of one wire format.

    Attributes:
        name: Format name, also the HTTP route and the end of the envelope's `source`.
        read: Reads one message; may raise `UnreadableError`.
        verdicts: The sender is told of each item, so a message of which every item is refused
            needs no quarantine.
        source_class: Class of everything that it reads, where that is never one's own.
    """

    name: str
    read: Callable[[Message], Decoded]
    verdicts: bool = False
    source_class: SourceClass | None = None

    def decode(self, message: Message) -> Decoded:
        """Read one message.

        Raises:
            UnreadableError: it cannot be read as this format, or each of its items is faulty in
                form. A fault of the reader itself ends here too (the message is kept and can be
                driven again after a fix); its detail then starts with "adapter fault".
        """
        decoded = self._guarded(message)
        refused = decoded.refused
        empty = not (decoded.readings or decoded.gateway_facts or self.verdicts)
        if empty and refused and all(r.reason in FAULTS_OF_FORM for r in refused):
            first = refused[0]
            raise UnreadableError(f"nothing usable in it: {first.reason}: {first.detail}")
        return decoded

    def _guarded(self, message: Message) -> Decoded:
        try:
            return self.read(message)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UnreadableError(
                f"adapter fault: {type(error).__name__} in {self.name}; report it, then drive again",
                adapter=self.name,
            ) from error
        except RecursionError as error:
            raise UnreadableError("nested too deeply", adapter=self.name) from error


def to_event(reading: Reading, tag_id: str) -> Radio:
    """Return the fact of a reading whose tag is known.

    Args:
        reading: From an adapter.
        tag_id: Our id of the tag, 1 to 200 characters.
    """
    return msgspec.structs.replace(reading.draft, tag_id=tag_id)


def event_id_of(item: Reading | GatewayFact) -> UUID:
    """Return the event id: the producer's own, else a UUIDv8 of event time and content."""
    if item.event_id is not None:
        return item.event_id
    return uuid8(item.occurred_at, item.dedupe)
