"""What is sent, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["slack", "webhook"]
"""What a channel speaks: cards for people in a chat, or letters for programs."""

Result = Literal["delivered", "rate_limited", "retry", "permanent", "ambiguous"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try to send a message.

    Attributes:
        result: delivered; rate_limited (come back after `after_s`); retry (it certainly did not
            arrive, or the channel says to try again); permanent (it never will); ambiguous (it
            was sent and nobody answered: it may have arrived).
        reason: Short words for people; never the address, never what a stranger's server said.
        after_s: Least wait, seconds, where the channel named one.
        disables: Whether the channel says that it is gone for good.
    """

    result: Result
    reason: str
    after_s: float | None = None
    disables: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """One message for a program.

    Attributes:
        webhook_id: Identity; every repetition has the same one.
        body: JSON, byte for byte as it is signed and sent.
    """

    webhook_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer.

    Attributes:
        status: Status code.
        body: First bytes of the body, at most 4096.
        retry_after: Header of that name.
    """

    status: int
    body: bytes
    retry_after: str | None = None
