"""What every `EventSink` does.

A subclass lends fixtures: `sink`; `event_log`, the log that the facts come into; and `logs`, the
ids of two tenants' empty logs.
"""
# ruff: noqa: D102 - the names of the tests are the sentences

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.errors import RejectedError, TooLargeError
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.places import TagPositioned, TagZoneChanged
from tagtrail_kernel.log import MAX_BATCH, EventLog, EventSink

AT = datetime(2026, 3, 2, 8, 0, 0, 123456, tzinfo=UTC)


def moved(number: int) -> Envelope:
    """Return a derived fact; the same number gives the same fact."""
    at = AT + timedelta(milliseconds=number)
    return Envelope(
        id=uuid8(at, f"moved {number}".encode()),
        subject=f"tag-{number % 5}",
        source="locate",
        occurred_at=at,
        data=TagZoneChanged(tag_id=f"tag-{number % 5}", zone_id=f"zone-{number % 3}"),
        time_quality="gateway_receive",
        correlation_id="4bf92f3577b34da6a3ce929d0e0e4736",
        causation_id=UUID("019cad9d-dd6e-72f0-b000-00000003fccf"),
    )


async def all_of(event_log: EventLog, log_id: int) -> list[Recorded]:
    """Return every fact of a log."""
    found: list[Recorded] = []
    after = 0
    while page := await event_log.read(log_id, after=after):
        found += page.events
        after = page.last
    return found


class EventSinkContract:
    """Run against every adapter."""

    async def test_facts_are_in_the_log_when_the_answer_comes(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        appended = await sink.publish(logs[0], [moved(n) for n in range(3)])

        assert list(appended.positions) == [1, 2, 3]
        assert (appended.duplicates, appended.last) == (frozenset(), 3)
        found = await all_of(event_log, logs[0])
        assert [e.position for e in found] == [1, 2, 3]
        assert found[-1].recorded_at == appended.recorded_at

    async def test_they_are_stored_byte_for_byte_as_the_producer_would_seal_them(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        await sink.publish(logs[0], [moved(1)])

        [found] = await all_of(event_log, logs[0])
        assert found.body == seal(moved(1)).body
        assert found.envelope == moved(1)

    async def test_publishing_again_changes_nothing_and_says_where_they_are(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        first = await sink.publish(logs[0], [moved(1), moved(2)])
        again = await sink.publish(logs[0], [moved(1), moved(2)])

        assert list(again.positions) == list(first.positions)
        assert again.duplicates == {0, 1}
        assert len(await all_of(event_log, logs[0])) == 2

    async def test_of_known_and_new_facts_only_the_new_ones_are_appended(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        await sink.publish(logs[0], [moved(1), moved(2)])
        mixed = await sink.publish(logs[0], [moved(2), moved(3), moved(1)])

        assert list(mixed.positions) == [2, 3, 1]
        assert mixed.duplicates == {0, 2}
        assert mixed.last == 3

    async def test_a_fact_that_stands_twice_in_a_call_is_appended_once(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        appended = await sink.publish(logs[0], [moved(1), moved(1)])

        assert list(appended.positions) == [1, 1]
        assert appended.duplicates == {1}
        assert len(await all_of(event_log, logs[0])) == 1

    async def test_more_facts_than_one_batch_holds_are_taken(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        count = MAX_BATCH + 7
        appended = await sink.publish(logs[0], [moved(n) for n in range(count)])
        again = await sink.publish(logs[0], [moved(n) for n in range(count)])

        assert list(appended.positions) == list(range(1, count + 1))
        assert again.duplicates == set(range(count))
        assert len(await all_of(event_log, logs[0])) == count

    async def test_every_tenant_has_its_own_positions(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        await sink.publish(logs[0], [moved(1), moved(2)])
        other = await sink.publish(logs[1], [moved(1)])

        assert list(other.positions) == [1]
        assert other.duplicates == frozenset()
        assert [e.id for e in await all_of(event_log, logs[1])] == [moved(1).id]

    async def test_no_facts_at_all_are_refused(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        with pytest.raises(RejectedError):
            await sink.publish(logs[0], [])

        assert await all_of(event_log, logs[0]) == []

    async def test_a_fact_that_readers_could_not_decode_is_refused_with_all_of_its_call(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        broken = Envelope(
            id=uuid8(AT, b"broken"), subject="t", source="locate", occurred_at=AT,
            data=TagPositioned(tag_id="t", site_id="s", x_m=float("nan"), y_m=0.0),
        )  # fmt: skip

        with pytest.raises(RejectedError):
            await sink.publish(logs[0], [moved(1), broken])

        assert await all_of(event_log, logs[0]) == []

    async def test_a_fact_that_is_too_large_is_refused(
        self, sink: EventSink, event_log: EventLog, logs: tuple[int, int]
    ) -> None:
        values = {"pad": "x" * 70_000}
        large = Envelope(
            id=uuid8(AT, b"large"), subject="g", source="locate", occurred_at=AT,
            data=GatewayReported(gateway_id="g", kind="status", values=values),
        )  # fmt: skip

        with pytest.raises(TooLargeError):
            await sink.publish(logs[0], [large])
