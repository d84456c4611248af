"""What passes through the agent: adverts as a radio heard them, readings as they leave.

Way of one advert: an input hands `Advert`s and `Reading`s to an `Ear`; the identity stage makes
readings of the adverts of enrolled tags and forgets the rest; the filter drops what says nothing
new; the outbox keeps what is left until the server has confirmed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Advert:
    """One Bluetooth LE advert as a scanner reports it.

    Attributes:
        address: Address it came from, 12 lower-case hex digits.
        ad: AD structures, no PDU header and no checksum; any bytes.
        rssi_dbm: Received power, dBm.
        at: When it was heard, UTC, by the gateway's clock.
        elapsed_s: The same by the monotonic clock, seconds.
        random_address: Whether the address is of the random kind; None where it is not known.
        gateway_id: The receiver, if it is not the agent's own gateway.
    """

    address: str
    ad: bytes
    rssi_dbm: int
    at: datetime
    elapsed_s: float
    random_address: bool | None = None
    gateway_id: str | None = None


@dataclass(slots=True)
class Reading:
    """One item of the native wire format on its way to the server.

    Attributes:
        tag: Identity, `kind:value`, normalised.
        at: When it was heard, UTC, by the gateway's clock.
        elapsed_s: The same by the monotonic clock, seconds.
        members: Other members of the item (docs/wire-format.md), units in their names.
        gateway_id: The receiver, if it is not the agent's own gateway.
    """

    tag: str
    at: datetime
    elapsed_s: float
    members: dict[str, Any] = field(default_factory=dict)
    gateway_id: str | None = None


class Ear(Protocol):
    """Takes what inputs hear."""

    def hear(self, heard: Sequence[Advert | Reading]) -> None:
        """Take a batch; MUST NOT block and MUST NOT raise for any content."""
        ...


class Input(Protocol):
    """A source of adverts and readings: a radio, a reader, a local broker, a file."""

    name: str

    async def run(self, ear: Ear) -> None:
        """Hear until cancelled; reconnects by itself, with a back-off.

        Raises:
            AgentError: it can never work as configured; the text says what to do.
        """
        ...
