"""What is in what: the ledger, its balances, and what did not add up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Final

from tagtrail_inventory.core.contents import Balance, Key, Op, Order, Statement, Timeline
from tagtrail_inventory.core.stock_facts import STOCK_FACTS, assets_of, count_of_none, operations
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.stock import CountRecorded

BASES = """
select n.asset_id, n.sku, n.lot, c.quantity, c.verified
from unnest($2::text[], $3::timestamptz[]) as w (asset_id, since)
join content_now n on n.log_id = $1 and n.asset_id = w.asset_id
left join lateral (
    select quantity, verified from content c
    where c.log_id = $1 and c.asset_id = n.asset_id and c.sku = n.sku and c.lot = n.lot
      and c.occurred_at < w.since
    order by c.occurred_at desc, c.position desc, c.known_position desc limit 1
) c on true
"""
LATER = """
select distinct on (c.asset_id, c.sku, c.lot, c.occurred_at, c.position) c.*
from unnest($2::text[], $3::timestamptz[]) as w (asset_id, since)
join content c on c.log_id = $1 and c.asset_id = w.asset_id and c.occurred_at >= w.since
order by c.asset_id, c.sku, c.lot, c.occurred_at, c.position, c.known_position desc
"""
COUNTS = """
select c.asset_id, c.occurred_at, c.position, c.event_id
from unnest($2::text[], $3::timestamptz[]) as w (asset_id, since)
join counting c on c.log_id = $1 and c.asset_id = w.asset_id and c.occurred_at >= w.since
order by c.occurred_at, c.position
"""
NOW = """
insert into content_now (log_id, asset_id, sku, lot, quantity, verified, position)
select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
on conflict (log_id, asset_id, sku, lot) do update set
    quantity = excluded.quantity, verified = excluded.verified, position = excluded.position
