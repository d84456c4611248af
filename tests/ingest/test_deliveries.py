"""What counts once: redeliveries, unclear commits, and what waited over a broken connection."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.serving import prepared, settings_for

from tagtrail_ingest.adapters import Router
from tagtrail_ingest.deliveries import Deliveries
from tagtrail_ingest.mqtt import Delivery, MqttSession, client_of
from tagtrail_ingest.service import Ingest
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.bootstrap import deps_of
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered
from tagtrail_kernel.log import Appended
from tagtrail_kernel.wiring import Deps

WATCH = TagRegistered(tag_id="watch", identities=("espresense:watch:darrell",))
OPEN = ConfigChanged(section="enrolment", values={"mode": "open"})


@contextlib.asynccontextmanager
async def deliveries_on(deps: Deps, log_id: int) -> AsyncIterator[Deliveries]:
    ingest = Ingest(deps, IngestSettings())
    for resource in deps.resources:
        await resource.open()
    try:
        await ingest.load_directories()
        yield Deliveries(
            log_id=log_id, router=Router(), intake=ingest.intake, quarantine=ingest.quarantine,
            event_log=deps.log, window_s=60,
        )  # fmt: skip
    finally:
        for resource in reversed(deps.resources):
            await resource.close()


def delivery(rssi: int, mid: int, *, connection: int = 1, **flags: bool) -> Delivery:
    return Delivery(
        topic="espresense/devices/watch:darrell/office",
        payload=json.dumps({"id": "watch:darrell", "rssi": rssi}).encode(),
        retained=False, dup=flags.get("dup", False), early=flags.get("early", False),
        received_at=SystemClock().now(), mid=mid, qos=1, connection=connection,
    )  # fmt: skip


class SilentLog(PostgresLog):
    """A log whose first answer is lost after the commit."""

    silent = True

    async def append(self, *args: Any, **kwargs: Any) -> Appended:
        appended = await super().append(*args, **kwargs)
        if self.silent:
            self.silent = False
            raise UnavailableError("the connection broke after the commit")
        return appended


async def test_a_commit_whose_answer_was_lost_counts_once(database_url: str) -> None:
    log_id, _ = await prepared(database_url, facts=[WATCH])
    deps = deps_of(settings_for(database_url))
    pool = LogPool(database_url)
    deps.resources.append(pool)
    deps = replace(deps, log=SilentLog(pool))
    async with deliveries_on(deps, log_id) as deliveries:
        before = (await deps.log.head(log_id)).position
        group = [delivery(-60, 1), delivery(-61, 2)]
        with pytest.raises(UnavailableError):
            await deliveries.take(group)
        await deliveries.take([*group, delivery(-60, 3)])
        after = (await deps.log.head(log_id)).position

    assert after - before == 3


class FailingLog(PostgresLog):
    """A log that is gone from its second append on, until it comes back."""

    left = 1

    async def append(self, *args: Any, **kwargs: Any) -> Appended:
        if self.left == 0:
            raise UnavailableError("gone")
        self.left -= 1
        return await super().append(*args, **kwargs)


async def test_messages_that_fill_several_batches_count_once_when_a_kill_comes_between(
    database_url: str,
) -> None:
    log_id, _ = await prepared(database_url, facts=[OPEN])
    deps = deps_of(settings_for(database_url))
    pool = LogPool(database_url)
    deps.resources.append(pool)
    log = FailingLog(pool)
    deps = replace(deps, log=log)

    def batch(number: int, *, early: bool = False) -> Delivery:
        items = [{"tag": "mac:001122334455", "rssi_dbm": -number - i / 1000} for i in range(300)]
        return Delivery(
            topic="tagtrail/v1/s/g/sightings", payload=json.dumps({"sightings": items}).encode(),
            retained=False, dup=False, early=early, received_at=SystemClock().now(),
            mid=number, qos=1, connection=1,
        )  # fmt: skip

    async with deliveries_on(deps, log_id) as deliveries:
        before = (await log.head(log_id)).position
        with pytest.raises(UnavailableError):
            await deliveries.take([batch(n) for n in range(1, 8)])
        committed = (await log.head(log_id)).position - before
    async with deliveries_on(deps_of(settings_for(database_url)), log_id) as restarted:
        await restarted.take([batch(n, early=True) for n in range(1, 8)])
    await pool.open()
    after = (await log.head(log_id)).position
    await pool.close()

    assert committed == 900, "whole messages only"
    assert after - before == 7 * 300


async def test_what_waited_over_a_broken_connection_is_handed_over_before_its_copies() -> None:
    groups: list[list[int]] = []

    async def handle(group: Sequence[Delivery]) -> None:
        groups.append([d.mid for d in group])

    session = MqttSession(
        "mqtt://127.0.0.1", client_id="x", filters=["#"], handle=handle, clock=SystemClock(),
        queue_bytes=1000,
    )  # fmt: skip
    client = client_of("mqtt://127.0.0.1", "x")
    session._queue.extend(
        [delivery(-60, 7), delivery(-61, 8), delivery(-60, 1, connection=2, early=True)]
    )
    session._wake.set()
    await session._work(client)

    assert groups == [[7, 8], [1]]


async def test_a_redelivered_message_is_acknowledged_but_not_counted_again(
    database_url: str,
) -> None:
    log_id, _ = await prepared(database_url, facts=[WATCH])
    deps = deps_of(settings_for(database_url))
    async with deliveries_on(deps, log_id) as deliveries:

        async def appended_by(*group: Delivery) -> int:
            before = (await deps.log.head(log_id)).position
            await deliveries.take(group)
            return (await deps.log.head(log_id)).position - before

        equal_bytes = await appended_by(delivery(-60, 1), delivery(-61, 2), delivery(-60, 3))
        same_packet = await appended_by(delivery(-60, 3, dup=True))
        held_back = await appended_by(delivery(-60, 4, dup=True), delivery(-62, 5, dup=True))
        twice_in_one = await appended_by(delivery(-63, 6), delivery(-63, 6, dup=True))
        after_reconnect = await appended_by(
            delivery(-61, 1, connection=2, early=True), delivery(-62, 2, connection=2, dup=True)
        )
        resent = await appended_by(
            delivery(-61, 3, connection=2, early=True),
            delivery(-64, 4, connection=2, early=True),
            delivery(-64, 5, connection=2, early=True),
        )
        news = await appended_by(delivery(-61, 6, connection=2), delivery(-64, 7, connection=2))

    assert equal_bytes == 3, "equal bytes are no repetition"
    assert same_packet == 0, "flagged, and the packet id of a committed message"
    assert held_back == 2, "flagged, but a first delivery that the broker had held back"
    assert twice_in_one == 1, "the copy came before the first one was committed"
    assert after_reconnect == 0, "committed over the last connection; one copy lost its flag"
    assert resent == 1, "a publisher repeats what the broker took before it crashed"
    assert news == 2, "later the same bytes once more are news"
