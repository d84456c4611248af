"""Consumers: position and chain move with the effect, and nothing is applied twice or skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from tests.support.cable import cable_to
from tests.support.probe import (
    Bench,
    Forgetful,
    Longest,
    Tally,
    TallyV2,
    Watcher,
    running,
    sighting,
    site,
    until,
)

from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.consumers import Consumer, State
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.envelope import Envelope, Recorded, seal_all
from tagtrail_kernel.errors import ConflictError, LogDamagedError, UnavailableError
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES
from tagtrail_kernel.leadership import Leadership
from tagtrail_kernel.log import Appended
from tagtrail_kernel.rebuild import rebuild, replay
from tagtrail_kernel.testing.deps import START, LogSink


class BusinessWatcher(Watcher):
    families = BUSINESS_FAMILIES


async def test_position_and_chain_move_in_the_transaction_of_the_effect(bench: Bench) -> None:
    await bench.say(site(1), site(2))
    await bench.say(site(3, "yard"))

    await bench.caught_up(bench.consumer(Tally()))

    row, head = await bench.stored(), await bench.deps.log.head(1)
    assert (row["position"], row["chain"]) == (3, head.chain)
    assert await bench.tally() == {"hall": 2, "yard": 1}


async def test_a_failing_effect_moves_neither_position_nor_tables(bench: Bench) -> None:
    await bench.say(site(1))
    consumer = await bench.caught_up(bench.consumer(Tally()))
    await bench.say(site(2), site(3, "poison"))

    await bench.caught_up(consumer)

    assert (await bench.stored())["position"] == 1
    assert await bench.tally() == {"hall": 1}


async def test_batches_of_other_families_are_passed_without_being_given(bench: Bench) -> None:
    await bench.say(*map(sighting, range(10)))
    watcher = BusinessWatcher()

    await bench.caught_up(bench.consumer(watcher))

    assert watcher.seen == []
    assert (await bench.stored("watcher"))["position"] == 10


async def test_a_consumer_goes_on_where_another_process_stopped(bench: Bench) -> None:
    await bench.say(site(1))
    await bench.caught_up(bench.consumer(Watcher()))
    await bench.say(site(2))
    second = Watcher()

    await bench.caught_up(bench.consumer(second))

    assert second.seen == [2]


async def test_how_far_it_is_behind_is_known_while_it_catches_up(bench: Bench) -> None:
    for number in range(1, 5):
        await bench.say(*(site(number * 1000 + i) for i in range(1000)))
    consumer = bench.consumer(Watcher())
    await consumer.start()

    await consumer.step(wait_s=0)
    half_way = (consumer.status.position, consumer.status.behind)
    await bench.caught_up(consumer)

    assert half_way == (2000, 2000)
    assert (consumer.status.position, consumer.status.behind) == (4000, 0)


class CuttingSink:
    """Publishes, then ends the consumer's database connection before it can commit."""

    def __init__(self, bench: Bench) -> None:
        self._sink = LogSink(bench.deps.log)
        self._url = bench.database.url
        self.published: list[Appended] = []

    async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
        appended = await self._sink.publish(log_id, facts)
        self.published.append(appended)
        if len(self.published) == 1:
            connection = await asyncpg.connect(self._url)
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and state = 'idle in transaction'"
            )
            await connection.close()
        return appended


async def test_derived_facts_are_in_the_log_once_after_a_crash_before_the_commit(
    bench: Bench,
) -> None:
    await bench.say(site(1), site(2, "alarm!"), site(3, "alarm?"))
    sink = CuttingSink(bench)
    consumer = bench.consumer(Tally(), sink=sink)
    await consumer.start()

    with pytest.raises(UnavailableError):
        await consumer.step(wait_s=0)
    before = (await bench.stored())["position"], await bench.tally()
    await bench.caught_up(bench.consumer(Tally(), sink=sink))

    assert before == (0, {})
    assert [a.duplicates for a in sink.published] == [frozenset(), frozenset({0, 1})]
    assert (await bench.types()).count("alert.fired") == 2
    assert await bench.tally() == {"hall": 1, "alarm!": 1, "alarm?": 1}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 24])
async def test_how_the_log_is_cut_into_batches_does_not_matter(bench: Bench, size: int) -> None:
    names = ["hall", "alarm", "yard", "a very long name", "dock", "alarm 2"] * 4
    facts = [site(i, name) for i, name in enumerate(names)]
    for start in range(0, len(facts), size):
        await bench.say(*facts[start : start + size])

    for projection in (Tally(), Longest()):
        await bench.caught_up(bench.consumer(projection))

    assert await bench.tally() == {n: names.count(n) for n in set(names)}
    assert (await bench.types()).count("alert.fired") == 8
    async with bench.database.connection() as c:
        rows = await c.fetch("select position, name from longest order by position")
    assert [tuple(r) for r in rows] == [(1, "hall"), (2, "alarm"), (4, "a very long name")]


