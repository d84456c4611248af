"""S28: the same log gives the same books, however it is cut, rebuilt or swapped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.inventory_logs import LOGS

from tagtrail_inventory.projections.books import Books
from tagtrail_kernel.consumers import Consumer, Context, state_hash
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.stock import CratePacked, Line
from tagtrail_kernel.rebuild import RebuildResult, rebuild, replay

CALM = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def rebuilt(desk: Any, log_id: int, *, swap: bool = False) -> RebuildResult:
    return await rebuild(
        desk.database, desk.deps.log, Books, log_id, service="inventory", swap=swap
    )


async def hash_of_pieces(desk: Any, events: Sequence[Recorded], cuts: Sequence[int]) -> str:
    """Fold the events cut into pieces, in a transaction that is rolled back."""
    log_id = 1_000_000
    bounds = sorted({0, len(events), *(c for c in cuts if c < len(events))})
    async with desk.database.connection() as c:
        transaction = c.transaction()
        await transaction.start()
        for start, end in itertools.pairwise(bounds):
            await Books().apply(c, Context(log_id), events[start:end])
        found = await state_hash(c, Books.tables, log_id)
        await transaction.rollback()
    return found


@CALM
@given(log=LOGS, cuts=st.lists(st.integers(1, 40), max_size=6))
async def test_s28_the_books_do_not_depend_on_how_the_log_is_cut(
    desk: Any, log: list[tuple[int, Event]], cuts: list[int]
) -> None:
    log_id = desk.next_log()
    await desk.say(*log, log_id=log_id)
    page = await desk.deps.log.read(log_id, after=0)

    whole = await hash_of_pieces(desk, page.events, [])
    pieces = await hash_of_pieces(desk, page.events, cuts)
    singly = await hash_of_pieces(desk, page.events, range(1, 41))
    assert whole == pieces == singly


@settings(CALM, max_examples=8)
@given(log=LOGS)
async def test_s28_two_rebuilds_and_the_live_books_have_one_hash(
    desk: Any, log: list[tuple[int, Event]]
) -> None:
    log_id = desk.next_log()
    await desk.say(*log, log_id=log_id, together=False)
    await desk.fold(log_id)

    first, second = await rebuilt(desk, log_id), await rebuilt(desk, log_id)
    assert first.hash_live == first.hash_rebuilt == second.hash_rebuilt
    assert first.position == len(log)


async def packed(desk: Any, *quantities: int) -> None:
    for quantity in quantities:
        line = Line(sku="s", quantity=quantity)
        await desk.say((quantity, CratePacked(asset_id="a", lines=(line,))))


async def test_s28_books_that_were_tampered_with_are_found_and_put_right(desk: Any) -> None:
    await packed(desk, 1, 2, 3)
    consumer: Consumer = await desk.fold()
    async with desk.database.connection() as c:
        await c.execute("update content_now set quantity = 7")
    found = await rebuilt(desk, 1)
    swapped = await rebuilt(desk, 1, swap=True)
    after = await rebuilt(desk, 1)
    await packed(desk, 4)
    while await consumer.step(wait_s=0):
        pass

    assert not found.equal
    assert (swapped.equal, swapped.swapped) == (False, True)
    assert after.equal
    assert (await rebuilt(desk, 1)).equal
    async with desk.database.connection() as c:
        assert await c.fetchval("select quantity from content_now") == 10


async def test_a_swap_touches_no_other_tenant(desk: Any) -> None:
    await packed(desk, 1, 2)
    line = Line(sku="s", quantity=9)
    await desk.say((0, CratePacked(asset_id="a", lines=(line,))), log_id=2)
    await desk.fold()
    await desk.fold(2)
    await rebuilt(desk, 1, swap=True)

    assert (await rebuilt(desk, 1)).equal
    assert (await rebuilt(desk, 2)).equal


async def test_books_of_another_version_are_rebuilt_and_taken_over(desk: Any) -> None:
    await packed(desk, 1, 2)
    await desk.fold()
    async with desk.database.connection() as c:
        await c.execute("update consumer set version = 0")
    result = await rebuilt(desk, 1, swap=True)

    assert result.hash_live is None
    assert (await rebuilt(desk, 1)).equal


async def test_a_replay_to_a_position_ends_at_a_batch_and_leaves_nothing_behind(desk: Any) -> None:
    await packed(desk, 1, 2, 3)
    await desk.fold()
    line = Line(sku="s", quantity=1)
    await desk.say(*[(n, CratePacked(asset_id="a", lines=(line,))) for n in range(3)])
    early = await replay(desk.database, desk.deps.log, Books, 1, service="inventory", to=5)
    late = await replay(desk.database, desk.deps.log, Books, 1, service="inventory")
    live = await rebuilt(desk, 1)

    assert (early.position, late.position) == (3, 6)
    assert early.hash == live.hash_live
    assert early.hash != late.hash
    async with desk.database.connection() as c:
        assert (
            await c.fetchval("select count(*) from pg_namespace where nspname like '%rebuild%'")
            == 0
        )


@pytest.mark.parametrize("position", [2])
async def test_a_parked_event_is_left_out_of_a_rebuild_too(desk: Any, position: int) -> None:
    await packed(desk, 1, 2, 3)
    async with desk.database.connection() as c:
        await c.execute(
            "insert into parked (name, log_id, position, reason) values ('books', 1, $1, 'test')",
            position,
        )
    await desk.fold()

    async with desk.database.connection() as c:
        assert await c.fetchval("select quantity from content_now") == 4
    assert (await rebuilt(desk, 1)).equal
