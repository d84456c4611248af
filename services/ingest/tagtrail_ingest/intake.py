"""From decoded messages to facts in the log, with one verdict per item."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from tagtrail_ingest.adapters import (
    Adapter,
    Decoded,
    GatewayFact,
    Message,
    Reading,
    event_id_of,
    to_event,
)
from tagtrail_ingest.appender import Appender
from tagtrail_ingest.directory import Directory
from tagtrail_ingest.sources.policy import FOREIGN, Refused
from tagtrail_ingest.sources.sections import check_settings
from tagtrail_ingest.sources.taking import taken
from tagtrail_ingest.tallies import Tallies
from tagtrail_kernel.clock import Clock, Ids, uuid8
from tagtrail_kernel.envelope import Envelope, Sealed, seal, seal_all
from tagtrail_kernel.errors import ConflictError, DomainError, ForbiddenError
from tagtrail_kernel.events.registry import Family
from tagtrail_kernel.log import Appended, EventLog

log = logging.getLogger(__name__)

MOST_REPEATS: Final = 20_000
"""Remembered contents of formats that send exact doubles."""

MOST_IGNORED: Final = 50
"""Topics without a rule that are remembered for `GET /v1/ingest/stats`."""

_OWN_OUTPUT: Final = re.compile(
    r"tagtrail/v1/[^/]*/events/|tagtrail/v1/[^/]*/[^/]*/(confirmed|config)$|_INBOX/"
)
"""What we publish ourselves, and nats-server's answers to NATS clients."""

Status = Literal["accepted", "duplicate", "unenrolled", "rejected", "repeated"]


class Verdict(msgspec.Struct, omit_defaults=True, gc=False):
    """What became of one item of a message.

    Attributes:
        index: Its place in the message, from 0.
        status: `accepted`; `duplicate` (its id was in the log); `repeated` (the format sent it
            twice); `unenrolled` (no tag has this identity: enrol it, or open enrolment);
            `rejected` (with reason and detail).
        event_id: Its event.
        position: Position of that event.
        reason: Stable code of a rejection.
        detail: One sentence.
    """

    index: int
    status: Status
    event_id: UUID | None = None
    position: int | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Prepared:
    """A message that is ready to be appended.

    Attributes:
        log_id: Tenant.
        adapter: Format.
        at: When it was received.
        facts: Facts to append, in order.
        verdicts: One per item; those of `facts` are completed by `settle`.
        of_fact: Index into `verdicts` for each fact.
        needs_receipt: Whether some fact's id does not come from the message, so that only a
            receipt tells a redelivery.
        batch_id: What its sender calls the message.
    """

    log_id: int
    adapter: str
    at: datetime
    facts: list[Sealed] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    of_fact: list[int] = field(default_factory=list)
    needs_receipt: bool = False
    batch_id: str | None = None

    def settle(self, appended: Appended) -> None:
        """Complete the verdicts with what the append said."""
        for i, index in enumerate(self.of_fact):
            verdict = self.verdicts[index]
            verdict.position = appended.positions[i]
            if i in appended.duplicates:
                verdict.status = "duplicate"


def message_hash(topic: str, payload: bytes) -> bytes:
    """Return what a broker message is known by within the redelivery window, 32 bytes."""
    return hashlib.sha256(topic.encode("utf-8", "surrogatepass") + b"\x00" + payload).digest()


