"""What happens to messages from the broker: redeliveries out, unreadable ones aside, facts in."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tagtrail_ingest.adapters import Adapter, Message, Router, UnreadableError
from tagtrail_ingest.confirmations import Answers, settled
from tagtrail_ingest.doubt import Doubt
from tagtrail_ingest.intake import Intake, Prepared, message_hash
from tagtrail_ingest.mqtt import Delivery
from tagtrail_ingest.quarantine import Quarantine, Unread
from tagtrail_kernel.errors import DomainError, UnavailableError
from tagtrail_kernel.log import MAX_BATCH, EventLog

log = logging.getLogger(__name__)

Publish = Callable[[str, bytes], None]
"""Publishes a body on a topic, QoS 0; never waits."""

MOST_REMEMBERED: Final = 100_000
"""Messages of this connection that are remembered: more than the broker lets be unacknowledged
many times over, about 10 MB."""


@dataclass(frozen=True, slots=True)
class _Ready:
    delivery: Delivery
    message: Message
    adapter: Adapter
    prepared: Prepared
    receipts: tuple[bytes, ...]


@dataclass(slots=True)
class _Group:
    ready: list[_Ready] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)


class Deliveries:
    """Handles deliveries of one tenant's broker.

    A message whose facts carry their own ids or times may come as often as it likes, and so may,
    within the window, a batch with a `batch_id`: equal bytes are the same batch. Of others, within
    one connection a redelivery has the packet id of its first copy. Across connections a receipt
    (hash of topic and bytes, committed together with the facts) tells it: a flagged message, or
    one within the time of `Doubt`, that finds a receipt from before this connection is the same
    message. Both are only acknowledged. The DUP flag alone says nothing: nats-server also sets it
    on a first delivery that it had held back because too many were unacknowledged.

    When the broker came back after a crash, publishers repeat what it had taken without telling
    them, and such a copy is a message of its own to the broker. So after a reconnect, again within
    the time of `Doubt`, equal bytes on the same topic count once, whether they are settled or not.
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
        publish: Publish | None = None,
    ) -> None:
        self._log_id = log_id
        self._publish = publish
        self._router = router
        self._intake = intake
        self._quarantine = quarantine
        self._log = event_log
        self._window_s = window_s
        self._connection = 0
        self._doubt = Doubt()
        self._by_packet_id: dict[int, bytes] = {}
        self._of_this_connection: OrderedDict[bytes, None] = OrderedDict()
        self._unclear: dict[int, _Ready] = {}

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Make deliveries durable; when this returns they may be acknowledged.

        Raises:
            UnavailableError: nothing is confirmed; hand them over again.
        """
        if deliveries[0].connection != self._connection:
            self._connection = deliveries[0].connection
            self._doubt = Doubt()
            self._by_packet_id.clear()
            self._of_this_connection.clear()
        digests = [message_hash(d.topic, d.payload) for d in deliveries]
        group = _Group()
        for delivery, digest in await self._first_copies(group, deliveries, digests):
            self._prepare(group, delivery, digest)
        await self._drop_named_repeats(group)
        await self._quarantine.keep(self._log_id, group.unread)
        for unread in group.unread:
            self._intake.refuse(
                self._log_id, unread.adapter, unread.message.received_at, "message.quarantined"
            )
        await self._commit(group)
        self._remember(deliveries, digests)
        if self._publish is not None:
            for topic, body in group.answers.encoded():
                self._publish(topic, body)

    def _remember(self, deliveries: Sequence[Delivery], digests: Sequence[bytes]) -> None:
        """Note what is durable now; earlier it would hide a message whose commit failed."""
        self._by_packet_id.update(
            (d.mid, h) for d, h in zip(deliveries, digests, strict=True) if d.qos
        )
        self._of_this_connection.update(dict.fromkeys(digests))
        while len(self._of_this_connection) > MOST_REMEMBERED:
            self._of_this_connection.popitem(last=False)

    async def _first_copies(
        self, group: _Group, deliveries: Sequence[Delivery], digests: Sequence[bytes]
    ) -> list[tuple[Delivery, bytes]]:
        doubt = self._doubt
        doubt.note_backlog(deliveries)
        settled = await self._settled_of(deliveries, digests)
        before = settled - self._of_this_connection.keys()
        in_group: dict[int, bytes] = {}
        first: list[tuple[Delivery, bytes]] = []
        for delivery, digest in zip(deliveries, digests, strict=True):
            mid = delivery.mid
            same_packet = digest in (self._by_packet_id.get(mid), in_group.get(mid))
            copied = digest in before and doubt.covers(delivery)
            resent = doubt.covers_resent(delivery)
            if copied:
                doubt.found_copy(delivery)
            if copied or (delivery.dup and same_packet) or (resent and digest in settled):
                self._refuse_repeated(group, delivery)
            else:
                first.append((delivery, digest))
            before.discard(digest)
            if delivery.qos:
                in_group[mid] = digest
            if resent:
                settled.add(digest)
        return first

    async def _settled_of(
        self, deliveries: Sequence[Delivery], digests: Sequence[bytes]
    ) -> set[bytes]:
        """Return which messages are settled, if any may be a copy: one copy puts all in doubt."""
        doubt, newest = self._doubt, deliveries[-1]
        if not any(doubt.covers(d) or doubt.covers_resent(d) for d in deliveries):
            return set()
        back_s = doubt.looks_back_s(newest, self._window_s)
        return await self._log.settled(self._log_id, list(set(digests)), within_s=back_s)

    def _refuse_repeated(self, group: _Group, delivery: Delivery) -> None:
        self._intake.refuse(self._log_id, "mqtt", delivery.received_at, "message.redelivered")
        group.answers.add_repeated(delivery.topic, delivery.payload, delivery.received_at)

    async def _drop_named_repeats(self, group: _Group) -> None:
        """Refuse batches whose own id says that they are settled, whenever they come again."""
        named = {h for r in group.ready if r.prepared.batch_id is not None for h in r.receipts}
        if not named:
            return
        known = await self._log.settled(self._log_id, list(named), within_s=self._window_s)
        ready: list[_Ready] = []
        for one in group.ready:
            receipts = named.intersection(one.receipts)
            if receipts & known:
                self._refuse_repeated(group, one.delivery)
            else:
                ready.append(one)
            known |= receipts
        group.ready = ready

    def _prepare(self, group: _Group, delivery: Delivery, digest: bytes) -> None:
        unclear = self._unclear.get(id(delivery))
        if unclear is not None:
            group.ready.append(unclear)
            return
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
            self._put_aside(group, Unread(message, match.adapter.name, error.code, error.detail))
        except DomainError as error:
            reason = str(error.context.get("reason", error.code))
            self._put_aside(group, Unread(message, match.adapter.name, reason, error.detail))
        else:
            receipts = (digest,) if prepared.needs_receipt else ()
            group.ready.append(_Ready(delivery, message, match.adapter, prepared, receipts))

    @staticmethod
    def _put_aside(group: _Group, unread: Unread) -> None:
        message = unread.message
        group.unread.append(unread)
        group.answers.add_unread(
            message.topic or "", message.payload, message.received_at, unread.reason
        )

    async def _commit(self, group: _Group) -> None:
        """Append; what remains unclear keeps its facts, so that their ids tell at the next try."""
        try:
            for part in _in_batches(group.ready):
                await self._commit_together(group, part)
        except UnavailableError:
            self._unclear = {id(r.delivery): r for r in group.ready}
            raise
        self._unclear = {}

    async def _commit_together(self, group: _Group, ready: Sequence[_Ready]) -> None:
        try:
            await self._intake.commit(
                [r.prepared for r in ready], [h for r in ready for h in r.receipts]
            )
        except UnavailableError:
            raise
        except DomainError as error:
            log.warning("mqtt.group_refused", extra={"cause": error.detail})
            for one in ready:
                await self._commit_alone(group, one)
        else:
            for one in ready:
                group.answers.add(one.delivery.topic, settled(one.prepared))

    async def _commit_alone(self, group: _Group, ready: _Ready) -> None:
        try:
            await self._intake.commit([ready.prepared], ready.receipts)
        except UnavailableError:
            raise
        except DomainError as error:
            name = ready.adapter.name
            unread = Unread(ready.message, name, "unstorable", error.detail)
            await self._quarantine.keep(self._log_id, [unread])
            self._intake.refuse(
                self._log_id, name, ready.message.received_at, "message.quarantined"
            )
            group.answers.add_unread(
                ready.delivery.topic,
                ready.message.payload,
                ready.message.received_at,
                unread.reason,
            )
        else:
            group.answers.add(ready.delivery.topic, settled(ready.prepared))


def _in_batches(ready: Sequence[_Ready]) -> Iterator[list[_Ready]]:
    """Yield messages whose facts fit into one batch of the log together.

    A receipt must be committed with all facts of its message: if they were spread over two
    batches, and the second one failed, the redelivery would count the first one's again. Only a
    message that alone has more facts than a batch cannot be kept whole.
    """
    part: list[_Ready] = []
    size = 0
    for one in ready:
        if part and size + len(one.prepared.facts) > MAX_BATCH:
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.prepared.facts)
    if part:
        yield part