async def test_live_state_and_two_rebuilds_have_the_same_hash(bench: Bench) -> None:
    for number in range(20):
        await bench.say(site(number, f"n{number % 3}" * (number % 4)), sighting(number))
    await bench.caught_up(bench.consumer(Tally()))
    await bench.caught_up(bench.consumer(Longest()))

    tally = await rebuild(bench.database, bench.deps.log, Tally, 1, service="probe")
    again = await replay(bench.database, bench.deps.log, Tally, 1, service="probe")

    assert tally.equal
    assert tally.hash_rebuilt == again.hash == await bench.hash()


async def test_memory_is_restored_from_the_checkpoint_and_replayed_to_the_position(
    bench: Bench,
) -> None:
    for number, name in enumerate(["a", "bb", "ccc", "dddd", "eeeee"]):
        await bench.say(site(number, name))
    first = await _stepwise(bench, Longest())
    second = Longest()
    consumer = bench.consumer(second)

    await consumer.start()

    assert first.replayed == []
    assert second.names == ["a", "bb", "ccc", "dddd", "eeeee"]
    assert second.replayed == [4, 5]
    await bench.say(site(9, "dd"), site(10, "ffffff"))
    await bench.caught_up(consumer)
    async with bench.database.connection() as c:
        assert await c.fetchval("select array_agg(position order by position) from longest") == [
            1, 2, 3, 4, 5, 7,
        ]  # fmt: skip


async def _stepwise(bench: Bench, projection: Longest) -> Longest:
    """Apply batch by batch, as a live consumer does."""
    consumer = bench.consumer(projection)
    await consumer.start()
    while page := await bench.deps.log.read(1, after=consumer.status.position, limit=1):
        await consumer._apply_or_pause(page)
    return projection


async def test_memory_is_restored_after_a_failure_before_the_next_attempt(bench: Bench) -> None:
    class Stumbling(Longest):
        stumbled = False

        async def apply(
            self, tx: Connection, context: object, events: Sequence[Recorded]
        ) -> Sequence[Envelope]:
            derived = await super().apply(tx, context, events)  # type: ignore[arg-type]
            if not self.stumbled:
                self.stumbled = True
                raise RuntimeError("after the memory has changed")
            return derived

    await bench.say(site(1, "a"), site(2, "bb"))
    projection = Stumbling()

    await bench.caught_up(bench.consumer(projection))

    assert projection.names == ["a", "bb"]
    assert (await bench.stored("longest"))["position"] == 2


async def test_a_log_with_another_history_is_refused(bench: Bench) -> None:
    await bench.say(site(1), site(2))
    await bench.caught_up(bench.consumer(Tally()))
    forked = MemoryLog(FakeClock(START))
    await forked.append(1, seal_all([site(1), site(3)]), writer="test")
    consumer = bench.consumer(Tally(), event_log=forked)

    with pytest.raises(LogDamagedError, match="stands at position 2 of another history"):
        await consumer.start()


async def test_a_log_that_was_restored_from_an_older_copy_is_refused(bench: Bench) -> None:
    await bench.say(site(1))
    await bench.say(site(2))
    await bench.caught_up(bench.consumer(Tally()))
    older = MemoryLog(FakeClock(START))
    await older.append(1, seal_all([site(1)]), writer="test")

    with pytest.raises(LogDamagedError, match="tagtrail rebuild"):
        await bench.consumer(Tally(), event_log=older).start()


async def test_a_refused_consumer_says_so_and_touches_nothing(bench: Bench) -> None:
    await bench.say(site(1), site(2))
    await bench.caught_up(bench.consumer(Tally()))
    forked = MemoryLog(FakeClock(START))
    await forked.append(1, seal_all([site(1), site(3)]), writer="test")
    await forked.append(1, seal_all([site(4)]), writer="test")
    consumer = bench.consumer(Tally(), event_log=forked)

    async with running(consumer):
        await until(lambda: consumer.status.state is State.REFUSED)

    assert "another history" in (consumer.status.error or "")
    assert (await bench.stored())["position"] == 2
    assert await bench.tally() == {"hall": 2}


async def test_tables_of_another_version_are_not_touched_and_the_message_says_what_to_run(
    bench: Bench,
) -> None:
    await bench.say(site(1))
    await bench.caught_up(bench.consumer(Tally()))

    with pytest.raises(
        ConflictError,
        match=r"probe\.tally has version 1 tables, the code has 2; run `tagtrail rebuild`",
    ):
        await bench.consumer(TallyV2()).start()


