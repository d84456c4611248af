"""What became of a batch, told to the gateway that sent it over MQTT once it is durable.

A PUBACK comes from the broker, before the log has the message. A native batch with a `batch_id`
is therefore answered on `tagtrail/v1/<site>/<gateway>/confirmed`, after the commit. The answer is
published with QoS 0: a gateway that misses it sends the batch again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from tagtrail_ingest.adapters.packing import unpacked
from tagtrail_ingest.intake import Prepared

_SUFFIX: Final = "/sightings"
_PREFIX: Final = "tagtrail/v1/"


class Confirmation(msgspec.Struct, omit_defaults=True):
    """The answer to one batch.

    Attributes:
        batch_id: The batch.
        received_at: When ingest took it from the broker, by the server's clock.
        accepted: Items that are in the log now.
        duplicates: Items that were in the log before.
        unenrolled: Items whose identity no tag has.
        rejected: Items that were refused.
        reasons: How many items were refused, by reason.
        repeated: The broker delivered the same bytes again; they were settled before.
        quarantined: Why the batch as a whole was put aside, where people can drive it again.
    """

    batch_id: str
    received_at: datetime
    accepted: int = 0
    duplicates: int = 0
    unenrolled: int = 0
    rejected: int = 0
    reasons: dict[str, int] | None = None
    repeated: bool = False
    quarantined: str | None = None


class _Named(msgspec.Struct, frozen=True):
    batch_id: str | None = None


_decode_name = msgspec.json.Decoder(_Named).decode
_encode = msgspec.json.Encoder().encode


def answer_topic(topic: str) -> str | None:
    """Return where the answer to a message goes; None if its topic is not one of batches."""
    if topic.startswith(_PREFIX) and topic.endswith(_SUFFIX):
        return topic.removesuffix(_SUFFIX) + "/confirmed"
    return None


def batch_id_in(payload: bytes) -> str | None:
    """Return the id that a batch names, read or not; None if there is none to be found."""
    try:
        return _decode_name(unpacked(payload)).batch_id
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        return None


def settled(prepared: Prepared) -> Confirmation | None:
    """Return the answer to a committed batch; None if it has no id."""
    if prepared.batch_id is None:
        return None
    answer = Confirmation(prepared.batch_id, prepared.at)
    reasons: dict[str, int] = {}
    for verdict in prepared.verdicts:
        if verdict.status == "accepted":
            answer.accepted += 1
        elif verdict.status in ("duplicate", "repeated"):
            answer.duplicates += 1
        elif verdict.status == "unenrolled":
            answer.unenrolled += 1
        else:
            answer.rejected += 1
            reason = verdict.reason or "unknown"
            reasons[reason] = reasons.get(reason, 0) + 1
    answer.reasons = reasons or None
    return answer


class Answers:
    """Collects the answers to one group of messages, to be published when all are durable."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Confirmation]] = []

    def add(self, topic: str, answer: Confirmation | None) -> None:
        """Note an answer, if the topic's sender expects one."""
        where = answer_topic(topic)
        if where is not None and answer is not None:
            self._waiting.append((where, answer))

    def add_unread(self, topic: str, payload: bytes, at: datetime, reason: str) -> None:
        """Note that a message was put aside as a whole."""
        if answer_topic(topic) is not None:
            batch_id = batch_id_in(payload)
            if batch_id is not None:
                self.add(topic, Confirmation(batch_id, at, quarantined=reason))

    def add_repeated(self, topic: str, payload: bytes, at: datetime) -> None:
        """Note that a message was settled before."""
        if answer_topic(topic) is not None:
            batch_id = batch_id_in(payload)
            if batch_id is not None:
                self.add(topic, Confirmation(batch_id, at, repeated=True))

    def encoded(self) -> Sequence[tuple[str, bytes]]:
        """Return topics and bodies, in the order of the messages."""
        return [(topic, _encode(answer)) for topic, answer in self._waiting]
