"""Append against a plain COPY of the same rows, side by side and alternating in one run.

`python -m bench.log --json` starts the embedded servers and prints one JSON object. The COPY is
`copy_records_to_table` of asyncpg into a table with the same columns and only its primary key:
one commit per batch, no dedupe, no hash, no chain; its tuples are ready before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

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


async def append_ratio(
    database_url: str, *, rounds: int = 15, batches: int = 20, batch_events: int = BATCH_EVENTS
) -> dict[str, float]:
    """Measure appends and COPY of the same rows by turns; one connection each.

    Args:
        database_url: A database whose schema `log` is up to date; facts are added to log 1.
        rounds: Turns of each, after two that warm up; the medians over them are returned.
        batches: Batches per turn, each committed alone.
        batch_events: Events per batch.

    Returns:
        `events_per_s`, `copy_events_per_s`, their ratio `ratio_append_to_copy` (the median of the
        rounds' ratios), `read_events_per_s` (the last turns read back in pages of 1000, hashes
        checked), and `body_bytes`, the mean size of a body.
    """
    pool = LogPool(database_url, max_size=1)
    await pool.open()
    log = PostgresLog(pool)
    plain = await asyncpg.connect(database_url)
    await plain.execute(_PLAIN_TABLE)
    append_s: list[float] = []
    copy_s: list[float] = []
    position = 0
    body_bytes = 0.0
    try:
        for turn in range(rounds + 2):
            facts = sightings(batches * batch_events, first=position)
            body_bytes = statistics.fmean(len(fact.body) for fact in facts)
            parts = [facts[i : i + batch_events] for i in range(0, len(facts), batch_events)]
            tables = [_rows(part, position + 1 + n * batch_events) for n, part in enumerate(parts)]
            position += len(facts)
            for kind in ("append", "copy") if turn % 2 else ("copy", "append"):
                began = time.perf_counter()
                if kind == "append":
                    for part in parts:
                        await log.append(1, part, writer="bench")
                    append_s.append(time.perf_counter() - began)
                else:
                    for rows in tables:
                        await plain.copy_records_to_table(
                            "plain", schema_name="bench", records=rows, columns=COLUMNS
                        )
                    copy_s.append(time.perf_counter() - began)
        read_events_per_s = await _read_back(log, after=max(0, position - 100_000))
    finally:
        await plain.execute("DROP SCHEMA bench CASCADE")
        await plain.close()
        await pool.close()
    append_s, copy_s = append_s[2:], copy_s[2:]
    events = batches * batch_events
    return {
        "events_per_s": round(events / statistics.median(append_s)),
        "copy_events_per_s": round(events / statistics.median(copy_s)),
        "ratio_append_to_copy": round(
            statistics.median(c / a for a, c in zip(append_s, copy_s, strict=True)), 3
        ),
        "read_events_per_s": read_events_per_s,
        "batch_events": batch_events,
        "body_bytes": round(body_bytes),
    }


async def _embedded(home: Path, options: dict[str, Any]) -> dict[str, float]:
    # Only this entry point starts servers; `append_ratio` takes the caller's.
    from tagtrail.embedded import Embedded  # noqa: PLC0415

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
        print(orjson.dumps(figures).decode())
    else:
        for name, value in figures.items():
            print(f"{name:>24}  {value}")


if __name__ == "__main__":
    main()
