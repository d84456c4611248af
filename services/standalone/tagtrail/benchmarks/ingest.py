"""`tagtrail bench ingest`: append, HTTP ingest and a plain COPY by turns, in one run.

The COPY writes the same rows (columns and bodies) into a table with only its primary key, one
commit per batch of 500, without dedupe, hash or chain. The HTTP part posts batches of 200 native
sightings to two replicas of `tagtrail serve ingest`, each a process of its own, and counts only
what is durable; its load generator runs here, so two cores are shared by replicas, PostgreSQL and
generator.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from tagtrail.benchmarks.append import START, AppendAndCopy
from tagtrail.benchmarks.http_load import drive, post_request
from tagtrail.benchmarks.served import served, short_folder, tenant_with_key
from tagtrail.embedded import Embedded
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.events.registrations import TagRegistered
from tagtrail_kernel.settings import KernelSettings

POST_ITEMS: Final = 200
TAGS: Final = 200
POSTS_PER_TURN: Final = 200


def _identity(number: int) -> str:
    return f"mac:{0x02AB00000000 + number:012x}"


async def _enrol(settings: KernelSettings, log_id: int) -> None:
    facts = [
        Envelope(
            id=uuid8(START, f"bench/{n}".encode()),
            subject=f"bench-{n}",
            source="bench",
            occurred_at=START,
            data=TagRegistered(tag_id=f"bench-{n}", identities=(_identity(n),)),
        )
        for n in range(TAGS)
    ]
    pool = LogPool(settings.database_url, max_size=1)
    await pool.open()
    try:
        await PostgresLog(pool).append(log_id, seal_all(facts), writer="bench")
    finally:
        await pool.close()


def post_bodies(count: int, *, first: int) -> list[bytes]:
    """Return native batches of `POST_ITEMS` sightings; no two sightings are alike."""
    bodies = []
    for post in range(first, first + count):
        at = START + timedelta(seconds=post)
        items = [
            {
                "tag": _identity(n % TAGS),
                "at": at + timedelta(milliseconds=n),
                "rssi_dbm": -40.0 - (post * 7 + n) % 50,
                "rssi_1m_dbm": -59.0,
                "battery_pct": 80.0,
                "sequence": post * POST_ITEMS + n,
            }
            for n in range(POST_ITEMS)
        ]
        bodies.append(
            msgspec.json.encode(
                {
                    "gateway_id": f"gw-{post % 4}",
                    "sent_at": at + timedelta(milliseconds=240),
                    "sightings": items,
                }
            )
        )
    return bodies


async def measure(*, seconds_each: float = 20.0) -> dict[str, Any]:
    """Measure on embedded servers in a folder of their own.

    Args:
        seconds_each: About how long each of the three parts is measured, seconds.
    """
    with short_folder() as folder:
        async with Embedded(folder / "home") as servers:
            settings = KernelSettings(
                database_url=servers.database_url, nats_url=servers.nats_url, mqtt_url=""
            )
            log_id, key = await tenant_with_key(settings)
            await _enrol(settings, log_id)
            async with (
                served(settings, ["ingest"]) as one,
                served(settings, ["ingest"]) as two,
            ):
                return await _turns(settings, (one.url, two.url), key, seconds_each)


async def _post(url: str, key: str, bodies: Sequence[bytes]) -> None:
    requests = [post_request(url, "/v1/sightings", key, body) for body in bodies]
    await drive(url, requests, connections=6)


async def _turns(
    settings: KernelSettings, urls: tuple[str, str], key: str, seconds_each: float
) -> dict[str, Any]:
    http_per_s: list[float] = []
    post = 0
    async with AppendAndCopy(settings.database_url, log_id=1_000_000) as part:
        spent_s = 0.0
        while spent_s < seconds_each or len(http_per_s) < 5:
            await part.turn()
            bodies = post_bodies(POSTS_PER_TURN, first=post)
            post += POSTS_PER_TURN
            began = time.perf_counter()
            await asyncio.gather(*(_post(url, key, bodies[n::2]) for n, url in enumerate(urls)))
            took_s = time.perf_counter() - began
            http_per_s.append(POSTS_PER_TURN * POST_ITEMS / took_s)
            spent_s += took_s
    figures = part.figures()
    warm = http_per_s[1:]
    copy_per_s = figures["copy_events_per_s"]
    return {
        **figures,
        "http_events_per_s": round(statistics.median(warm)),
        "ratio_http_to_copy": round(statistics.median(warm) / copy_per_s, 3),
        "http_post_events": POST_ITEMS,
        "ingest_replicas": len(urls),
        "turns": len(warm),
    }
