"""Messages that only the server reads: kept in the outbox like readings, sent on as they came."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from tagtrail_agent.clock import EPOCH, ServerTime
from tagtrail_agent.errors import RefusedError
from tagtrail_agent.items import compact
from tagtrail_agent.outbox import Outbox
from tagtrail_agent.store import Item

MESSAGES: Final = "#messages"
"""Stands in the outbox where a gateway's id stands with readings. `#` cannot be in a level of a
topic, so no gateway that publishes is called so."""

_MS: Final = timedelta(milliseconds=1)


class Message(NamedTuple):
    """A message as it came.

    Attributes:
        topic: Where it was published.
        payload: Its bytes.
        retained: Whether the broker kept it as state.
    """

    topic: str
    payload: bytes
    retained: bool


class Passed(Protocol):
    """What an input hands over, for example `inputs.mqtt.Passing`."""

    @property
    def topic(self) -> str:
        """Where it was published."""
        ...

    @property
    def payload(self) -> bytes:
        """Its bytes."""
        ...

    @property
    def at(self) -> datetime:
        """When it came, UTC."""
        ...

    @property
    def elapsed_s(self) -> float:
        """The same by the monotonic clock, seconds."""
        ...

    @property
    def retained(self) -> bool:
        """Whether the broker sent it from its store."""
        ...


class Courier(Protocol):
    """Brings messages to the server unchanged."""

    def forward(self, message: Passed) -> None:
        """Take a message; MUST NOT block and MUST NOT raise for any content."""
        ...


class OutboxCourier:
    """A `Courier` that keeps messages until the server's broker has acknowledged them.

    Args:
        outbox: Where they wait.
        server_time: What is known of the server's clock.
        boot: This boot of the machine.
    """

    def __init__(self, outbox: Outbox, *, server_time: ServerTime, boot: str) -> None:
        self._outbox, self._server_time, self._boot = outbox, server_time, boot

    def forward(self, message: Passed) -> None:
        """Keep a message; when this returns, it survives the end of the process.

        Counted as `unfit_topic` and not kept: what the server's broker would answer by ending the
        connection, again and again.
        """
        if not _fit(message.topic):
            self._outbox.tally.add("unfit_topic")
            return
        server_at = self._server_time.at(message.elapsed_s)
        item = Item(
            gateway=MESSAGES,
            boot=self._boot,
            at_ms=(message.at - EPOCH) // _MS,
            elapsed_s=message.elapsed_s,
            ahead_s=(message.at - server_at).total_seconds() if server_at else None,
            body=compact(
                {
                    "topic": message.topic,
                    "payload": base64.b64encode(message.payload).decode(),
                    "retained": message.retained,
                }
            ),
        )
        self._outbox.put([item])


def _fit(topic: str) -> bool:
    """Return whether Tagtrail's broker lets a gateway publish on a topic: NATS takes no spaces."""
    return topic.isprintable() and not topic.startswith("$") and not set(topic) & set("+# ")


def message_of(item: Item) -> Message:
    """Return the message that an item of the outbox holds.

    Raises:
        RefusedError: it holds none.
    """
    try:
        members = json.loads(item.body)
        payload = base64.b64decode(members["payload"])
        return Message(str(members["topic"]), payload, bool(members["retained"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError("no_message", f"an item that is no message: {error!r}") from error
