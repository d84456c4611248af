"""What counts once: redeliveries, unclear commits, and what waited over a broken connection."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.serving import prepared, settings_for

from tagtrail_ingest.adapters import Router
from tagtrail_ingest.deliveries import Deliveries
from tagtrail_ingest.mqtt import MOST_AT_ONCE, Delivery, MqttSession, client_of
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


async def appended(deps: Deps, log_id: int, deliveries: Deliveries, *group: Delivery) -> int:
    """Take a group; returns by how many facts the log grew."""
    before = (await deps.log.head(log_id)).position
    await deliveries.take(group)
    return (await deps.log.head(log_id)).position - before


LATE_S = 3600.0


def delivery(
    rssi: float, mid: int, *, connection: int = 1, dup: bool = False, early: bool = False,
    after_s: float = LATE_S, outage_s: float = 1.0,
) -> Delivery:  # fmt: skip
    return Delivery(
        topic="espresense/devices/watch:darrell/office",
        payload=json.dumps({"id": "watch:darrell", "rssi": rssi}).encode(),
        retained=False, dup=dup, since_connect_s=1.0 if early else after_s,
        outage_s=None if connection == 1 else outage_s,
        received_at=SystemClock().now(), mid=mid, qos=1, connection=connection,
    )  # fmt: skip


def batch_of(name: str | None, rssi: int, mid: int, **place: Any) -> Delivery:
    """Return a native batch whose item has neither an id nor a time."""
    body = {"batch_id": name, "sightings": [{"tag": "mac:001122334455", "rssi_dbm": rssi}]}
    return replace(
        delivery(0, mid, **place), topic="tagtrail/v1/s/g/sightings",
        payload=json.dumps({k: v for k, v in body.items() if v is not None}).encode(),
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
            retained=False, dup=False, since_connect_s=1.0 if early else LATE_S, outage_s=None,
            received_at=SystemClock().now(), mid=number, qos=1, connection=1,
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
        appended_by = functools.partial(appended, deps, log_id, deliveries)

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


async def test_copies_count_once_however_long_the_broker_takes_to_send_them(
    database_url: str,
) -> None:
    log_id, _ = await prepared(database_url, facts=[WATCH])
    deps = deps_of(settings_for(database_url))
    levels = [-60 - n / 10 for n in range(40)]
    async with deliveries_on(deps, log_id) as deliveries:
        await deliveries.take([delivery(level, n) for n, level in enumerate(levels, start=1)])
        before = (await deps.log.head(log_id)).position
        for n, level in enumerate(levels):
            copy = delivery(level, 100 + n, connection=2, after_s=8.0 * n)
            await deliveries.take([copy])
        copies = (await deps.log.head(log_id)).position - before
        later_s = 8.0 * len(levels) + 15.0
        await deliveries.take([delivery(-60.0, 200, connection=2, after_s=later_s)])
        news = (await deps.log.head(log_id)).position - before - copies

    assert copies == 0, "320 s of unflagged copies under new packet ids, one in 8 s"
    assert news == 1, "15 s after the last copy equal bytes are news again"


async def test_copies_behind_a_backlog_of_news_count_once(database_url: str) -> None:
    log_id, _ = await prepared(database_url, facts=[WATCH])
    deps = deps_of(settings_for(database_url))
    async with deliveries_on(deps, log_id) as deliveries:
        await deliveries.take([delivery(-60, 1)])
        before = (await deps.log.head(log_id)).position
        for part in range(4):
            news = range(MOST_AT_ONCE * part, MOST_AT_ONCE * (part + 1))
            await deliveries.take(
                [delivery(-30 - n / 100, n, connection=2, after_s=10.0 * part + 5.0) for n in news]
            )
        await deliveries.take(
            [
                delivery(-60, 9001, connection=2, after_s=45.0),
                delivery(-30.0, 9002, connection=2, after_s=46.0),
            ]
        )
        added = (await deps.log.head(log_id)).position - before

    assert added == 4 * MOST_AT_ONCE, "one was from before, the other a publisher's repeat"


async def test_the_window_counts_from_when_the_connection_broke(database_url: str) -> None:
    log_id, _ = await prepared(database_url, facts=[WATCH])
    deps = deps_of(settings_for(database_url))
    log = AgedLog(LogPool(database_url))
    deps = replace(deps, log=log)
    deps.resources.append(log.pool)
    async with deliveries_on(deps, log_id) as deliveries:
        log.looked_back_s.clear()
        await deliveries.take([delivery(-60, 1, connection=2, after_s=2.0, outage_s=600.0)])
        await deliveries.take([delivery(-61, 2, connection=2, after_s=16.0, outage_s=600.0)])
        await deliveries.take([delivery(-62, 3, connection=1, early=True)])

    assert log.looked_back_s == [60 + 600 + 15, 3600]


class AgedLog(PostgresLog):
    """A log that notes how far back it is asked for receipts."""

    def __init__(self, pool: LogPool) -> None:
        super().__init__(pool)
        self.pool = pool
        self.looked_back_s: list[float] = []

    async def settled(
        self, log_id: int, receipts: Sequence[bytes], *, within_s: float
    ) -> set[bytes]:
        self.looked_back_s.append(within_s)
        return await super().settled(log_id, receipts, within_s=within_s)


async def test_a_batch_that_has_a_name_counts_once_whenever_it_comes_again(
    database_url: str,
) -> None:
    log_id, _ = await prepared(database_url, facts=[OPEN])
    deps = deps_of(settings_for(database_url))
    async with deliveries_on(deps, log_id) as deliveries:
        appended_by = functools.partial(appended, deps, log_id, deliveries)

        first = await appended_by(batch_of("a", -60, 1), batch_of("a", -60, 2))
        again = await appended_by(batch_of("a", -60, 3))
        another = await appended_by(batch_of("b", -60, 4), batch_of("a", -61, 5))
        nameless = await appended_by(batch_of(None, -60, 6), batch_of(None, -60, 7))

    assert first == 1
    assert again == 0, "long after the connect, without a flag, under another packet id"
    assert another == 2, "another name, and other bytes"
    assert nameless == 2
