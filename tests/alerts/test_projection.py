"""The projection on a real database: alerts are a pure function of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.alert_history import History, minute, recorded

from tagtrail_alerts.core.backtest import Backtest
from tagtrail_alerts.core.engine import Engine
from tagtrail_alerts.core.memory import Memory
from tagtrail_alerts.core.parameters import LEFT_OUTBOUND, RULES
from tagtrail_alerts.core.transitions import Fire, Transition, envelopes_of
from tagtrail_alerts.projection import NAME, Alerts
from tagtrail_alerts.ticker import Ticker
from tagtrail_kernel.consumers import Consumer
from tagtrail_kernel.envelope import Envelope, Recorded

if TYPE_CHECKING:
    from tests.alerts.conftest import World

PALLETS = ("p1", "p2", "p3")


async def log_of(world: World) -> list[Recorded]:
    """Return the whole log."""
    events: list[Recorded] = []
    at = 0
    while (page := await world.deps.log.read(1, after=at)) is not None:
        events += page.events
        at = page.last
    return events


def departure(*, pod_min: float | None = None) -> History:
    history = History().warehouse()
    history.move(0, "out")
    history.move(10, None)
    if pod_min is not None:
        history.pod(pod_min, "p1")
    return history


async def test_s63_the_quoted_rule_on_a_live_log(world: World) -> None:
    without = departure()
    await world.record(*without.envelopes)
    await world.follow()
    nothing_yet = await world.alerts()
    await world.record(without.tick(43))
    await world.follow()

    (alert,) = await world.alerts()

    assert nothing_yet == []
    assert alert["rule_id"] == LEFT_OUTBOUND
    assert alert["state"] == "open"
    assert alert["fired_at"] == minute(42)
    assert alert["asset_id"] == "p1"


async def test_s63_a_pod_inside_the_grace_makes_no_alert_on_a_live_log(world: World) -> None:
    history = departure(pod_min=39)
    history.tick(600)
    await world.record(*history.envelopes)
    await world.follow()

    assert await world.alerts() == []


async def test_a_pod_that_reaches_the_log_late_resolves_the_alert(world: World) -> None:
    history = departure()
    history.tick(50)
    history.pod(20, "p1")
    await world.record(*history.envelopes)
    await world.follow()

    (alert,) = await world.alerts()

    assert alert["state"] == "resolved"
    assert str(alert["cause"]).startswith("retracted: POD")


async def test_the_wall_clock_fires_when_nothing_more_comes(world: World) -> None:
    await world.record(*departure().envelopes)
    await world.follow()
    ticker = Ticker(world.deps, every_s=1)
    await ticker.tick(1)
    world.clock.forward(32 * 60 - 2)
    early = [await ticker.tick(1), await ticker.tick(1)]
    world.clock.forward(3)
    late = [await ticker.tick(1), await ticker.tick(1)]
    await world.follow()

    (alert,) = await world.alerts()

    assert early == [0, 0]
    assert late == [0, 1]
    assert alert["fired_at"] == minute(42)


async def test_the_wall_clock_decides_nothing_while_the_projection_is_behind(
    world: World,
) -> None:
    history = departure()
    await world.record(*history.envelopes)
    await world.follow()
    pod = history.pod(35, "p1")
    world.clock.forward(3600)
    await world.deps.sink.publish(1, [pod])
    ticker = Ticker(world.deps, every_s=1)
    behind = [await ticker.tick(1) for _ in range(3)]
    await world.follow()
    after = [await ticker.tick(1) for _ in range(2)]

    assert behind == [0, 0, 0]
    assert after == [0, 0]
    assert await world.alerts() == []


async def test_a_pod_that_overtakes_the_tickers_alert_wins(world: World) -> None:
    history = departure()
    await world.record(*history.envelopes)
    await world.follow()
    ticker = Ticker(world.deps, every_s=1)
    world.clock.forward(3600)
    await ticker.tick(1)
    await world.deps.sink.publish(1, [history.pod(35, "p1")])
    published = await ticker.tick(1)
    await world.follow()

    types = [e.type for e in (await log_of(world))[-2:]]

    assert published == 1
    assert types == ["alert.fired", "alert.resolved"]
    assert await world.alerts() == []


@pytest.mark.parametrize("shift_days", [-200, 3])
async def test_history_and_simulated_futures_fire_after_the_time_that_was_left(
    world: World, shift_days: int
) -> None:
    world.clock.forward(-shift_days * 86_400)
    await world.deps.sink.publish(1, departure().envelopes)
    await world.follow()
    ticker = Ticker(world.deps, every_s=1)
    await ticker.tick(1)
    world.clock.forward(1919)
    early = [await ticker.tick(1), await ticker.tick(1)]
    world.clock.forward(2)
    late = [await ticker.tick(1), await ticker.tick(1)]

    assert early == [0, 0]
    assert late == [0, 1]


async def test_a_simulation_in_slow_motion_is_not_overtaken_by_the_wall_clock(
    world: World,
) -> None:
    history = departure()
    await world.record(*history.envelopes)
    ticker = Ticker(world.deps, every_s=1)
    fired = 0
    for at in range(11, 40):
        world.clock.forward(600)
        await world.deps.sink.publish(1, [history.tick(at)])
        await world.follow()
        fired += await ticker.tick(1)
    await world.deps.sink.publish(1, [history.pod(39.5, "p1")])
    await world.follow()

    assert fired == 0
    assert await world.alerts() == []


async def test_an_alert_that_was_published_twice_is_one_alert(world: World) -> None:
    history = departure()
    await world.record(*history.envelopes)
    await world.follow()
    world.clock.forward(3600)
    tickers = [Ticker(world.deps, every_s=1) for _ in range(2)]
    for ticker in tickers * 2:
        await ticker.tick(1)
    await world.record(history.tick(600))
    await world.follow()

    assert len(await world.alerts()) == 1
    assert [e.type for e in await log_of(world)].count("alert.fired") == 1


async def test_tenants_do_not_see_one_anothers_alerts(world: World) -> None:
    history = departure()
    history.tick(600)
    await world.record(*history.envelopes)
    await world.follow()
    await world.follow(log_id=2)

    assert len(await world.alerts(1)) == 1
    assert await world.alerts(2) == []


async def test_a_rebuild_gives_the_same_tables_as_living_through_it(world: World) -> None:
    history = History().warehouse(*PALLETS)
    for number, pallet in enumerate(PALLETS):
        history.move(number, "out", pallet)
        history.move(10 + number, None, pallet)
    history.pod(20, "p2")
    history.presence(30, "missing", heard_min=5, pallet="p3")
    history.tick(60)
    history.pod(15, "p1")
    await world.record(*history.envelopes)
    consumer = await world.follow()
    lived = await world.hash()
    async with world.database.transaction() as tx:
        for table in (*Alerts.tables, "consumer"):
            await tx.execute(f"delete from {table}")
    rebuilt = Consumer(
        Alerts(),
        service=NAME,
        log_id=1,
        database=world.database,
        event_log=world.deps.log,
        tail=world.deps.tail,
        sink=None,
    )
    await rebuilt.start()
    while await rebuilt.step(wait_s=0):
        pass

    assert consumer.status.position == rebuilt.status.position
    assert await world.hash() == lived
    assert len(await world.alerts()) == 2


async def test_a_restart_between_any_two_events_changes_nothing(world: World) -> None:
    history = departure()
    history.tick(43)
    history.pod(35, "p1")
    history.move(50, "out")
    history.move(60, None)
    history.tick(200)
    for envelope in history.envelopes:
        await world.record(envelope)
        await world.follow()
    restarted = await world.alerts()
    engine, log = Engine(Memory()), await log_of(world)
    straight = [t for e in log for t in engine.apply(e)]

    assert [a["alert_id"] for a in restarted] == [
        t.expectation.alert_id for t in straight if isinstance(t, Fire)
    ]
    assert [a["state"] for a in restarted] == ["resolved", "open"]


async def test_n10_a_back_test_counts_what_the_live_rule_raised(world: World) -> None:
    history = History().warehouse(*PALLETS)
    for number, pallet in enumerate(PALLETS):
        history.move(number, "out", pallet)
        history.move(10 + number, None, pallet)
    history.pod(20, "p2")
    history.tick(41)
    await world.record(*history.envelopes)
    await world.follow()
    ticker = Ticker(world.deps, every_s=1)
    world.clock.forward(3600)
    await ticker.tick(1)
    await ticker.tick(1)
    await world.follow()
    await world.deps.sink.publish(1, [history.pod(25, "p3")])
    await world.follow()

    backtest = Backtest(LEFT_OUTBOUND, RULES[LEFT_OUTBOUND]())
    backtest.feed(await log_of(world))
    would, live = backtest.fired(), await world.alerts()

    assert [w.expectation.alert_id for w in would] == [a["alert_id"] for a in live]
    assert [w.retracted for w in would] == [a["state"] == "resolved" for a in live]
    assert len(live) == 2


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw arbitrary business of three pallets, late events included."""
    history = History().warehouse(*PALLETS)
    at = 0.0
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.sampled_from([0, 1, 5, 20, 45]))
        when = at - draw(st.sampled_from([0, 0, 0, 15]))
        pallet = draw(st.sampled_from(PALLETS))
        act = draw(
            st.sampled_from(["move", "move", "move", "silent", "present", "pod", "copy", "rule"])
        )
        if act == "move":
            zone = draw(st.sampled_from(["store", "out", "out", "dock", None, None]))
            history.move(when, zone, pallet)
        elif act == "silent":
            history.presence(when, "missing", heard_min=when - 10, pallet=pallet)
        elif act == "present":
            history.presence(when, "present", heard_min=when, pallet=pallet)
        elif act == "pod":
            history.pod(when, pallet)
        elif act == "copy":
            history.copied(when, when - 7, draw(st.sampled_from(["store", "out", None])), pallet)
        else:
            history.rule(when, LEFT_OUTBOUND, grace_s=draw(st.sampled_from([600, 1800])))
    return history


