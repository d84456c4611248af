"""Append against a plain COPY of the same rows, side by side and alternating in one run.

`python -m tagtrail.benchmarks.append --json` starts the embedded servers and prints one JSON object. The COPY is
`copy_records_to_table` of asyncpg into a table with the same columns and only its primary key:
one commit per batch, no dedupe, no hash, no chain; its tuples are ready before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import orjson

from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Sealed, seal
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_kernel.migrations import upgrade

BATCH_EVENTS: Final = 500
START: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
COLUMNS: Final = (
    "log_id",
    "position",
    "recorded_at",
    "event_id",
    "subject",
    "type",
    "body",
    "leaf",
)

_PLAIN_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS bench;
DROP TABLE IF EXISTS bench.plain;
CREATE TABLE bench.plain (
    log_id integer NOT NULL, position bigint NOT NULL, recorded_at timestamptz NOT NULL,
    event_id uuid NOT NULL, subject text NOT NULL, type text NOT NULL, body bytea NOT NULL,
    leaf bytea NOT NULL, PRIMARY KEY (log_id, position)
);
"""


def sightings(count: int, *, first: int = 0) -> list[Sealed]:
    """Return sealed sightings as ingest makes them: 200 tags, 4 gateways, 1 ms apart."""
    facts: list[Sealed] = []
    for number in range(first, first + count):
        at = START + timedelta(milliseconds=number)
        data = TagSighted(
            tag_id=f"tag-{number % 200:04d}",
            gateway_id=f"gw-{number % 4}",
            site_id="hall-1",
            rssi_dbm=-40.0 - number * 7 % 50,
            rssi_1m_dbm=-59.0,
            adapter="native",
            gateway_received_at=at,
            gateway_sent_at=at + timedelta(milliseconds=40),
            received_at=at + timedelta(milliseconds=55),
            sequence=number,
            battery_pct=80.0,
        )
        envelope = Envelope(
            id=uuid8(at, number.to_bytes(8, "big")),
            subject=data.tag_id,
            source="ingest/native",
            occurred_at=at,
            time_quality="gateway_receive",
            data=data,
        )
        facts.append(seal(envelope))
    return facts


def _rows(facts: Sequence[Sealed], first: int) -> list[tuple[object, ...]]:
    return [
        (1, position, START, f.id, f.subject, f.type, f.body, f.leaf)
        for position, f in enumerate(facts, first)
    ]


async def _read_back(log: PostgresLog, *, after: int) -> float:
    after = await log.floor(1, after)
    events = 0
    began = time.perf_counter()
    while page := await log.read(1, after=after):
        events += len(page.events)
        after = page.last
    return round(events / (time.perf_counter() - began))


class AppendAndCopy:
    """Appends and COPYs of the same rows by turns, one connection each; an async context.

    Args:
        database_url: A database whose schema `log` is up to date.
        log_id: Log that the facts are added to.
        batches: Batches per turn, each committed alone.
        batch_events: Events per batch.
    """

    def __init__(
        self,
        database_url: str,
        *,
        log_id: int = 1,
        batches: int = 20,
        batch_events: int = BATCH_EVENTS,
    ) -> None:
        self._url = database_url
        self._log_id = log_id
        self._batches = batches
        self._batch_events = batch_events
        self._position = 0
        self._body_bytes = 0.0
        self._append_s: list[float] = []
        self._copy_s: list[float] = []

    async def __aenter__(self) -> Self:
        self._pool = LogPool(self._url, max_size=1)
        await self._pool.open()
        self.log = PostgresLog(self._pool)
        self._plain = await asyncpg.connect(self._url)
        await self._plain.execute(_PLAIN_TABLE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._plain.execute("DROP SCHEMA bench CASCADE")
        await self._plain.close()
        await self._pool.close()

    async def turn(self) -> None:
        """Append and COPY one turn's events; which goes first alternates."""
        size = self._batch_events
        facts = sightings(self._batches * size, first=self._position)
        self._body_bytes = statistics.fmean(len(fact.body) for fact in facts)
        parts = [facts[i : i + size] for i in range(0, len(facts), size)]
        first = self._position + 1
        tables = [_rows(part, first + n * size) for n, part in enumerate(parts)]
        self._position += len(facts)
        for kind in ("append", "copy") if len(self._copy_s) % 2 else ("copy", "append"):
            began = time.perf_counter()
            if kind == "append":
                for part in parts:
                    await self.log.append(self._log_id, part, writer="bench")
                self._append_s.append(time.perf_counter() - began)
            else:
                for rows in tables:
                    await self._plain.copy_records_to_table(
                        "plain", schema_name="bench", records=rows, columns=COLUMNS
                    )
                self._copy_s.append(time.perf_counter() - began)

    def figures(self) -> dict[str, float]:
        """Return medians over all turns but the first two.

        Returns:
            `events_per_s`, `copy_events_per_s`, `ratio_append_to_copy` (the median of the turns'
            ratios), `batch_events`, and `body_bytes`, the mean size of a body.
        """
        appends, copies = self._append_s[2:], self._copy_s[2:]
        events = self._batches * self._batch_events
        return {
            "events_per_s": round(events / statistics.median(appends)),
            "copy_events_per_s": round(events / statistics.median(copies)),
            "ratio_append_to_copy": round(
                statistics.median(c / a for a, c in zip(appends, copies, strict=True)), 3
            ),
            "batch_events": self._batch_events,
            "body_bytes": round(self._body_bytes),
        }


async def append_ratio(
    database_url: str, *, rounds: int = 15, batches: int = 20, batch_events: int = BATCH_EVENTS
) -> dict[str, float]:
    """Measure appends and COPY of the same rows by turns, and reading them back.

    Args:
        database_url: A database whose schema `log` is up to date; facts are added to log 1.
        rounds: Turns of each, after two that warm up.
        batches: Batches per turn, each committed alone.
        batch_events: Events per batch.

    Returns:
        As `AppendAndCopy.figures`, and `read_events_per_s` (the last turns read back in pages of
        1000, hashes checked).
    """
    async with AppendAndCopy(database_url, batches=batches, batch_events=batch_events) as part:
        for _ in range(rounds + 2):
            await part.turn()
        events = (rounds + 2) * batches * batch_events
        read_events_per_s = await _read_back(part.log, after=max(0, events - 100_000))
        return {**part.figures(), "read_events_per_s": read_events_per_s}


async def _embedded(home: Path, options: dict[str, Any]) -> dict[str, float]:
    async with Embedded(home) as servers:
        await upgrade(servers.database_url, schema="log", package="tagtrail_ingest.migrations")
        return await append_ratio(servers.database_url, **options)


def main() -> None:
    """Run the benchmark on embedded servers, or on those of `--database-url`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch-events", type=int, default=BATCH_EVENTS)
    parser.add_argument("--database-url", help="a database with an up-to-date schema `log`")
    given = parser.parse_args()
    options = {
        "rounds": given.rounds,
        "batches": given.batches,
        "batch_events": given.batch_events,
    }
    if given.database_url:
        figures = asyncio.run(append_ratio(given.database_url, **options))
    else:
        with tempfile.TemporaryDirectory(prefix="tagtrail-bench-") as folder:
            Path(folder).chmod(0o711)  # the servers' account must pass through it
            figures = asyncio.run(_embedded(Path(folder) / "home", options))
    if given.json:
        sys.stdout.write(orjson.dumps(figures).decode() + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:>24}  {value}\n")


if __name__ == "__main__":
    main()
