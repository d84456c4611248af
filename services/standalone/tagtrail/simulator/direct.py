"""The log that a perfect ingest would write of a run, without servers: for tests of cores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.world import World
from tagtrail_ingest.adapters.contract import (
    GatewayFact,
    Message,
    Reading,
    event_id_of,
    to_event,
)
from tagtrail_ingest.adapters.routing import adapter_for_topic
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, open_body, seal
from tagtrail_kernel.errors import RejectedError


class DirectLog:
    """Turns a world's stream into recorded events, each identity once.

    Args:
        world: A world whose stream was not read yet.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tags = {f"mac:{a.mac}": a.tag_id for run in world.sites for a in run.plan.assets}
        self._known: set[UUID] = set()
        self._seen_at: dict[bytes, datetime] = {}
        self._position = 0

    def events(self) -> Iterator[Recorded]:
        """Yield the registrations, then what arrives, in order of arrival; may be read once.

        `recorded_at` is the simulated time of arrival, positions are dense from 1.

        Raises:
            RejectedError: a message cannot be read; that is a fault of the simulator.
        """
        start = self._world.scenario.start_at
        for fact in self._world.registrations():
            yield from self._record(fact, start)
        for t in self._world.stream():
            arrived = start + timedelta(seconds=t.deliver_s)
            for envelope in self._read(t, arrived):
                yield from self._record(envelope, arrived)

    def _record(self, fact: Envelope, at: datetime) -> Iterator[Recorded]:
        if fact.id not in self._known:
            self._known.add(fact.id)
            self._position += 1
            sealed = seal(fact)
            yield Recorded(self._position, at, fact.id, fact.subject, sealed.type, sealed.body)

    def _read(self, t: Transmission, arrived: datetime) -> Iterator[Envelope]:
        if t.kind == "fact":
            yield open_body(t.payload)
            return
        adapter = adapter_for_topic(t.topic)
        if adapter is None:
            raise RejectedError(f"no format reads the topic {t.topic}")
        said = adapter.decode(Message(payload=t.payload, topic=t.topic, received_at=arrived))
        source = f"ingest/{adapter.name}"
        for reading in said.readings:
            tag_id = next(self._tags[i] for i in reading.identities if i in self._tags)
            if not self._repeated(reading, arrived):
                yield Envelope(
                    id=_id_of(reading, t, arrived), subject=tag_id, source=source,
                    occurred_at=reading.occurred_at, time_quality=reading.time_quality,
                    data=to_event(reading, tag_id),
                )  # fmt: skip
        for fact in said.gateway_facts:
            yield Envelope(
                id=_id_of(fact, t, arrived), subject=fact.event.gateway_id, source=source,
                occurred_at=fact.occurred_at, time_quality=fact.time_quality, data=fact.event,
            )  # fmt: skip

    def _repeated(self, reading: Reading, arrived: datetime) -> bool:
        """Tell whether this is one of the exact doubles that some formats send."""
        if not reading.repeat_window_s:
            return False
        before = self._seen_at.get(reading.dedupe)
        self._seen_at[reading.dedupe] = arrived
        return before is not None and (arrived - before).total_seconds() <= reading.repeat_window_s


def _id_of(item: Reading | GatewayFact, t: Transmission, arrived: datetime) -> UUID:
    if item.event_id is not None or item.has_own_time:
        return event_id_of(item)
    return uuid8(arrived, b"%d/%d/" % (t.serial, item.index) + item.dedupe)
