"""The outbox: oldest first, nothing forgotten before it is settled, everything dropped is counted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tagtrail_agent.clock import EPOCH, ServerTime
from tagtrail_agent.outbox import Batch, Outbox
from tagtrail_agent.store import Item, Store

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Hands:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.at, self.s = AT, 1000.0

    def now(self) -> datetime:
        return self.at

    def elapsed_s(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Hands:
    return Hands()


def item(number: int, *, gateway: str | None = None, boot: str = "b1", **more: Any) -> Item:
    return Item(
        gateway=gateway,
        boot=boot,
        at_ms=more.get("at_ms", (AT - EPOCH) // timedelta(milliseconds=1)),
        elapsed_s=more.get("elapsed_s", 1000.0),
        ahead_s=None,
        body=json.dumps({"number": number}),
    )


OPENED: list[Outbox] = []
"""Outboxes of the test that runs: one whose process "was killed" stays open until its end."""


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while OPENED:
        OPENED.pop().close()


def outbox(folder: Path, clock: Hands, **more: Any) -> Outbox:
    settings = {"boot": "b1", "most_bytes": 1_000_000, "most_age_s": 3600.0, **more}
    OPENED.append(Outbox(folder / "outbox.db", clock=clock, **settings))
    return OPENED[-1]


def numbers(batch: Batch | None) -> list[int]:
    return [json.loads(i.body)["number"] for i in batch.items] if batch is not None else []


def drain(box: Outbox, most_items: int = 100) -> list[int]:
    found: list[int] = []
    while batch := box.next_batch(most_items):
        found += numbers(batch)
        box.settle(batch)
    return found


def test_batches_come_oldest_first_and_each_item_once(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n) for n in range(5)])
    box.put([item(n) for n in range(5, 8)])

    assert [numbers(box.next_batch(3)) for _ in range(4)] == [[0, 1, 2], [3, 4, 5], [6, 7], []]


def test_items_of_several_gateways_go_into_batches_of_their_own(
    tmp_path: Path, clock: Hands
) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(0), item(1, gateway="g2"), item(2), item(3, gateway="g2")])

    first, second = box.next_batch(10), box.next_batch(10)

    assert first is not None
    assert second is not None
    assert (first.gateway, numbers(first)) == (None, [0, 2])
    assert (second.gateway, numbers(second)) == ("g2", [1, 3])
    assert first.batch_id != second.batch_id


def test_what_was_not_settled_comes_again_after_a_restart(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n) for n in range(6)])
    done, lost = box.next_batch(3), box.next_batch(3)
    assert done is not None
    box.settle(done)
    box.close()

    assert numbers(lost) == [3, 4, 5]
    assert drain(outbox(tmp_path, clock)) == [3, 4, 5]


def test_a_batch_is_due_when_it_is_full_or_an_item_has_waited(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    assert not box.due(3, 2.0)
    box.put([item(0), item(1)])
    assert not box.due(3, 2.0)
    box.put([item(2)])
    assert box.due(3, 2.0)
    box.next_batch(3)
    assert not box.due(3, 2.0)
    box.put([item(3)])
    clock.s += 1.9
    assert not box.due(3, 2.0)
    clock.s += 0.1
    assert box.due(3, 2.0)


def test_beyond_its_size_the_oldest_items_go_and_are_counted(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock, most_bytes=item(100).size * 100)
    box.put([item(n) for n in range(100, 300)])
    box.tend(ServerTime())

    left = drain(box)
    assert left == list(range(300 - len(left), 300))
    assert 95 <= len(left) <= 100
    assert box.tally.figures() == {"outbox_size": 200 - len(left)}


def test_items_that_are_too_old_go_and_are_counted(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(0, elapsed_s=1000.0), item(1, elapsed_s=4000.0)])
    clock.s = 1000.0 + 3601
    box.tend(ServerTime())

    assert drain(box) == [1]
    assert box.tally.figures() == {"outbox_age": 1}


def test_the_age_of_another_boot_counts_by_the_servers_clock_and_not_by_a_clock_never_set(
    tmp_path: Path, clock: Hands
) -> None:
    box = outbox(tmp_path, clock)
    old_ms = (AT - timedelta(hours=2) - EPOCH) // timedelta(milliseconds=1)
    box.put([item(0, boot="b0", at_ms=old_ms), item(1, boot="b0", at_ms=5), item(2, boot="b0")])
    box.tend(ServerTime())
    unknown = box.figures()["queue_items"]
    server_time = ServerTime()
    server_time.observe(AT, 999.9, 1000.0)
    box.tend(server_time)

    assert unknown == 3
    assert drain(box) == [1, 2]


def test_counts_of_what_was_dropped_outlive_a_restart(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.tally.add("rejected_out_of_range", 7)
    box.tend(ServerTime())  # a kill comes here: no close

    assert outbox(tmp_path, clock).tally.figures() == {"rejected_out_of_range": 7}


def test_a_batch_that_the_server_refuses_blocks_nothing_and_can_be_brought_back(
    tmp_path: Path, clock: Hands
) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n) for n in range(4)])
    bad = box.next_batch(2)
    assert bad is not None
    box.put_aside(bad, "rejected", "no retention rule")

    assert drain(box) == [2, 3]
    assert [(a.items, a.reason) for a in box.aside()] == [(2, "rejected")]
    assert box.tally["refused_rejected"] == 2
    assert box.bring_back() == 2
    assert drain(box) == [0, 1]
    assert box.aside() == []


def full(box: Outbox) -> sqlite3.Connection:
    """Make the disk take nothing more: as SQLITE_FULL when it grows beyond its pages."""
    assert box._disk is not None
    pages = box._disk._db.execute("pragma page_count").fetchone()[0]
    box._disk._db.execute(f"pragma max_page_count={pages}")
    return box._disk._db


def test_while_the_disk_is_full_items_wait_in_memory_and_go_to_disk_when_it_works_again(
    tmp_path: Path, clock: Hands
) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n) for n in range(10)])
    database = full(box)
    box.put([item(n) for n in range(10, 400)])
    during = box.figures()
    database.execute("pragma max_page_count=100000")
    box.tend(ServerTime())
    after = box.figures()
    box.close()

    assert "full" in during["disk_fault"]
    assert during["queue_items"] == 400
    assert "disk_fault" not in after
    assert drain(outbox(tmp_path, clock)) == list(range(400))


def test_items_are_sent_and_settled_while_the_disk_is_full(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n) for n in range(10)])
    full(box)
    box.put([item(n) for n in range(10, 400)])

    assert drain(box) == list(range(400))
    assert box.figures()["queue_items"] == 0


def test_when_memory_is_full_too_the_oldest_there_go_and_are_counted(
    tmp_path: Path, clock: Hands
) -> None:
    box = outbox(tmp_path, clock, spill_bytes=item(1000).size * 50)
    full(box)
    for n in range(1000, 1300):
        box.put([item(n)])

    left = drain(box)
    lost = box.tally["disk_full"]
    assert lost > 0
    assert len(left) + lost == 300
    assert left[-1] == 1299


def test_a_damaged_file_is_put_aside_and_the_agent_goes_on(tmp_path: Path, clock: Hands) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database, but long enough to be looked at" * 100)

    box = outbox(tmp_path, clock)
    box.put([item(1)])

    assert drain(box) == [1]
    assert box.tally["outbox_damaged"] == 1
    assert len(list(tmp_path.glob("outbox.db.damaged-*"))) == 1


def test_an_append_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "q.db", most_bytes=1_000_000)) as store:
        store.append([item(1)])
        before = store._db.execute("pragma page_count").fetchone()[0]
        store._db.execute(f"pragma max_page_count={before}")

        with pytest.raises(sqlite3.OperationalError):
            store.append([item(n) for n in range(5000)])

        assert [i.seq for i in store.after(0, 10_000)] == [1]
        assert store.items == 1


def test_force_empties_the_journal_into_the_file(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n) for n in range(100)])
    before = (tmp_path / "outbox.db").stat().st_size
    box.force()

    assert (tmp_path / "outbox.db").stat().st_size > before


def test_no_item_is_given_out_twice_while_the_box_is_tended(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock)
    box.put([item(n, gateway=("g2" if n % 2 else None)) for n in range(40)])
    given: list[int] = []
    while batch := box.next_batch(6):
        given += numbers(batch)
        box.tend(ServerTime())

    assert sorted(given) == list(range(40))


def test_what_is_ready_goes_to_disk_too_when_the_disk_works_again(
    tmp_path: Path, clock: Hands
) -> None:
    box = outbox(tmp_path, clock)
    database = full(box)
    box.put([item(n) for n in range(400)])
    under_way = box.next_batch(10)
    database.execute("pragma max_page_count=100000")
    box.tend(ServerTime())
    box.put([item(n) for n in range(400, 410)])
    rest = drain(box)
    box.close()

    assert numbers(under_way) == list(range(10))
    assert sorted(rest) == list(range(10, 410))


def test_beyond_its_size_what_is_under_way_stays(tmp_path: Path, clock: Hands) -> None:
    box = outbox(tmp_path, clock, most_bytes=item(100).size * 50)
    box.put([item(n) for n in range(100, 200)])
    under_way = box.next_batch(10)
    box.tend(ServerTime())
    left = drain(box)

    assert numbers(under_way) == list(range(100, 110))
    assert left == list(range(200 - len(left), 200))
    assert len(left) + 10 + box.tally["outbox_size"] == 100
