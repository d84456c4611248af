"""What was heard and is not yet confirmed: on disk, in memory while the disk is full."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tagtrail_agent.clock import EPOCH, Clock, ServerTime
from tagtrail_agent.counters import Tally
from tagtrail_agent.items import EARLIEST
from tagtrail_agent.store import Aside, Item, Store

log = logging.getLogger(__name__)

SPILL_BYTES: Final = 4_194_304
"""Kept in memory while the disk takes nothing: about 20,000 items."""

_READ_AHEAD: Final = 4
"""Batches that are read together, so that the items of several gateways can be told apart."""

_READ_BYTES: Final = 2_097_152
"""No more is read together: passed messages can be a thousand times as large as a reading."""

_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Items that are sent together.

    Attributes:
        batch_id: What ingest confirms.
        gateway: The receiver; None for the agent's own gateway.
        items: The items, oldest first.
        store: Where they lie.
    """

    batch_id: str
    gateway: str | None
    items: tuple[Item, ...]
    store: Store


class Outbox:
    """Keeps items until the server has confirmed them.

    Never raises because of the disk: what cannot be written waits in memory, and what finds no
    room there is counted in `tally`. One thread may use it.

    Args:
        path: The file; made if missing. Its folder must exist.
        clock: Both clocks.
        boot: This boot of the machine.
        most_bytes: Items on disk take no more than this; the oldest go first.
        most_age_s: Items older than this go, seconds.
        spill_bytes: Items in memory take no more than this.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        boot: str,
        most_bytes: int,
        most_age_s: float,
        spill_bytes: int = SPILL_BYTES,
    ) -> None:
        self._path, self._clock, self._boot = path, clock, boot
        self._most_bytes, self._most_age_s = most_bytes, most_age_s
        self._spill_bytes = spill_bytes
        self._damaged = 0
        self._disk: Store | None = self._opened()
        self._spill = Store(None, most_bytes=4 * spill_bytes)
        self._places: dict[int, int] = {}
        self._ready: deque[Batch] = deque()
        self._unforgotten: list[Item] = []
        self._out = 0
        self._waiting_since_s = clock.elapsed_s() if self._disk and self._disk.items else None
        self.tally = Tally(self._kept_counts())
        self.tally.add("outbox_damaged", self._damaged)
        self._name = secrets.token_hex(3)
        self.disk_fault: str | None = None if self._disk else "the outbox cannot be opened"

    def _opened(self) -> Store | None:
        try:
            return Store(self._path, most_bytes=2 * self._most_bytes)
        except sqlite3.OperationalError as error:
            log.warning("outbox.unusable", extra={"cause": str(error)})
            return None
        except sqlite3.DatabaseError as error:
            log.warning("outbox.damaged", extra={"cause": str(error)})
        self._damaged += 1
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%S")
        for suffix in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(file.with_name(f"{self._path.name}.damaged-{stamp}{suffix}"))
        try:
            return Store(self._path, most_bytes=2 * self._most_bytes)
        except sqlite3.Error:
            return None

    def _kept_counts(self) -> dict[str, int]:
        try:
            return dict(self._disk.note("dropped") or {}) if self._disk else {}
        except sqlite3.Error:
            return {}

    def put(self, items: Sequence[Item]) -> None:
        """Keep items; when this returns, they survive the end of the process (but see `Store`)."""
        if not items:
            return
        if self._waiting_since_s is None:
            self._waiting_since_s = self._clock.elapsed_s()
        if self._disk is not None and not self._spill.items:
            try:
                self._disk.append(items)
            except sqlite3.Error as error:
                self._note_fault(error)
            else:
                return
        self._spill.append(items)
        over = self._spill.bytes - self._spill_bytes
        if over > 0:
            self.tally.add("disk_full", self._drop_oldest(self._spill, over))

    def _note_fault(self, error: sqlite3.Error) -> None:
        if self.disk_fault is None:
            log.warning("outbox.disk_failed", extra={"cause": str(error)})
        self.disk_fault = str(error)

    def _place(self, store: Store) -> int:
        return self._places.get(id(store), 0)

    @property
    def untaken(self) -> int:
        """Number of items that no batch was made of yet."""
        kept = (self._disk.items if self._disk else 0) + self._spill.items
        return max(kept - self._out, 0)

    def due(self, most_items: int, wait_s: float) -> bool:
        """Return whether it is time for the next batch.

        Args:
            most_items: So many items need not wait.
            wait_s: No item need wait longer, seconds.
        """
        if self._ready or self.untaken >= most_items:
            return True
        since = self._waiting_since_s
        return since is not None and self._clock.elapsed_s() - since >= wait_s

    def next_batch(self, most_items: int) -> Batch | None:
        """Return the oldest items that are not in a batch yet, of one gateway; None if none are.

        A batch is given out once; whoever takes it must `settle` it or `put_aside`, or let it be:
        then it is given out again after the next start.
        """
        if not self._ready:
            for store in (self._disk, self._spill):
                if store is not None and not self._ready:
                    self._read(store, most_items)
            self._waiting_since_s = self._clock.elapsed_s() if self.untaken else None
        return self._ready.popleft() if self._ready else None

    def _read(self, store: Store, most_items: int) -> None:
        try:
            items = store.after(self._place(store), _READ_AHEAD * most_items, _READ_BYTES)
        except sqlite3.Error as error:
            self._note_fault(error)
            return
        groups: dict[str | None, list[Item]] = {}
        for item in items:
            groups.setdefault(item.gateway, []).append(item)
        for gateway, mine in groups.items():
            for start in range(0, len(mine), most_items):
                part = tuple(mine[start : start + most_items])
                kind = "m" if store is self._spill else ""
                name = f"{self._name}-{kind}{part[0].seq}-{part[-1].seq}"
                self._ready.append(Batch(name, gateway, part, store))
        if items:
            self._places[id(store)] = items[-1].seq
            self._out += len(items)

    def _take_back(self, store: Store) -> None:
        """Let the batches of a store be no more that nobody has taken yet."""
        self._out -= sum(len(b.items) for b in self._ready if b.store is store)
        self._ready = deque(b for b in self._ready if b.store is not store)

    def _drop_oldest(self, store: Store, size: int) -> int:
        """Forget the oldest items that are not under way until `size` bytes are free; counts them."""
        count = 0
        while size > 0 and (batch := next((b for b in self._ready if b.store is store), None)):
            self._ready.remove(batch)
            self._out -= len(batch.items)
            store.delete(batch.items)
            count += len(batch.items)
            size -= sum(i.size for i in batch.items)
        return count + (store.drop_oldest(self._place(store), size) if size > 0 else 0)

    def settle(self, batch: Batch) -> None:
        """Forget a batch: the server has it."""
        self._out -= len(batch.items)
        self._forget(batch)

    def _forget(self, batch: Batch) -> None:
        try:
            batch.store.delete(batch.items)
        except sqlite3.Error as error:
            self._note_fault(error)
            self._unforgotten += batch.items

    def put_aside(self, batch: Batch, reason: str, detail: str) -> None:
        """Keep a batch that the server will not take where it blocks nothing; counted."""
        self.tally.add(f"refused_{reason}", len(batch.items))
        home = self._disk or self._spill
        at_ms = (self._clock.now() - EPOCH) // _MS
        try:
            home.put_aside(batch.batch_id, batch.items, reason, detail, at_ms)
        except sqlite3.Error as error:
            self._note_fault(error)
        self._out -= len(batch.items)
        if batch.store is not home or self.disk_fault:
            self._forget(batch)

    def tend(self, server_time: ServerTime) -> None:
        """Make room, and use the disk again if it works again; call it about once a second."""
        if self._disk is None:
            self._disk = self._opened()
            self.disk_fault = None if self._disk else self.disk_fault
        disk = self._disk
        if disk is None:
            return
        try:
            if self._unforgotten:
                disk.delete(self._unforgotten)
                self._unforgotten = []
            self._trim(disk, server_time)
            self._move_spill(disk)
            if self.tally.changed:
                disk.remember({"dropped": self.tally.figures()})
                self.tally.changed = False
        except sqlite3.Error as error:
            self._note_fault(error)
        else:
            if self.disk_fault is not None:
                log.warning("outbox.disk_works_again")
            self.disk_fault = None

    def _trim(self, disk: Store, server_time: ServerTime) -> None:
        elapsed_s = self._clock.elapsed_s()
        server_at = server_time.at(elapsed_s)
        between = None
        if server_at is not None:
            end = server_at - timedelta(seconds=self._most_age_s)
            between = ((EARLIEST - EPOCH) // _MS, (end - EPOCH) // _MS)
        place, before_s = self._place(disk), elapsed_s - self._most_age_s
        self.tally.add("outbox_age", disk.drop_old(place, self._boot, before_s, between))
        over = disk.bytes - self._most_bytes
        if over > 0:
            spare = over + self._most_bytes // 50
            self.tally.add("outbox_size", self._drop_oldest(disk, spare))

    def _move_spill(self, disk: Store) -> None:
        """Bring what waits in memory to the disk, but for what is under way."""
        spill = self._spill
        if not spill.items:
            return
        ready = [i for b in self._ready if b.store is spill for i in b.items]
        items = sorted([*ready, *spill.after(self._place(spill), 1_000_000)], key=_seq)
        if items:
            disk.append(items)
            self._take_back(spill)
            spill.delete(items)
            if self._waiting_since_s is None:
                self._waiting_since_s = self._clock.elapsed_s()

    def force(self) -> None:
        """Force what was written to the disk; for a thread of its own, it can take long."""
        disk = self._disk
        if disk is not None:
            try:
                disk.force()
            except sqlite3.Error as error:
                log.warning("outbox.not_forced", extra={"cause": str(error)})

    def aside(self) -> list[Aside]:
        """Return the batches that the server would not take."""
        return self._disk.aside() if self._disk else self._spill.aside()

    def bring_back(self) -> int:
        """Queue what was put aside again; returns how many items.

        Raises:
            sqlite3.Error: the disk does not take it; everything is as before.
        """
        return self._disk.bring_back() if self._disk else 0

    def figures(self) -> dict[str, Any]:
        """Return what the gateway's status says about the queue."""
        disk = self._disk
        items = (disk.items if disk else 0) + self._spill.items - len(self._unforgotten)
        figures: dict[str, Any] = {
            "queue_items": max(items, 0),
            "queue_bytes": (disk.bytes if disk else 0) + self._spill.bytes,
            "queue_age_s": self._age_s(),
        }
        if self._spill.items:
            figures["queue_in_memory"] = self._spill.items
        if self.disk_fault is not None:
            figures["disk_fault"] = self.disk_fault
        return figures

    def _age_s(self) -> float:
        try:
            oldest = (self._disk.oldest() if self._disk else None) or self._spill.oldest()
        except sqlite3.Error:
            return 0.0
        if oldest is None:
            return 0.0
        if oldest.boot == self._boot:
            age_s = self._clock.elapsed_s() - oldest.elapsed_s
        else:
            age_s = (self._clock.now() - EPOCH).total_seconds() - oldest.at_ms / 1000
        return round(max(age_s, 0.0), 1)

    def close(self) -> None:
        """Write the counts and close the file."""
        if self._disk is not None:
            try:
                self._disk.remember({"dropped": self.tally.figures()})
            except sqlite3.Error as error:
                self._note_fault(error)
            self._disk.close()
        self._spill.close()


def _seq(item: Item) -> int:
    return item.seq
