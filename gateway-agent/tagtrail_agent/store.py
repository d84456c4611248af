"""A queue of items in SQLite: in a file, or in memory while the disk is full."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_OVERHEAD_BYTES: Final = 80
"""What a row takes beside its texts: numbers, header, its share of the page."""

_SCHEMA: Final = """
create table if not exists item (
    seq integer primary key autoincrement,
    gateway text, boot text not null, at_ms integer not null, elapsed_s real not null,
    ahead_s real, body text not null, size integer not null
);
create table if not exists aside (
    seq integer primary key autoincrement,
    batch_id text not null, gateway text, reason text not null, detail text not null,
    at_ms integer not null, rows text not null, size integer not null
);
create table if not exists note (name text primary key, value text not null);
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One reading, ready to be sent but for its time.

    Attributes:
        gateway: The receiver; None for the agent's own gateway.
        boot: Boot of the machine in which `elapsed_s` means something.
        at_ms: What the wall clock said, milliseconds since 1970.
        elapsed_s: Monotonic clock, seconds.
        ahead_s: How far the wall clock was ahead of the server's, as known then; None = unknown.
        body: The item as JSON, without a time.
        seq: Place in the queue; 0 before it has one.
    """

    gateway: str | None
    boot: str
    at_ms: int
    elapsed_s: float
    ahead_s: float | None
    body: str
    seq: int = 0

    @property
    def size(self) -> int:
        """What it takes in the queue, bytes."""
        return len(self.body) + len(self.boot) + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Aside:
    """A batch that the server would not take.

    Attributes:
        seq: Its number here.
        batch_id: As it was sent.
        reason: Why, a short code.
        detail: Why, a sentence.
        at_ms: When, by the wall clock, milliseconds since 1970.
        items: How many items it has.
    """

    seq: int
    batch_id: str
    reason: str
    detail: str
    at_ms: int
    items: int


_COLUMNS: Final = "gateway, boot, at_ms, elapsed_s, ahead_s, body, seq"


class Store:
    """A queue of items, oldest first.

    Written with `synchronous = normal` in WAL mode: what `append` returned from survives the end
    of the process, however violent; `force` makes it survive a power cut.

    Args:
        path: The file; None keeps it in memory.
        most_bytes: Hard limit of the file; the disk may be full before.

    Raises:
        sqlite3.Error: the file cannot be used. Every method may raise it too.
    """

    def __init__(self, path: Path | None, *, most_bytes: int) -> None:
        self._path = path
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        try:
            self._prepare(most_bytes)
            rows = self._db.execute("select count(*), coalesce(sum(size), 0) from item").fetchone()
        except sqlite3.Error:
            self._db.close()
            raise
        self.items, self.bytes = int(rows[0]), int(rows[1])

    def _prepare(self, most_bytes: int) -> None:
        for pragma in ("journal_mode=wal", "synchronous=normal", "wal_autocheckpoint=0"):
            self._db.execute(f"pragma {pragma}")
        page = int(self._db.execute("pragma page_size").fetchone()[0])
        self._db.execute(f"pragma max_page_count={max(most_bytes // page, 64)}")
        self._db.execute("pragma cache_size=-1024")
        self._db.executescript(_SCHEMA)

    def append(self, items: Sequence[Item]) -> None:
        """Add items at the end: all, or on an error none."""
        rows = [(i.gateway, i.boot, i.at_ms, i.elapsed_s, i.ahead_s, i.body, i.size) for i in items]
        with _transaction(self._db):
            self._db.executemany(
                "insert into item (gateway, boot, at_ms, elapsed_s, ahead_s, body, size) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        self.items += len(rows)
        self.bytes += sum(row[-1] for row in rows)

    def after(self, seq: int, limit: int, most_bytes: int | None = None) -> list[Item]:
        """Return the oldest items behind a place.

        Args:
            seq: The place.
            limit: Most items.
            most_bytes: No more once they take as much together; None = as many as `limit` says.
        """
        found = self._db.execute(
            f"select {_COLUMNS} from item where seq > ? order by seq limit ?",  # noqa: S608 - our own words
            (seq, limit),
        )
        items: list[Item] = []
        size = 0
        for row in found:
            items.append(Item(*row))
            size += items[-1].size
            if most_bytes is not None and size >= most_bytes:
                break
        found.close()
        return items

    def delete(self, items: Iterable[Item]) -> None:
        """Forget items."""
        items = list(items)
        with _transaction(self._db):
            cursor = self._db.cursor()
            cursor.executemany("delete from item where seq = ?", [(i.seq,) for i in items])
            gone = cursor.rowcount
        self._forget(gone, sum(i.size for i in items))

    def _forget(self, items: int, size: int) -> None:
        self.items = max(self.items - items, 0)
        self.bytes = max(self.bytes - size, 0)

    def drop_oldest(self, after: int, size: int) -> int:
        """Forget the oldest items behind a place until at least `size` bytes are free again."""
        rows = self._db.execute("select seq, size from item where seq > ? order by seq", (after,))
        last, freed, count = after, 0, 0
        for seq, its_size in rows:
            if freed >= size:
                break
            last, freed, count = seq, freed + its_size, count + 1
        rows.close()
        with _transaction(self._db):
            self._db.execute("delete from item where seq > ? and seq <= ?", (after, last))
        self._forget(count, freed)
        return count

    def drop_old(
        self, after: int, boot: str, before_s: float, between_ms: tuple[int, int] | None
    ) -> int:
        """Forget items behind a place that are too old; returns how many.

        Args:
            after: The place.
            boot: This boot; its items are judged by the monotonic clock.
            before_s: Monotonic clock, seconds; older items go.
            between_ms: Wall clock of items of other boots that go: from, and before; None = none.
        """
        first, end = between_ms or (0, 0)
        where = (
            "seq > ? and ((boot = ? and elapsed_s < ?) or (boot <> ? and at_ms >= ? and at_ms < ?))"
        )
        values = (after, boot, before_s, boot, first, end)
        count, size = self._db.execute(
            f"select count(*), coalesce(sum(size), 0) from item where {where}",  # noqa: S608 - our own words
            values,
        ).fetchone()
        if count:
            with _transaction(self._db):
                self._db.execute(f"delete from item where {where}", values)  # noqa: S608 - our own words
            self._forget(count, size)
        return int(count)

    def oldest(self) -> Item | None:
        """Return the oldest item."""
        found = self.after(0, 1)
        return found[0] if found else None

    def put_aside(
        self, batch_id: str, items: Sequence[Item], reason: str, detail: str, at_ms: int
    ) -> None:
        """Move items to where they block nothing; at most 200 batches are kept there."""
        rows = json.dumps([[i.boot, i.at_ms, i.elapsed_s, i.ahead_s, i.body] for i in items])
        gateway = items[0].gateway if items else None
        with _transaction(self._db):
            self._db.execute(
                "insert into aside (batch_id, gateway, reason, detail, at_ms, rows, size) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (batch_id, gateway, reason, detail[:500], at_ms, rows, len(items)),
            )
            self._db.execute("delete from aside where seq <= (select max(seq) - 200 from aside)")
            self._db.executemany("delete from item where seq = ?", [(i.seq,) for i in items])
        self._forget(len(items), sum(i.size for i in items))

    def aside(self) -> list[Aside]:
        """Return the batches that were put aside, oldest first."""
        found = self._db.execute(
            "select seq, batch_id, reason, detail, at_ms, size from aside order by seq"
        )
        return [Aside(*row) for row in found]

    def bring_back(self) -> int:
        """Queue everything that was put aside again; returns how many items."""
        rows = self._db.execute("select gateway, rows from aside order by seq").fetchall()
        items = [Item(gateway, *fields) for gateway, text in rows for fields in json.loads(text)]
        self.append(items)
        self._db.execute("delete from aside")
        return len(items)

    def note(self, name: str) -> Any:
        """Return a remembered value; None if there is none."""
        found = self._db.execute("select value from note where name = ?", (name,)).fetchone()
        return json.loads(found[0]) if found else None

    def remember(self, values: Mapping[str, Any]) -> None:
        """Remember values by name."""
        with _transaction(self._db):
            self._db.executemany(
                "insert into note (name, value) values (?, ?) "
                "on conflict (name) do update set value = excluded.value",
                [(name, json.dumps(value)) for name, value in values.items()],
            )

    def force(self) -> None:
        """Force what was written to the disk, and let the journal begin anew.

        May be called from another thread: it uses a connection of its own.
        """
        if self._path is None:
            return
        other = sqlite3.connect(self._path, isolation_level=None)
        try:
            other.execute("pragma wal_checkpoint(passive)")
        finally:
            other.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class _transaction:  # noqa: N801 - a context manager that reads as a statement
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("begin immediate")

    def __exit__(self, kind: type[BaseException] | None, *_more: object) -> None:
        if kind is None:
            try:
                self._db.execute("commit")
            except sqlite3.Error:
                self._undo()
                raise
        else:
            self._undo()

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("rollback")