"""
LEDGER = [
    "log_id", "asset_id", "sku", "lot", "occurred_at", "position", "known_position", "kind",
    "amount", "quantity", "verified", "short", "cause", "other", "event_id", "latest_at",
]  # fmt: skip
DISCREPANCIES = [
    "log_id", "position", "asset_id", "sku", "lot", "kind", "expected", "found", "occurred_at",
    "event_id",
]  # fmt: skip

YIELD_EVENTS: Final = 100
"""Events between two turns of other work in the process: some milliseconds."""


@dataclass(slots=True)
class Contents:
    """Folds one page of facts about contents."""

    log_id: int
    _lines: dict[str, dict[Key, Timeline]] = field(default_factory=dict)
    _counts: dict[str, list[Op]] = field(default_factory=dict)
    _stated: list[Statement] = field(default_factory=list)
    _touched: dict[Key, int] = field(default_factory=dict)
    _counted: list[tuple[object, ...]] = field(default_factory=list)
    _odd: list[tuple[object, ...]] = field(default_factory=list)

    async def fold(self, tx: Connection, events: Sequence[Recorded]) -> None:
        """Fold and write a page."""
        mine = [e for e in events if isinstance(e.data, STOCK_FACTS)]
        if not mine:
            return
        await self._load(tx, mine)
        for number, event in enumerate(mine, 1):
            self._take(event)
            if number % YIELD_EVENTS == 0:
                await asyncio.sleep(0)
        await self._write(tx)

    async def _load(self, tx: Connection, events: Sequence[Recorded]) -> None:
        since: dict[str, datetime] = {}
        for event in events:
            if isinstance(event.data, STOCK_FACTS):
                at = event.envelope.occurred_at
                since |= {a: min(at, since.get(a, at)) for a in assets_of(event.data)}
        wanted = (self.log_id, list(since), list(since.values()))
        self._lines = {asset: {} for asset in since}
        self._counts = {asset: [] for asset in since}
        for row in await tx.fetch(BASES, *wanted):
            key = Key(row["asset_id"], row["sku"], row["lot"])
            base = Balance(row["quantity"] or 0, row["verified"] or 0)
            self._lines[key.asset_id][key] = Timeline(key, base)
        for row in await tx.fetch(COUNTS, *wanted):
            order = Order(row["occurred_at"], row["position"])
            self._counts[row["asset_id"]].append(count_of_none(row["event_id"], order))
        for row in await tx.fetch(LATER, *wanted):
            key = Key(row["asset_id"], row["sku"], row["lot"])
            order = Order(row["occurred_at"], row["position"])
            line = self._lines[key.asset_id][key]
            op = Op(order, row["kind"], row["amount"], row["event_id"], row["cause"], row["other"])
            line.ops.append(op)
            line.balances.append(Balance(row["quantity"], row["verified"], row["short"]))
        for asset, lines in self._lines.items():
            for line in lines.values():
                self._imply_counts(asset, line)

    def _imply_counts(self, asset: str, line: Timeline) -> None:
        """A count says "none" about every line that it does not name, also of lines found later."""
        stated = {op.order for op in line.ops}
        for count in self._counts[asset]:
            if count.order not in stated:
                line.pass_over(count)

    def _line(self, key: Key) -> Timeline:
        lines = self._lines[key.asset_id]
        if key not in lines:
            lines[key] = Timeline(key)
            self._imply_counts(key.asset_id, lines[key])
        return lines[key]

    def _take(self, event: Recorded) -> None:
        is_count = isinstance(event.data, CountRecorded)
        known: list[Key] = []
        named: set[Key] = set()
        if isinstance(event.data, CountRecorded):
            known = list(self._lines[event.data.asset_id])
            named = {k for k, _ in operations(event)}
        for key, op in operations(event, known):
            line = self._line(key)
            before = line.before(op.order)
            if is_count and key not in named and before.quantity == 0:
                line.pass_over(op)
            else:
                self._state(line, op, before, event)
        if isinstance(event.data, CountRecorded):
            self._note_count(event, event.data)

    def _state(self, line: Timeline, op: Op, before: Balance, event: Recorded) -> None:
        stated = line.insert(op, event.position)
        self._stated += stated
        self._touched[line.key] = event.position
        if op.kind == "counted":
            self._note_odd("count", line.key, before.quantity, op.amount, event)
        elif stated[0].balance.short:
            self._note_odd("short", line.key, before.quantity, op.amount, event)

    def _note_odd(self, kind: str, key: Key, expected: int, found: int, event: Recorded) -> None:
        at = event.envelope.occurred_at
        self._odd.append((self.log_id, event.position, *key, kind, expected, found, at, event.id))

    def _note_count(self, event: Recorded, count: CountRecorded) -> None:
        order = Order(event.envelope.occurred_at, event.position)
        counts = self._counts[count.asset_id]
        counts.append(count_of_none(event.id, order))
        counts.sort(key=lambda op: op.order)
        self._counted.append(
            (self.log_id, count.asset_id, *order, count.counted_by, count.reason, event.id)
        )

    async def _write(self, tx: Connection) -> None:
        await self._write_ledger(tx)
        await tx.copy_records_to_table(
            "counting",
            records=self._counted,
            columns=[
                "log_id", "asset_id", "occurred_at", "position", "counted_by", "reason", "event_id",
            ],
        )  # fmt: skip
        await tx.copy_records_to_table("discrepancy", records=self._odd, columns=DISCREPANCIES)
        keys = list(self._touched)
        balances = [self._lines[k.asset_id][k].balance for k in keys]
        await tx.execute(
            NOW,
            self.log_id,
            [k.asset_id for k in keys],
            [k.sku for k in keys],
            [k.lot for k in keys],
            [b.quantity for b in balances],
            [b.verified for b in balances],
            list(self._touched.values()),
        )

    async def _write_ledger(self, tx: Connection) -> None:
        if not self._stated:
            return
        before = await tx.fetchval(
            "select max(latest_at) from content where log_id = $1 and known_position = "
            "(select max(known_position) from content where log_id = $1)",
            self.log_id,
        )
        times = [s.op.order.occurred_at for s in self._stated]
        latest = list(accumulate([before or times[0], *times], max))[1:]
        records = [
            (
                self.log_id, *s.key, *s.op.order, s.known_position, s.op.kind, s.op.amount,
                s.balance.quantity, s.balance.verified, s.balance.short, s.op.cause, s.op.other,
                s.op.event_id, at,
            )
            for s, at in zip(self._stated, latest, strict=True)
        ]  # fmt: skip
        await tx.copy_records_to_table("content", records=records, columns=LEDGER)