async def test_a_rebuild_takes_the_tables_to_the_new_version(bench: Bench) -> None:
    await bench.say(site(1), site(2))
    await bench.caught_up(bench.consumer(Tally()))

    done = await rebuild(bench.database, bench.deps.log, TallyV2, 1, service="probe", swap=True)
    await bench.say(site(3))
    await bench.caught_up(bench.consumer(TallyV2()))

    assert (done.hash_live, done.swapped) == (None, True)
    assert await bench.tally() == {"hall": 3}


async def test_of_two_leaders_for_a_moment_only_one_applies_a_page(bench: Bench) -> None:
    await bench.say(site(1))
    first, second = Watcher(), Watcher()
    one, two = bench.consumer(first), bench.consumer(second)
    await one.start()
    await two.start()

    await one.step(wait_s=0)
    await two.step(wait_s=0)
    await bench.say(site(2))
    await two.step(wait_s=0)

    assert (first.seen, second.seen) == ([1], [2])
    assert two.status.state is State.RUNNING


async def test_a_consumer_whose_memory_cannot_be_restored_says_so_and_tries_again(
    bench: Bench,
) -> None:
    await bench.say(site(1))
    projection = Forgetful()
    consumer = bench.consumer(projection)

    async with running(consumer):
        await until(lambda: consumer.status.state is State.RETRYING)
        error = consumer.status.error
        await until(lambda: projection.seen == [1])

    assert error == "KeyError: 'memory'"


async def test_the_other_process_takes_over_when_the_leaders_connection_dies(
    bench: Bench, probe_url: str
) -> None:
    await bench.say(site(1))
    async with cable_to(probe_url) as (cable, url):
        far = Database(url, schema="probe", max_size=2)
        await far.open()
        leader = bench.consumer(Watcher(), database=far, leadership=Leadership(far))
        follower = bench.consumer(Watcher(), leadership=Leadership(bench.database))
        async with running(leader):
            await until(lambda: leader.status.position == 1)
            async with running(follower):
                await until(lambda: follower.status.state is State.STANDBY)
                await bench.say(site(2))
                await until(lambda: leader.status.position == 2)
                still = follower.status.state
                cable.cut()
                await bench.say(site(3))
                await until(lambda: follower.status.position == 3)
                cable.mend()
                await until(lambda: leader.status.state is State.STANDBY)
                await bench.say(site(4))
                await until(lambda: follower.status.position == 4)
        await far.close()

    assert still is State.STANDBY
    assert (leader.projection.seen, follower.projection.seen) == ([1, 2], [3, 4])  # type: ignore[attr-defined]


async def test_a_consumer_waits_for_its_database_and_goes_on(bench: Bench, probe_url: str) -> None:
    async with cable_to(probe_url) as (cable, url):
        far = Database(url, schema="probe", max_size=2)
        await far.open()
        consumer = bench.consumer(Tally(), database=far)
        async with running(consumer):
            await bench.say(site(1))
            await until(lambda: consumer.status.position == 1)
            cable.cut()
            await bench.say(site(2))
            await until(lambda: consumer.status.state is State.RETRYING)
            error = consumer.status.error or ""
            await asyncio.sleep(1.5)
            cable.mend()
            await until(lambda: consumer.status.position == 2)
        await far.close()

    assert error.startswith("UnavailableError")
    assert await bench.tally() == {"hall": 2}
    assert (await bench.stored())["state"] == "running"


async def test_leadership_is_given_once_and_ends_with_its_connection(
    bench: Bench, probe_url: str
) -> None:
    one, two = Leadership(bench.database), Leadership(bench.database)

    first = await one.acquire("work", 1), await two.acquire("work", 1)
    other_work = await two.acquire("work", 2), await two.acquire("play", 1)
    again = await one.acquire("work", 1)
    await one.close()
    after = one.holds("work", 1), await two.acquire("work", 1)
    await two.close()

    assert first == (True, False)
    assert other_work == (True, True)
    assert again
    assert after == (False, True)


async def test_a_page_that_does_not_follow_is_damage(bench: Bench) -> None:
    for number in range(3):
        await bench.say(site(number))
    consumer: Consumer = bench.consumer(Tally())
    await consumer.start()
    page = await bench.deps.log.read(1, after=1)

    assert page is not None
    with pytest.raises(LogDamagedError, match="a page from 2 was given to a consumer at 0"):
        await consumer._apply_or_pause(page)