class Intake:
    """Turns messages into facts for the tenants of this process."""

    def __init__(
        self, event_log: EventLog, appender: Appender, tallies: Tallies, clock: Clock, ids: Ids
    ) -> None:
        self._log = event_log
        self._appender = appender
        self._tallies = tallies
        self._clock = clock
        self._ids = ids
        self._directories: dict[int, Directory] = {}
        self._repeats: OrderedDict[bytes, datetime] = OrderedDict()
        self._states: dict[tuple[int | str, ...], bytes] = {}
        self._ignored: OrderedDict[str, datetime] = OrderedDict()

    def directory(self, log_id: int) -> Directory:
        """Return the registry of a tenant."""
        found = self._directories.get(log_id)
        if found is None:
            found = self._directories[log_id] = Directory(log_id)
        return found

    def prepare(
        self,
        log_id: int,
        adapter: Adapter,
        message: Message,
        *,
        key: tuple[datetime, str] | None = None,
        only_gateway: str | None = None,
    ) -> Prepared:
        """Decode a message, resolve its tags and seal its facts.

        Args:
            log_id: Tenant.
            adapter: What reads it.
            message: The message.
            key: (first use, Idempotency-Key): ids are derived from it where the message has none.
            only_gateway: The gateway that the sender's key is bound to.

        Raises:
            UnreadableError: the message belongs in quarantine.
            ConflictError: there is no retention rule for radio facts yet.
            ForbiddenError: the message speaks for another gateway than the key's.
        """
        directory = self.directory(log_id)
        decoded, off = taken(adapter, message, directory.sources)
        prepared = Prepared(log_id, adapter.name, message.received_at, batch_id=decoded.batch_id)
        for index, refused in off:
            _reject(prepared, index, refused)
        if decoded.readings and "radio" not in directory.retention:
            raise ConflictError(
                'no sighting is accepted before a retention rule for the class "radio" exists; '
                "set one with POST /v1/retention",
                reason="retention-missing",
            )
        _check_gateway(decoded, only_gateway)
        self._add_facts(prepared, directory, decoded, key)
        prepared.verdicts += [
            Verdict(r.index, "rejected", reason=r.reason, detail=r.detail or None)
            for r in decoded.refused
        ]
        return prepared

    def _add_facts(
        self,
        prepared: Prepared,
        directory: Directory,
        decoded: Decoded,
        key: tuple[datetime, str] | None,
    ) -> None:
        source = f"ingest/{prepared.adapter}"
        for reading in decoded.readings:
            tag_id = reading.tag_id or directory.resolve(reading.identities)
            if tag_id is None or (reading.tag_id and not directory.knows(reading.tag_id)):
                self._note_unenrolled(prepared, directory, reading)
            elif refused := directory.refused(reading.draft, tag_id):
                _reject(prepared, reading.index, refused)
            elif reading.needs_known_gateway and not directory.has_gateway(
                reading.draft.gateway_id
            ):
                prepared.verdicts.append(
                    Verdict(reading.index, "rejected", reason="unknown_gateway")
                )
            elif reading.repeat_window_s and self._repeated(reading, prepared.at):
                prepared.verdicts.append(Verdict(reading.index, "repeated"))
            else:
                event_id = self._id_of(prepared, reading, key)
                _add(prepared, reading, event_id, source, tag_id)
        for fact in decoded.gateway_facts:
            if fact.event.retained and self._same_state(prepared.log_id, fact):
                prepared.verdicts.append(Verdict(fact.index, "repeated"))
            else:
                event_id = self._id_of(prepared, fact, key)
                _add(prepared, fact, event_id, source, fact.event.gateway_id)

    def _id_of(
        self,
        prepared: Prepared,
        item: Reading | GatewayFact,
        key: tuple[datetime, str] | None,
    ) -> UUID:
        if item.event_id is not None or item.has_own_time:
            return event_id_of(item)
        if key is not None:
            return uuid8(key[0], f"{key[1]}\x00{item.index}".encode() + item.dedupe)
        prepared.needs_receipt = True
        return self._ids.new()

    def _note_unenrolled(self, prepared: Prepared, directory: Directory, reading: Reading) -> None:
        if reading.identities and reading.draft.source_class not in FOREIGN:
            rssi_dbm = getattr(reading.draft, "rssi_dbm", None)
            directory.remember(
                reading.identities[0], reading.draft.gateway_id, rssi_dbm, prepared.at
            )
        prepared.verdicts.append(Verdict(reading.index, "unenrolled"))

    def _repeated(self, reading: Reading, at: datetime) -> bool:
        before = self._repeats.pop(reading.dedupe, None)
        self._repeats[reading.dedupe] = at
        if len(self._repeats) > MOST_REPEATS:
            self._repeats.popitem(last=False)
        return before is not None and (at - before).total_seconds() <= reading.repeat_window_s

    def _same_state(self, log_id: int, fact: GatewayFact) -> bool:
        event = fact.event
        slot = (log_id, event.gateway_id, event.kind, *sorted(event.values or ()))
        content = msgspec.json.encode((event.online, event.values))
        same = self._states.get(slot) == content
        self._states[slot] = content
        return same

    async def commit(self, prepared: Sequence[Prepared], receipts: Sequence[bytes] = ()) -> None:
        """Append prepared messages of one tenant together, complete and count their verdicts.

        Raises:
            UnavailableError: nothing is known to be appended; send the messages again.
        """
        facts = [f for p in prepared for f in p.facts]
        if facts or receipts:
            appended = await self._appender.append(prepared[0].log_id, facts, receipts)
            start = 0
            for message in prepared:
                end = start + len(message.facts)
                message.settle(
                    Appended(
                        appended.positions[start:end],
                        frozenset(d - start for d in appended.duplicates if start <= d < end),
                        appended.last,
                        appended.recorded_at,
                    )
                )
                start = end
        for message in prepared:
            self._count(message)

    def _count(self, message: Prepared) -> None:
        log_id, at, adapter = message.log_id, message.at, message.adapter
        self._tallies.add(log_id, at, adapter, "message.accepted")
        outcomes: dict[str, int] = {}
        for verdict in message.verdicts:
            outcome = _OUTCOMES.get(verdict.status) or f"dropped.{verdict.reason}"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        for outcome, count in outcomes.items():
            self._tallies.add(log_id, at, adapter, outcome, count)

    def ignore(self, log_id: int, topic: str, at: datetime) -> None:
        """Count a message on a topic that no rule names; its topic is remembered for people."""
        if not _OWN_OUTPUT.match(topic):
            self._ignored.pop(topic, None)
            self._ignored[topic] = at
            if len(self._ignored) > MOST_IGNORED:
                self._ignored.popitem(last=False)
            self._tallies.add(log_id, at, "none", "message.ignored")

    def ignored_topics(self) -> list[str]:
        """Return topics that no rule names, most recent first."""
        return list(self._ignored)[::-1]

    def refuse(self, log_id: int, adapter: str | None, at: datetime, outcome: str) -> None:
        """Count a message that gave nothing."""
        self._tallies.add(log_id, at, adapter or "none", outcome)

    async def append_facts(self, log_id: int, envelopes: Iterable[Envelope]) -> Appended:
        """Append business facts; what they register holds for the next message of this process."""
        envelopes = list(envelopes)
        check_settings(envelopes)
        facts = seal_all(envelopes)
        appended = await self._appender.append(log_id, facts)
        if any(fact.family & Family.REGISTRY for fact in facts):
            await self.catch_up(self.directory(log_id))
        return appended

    async def catch_up(self, directory: Directory) -> None:
        """Fold what the log says about the registry up to its end.

        Raises:
            UnavailableError: the log is out of reach.
        """
        while True:
            page = await self._log.read(
                directory.log_id, after=directory.position, limit=5000, families=Family.REGISTRY
            )
            if page is None:
                return
            directory.fold(page.events, page.last)


