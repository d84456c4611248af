"""The fold of one line: order, counts, late facts, nothing below zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tagtrail_inventory.core.contents import Balance, Key, Op, OpKind, Order, Timeline, fold

START = datetime(2026, 3, 2, tzinfo=UTC)
KEY = Key("a", "s", "")


def op(minute: int, position: int, kind: OpKind, amount: int) -> Op:
    order = Order(START + timedelta(minutes=minute), position)
    return Op(order, kind, amount, UUID(int=position), "test")


OPS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["added", "taken", "counted"]), st.integers(0, 9)),
    max_size=25,
).map(
    lambda drawn: [
        op(m, n, cast("OpKind", kind), amount) for n, (m, kind, amount) in enumerate(drawn, 1)
    ]
)


@given(OPS)
def test_s37_a_balance_never_goes_below_zero_and_accounts_for_every_unit(ops: list[Op]) -> None:
    line = Timeline(KEY)
    for one in ops:
        line.insert(one, one.order.position)
    running, total = 0, 0
    for one, balance in zip(line.ops, line.balances, strict=True):
        assert balance is not None
        assert 0 <= balance.verified <= balance.quantity
        change = {
            "added": one.amount,
            "taken": balance.short - one.amount,
            "counted": one.amount - running,
        }[one.kind]
        total += change
        running = balance.quantity
    assert total == line.balance.quantity


@given(OPS)
def test_the_order_of_arrival_does_not_matter_in_the_end(ops: list[Op]) -> None:
    arriving = Timeline(KEY)
    for one in ops:
        arriving.insert(one, one.order.position)

    assert arriving.balance == (fold(ops) if ops else Balance())
    assert [o.order for o in arriving.ops] == sorted(o.order for o in ops)


@given(OPS)
def test_what_was_stated_gives_the_balance_at_every_earlier_position(ops: list[Op]) -> None:
    line = Timeline(KEY)
    stated = [s for one in ops for s in line.insert(one, one.order.position)]

    for known in range(len(ops) + 1):
        rows = [s for s in stated if s.known_position <= known]
        last = max(rows, key=lambda s: (s.op.order, s.known_position), default=None)
        told = last.balance if last is not None else Balance()
        whole = fold([o for o in ops if o.order.position <= known])
        assert (told.quantity, told.verified) == (whole.quantity, whole.verified)


def test_a_late_removal_before_a_count_changes_nothing_after_it() -> None:
    line = Timeline(KEY)
    line.insert(op(0, 1, "added", 10), 1)
    line.insert(op(5, 2, "counted", 8), 2)
    stated = line.insert(op(3, 3, "taken", 2), 3)

    assert line.balance == Balance(8, 8)
    assert [(s.op.order.position, s.balance.quantity) for s in stated] == [(3, 8)]


def test_inferred_units_leave_before_counted_ones() -> None:
    ops = [op(0, 1, "counted", 4), op(1, 2, "added", 6), op(2, 3, "taken", 5)]

    assert fold(ops) == Balance(5, 4)
    assert fold([*ops, op(3, 4, "taken", 2)]) == Balance(3, 3)


def test_a_shortage_is_told_and_leaves_nothing() -> None:
    assert fold([op(0, 1, "added", 3), op(1, 2, "taken", 5)]) == Balance(0, 0, 2)
