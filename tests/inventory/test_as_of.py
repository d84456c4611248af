"""Stock at any pair of clocks: the tables against the plain fold (N1), and what explains it (N2)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.inventory_logs import LOGS, MINUTES, STOCK

from tagtrail_inventory.core.asof import Place, as_of
from tagtrail_inventory.explain import explain
from tagtrail_inventory.places import PLACES
from tagtrail_inventory.registry import bound_at
from tagtrail_inventory.stock import AS_OF, Filters, When, bounded, cells
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import TagBound
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.stock import CratePacked, CrateUnpacked, Line

CALM = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Stock = dict[tuple[Place, str, str], tuple[int, int]]


async def stock_of(c: Connection, when: When) -> Stock:
    """Stock as the tables have it, in the oracle's form."""
    found = await cells(c, when, Filters(delivered=True))
    return {
        (Place(cell.zone_id, cell.custody), cell.sku, cell.lot): (cell.quantity, cell.verified)
        for cell in found
    }


async def places_of(c: Connection, when: When) -> dict[str, Place]:
    """Places as the tables have them, in the oracle's form."""
    bound = await bounded(c, when)
    rows = await c.fetch(
        f"with {PLACES} select asset_id, zone_id, custody from place",
        bound.log_id, bound.at, bound.position, None,
    )  # fmt: skip
    return {r["asset_id"]: Place(r["zone_id"], r["custody"]) for r in rows}


async def bindings_of(c: Connection, when: When) -> dict[str, str | None]:
    """Bindings as the tables have them, of all tags of random logs that are on an asset."""
    on = {t: await bound_at(c, when.log_id, t, when.at, when.position) for t in ("t1", "t2", "t3")}
    return {t: a for t, a in on.items() if a is not None}


async def events_of(desk: Any, log_id: int) -> list[Recorded]:
    """The whole log."""
    events: list[Recorded] = []
    at = 0
    while (page := await desk.deps.log.read(log_id, after=at)) is not None:
        events += page.events
        at = page.last
    return events