def live_run(envelopes: list[Envelope], cuts: list[int]) -> tuple[list[Recorded], list[Transition]]:
    """Fold a log that grows while it is folded: derived events follow the page that made them."""
    engine, made = Engine(Memory()), []
    log: list[Envelope] = []
    known = set()
    at = 0
    pages = [envelopes[a:b] for a, b in zip([0, *cuts], [*cuts, len(envelopes)], strict=True)]
    for page in [*pages, []]:
        log += page
        while at < len(log):
            new = list(recorded(log))[at:]
            derived = [t for e in new for t in engine.apply(e)]
            at += len(new)
            made += derived
            fresh = [e for e in envelopes_of(derived) if e.id not in known]
            known |= {e.id for e in fresh}
            log += fresh
    return list(recorded(log)), made


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(), data=st.data())
def test_what_fires_does_not_depend_on_how_the_log_is_cut(
    history: History, data: st.DataObject
) -> None:
    size = len(history.envelopes)
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    log, made = live_run(history.envelopes, cuts)
    engine = Engine(Memory())

    again = [t for e in log for t in engine.apply(e)]

    assert again == made


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(), rule_id=st.sampled_from(sorted(RULES)))
def test_a_back_test_equals_the_live_rule_on_any_history(history: History, rule_id: str) -> None:
    plain = [e for e in history.envelopes if e.data.TYPE != "config.changed"]
    log, made = live_run(plain, [])
    backtest = Backtest(rule_id, RULES[rule_id]())
    for event in log:
        backtest.feed([event])

    live = {t.expectation.alert_id for t in made if isinstance(t, Fire)}

    assert {w.expectation.alert_id for w in backtest.fired()} == {
        a for a in live if _rule_of(made, a) == rule_id
    }


def _rule_of(made: list[Transition], alert_id: str) -> str:
    return next(t.expectation.rule_id for t in made if t.expectation.alert_id == alert_id)
