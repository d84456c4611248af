"""Until when messages of a connection may be copies of what came before it.

Who sends what again, and when (all at QoS 1 with a persistent session):

- Every broker sends what is unacknowledged right after the connect, in order, and flags it (MQTT
  3.1.1, 4.4). How long that takes depends on how much it is and how fast it is taken.
- A broker that was killed has forgotten the newest acknowledgements, and that it had delivered
  these messages at all: nats-server goes back to what it had last written, Mosquitto to its last
  save. The copies lack the flag and come under new packet ids, before everything newer.
- A publisher repeats what the broker had taken without telling it once it is connected again; most
  try every second to every ten. To the broker that is a new message, and it comes after all that
  the broker still held.

So time alone ends neither: while copies keep coming, or more waits than one batch holds, it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tagtrail_ingest.mqtt import MOST_AT_ONCE, Delivery

DOUBTED_S: Final = 15.0
"""Messages are doubted for so long after the connect, after the last copy, and after the last time
that more of them waited than one batch holds, seconds: the rounds of nats-server (`ack_wait`) are
5 s, and the first tries of publishers come within 10 s."""

KEPT_S: Final = 3600.0
"""Receipts are kept for an hour (tagtrail_kernel.adapters.log_keeper), seconds."""


@dataclass(slots=True)
class Doubt:
    """What is doubted on one connection; times are seconds since its connect.

    Attributes:
        copied_until_s: Until then a message may be one that came before this connection.
        resent_until_s: Until then equal bytes may be a publisher's repeat of what came over this
            very connection. Copies do not prolong it: where contents are few, such as whole dBm,
            equal bytes are news as a rule, and there would be no end of it.
    """

    copied_until_s: float = DOUBTED_S
    resent_until_s: float = DOUBTED_S

    def covers(self, delivery: Delivery) -> bool:
        """Tell whether a message may be a copy of one that came before this connection."""
        return delivery.dup or delivery.since_connect_s < self.copied_until_s

    def covers_resent(self, delivery: Delivery) -> bool:
        """Tell whether a message may be a publisher's repeat.

        Not on the first connection of a process: the broker did not go away then.
        """
        return delivery.connection > 1 and delivery.since_connect_s < self.resent_until_s

    def found_copy(self, delivery: Delivery) -> None:
        """A message was a copy of one from before this connection: more may follow."""
        self.copied_until_s = max(self.copied_until_s, delivery.since_connect_s + DOUBTED_S)

    def note_backlog(self, deliveries: Sequence[Delivery]) -> None:
        """Go on while more waits than is taken at once: copies may stand behind it."""
        newest_s = deliveries[-1].since_connect_s
        if len(deliveries) < MOST_AT_ONCE:
            return
        if newest_s < self.copied_until_s:
            self.copied_until_s = newest_s + DOUBTED_S
        if newest_s < self.resent_until_s:
            self.resent_until_s = newest_s + DOUBTED_S

    def looks_back_s(self, delivery: Delivery, window_s: float) -> float:
        """Return how old the receipt of a copy may be, seconds.

        While messages are doubted, the window counts from the moment at which the connection before
        broke. When that was is not known on the first connection of a process: all receipts count.
        """
        if delivery.since_connect_s >= self.copied_until_s:
            return window_s
        if delivery.outage_s is None:
            return max(window_s, KEPT_S)
        return window_s + delivery.outage_s + self.copied_until_s
