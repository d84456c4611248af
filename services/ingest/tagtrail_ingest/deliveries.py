"""What happens to messages from the broker: redeliveries out, unreadable ones aside, facts in."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tagtrail_ingest.adapters import Adapter, Message, Router, UnreadableError
from tagtrail_ingest.intake import Intake, Prepared, message_hash
from tagtrail_ingest.mqtt import Delivery
from tagtrail_ingest.quarantine import Quarantine, Unread
from tagtrail_kernel.errors import DomainError, UnavailableError
from tagtrail_kernel.log import EventLog

log = logging.getLogger(__name__)

MOST_REMEMBERED: Final = 100_000
"""Messages of this connection that are remembered: more than the broker lets be unacknowledged
many times over, about 10 MB."""


@dataclass(slots=True)
class _Group:
    prepared: list[Prepared] = field(default_factory=list)
    messages: list[tuple[Message, Adapter]] = field(default_factory=list)
    receipts: list[bytes] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


class Deliveries:
    """Handles deliveries of one tenant's broker.

    A message whose facts carry their own ids may come as often as it likes. Of others, within one
    connection a redelivery has the packet id of its first copy. Across connections a receipt
    (hash of topic and bytes, committed together with the facts) tells it: a flagged or early
    message that finds a receipt from before this connection is the same message. Both are only
    acknowledged. The DUP flag alone says nothing: nats-server also sets it on a first delivery
    that it had held back because too many were unacknowledged.
    """

    def __init__(
        self,
        *,
        log_id: int,
        router: Router,
        intake: Intake,
        quarantine: Quarantine,
        event_log: EventLog,
        window_s: float,
    ) -> None:
        self._log_id = log_id
        self._router = router
        self._intake = intake
        self._quarantine = quarantine
        self._log = event_log
        self._window_s = window_s
        self._connection = 0
        self._by_packet_id: dict[int, bytes] = {}
        self._of_this_connection: OrderedDict[bytes, None] = OrderedDict()

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Make deliveries durable; when this returns they may be acknowledged.

        Raises:
            UnavailableError: nothing is confirmed; hand them over again.
        """
        if deliveries[0].connection != self._connection:
            self._connection = deliveries[0].connection
            self._by_packet_id.clear()
            self._of_this_connection.clear()
        digests = [message_hash(d.topic, d.payload) for d in deliveries]
        group = _Group()
        for delivery, digest in await self._first_copies(deliveries, digests):
            self._prepare(group, delivery, digest)
        await self._quarantine.keep(self._log_id, group.unread)
        for unread in group.unread:
            self._intake.refuse(
                self._log_id, unread.adapter, unread.message.received_at, "message.quarantined"
            )
        if group.prepared:
            await self._commit(group)
        self._remember(deliveries, digests)

    def _remember(self, deliveries: Sequence[Delivery], digests: Sequence[bytes]) -> None:
        """Note what is durable now; earlier it would hide a message whose commit failed."""
        self._by_packet_id.update(
            (d.mid, h) for d, h in zip(deliveries, digests, strict=True) if d.qos
        )
        self._of_this_connection.update(dict.fromkeys(digests))
        while len(self._of_this_connection) > MOST_REMEMBERED:
            self._of_this_connection.popitem(last=False)

    async def _first_copies(
        self, deliveries: Sequence[Delivery], digests: Sequence[bytes]
    ) -> list[tuple[Delivery, bytes]]:
        doubtful = list({h for d, h in zip(deliveries, digests, strict=True) if d.dup or d.early})
        settled = (
            await self._log.settled(self._log_id, doubtful, within_s=self._window_s)
            if doubtful
            else set()
        )
        settled -= self._of_this_connection.keys()
        in_group: dict[int, bytes] = {}
        first: list[tuple[Delivery, bytes]] = []
        for delivery, digest in zip(deliveries, digests, strict=True):
            mid = delivery.mid
            same_packet = digest in (self._by_packet_id.get(mid), in_group.get(mid))
            if (delivery.dup and same_packet) or (
                (delivery.dup or delivery.early) and digest in settled
            ):
                self._intake.refuse(
                    self._log_id, "mqtt", delivery.received_at, "message.redelivered"
                )
            else:
                first.append((delivery, digest))
            settled.discard(digest)
            if delivery.qos:
                in_group[mid] = digest
        return first

    def _prepare(self, group: _Group, delivery: Delivery, digest: bytes) -> None:
        match = self._router.for_topic(delivery.topic)
        message = Message(
            payload=delivery.payload,
            received_at=delivery.received_at,
            topic=delivery.topic,
            retained=delivery.retained,
            site_id=match.site_id if match else None,
        )
        if match is None:
            self._intake.ignore(self._log_id, delivery.topic, delivery.received_at)
            return
        try:
            prepared = self._intake.prepare(self._log_id, match.adapter, message)
        except UnreadableError as error:
            group.unread.append(Unread(message, match.adapter.name, error.code, error.detail))
        except DomainError as error:
            reason = str(error.context.get("reason", error.code))
            group.unread.append(Unread(message, match.adapter.name, reason, error.detail))
        else:
            group.prepared.append(prepared)
            group.messages.append((message, match.adapter))
            group.receipts.append(digest if prepared.needs_receipt else b"")

    async def _commit(self, group: _Group) -> None:
        try:
            await self._intake.commit(group.prepared, [r for r in group.receipts if r])
        except UnavailableError:
            raise
        except DomainError as error:
            log.warning("mqtt.group_refused", extra={"cause": error.detail})
            await self._commit_one_by_one(group)

    async def _commit_one_by_one(self, group: _Group) -> None:
        for prepared, receipt, (message, adapter) in zip(
            group.prepared, group.receipts, group.messages, strict=True
        ):
            try:
                await self._intake.commit([prepared], [receipt] if receipt else [])
            except UnavailableError:
                raise
            except DomainError as error:
                await self._quarantine.keep(
                    self._log_id, [Unread(message, adapter.name, "unstorable", error.detail)]
                )
                self._intake.refuse(
                    self._log_id, adapter.name, message.received_at, "message.quarantined"
                )