@CALM
@given(
    log=LOGS,
    clocks=st.lists(st.tuples(st.integers(-1, 14), st.integers(0, 41)), min_size=25, max_size=25),
)
async def test_n1_random_questions_equal_a_plain_fold(
    desk: Any, log: list[tuple[int, Event]], clocks: list[tuple[int, int]], at: Any
) -> None:
    log_id = desk.next_log()
    await desk.say(*log, log_id=log_id, together=False)
    await desk.fold(log_id)
    events = await events_of(desk, log_id)

    async with desk.database.connection() as c:
        for minute, position in clocks:
            when = When(log_id, at(minute), position)
            oracle = as_of(events, when.at, when.position)
            assert await stock_of(c, when) == oracle.stock()
            assert await places_of(c, when) == oracle.places
            assert await bindings_of(c, when) == {t: a for t, a in oracle.asset_of.items() if a}
        for known in (None, len(log) // 2):
            now = as_of(events, None, known)
            assert await stock_of(c, When(log_id, None, known)) == now.stock()
        rows = await c.fetch(
            "select asset_id, zone_id, custody from place_now where log_id = $1", log_id
        )
    newest = as_of(events, None, None).places
    assert {r["asset_id"]: Place(r["zone_id"], r["custody"]) for r in rows} == newest


@CALM
@given(log=LOGS, minute=st.integers(0, 13))
async def test_n2_folding_only_the_explained_events_gives_the_cell(
    desk: Any, log: list[tuple[int, Event]], minute: int, at: Callable[[float], datetime]
) -> None:
    log_id = desk.next_log()
    await desk.say(*log, log_id=log_id)
    await desk.fold(log_id)
    events = {str(e.id): e for e in await events_of(desk, log_id)}

    async with desk.database.connection() as c:
        for when in (When(log_id), When(log_id, at(minute), len(log) - 1)):
            for cell in await cells(c, when, Filters(delivered=True)):
                told = await explain(c, when, cell.zone_id, cell.sku, cell.lot)
                mine = [line for line in told["lines"] if line["custody"] == cell.custody]
                named = {i for line in mine for i in line["event_ids"]}
                again = as_of(
                    sorted((events[i] for i in named), key=lambda e: e.position),
                    when.at,
                    when.position,
                )
                quantity = sum(line["folds_to"] for line in mine)
                held = sum(
                    b.quantity for k, b in again.balances.items()
                    if k.asset_id in {line["asset_id"] for line in mine} and (k.sku, k.lot) == (cell.sku, cell.lot)
                )  # fmt: skip
                assert quantity == cell.quantity == held


async def test_a_zone_is_one_cell_though_only_some_of_its_facts_name_the_site(
    desk: Any,
) -> None:
    log_id = desk.next_log()
    facts: list[tuple[int, Event]] = []
    for n, site_id in ((1, None), (2, "h")):
        facts += [
            (n, CratePacked(asset_id=f"a{n}", lines=(Line(sku="s1", quantity=n),))),
            (n, TagBound(tag_id=f"t{n}", asset_id=f"a{n}")),
            (n, TagZoneChanged(tag_id=f"t{n}", zone_id="z1", site_id=site_id, method="ble_zone")),
        ]
    await desk.say(*facts, log_id=log_id)
    await desk.fold(log_id)

    async with desk.database.connection() as c:
        told = await cells(c, When(log_id), Filters())

    assert [(t.zone_id, t.site_id, t.quantity, t.assets) for t in told] == [("z1", "h", 3, 2)]


async def test_a_question_about_an_old_position_does_not_read_what_came_since(desk: Any) -> None:
    """With latest_at the search starts at what was known; the answer is the same as without."""
    generator = random.Random(7)
    await desk.say((0, TagBound(tag_id="t1", asset_id="a1")))
    for n in range(1, 400):
        zone = generator.choice(["z1", "z2"])
        await desk.say((n, TagZoneChanged(tag_id="t1", zone_id=zone)))
    await desk.fold()
    events = await events_of(desk, 1)

    async with desk.database.connection() as c:
        old = await bounded(c, When(1, None, 10))
    assert old.at == events[9].envelope.occurred_at


@CALM
@given(drawn=st.lists(st.tuples(MINUTES, STOCK), min_size=5, max_size=40))
async def test_s37_every_unit_is_accounted_for_and_stands_in_one_cell(
    desk: Any, drawn: list[tuple[int, Event]]
) -> None:
    """Packed - picked + counted differences + shortages = what is held; moves change nothing."""
    log_id = desk.next_log()
    await desk.say(*sorted(drawn, key=lambda d: d[0]), log_id=log_id)
    await desk.fold(log_id)

    async with desk.database.connection() as c:
        moved = await c.fetchval(
            "select coalesce(sum(case kind when 'added' then amount when 'taken' then -amount end), 0)"
            "::bigint from content where log_id = $1",
            log_id,
        )
        short = await c.fetchval(
            "select coalesce(sum(short), 0)::bigint from content where log_id = $1", log_id
        )
        counted = await c.fetchval(
            "select coalesce(sum(found - expected), 0)::bigint from discrepancy "
            "where log_id = $1 and kind = 'count'",
            log_id,
        )
        stock = await cells(c, When(log_id), Filters(delivered=True))
    facts = [fact for _, fact in drawn]
    packed = sum(n.quantity for f in facts if isinstance(f, CratePacked) for n in f.lines)
    picked = sum(n.quantity for f in facts if isinstance(f, CrateUnpacked) for n in f.lines)
    assert moved == packed - picked
    assert sum(cell.quantity for cell in stock) == moved + short + counted


@CALM
@given(log=LOGS, minute=st.integers(0, 13), position=st.integers(0, 41))
async def test_s35_at_any_time_everything_has_one_place(
    desk: Any, log: list[tuple[int, Event]], minute: int, position: int, at: Any
) -> None:
    log_id = desk.next_log()
    await desk.say(*log, log_id=log_id)
    await desk.fold(log_id)
    when = When(log_id, at(minute), position)

    async with desk.database.connection() as c:
        bound = await bounded(c, when)
        places = await c.fetch(
            f"with {AS_OF} select asset_id from place",
            bound.log_id, bound.at, bound.position, None,
        )  # fmt: skip
        held = await c.fetchval(
            f"with {AS_OF} select coalesce(sum(quantity), 0)::bigint from line",
            bound.log_id, bound.at, bound.position, None,
        )  # fmt: skip
        stock = await cells(c, when, Filters(delivered=True))
    assert len({r["asset_id"] for r in places}) == len(places)
    assert sum(cell.quantity for cell in stock) == held
