"""What every way to the server offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tagtrail_agent.courier import Message
from tagtrail_agent.errors import UnreachableError


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says about a batch that it has made durable.

    Attributes:
        received_at: When it took the batch, by its clock.
        accepted: Items that are in the log now.
        duplicates: Items that were there before.
        unenrolled: Items of tags that the server does not know.
        reasons: How many items it refused, by reason.
        quarantined: Why it put the batch as a whole aside.
    """

    received_at: datetime
    accepted: int = 0
    duplicates: int = 0
    unenrolled: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    quarantined: str | None = None


def answer_of(members: Any) -> Answer:
    """Read a confirmation over MQTT or the answer of `POST /v1/sightings`.

    Raises:
        UnreachableError: it is not of this form; the batch is sent again.
    """
    try:
        reasons = dict(members.get("reasons") or {})
        for verdict in members.get("results") or ():
            if verdict["status"] == "rejected":
                reason = str(verdict.get("reason"))
                reasons[reason] = reasons.get(reason, 0) + 1
        return Answer(
            received_at=datetime.fromisoformat(members["received_at"]),
            accepted=int(members.get("accepted", 0)),
            duplicates=int(members.get("duplicates", 0)),
            unenrolled=int(members.get("unenrolled", 0)),
            reasons={str(k): int(v) for k, v in reasons.items()},
            quarantined=members.get("quarantined"),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreachableError(f"an answer that cannot be read: {error!r}") from error


class Link(Protocol):
    """A way to the server.

    Attributes:
        at_once: Batches that may be under way together.
        sent_bytes: Bytes of bodies that were sent.
    """

    at_once: int
    sent_bytes: int

    @property
    def connected(self) -> bool:
        """Whether it is worth trying."""
        ...

    async def open(self) -> None:
        """Begin to connect; returns at once."""
        ...

    async def deliver(self, gateway_id: str, batch_id: str, body: bytes) -> Answer:
        """Send a batch and wait until the server says that it is durable.

        Args:
            gateway_id: The receiver of its items.
            batch_id: The `batch_id` in the body.
            body: JSON, perhaps packed with gzip.

        Raises:
            UnreachableError: no answer; it may have been taken or not.
            RefusedError: it will never be taken.
        """
        ...

    async def forward(self, messages: Sequence[Message]) -> None:
        """Publish messages of other gateways as they came, and wait until the broker has them.

        Raises:
            UnreachableError: not all were acknowledged; all are sent again.
            RefusedError: this way cannot carry them.
        """
        ...

    async def report(self, figures: Mapping[str, Any]) -> None:
        """Tell how the gateway is.

        Raises:
            UnreachableError: it was not sent.
        """
        ...

    async def close(self) -> None:
        """Say good-bye and end the connection."""
        ...