_OUTCOMES: Final = {
    "accepted": "event.appended",
    "duplicate": "event.duplicate",
    "unenrolled": "dropped.unenrolled",
    "repeated": "dropped.repeated",
}


def _reject(prepared: Prepared, index: int, refused: Refused) -> None:
    prepared.verdicts.append(
        Verdict(index, "rejected", reason=refused.reason, detail=refused.detail)
    )


def _check_gateway(decoded: Decoded, only_gateway: str | None) -> None:
    if only_gateway is None:
        return
    named = {r.draft.gateway_id for r in decoded.readings}
    named |= {f.event.gateway_id for f in decoded.gateway_facts}
    foreign = sorted(named - {only_gateway})
    if foreign:
        raise ForbiddenError(
            f"this key is for the gateway {only_gateway!r}, the message is from {foreign[0]!r}"
        )


def _add(
    prepared: Prepared, item: Reading | GatewayFact, event_id: UUID, source: str, subject: str
) -> None:
    """Seal one item; content that cannot be stored is rejected and changes nothing else."""
    try:
        if "\x00" in subject:
            raise ValueError("an id holds a NUL character")
        fact = seal(
            Envelope(
                id=event_id,
                subject=subject,
                source=source,
                occurred_at=item.occurred_at,
                time_quality=item.time_quality,
                data=to_event(item, subject) if isinstance(item, Reading) else item.event,
            )
        )
    except (DomainError, ValueError) as error:
        detail = error.detail if isinstance(error, DomainError) else str(error)
        prepared.verdicts.append(
            Verdict(item.index, "rejected", reason="unstorable", detail=detail[:300])
        )
        return
    prepared.of_fact.append(len(prepared.verdicts))
    prepared.verdicts.append(Verdict(item.index, "accepted", event_id=event_id))
    prepared.facts.append(fact)
