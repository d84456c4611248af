"""A poison event pauses its consumer at that event; an operator resumes it or passes the event over."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from tests.support.probe import Bench, CuredTally, Shy, Tally, make_tables, site, until

from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.clock import FakeClock
from tagtrail_kernel.consumers import Consumer, State
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.errors import ConflictError, RejectedError
from tagtrail_kernel.events.operations import ConsumerEventParked
from tagtrail_kernel.log import Appended
from tagtrail_kernel.parking import park, resume
from tagtrail_kernel.rebuild import rebuild
from tagtrail_kernel.testing.deps import START, service_deps
from tagtrail_kernel.wiring import Service, app_of


async def paused(bench: Bench) -> Consumer:
    """Return a consumer that stands before position 5."""
    await bench.say(site(1), site(2))
    await bench.say(site(3))
    await bench.say(site(4, "yard"), site(5, "poison"), site(6, "yard"))
    await bench.say(site(7))
    return await bench.caught_up(bench.consumer(Tally()))


async def passed_over(bench: Bench, reason: str = "broken import") -> int:
    return await park(
        bench.database, bench.deps.sink, bench.deps.clock,
        service="probe", name="tally", log_id=1, reason=reason, by="key-1",
    )  # fmt: skip


async def test_a_poison_event_pauses_its_consumer_at_exactly_this_event(bench: Bench) -> None:
    consumer = await paused(bench)

    row = await bench.stored()
    assert (row["state"], row["error_position"]) == ("paused", 5)
    assert row["error"] == "ValueError: this site is poison"
    assert (consumer.status.state, consumer.status.error_position) == (State.PAUSED, 5)


async def test_batches_before_the_poison_are_applied_and_none_after_it(bench: Bench) -> None:
    await paused(bench)

    assert (await bench.stored())["position"] == 3
    assert await bench.tally() == {"hall": 3}


async def test_the_poison_is_found_in_a_long_page(bench: Bench) -> None:
    for start in range(0, 600, 100):
        names = ["poison" if n == 434 else "hall" for n in range(start, start + 100)]
        await bench.say(*(site(start + i, name) for i, name in enumerate(names)))

    await bench.caught_up(bench.consumer(Tally()))

    row = await bench.stored()
    assert (row["error_position"], row["position"]) == (435, 400)


async def test_the_other_consumers_of_the_service_go_on(bench: Bench) -> None:
    await paused(bench)

    shy = await bench.caught_up(bench.consumer(Shy()))

    assert (shy.status.state, shy.status.position) == (State.RUNNING, 7)


async def test_a_paused_consumer_stays_paused_in_the_next_process(bench: Bench) -> None:
    await paused(bench)
    second = bench.consumer(Tally())

    await second.start()

    assert second.status.state is State.PAUSED
    assert second.status.error == "ValueError: this site is poison"


async def test_a_parked_event_is_passed_over_and_the_act_is_in_the_log(bench: Bench) -> None:
    consumer = await paused(bench)

    position = await passed_over(bench)
    await bench.caught_up(consumer)

    assert position == 5
    assert await bench.tally() == {"hall": 4, "yard": 2}
    page = await bench.deps.log.read(1, after=7)
    assert page is not None
    [act] = page.events
    assert (act.subject, act.envelope.occurred_at) == ("probe.tally", START)
    assert act.data == ConsumerEventParked(
        consumer="probe.tally", position=5, error="ValueError: this site is poison",
        reason="broken import", by="key-1",
    )  # fmt: skip


async def test_a_parked_event_is_passed_over_in_a_rebuild_too(bench: Bench) -> None:
    consumer = await paused(bench)
    await passed_over(bench)
    await bench.caught_up(consumer)

    done = await rebuild(bench.database, bench.deps.log, Tally, 1, service="probe")

    assert done.equal
    assert done.position == 8


async def test_a_parked_event_is_passed_over_by_a_projection_that_could_apply_it_now(
    bench: Bench,
) -> None:
    consumer = await paused(bench)
    await passed_over(bench)
    await bench.caught_up(consumer)

    done = await rebuild(bench.database, bench.deps.log, CuredTally, 1, service="probe", swap=True)

    assert done.equal
    assert "poison" not in await bench.tally()


async def test_only_a_paused_consumer_can_be_told_to_pass_over(bench: Bench) -> None:
    await bench.say(site(1))
    await bench.caught_up(bench.consumer(Tally()))

    with pytest.raises(ConflictError, match="not paused at an event"):
        await passed_over(bench)

    assert await bench.types() == ["site.registered"]


async def test_parking_again_after_a_crash_is_recorded_once(bench: Bench) -> None:
    class LosesTheAnswer:
        async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
            await bench.deps.sink.publish(log_id, facts)
            raise ConnectionResetError

    await paused(bench)

    with pytest.raises(Exception, match="out of reach"):
        await park(
            bench.database, LosesTheAnswer(), bench.deps.clock,
            service="probe", name="tally", log_id=1, reason="first try", by="key-1",
        )  # fmt: skip
    in_between = (await bench.stored())["state"]
    assert isinstance(bench.deps.clock, FakeClock)
    bench.deps.clock.forward(30)
    await passed_over(bench, "second try")

    assert in_between == "paused"
    assert (await bench.types()).count("consumer.event_parked") == 1


async def test_two_poison_events_are_parked_one_after_the_other(bench: Bench) -> None:
    await bench.say(site(1, "poison"), site(2), site(3, "poison"))
    consumer = await bench.caught_up(bench.consumer(Tally()))

    first = await passed_over(bench)
    await bench.caught_up(consumer)
    second = await passed_over(bench)
    await bench.caught_up(consumer)

    assert (first, second) == (1, 3)
    assert await bench.tally() == {"hall": 1}


async def test_a_resumed_consumer_tries_again_and_pauses_again_while_the_fault_lasts(
    bench: Bench,
) -> None:
    consumer = await paused(bench)

    await resume(bench.database, "tally", 1)
    row = await bench.stored()
    await bench.caught_up(consumer)

    assert (row["state"], row["error"]) == ("running", None)
    assert consumer.status.state is State.PAUSED
    assert (await bench.stored())["error_position"] == 5


async def test_a_resumed_consumer_goes_on_when_the_fault_is_mended(bench: Bench) -> None:
    await paused(bench)

    await resume(bench.database, "tally", 1)
    await bench.caught_up(bench.consumer(CuredTally()))

    assert await bench.tally() == {"hall": 4, "yard": 2, "poison": 1}


async def test_a_fault_that_passes_by_itself_pauses_nothing(bench: Bench) -> None:
    class Moody(Tally):
        failures = 2

        async def apply(self, *args: Any) -> Sequence[Envelope]:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("a neighbour is busy")
            return await super().apply(*args)

    await bench.say(site(1))

    consumer = await bench.caught_up(bench.consumer(Moody()))

    assert (consumer.status.state, consumer.status.error) == (State.RUNNING, None)
    assert await bench.tally() == {"hall": 1}


async def test_an_event_whose_derived_fact_is_refused_is_poison_and_the_reason_is_kept(
    bench: Bench,
) -> None:
    class Strict:
        async def publish(self, log_id: int, facts: Sequence[Envelope]) -> Appended:
            if any(f.subject == "site-3" for f in facts):
                raise RejectedError("ingest refuses it")
            return await bench.deps.sink.publish(log_id, facts)

    await bench.say(site(1), site(2, "alarm"), site(3, "alarm"), site(4))

    await bench.caught_up(bench.consumer(Tally(), sink=Strict()))

    row = await bench.stored()
    assert (row["error_position"], row["error"]) == (3, "RejectedError: ingest refuses it")


async def test_an_outage_while_the_poison_is_looked_for_blames_no_event(bench: Bench) -> None:
    class Outage(Tally):
        calls = 0

        async def apply(self, *args: Any) -> Sequence[Envelope]:
            self.calls += 1
            if self.calls > 3:
                raise ConnectionResetError
            return await super().apply(*args)

    await bench.say(site(1), site(2, "poison"))
    consumer = bench.consumer(Outage())
    await consumer.start()

    with pytest.raises(Exception, match="out of reach"):
        await consumer.step(wait_s=0)

    row = await bench.stored()
    assert (row["state"], row["error_position"]) == ("running", None)


@contextlib.asynccontextmanager
async def served(probe_url: str, event_log: MemoryLog) -> AsyncIterator[tuple[Any, FastAPI]]:
    """Lend a client of a running service with two projections over a given log."""
    async with service_deps(probe_url) as (deps, key):
        for batch in event_log._tenant(1).batches:
            sealed = seal_all([e.envelope for e in batch.events()])
            await deps.log.append(1, sealed, writer="test")
        service = Service("probe", APIRouter(), projections=(Tally, Shy))
        app = app_of(deps, service)
        transport = httpx2.ASGITransport(app=app)
        async with app.router.lifespan_context(app):
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://t", headers={"Authorization": f"Bearer {key}"}
            ) as http:
                yield http, app


async def test_an_operator_sees_the_pause_and_parks_the_event_over_http(probe_url: str) -> None:
    await make_tables(probe_url)
    async with service_deps(probe_url) as (deps, _):
        bench = Bench(deps)
        await bench.database.open()
        await paused(bench)
        assert isinstance(deps.log, MemoryLog)
        event_log = deps.log

    async with served(probe_url, event_log) as (http, app):
        consumers = app.state.followers[0].consumers
        await until(
            lambda: ("tally", 1) in consumers and consumers["tally", 1].status.error is not None
        )
        await until(lambda: consumers["shy", 1].status.position == 7)
        ready = await http.get("/readyz")
        metrics = (await http.get("/metrics")).text
        listed = (await http.get("/v1/consumers")).json()["items"]
        nothing = await http.post("/v1/consumers/probe/shy/park", json={"reason": "no reason"})
        unknown = await http.post("/v1/consumers/probe/tall/park", json={"reason": "no reason"})
        too_short = await http.post("/v1/consumers/probe/tally/park", json={"reason": "-"})
        parked = await http.post("/v1/consumers/probe/tally/park", json={"reason": "bad import"})
        await until(lambda: consumers["tally", 1].status.position == 8)
        ready_again = await http.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["failing"] == {
        "probe.tally/1": {
            "state": "paused", "error": "ValueError: this site is poison",
            "position": 3, "error_position": 5,
        }
    }  # fmt: skip
    assert 'tagtrail_consumer_paused{consumer="probe.tally",log_id="1"} 1.0' in metrics
    assert 'tagtrail_consumer_paused{consumer="probe.shy",log_id="1"} 0.0' in metrics
    assert {c["consumer"]: c["state"] for c in listed} == {
        "probe.tally": "paused", "probe.shy": "running",
    }  # fmt: skip
    assert [r.status_code for r in (nothing, unknown, too_short)] == [409, 404, 422]
    assert parked.json() == {"position": 5}
    assert ready_again.status_code == 200


async def test_a_forked_log_makes_the_process_not_ready(probe_url: str) -> None:
    await make_tables(probe_url)
    async with service_deps(probe_url) as (deps, _):
        bench = Bench(deps)
        await bench.database.open()
        await bench.say(site(1), site(2))
        await bench.caught_up(bench.consumer(Tally()))
    forked = MemoryLog(FakeClock(START))
    await forked.append(1, seal_all([site(1), site(3)]), writer="test")

    async with served(probe_url, forked) as (http, app):
        consumers = app.state.followers[0].consumers
        await until(lambda: ("tally", 1) in consumers)
        await until(lambda: consumers["tally", 1].status.state is State.REFUSED)
        await until(lambda: consumers["shy", 1].status.position == 2)
        ready = await http.get("/readyz")

    assert ready.status_code == 503
    assert set(ready.json()["failing"]) == {"probe.tally/1"}
    assert ready.json()["failing"]["probe.tally/1"]["state"] == "refused"


async def test_a_tenant_that_is_made_later_gets_its_consumers(probe_url: str) -> None:
    await make_tables(probe_url)
    forked = MemoryLog(FakeClock(START))
    async with served(probe_url, forked) as (http, app):
        access = app.state.gatekeeper._store
        await until(lambda: len(app.state.followers[0].consumers) == 2)
        await access.add_tenant("second", "Second")
        await until(lambda: len(app.state.followers[0].consumers) == 4)
        mine = (await http.get("/v1/consumers")).json()["items"]

    assert len(mine) == 2
