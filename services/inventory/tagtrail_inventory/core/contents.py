"""What an asset holds: a fold of additions, removals and counts in the order of the world's time.

Operations are ordered by (occurred_at, position). One that arrives late is put where it belongs,
and every balance after it is stated again. What was known before stays readable, because each
statement carries the position from which it holds.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

OpKind = Literal["added", "taken", "counted"]


class Key(NamedTuple):
    """One line of the books.

    Attributes:
        asset_id: The parent.
        sku: The SKU.
        lot: Lot or batch; "" where there is none.
    """

    asset_id: str
    sku: str
    lot: str


class Order(NamedTuple):
    """Place of an operation in the world's order.

    Attributes:
        occurred_at: When it happened, aware UTC.
        position: Position in the log, which decides between equal times.
    """

    occurred_at: datetime
    position: int


@dataclass(frozen=True, slots=True)
class Op:
    """One change of one line.

    Attributes:
        order: Its place in the fold.
        kind: `added`, `taken`, or `counted` (from then on the amount is what is there).
        amount: Units, >= 0.
        event_id: The fact that says so.
        cause: Wire name of that fact.
        other: The other asset of a move.
    """

    order: Order
    kind: OpKind
    amount: int
    event_id: UUID
    cause: str
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What a line holds after an operation.

    Attributes:
        quantity: Units, >= 0.
        verified: How many of them were counted and only moved by known facts since; the rest is
            inferred from the packing facts. 0 <= verified <= quantity.
        short: Units that this operation took although the books did not hold them, >= 0.
    """

    quantity: int = 0
    verified: int = 0
    short: int = 0


EMPTY = Balance()


def step(before: Balance, op: Op) -> Balance:
    """Return the balance after one operation. It never goes below zero: the rest is `short`.

    Inferred units leave before verified ones.

    Example:
        >>> from datetime import UTC, datetime
        >>> at = Order(datetime(2026, 1, 1, tzinfo=UTC), 1)
        >>> step(Balance(3, 3), Op(at, "taken", 5, UUID(int=0), "crate.unpacked"))
        Balance(quantity=0, verified=0, short=2)
    """
    match op.kind:
        case "added":
            return Balance(before.quantity + op.amount, before.verified)
        case "taken":
            left = max(before.quantity - op.amount, 0)
            return Balance(left, min(before.verified, left), max(op.amount - before.quantity, 0))
        case "counted":
            return Balance(op.amount, op.amount)


def fold(ops: Iterable[Op], base: Balance = EMPTY) -> Balance:
    """Return the balance after operations in their order."""
    for op in sorted(ops, key=lambda o: o.order):
        base = step(base, op)
    return base


@dataclass(frozen=True, slots=True)
class Statement:
    """A balance after an operation, as it is known from some position on.

    Attributes:
        key: The line.
        op: The operation.
        balance: What the line holds after it.
        known_position: From which position on this is what we know.
    """

    key: Key
    op: Op
    balance: Balance
    known_position: int


@dataclass(slots=True)
class Timeline:
    """The end of one line's history: a base, then operations with their balances.

    Attributes:
        key: The line.
        base: Balance before the first operation held here.
        ops: Operations in order.
        balances: Balance after each; None for an operation that was never stated.
    """

    key: Key
    base: Balance = EMPTY
    ops: list[Op] = field(default_factory=list)
    balances: list[Balance | None] = field(default_factory=list)

    @property
    def balance(self) -> Balance:
        """What the line holds after all that is known."""
        for known in reversed(self.balances):
            if known is not None:
                return known
        return self.base

    def before(self, order: Order) -> Balance:
        """Return the balance before a place in the order."""
        for op, known in zip(reversed(self.ops), reversed(self.balances), strict=True):
            if op.order < order and known is not None:
                return known
        return self.base

    def pass_over(self, op: Op) -> None:
        """Put in a count that finds none of what was not there: nothing is stated about it."""
        index = bisect.bisect_left(self.ops, op.order, key=lambda o: o.order)
        self.ops.insert(index, op)
        self.balances.insert(index, None)

    def insert(self, op: Op, known_position: int) -> list[Statement]:
        """Put an operation where it belongs; returns every balance that is new or changed.

        Args:
            op: The operation; its order is not held yet.
            known_position: Position of the event that brings it.
        """
        index = bisect.bisect_left(self.ops, op.order, key=lambda o: o.order)
        self.ops.insert(index, op)
        self.balances.insert(index, None)
        running = self.before(op.order)
        stated: list[Statement] = []
        for at in range(index, len(self.ops)):
            running = step(running, self.ops[at])
            if running == self.balances[at]:
                break
            self.balances[at] = running
            stated.append(Statement(self.key, self.ops[at], running, known_position))
        return stated
