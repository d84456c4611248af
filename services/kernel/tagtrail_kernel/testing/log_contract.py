"""What every `EventLog` does. A subclass lends its log in a fixture `event_log`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from tagtrail_kernel.clock import uuid7
from tagtrail_kernel.envelope import Envelope, Sealed, leaf_hash, seal
from tagtrail_kernel.errors import LogDamagedError, RejectedError
from tagtrail_kernel.events.operations import SightingsErased
from tagtrail_kernel.events.registrations import SiteRegistered
from tagtrail_kernel.events.registry import ALL_FAMILIES, BUSINESS_FAMILIES, Event, Family
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_kernel.log import MAX_BATCH, NO_CHAIN, EventLog, Page

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def sighted(number: int) -> Sealed:
    """Return a sighting; the same number gives the same fact."""
    return _fact(number, TagSighted(tag_id=f"tag-{number % 7}", gateway_id="g", rssi_dbm=-60))


def site(number: int) -> Sealed:
    """Return a business fact; the same number gives the same fact."""
    return _fact(number, SiteRegistered(site_id=f"site-{number}", name="Hall"))


def order(number: int) -> Sealed:
    """Return an order to erase; the same number gives the same fact."""
    return _fact(number, SightingsErased(source_class="partner_network"))


def _fact(number: int, data: Event) -> Sealed:
    at = START + timedelta(milliseconds=number)
    ms = int(at.timestamp() * 1000)
    return seal(
        Envelope(
            id=uuid7(ms, number),
            subject=f"s-{number % 7}",
            source="test",
            occurred_at=at,
            data=data,
        )
    )


def sightings(first: int, last: int) -> list[Sealed]:
    """Return the sightings of a range of numbers, both ends included."""
    return [sighted(number) for number in range(first, last + 1)]


async def pages(
    event_log: EventLog, *, limit: int = MAX_BATCH, families: Family = ALL_FAMILIES
) -> list[Page]:
    """Read log 1 to its end."""
    found: list[Page] = []
    after = 0
    while page := await event_log.read(1, after=after, limit=limit, families=families):
        found.append(page)
        after = page.last
    return found


def chain_of(batches: Sequence[Sequence[Sealed]]) -> bytes:
    """Compute the chain value anew, by the recursive definition of RFC 6962 section 2.1."""

    def tree(leaves: Sequence[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()

    chain, first = NO_CHAIN, 1
    for batch in batches:
        root = tree([leaf_hash(fact.body) for fact in batch])
        span = first.to_bytes(8, "big") + len(batch).to_bytes(4, "big")
        chain = sha256(b"\x02" + chain + span + root).digest()
        first += len(batch)
    return chain


class EventLogContract:
    """Tests of the port; every adapter passes all of them."""

    async def test_an_empty_log_has_no_head_and_no_page(self, event_log: EventLog) -> None:
        """Position 0 is before the first event."""
        head = await event_log.head(1)

        assert (head.position, head.chain, head.recorded_at) == (0, NO_CHAIN, None)
        assert await event_log.read(1, after=0) is None
        assert await event_log.chain_at(1, 0) is None
        assert await event_log.position_at(1, datetime.now(UTC)) == 0  # noqa: TID251

    async def test_positions_are_dense_from_one_in_the_order_given(
        self, event_log: EventLog
    ) -> None:
        """The reply and the log agree."""
        first = await event_log.append(1, sightings(1, 3), writer="w")
        second = await event_log.append(1, sightings(4, 5), writer="w")
        (page,) = await pages(event_log)

        assert list(first.positions) == [1, 2, 3]
        assert list(second.positions) == [4, 5]
        assert (second.duplicates, second.last) == (frozenset(), 5)
        assert [(e.position, e.id) for e in page.events] == [
            (n, sighted(n).id) for n in range(1, 6)
        ]

    async def test_what_is_read_is_byte_for_byte_what_was_appended(
        self, event_log: EventLog
    ) -> None:
        """Every column and the decoded fact."""
        fact = sighted(1)
        appended = await event_log.append(1, [fact], writer="w")
        (page,) = await pages(event_log)
        (event,) = page.events

        assert (event.id, event.subject, event.type, event.body) == (
            fact.id,
            fact.subject,
            fact.type,
            fact.body,
        )
        assert event.recorded_at == appended.recorded_at == page.recorded_at
        assert event.data == TagSighted(tag_id="tag-1", gateway_id="g", rssi_dbm=-60)

    async def test_a_repeated_append_gives_the_first_positions_and_adds_nothing(
        self, event_log: EventLog
    ) -> None:
        """A producer repeats what it got no answer to."""
        await event_log.append(1, sightings(1, 4), writer="w")
        again = await event_log.append(1, sightings(1, 4), writer="w")

        assert list(again.positions) == [1, 2, 3, 4]
        assert again.duplicates == {0, 1, 2, 3}
        assert again.last == 4
        assert (await event_log.head(1)).position == 4

    async def test_known_facts_are_skipped_and_new_ones_stay_dense(
        self, event_log: EventLog
    ) -> None:
        """Duplicates across calls and inside one call, mixed with new facts."""
        await event_log.append(1, sightings(1, 3), writer="w")
        mixed = [sighted(4), sighted(2), sighted(5), sighted(4), sighted(1), sighted(6)]
        appended = await event_log.append(1, mixed, writer="w")
        (page,) = await pages(event_log)

        assert list(appended.positions) == [4, 2, 5, 4, 1, 6]
        assert appended.duplicates == {1, 3, 4}
        assert appended.last == 6
        assert [e.id for e in page.events] == [sighted(n).id for n in range(1, 7)]
        assert page.chain == chain_of([sightings(1, 3), sightings(4, 6)])

    async def test_ids_with_hostile_times_are_deduplicated_too(self, event_log: EventLog) -> None:
        """Clocks of 1970 and of the year 10889, and an id without a time."""
        template = sighted(1)
        ids = [uuid7(0, 1), uuid7((1 << 48) - 1, 1), uuid7(1, 5), uuid7(1 << 47, 9)]
        facts = [
            Sealed(i, "s", "tag.sighted", Family.RADIO, template.body, template.leaf) for i in ids
        ]
        first = await event_log.append(1, facts, writer="w")
        await event_log.append(1, sightings(10, 20), writer="w")
        again = await event_log.append(1, list(reversed(facts)), writer="w")

        assert list(first.positions) == [1, 2, 3, 4]
        assert list(again.positions) == [4, 3, 2, 1]

    async def test_logs_of_tenants_are_apart(self, event_log: EventLog) -> None:
        """The same id may stand in two logs."""
        await event_log.append(1, sightings(1, 2), writer="w")
        other = await event_log.append(2, [sighted(2)], writer="w")

        assert list(other.positions) == [1]
        assert other.duplicates == frozenset()
        found = await event_log.find(2, sighted(2).id)
        assert found is not None
        assert found.position == 1
        assert await event_log.find(2, sighted(1).id) is None

    @pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
    async def test_a_batch_has_one_to_a_thousand_facts(
        self, event_log: EventLog, count: int
    ) -> None:
        """Both sides of the range are refused."""
        with pytest.raises(ValueError, match="1 to 1000"):
            await event_log.append(1, sightings(1, count), writer="w")

    async def test_the_largest_batch_is_accepted(self, event_log: EventLog) -> None:
        """Exactly `MAX_BATCH`."""
        appended = await event_log.append(1, sightings(1, MAX_BATCH), writer="w")

        assert appended.last == MAX_BATCH

    async def test_the_chain_verifies_by_independent_recomputation(
        self, event_log: EventLog
    ) -> None:
        """Batches of odd sizes, so that trees are not full."""
        batches = [sightings(1, 1), sightings(2, 6), sightings(7, 13), sightings(14, 17)]
        for batch in batches:
            await event_log.append(1, batch, writer="w")
        head = await event_log.head(1)

        assert head.chain == chain_of(batches)
        assert await event_log.chain_at(1, 6) == chain_of(batches[:2])
        assert await event_log.chain_at(1, 5) is None

    async def test_a_position_is_rounded_down_to_the_end_of_a_batch(
        self, event_log: EventLog
    ) -> None:
        """Where a reader may stand to see everything up to a position."""
        await event_log.append(1, sightings(1, 3), writer="w")
        await event_log.append(1, sightings(4, 5), writer="w")

        assert [await event_log.floor(1, n) for n in (0, 2, 3, 4, 5, 99)] == [0, 0, 3, 3, 5, 5]
        assert await event_log.floor(2, 3) == 0

    async def test_a_page_ends_with_the_batch_that_reaches_the_limit(
        self, event_log: EventLog
    ) -> None:
        """Batches are never split."""
        for first in (1, 11, 21, 31):
            await event_log.append(1, sightings(first, first + 9), writer="w")

        assert [p.last for p in await pages(event_log, limit=10)] == [10, 20, 30, 40]
        assert [p.last for p in await pages(event_log, limit=11)] == [20, 40]
        assert [p.last for p in await pages(event_log, limit=1)] == [10, 20, 30, 40]
        assert [(p.first, p.last) for p in await pages(event_log)] == [(1, 40)]

    @pytest.mark.parametrize("after", [1, 4, 6, 99])
    async def test_reading_after_what_is_no_end_of_a_batch_is_damage(
        self, event_log: EventLog, after: int
    ) -> None:
        """Inside a batch, or beyond the end: the reader stands on another history."""
        await event_log.append(1, sightings(1, 2), writer="w")
        await event_log.append(1, sightings(3, 5), writer="w")

        with pytest.raises(LogDamagedError, match=f"position {after}"):
            await event_log.read(1, after=after)
        assert await event_log.read(1, after=5) is None

    async def test_batches_without_a_wanted_family_are_covered_unread(
        self, event_log: EventLog
    ) -> None:
        """A reader of business facts still sees contiguous pages."""
        await event_log.append(1, sightings(1, 3), writer="w")
        await event_log.append(1, [site(4)], writer="w")
        await event_log.append(1, [sighted(5), site(6), sighted(7)], writer="w")
        await event_log.append(1, sightings(8, 9), writer="w")
        (page,) = await pages(event_log, families=BUSINESS_FAMILIES)
        (stock,) = await pages(event_log, families=Family.STOCK)

        assert [e.id for e in page.events] == [site(4).id, site(6).id]
        assert [e.position for e in page.events] == [4, 6]
        assert (page.first, page.last) == (1, 9)
        assert page.chain == (await event_log.head(1)).chain
        assert (list(stock.events), stock.last) == ([], 9)

    async def test_a_forked_log_shows_by_its_chain(self, event_log: EventLog) -> None:
        """Two logs with the same length and other facts: what a restore leaves behind."""
        await event_log.append(1, sightings(1, 5), writer="w")
        await event_log.append(2, sightings(1, 5), writer="w")
        await event_log.append(1, [sighted(6)], writer="w")
        await event_log.append(2, [sighted(7)], writer="w")

        assert await event_log.chain_at(1, 5) == await event_log.chain_at(2, 5)
        assert await event_log.chain_at(1, 6) != await event_log.chain_at(2, 6)

    async def test_erased_bodies_are_passed_over_and_every_proof_still_holds(
        self, event_log: EventLog
    ) -> None:
        """The chain is that of the log before, also for a reader that hashes everything."""
        first, last = [*sightings(1, 5), site(6)], sightings(7, 9)
        await event_log.append(1, first, writer="w")
        await event_log.append(1, [order(10)], writer="w")
        await event_log.append(1, last, writer="w")
        head = await event_log.head(1)

        counts = [await event_log.erase(1, [2, 4], order=7) for _ in range(2)]

        assert counts == [2, 0]
        gone = await event_log.erased(1, order=7)
        assert gone == [(2, first[1].subject), (4, first[3].subject)]
        assert await event_log.erased(1) == gone
        assert await event_log.erased(1, order=8) == await event_log.erased(1, again=True) == []
        found = [e.position for page in await pages(event_log, limit=2) for e in page.events]
        assert found == [1, 3, 5, 6, 7, 8, 9, 10]
        some = await pages(event_log, families=Family.RADIO)
        assert [e.position for page in some for e in page.events] == [1, 3, 5, 8, 9, 10]
        assert await event_log.find(1, first[1].id) is None
        assert await event_log.find(1, first[0].id) is not None
        assert await event_log.head(1) == head
        assert chain_of([first, [order(10)], last]) == head.chain

    async def test_an_erased_sighting_stays_known_and_a_withdrawn_fact_may_come_again(
        self, event_log: EventLog
    ) -> None:
        """A resend does not bring back what was erased."""
        facts = sightings(1, 4)
        await event_log.append(1, facts, writer="w")
        await event_log.append(1, [order(5)], writer="w")
        await event_log.erase(1, [1], order=5)
        await event_log.erase(1, [2], order=5, again=True)

        resent = await event_log.append(1, facts, writer="w")

        assert list(resent.positions) == [1, 6, 3, 4]
        assert resent.duplicates == {0, 2, 3}
        assert await event_log.find(1, facts[0].id) is None
        found = await event_log.find(1, facts[1].id)
        assert found is not None
        assert found.position == 6

    async def test_nothing_is_erased_without_an_order_that_follows_it(
        self, event_log: EventLog
    ) -> None:
        """Nor anything but sightings and what was derived from them."""
        await event_log.append(1, [*sightings(1, 2), site(3), order(4), sighted(5)], writer="w")

        for position, ordered in ((1, 3), (1, 99), (3, 4), (4, 4), (5, 4)):
            with pytest.raises(RejectedError):
                await event_log.erase(1, [position], order=ordered)

        (page,) = await pages(event_log)
        assert [e.position for e in page.events] == [1, 2, 3, 4, 5]

    async def test_settled_messages_are_known_within_their_window(
        self, event_log: EventLog
    ) -> None:
        """Also when all facts of the append were known."""
        new, old, never = b"n" * 32, b"o" * 32, b"x" * 32
        await event_log.append(1, [sighted(1)], writer="w", receipts=[old, new])
        await event_log.append(1, [sighted(1)], writer="w", receipts=[b"d" * 32])

        assert await event_log.settled(1, [old, new, never], within_s=60) == {old, new}
        assert await event_log.settled(1, [b"d" * 32], within_s=60) == {b"d" * 32}
        assert await event_log.settled(2, [old], within_s=60) == set()
        assert await event_log.settled(1, [], within_s=60) == set()

    async def test_a_message_without_facts_is_settled_without_a_batch(
        self, event_log: EventLog
    ) -> None:
        """A message that says nothing new must not come again either."""
        await event_log.append(1, sightings(1, 3), writer="w")
        appended = await event_log.append(1, [], writer="w", receipts=[b"e" * 32])

        assert await event_log.settled(1, [b"e" * 32], within_s=60) == {b"e" * 32}
        assert (len(appended.positions), len(appended.duplicates), appended.last) == (0, 0, 3)
        assert (await event_log.head(1)).position == 3

    async def test_a_settled_message_is_forgotten_after_its_window(
        self, event_log: EventLog
    ) -> None:
        """A negative window ends before the settling."""
        await event_log.append(1, [sighted(1)], writer="w", receipts=[b"o" * 32])

        assert await event_log.settled(1, [b"o" * 32], within_s=-1) == set()

    async def test_an_event_is_found_by_its_id(self, event_log: EventLog) -> None:
        """With its position; an unknown id gives None."""
        await event_log.append(1, sightings(1, 5), writer="w")
        found = await event_log.find(1, sighted(4).id)

        assert found is not None
        assert (found.position, found.body) == (4, sighted(4).body)
        assert await event_log.find(1, sighted(6).id) is None

    async def test_a_time_gives_the_last_position_recorded_by_then(
        self, event_log: EventLog
    ) -> None:
        """On both sides of the time of a batch."""
        first = await event_log.append(1, sightings(1, 3), writer="w")
        second = await event_log.append(1, sightings(4, 5), writer="w")
        microsecond = timedelta(microseconds=1)

        assert await event_log.position_at(1, first.recorded_at - microsecond) == 0
        assert await event_log.position_at(1, second.recorded_at) == 5
        if second.recorded_at > first.recorded_at:
            assert await event_log.position_at(1, second.recorded_at - microsecond) == 3

    async def test_four_writers_and_a_reader_leave_no_hole(self, event_log: EventLog) -> None:
        """The reader meets every position once, in order, while they write."""
        writers, rounds, size = 4, 12, 5
        total = writers * rounds * size
        seen: list[int] = []

        async def write(writer: int) -> None:
            for turn in range(rounds):
                first = (writer * rounds + turn) * size + 1
                await event_log.append(1, sightings(first, first + size - 1), writer=str(writer))

        async def follow() -> None:
            after = 0
            while after < total:
                page = await event_log.read(1, after=after, limit=7)
                if page is None:
                    await asyncio.sleep(0.001)
                    continue
                seen.extend(event.position for event in page.events)
                after = page.last

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(follow())
            for writer in range(writers):
                group.create_task(write(writer))

        assert seen == list(range(1, total + 1))
