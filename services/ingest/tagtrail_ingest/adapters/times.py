"""The four times of an observation, and which of them is the event time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from tagtrail_kernel.envelope import TimeQuality

EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)
"""Earlier times are clocks that were never set: no gateway here is older than Bluetooth LE."""
TOLERANCE: Final = timedelta(minutes=5)
"""How far ahead of ours a good clock may be; NTP keeps within a second, phones within a minute."""


class Times(NamedTuple):
    """The clocks that a message carries; None where it does not.

    Attributes:
        tag_time_at: The tag's own clock.
        gateway_received_at: When the gateway heard it.
        gateway_sent_at: When the gateway sent it on.
    """

    tag_time_at: datetime | None = None
    gateway_received_at: datetime | None = None
    gateway_sent_at: datetime | None = None


class Chosen(NamedTuple):
    """The event time.

    Attributes:
        at: Aware UTC.
        quality: Which clock.
        own: Whether it came with the message.
    """

    at: datetime
    quality: TimeQuality
    own: bool


NO_TIMES: Final = Times()


def plausible(at: datetime | None, received_at: datetime) -> bool:
    """Say whether a time may be an event's: from 2010 to 5 minutes after we received it."""
    return at is not None and EARLIEST <= at <= received_at + TOLERANCE


def choose(times: Times, received_at: datetime) -> Chosen:
    """Choose the event time: tag, else gateway receive, else gateway send, else ours.

    A time that is not plausible is passed over (its field keeps it). So is a tag time more than
    5 minutes after the gateway heard or sent the message: nobody hears the future.
    """
    tag, heard, sent = times
    by_gateway = next((t for t in (heard, sent) if plausible(t, received_at)), None)
    if tag is not None and plausible(tag, by_gateway or received_at):
        return Chosen(tag, "tag", own=True)
    if by_gateway is None:
        return Chosen(received_at, "server_receive", own=False)
    quality: TimeQuality = "gateway_receive" if by_gateway is heard else "gateway_send"
    return Chosen(by_gateway, quality, own=True)
