"""`tagtrail bench latency`: from publication over MQTT to the zone change on the event stream.

200 tags × 4 gateways × 1 Hz. Half of the tags jump to another gateway's zone every few seconds.
What counts is the time between the publication of the sighting that decided a change and the
arrival of `tag.zone_changed` on the stream; the hysteresis's own wait lies before that sighting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import msgspec
import paho.mqtt.client as paho

from tagtrail.benchmarks.served import served, short_folder, tenant_with_key
from tagtrail.embedded import Embedded
from tagtrail_ingest.mqtt import client_of
from tagtrail_kernel.clock import SystemClock, TimeOrderedIds
from tagtrail_kernel.settings import KernelSettings

TAGS: Final = 200
GATEWAYS: Final = 4
SITE: Final = "bench"
NEAR_DBM: Final = -50.0
FAR_DBM: Final = -80.0
STAY_S: Final = 12.0
"""A tag stays this long at a gateway: longer than any sensible hysteresis."""


@dataclass(slots=True)
class _Run:
    published_s: dict[str, float] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    changes: int = 0
    unmatched: int = 0


def _registrations() -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = [
        {"type": "site.registered", "data": {"site_id": SITE, "name": "Bench"}}
    ]
    for g in range(GATEWAYS):
        facts.append(
            {
                "type": "zone.registered",
                "data": {"zone_id": f"z{g}", "site_id": SITE, "name": f"Zone {g}"},
            }
        )
        facts.append(
            {
                "type": "gateway.registered",
                "data": {
                    "gateway_id": f"g{g}", "site_id": SITE, "zone_id": f"z{g}",
                    "x_m": 15.0 * g, "y_m": 0.0, "rssi_1m_dbm": -59.0,
                },
            }
        )  # fmt: skip
    facts += [
        {
            "type": "tag.registered",
            "data": {"tag_id": f"t{n}", "identities": [f"mac:02cd{n:08x}"], "interval_s": 1.0},
        }
        for n in range(TAGS)
    ]
    return facts


async def measure(*, seconds: float = 60.0) -> dict[str, Any]:
    """Measure on embedded servers, all services in one process of their own."""
    with short_folder() as folder:
        async with Embedded(folder / "home") as servers:
            settings = KernelSettings(
                database_url=servers.database_url,
                nats_url=servers.nats_url,
                mqtt_url=servers.mqtt_url,
            )
            _, key = await tenant_with_key(settings)
            async with served(settings) as server:
                headers = {"Authorization": f"Bearer {key}"}
                async with httpx2.AsyncClient(
                    base_url=server.url, headers=headers, timeout=30
                ) as client:
                    reply = await client.post("/v1/events", json={"events": _registrations()})
                    reply.raise_for_status()
                    return await _measured(client, servers.gateway_mqtt_url, seconds)


async def _measured(client: httpx2.AsyncClient, mqtt_url: str, seconds: float) -> dict[str, Any]:
    run = _Run()
    publisher = client_of(mqtt_url, "tagtrail-bench")
    host, port = mqtt_url.rpartition("@")[2].split(":")
    publisher.connect(host, int(port))
    publisher.loop_start()
    watcher = asyncio.create_task(_watch(client, run))
    try:
        await asyncio.sleep(1)
        await _publish(publisher, run, seconds)
        await asyncio.sleep(3)
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        publisher.disconnect()
        publisher.loop_stop()
    waits = sorted(run.waits_s)
    if len(waits) < 20:
        raise RuntimeError(f"only {len(waits)} zone changes were seen; is locate running?")
    return {
        "p50_s": round(statistics.median(waits), 3),
        "p95_s": round(waits[int(len(waits) * 0.95)], 3),
        "max_s": round(waits[-1], 3),
        "zone_changes": run.changes,
        "unmatched": run.unmatched,
        "sightings": len(run.published_s),
        "seconds": seconds,
    }


async def _publish(publisher: paho.Client, run: _Run, seconds: float) -> None:
    """Publish one batch per gateway and quarter of a second, a quarter of the tags in each."""
    rng = random.Random(1)  # noqa: S311 - a seeded simulation
    ids = TimeOrderedIds(SystemClock())
    began = time.monotonic()
    step = 0
    while (now := time.monotonic()) - began < seconds:
        at = datetime.now(UTC)  # noqa: TID251 - a measurement of the wall clock
        for g in range(GATEWAYS):
            items = []
            for n in range(step % 4, TAGS, 4):
                phase = n * STAY_S / TAGS if n % 2 else 0.0
                near = (n + (int((now - began + phase) / STAY_S) if n % 2 else 0)) % GATEWAYS
                level = NEAR_DBM if near == g else FAR_DBM
                event_id = str(ids.new())
                run.published_s[event_id] = now
                items.append(
                    {
                        "id": event_id,
                        "tag": f"mac:02cd{n:08x}",
                        "at": at,
                        "rssi_dbm": round(level + rng.gauss(0, 2), 1),
                    }
                )
            body = msgspec.json.encode({"sent_at": at, "sightings": items})
            publisher.publish(f"tagtrail/v1/{SITE}/g{g}/sightings", body, qos=1)
        step += 1
        await asyncio.sleep(max(0.0, began + step * 0.25 - time.monotonic()))


async def _watch(client: httpx2.AsyncClient, run: _Run) -> None:
    async with client.stream(
        "GET", "/v1/events/stream", params={"types": "tag.zone_changed"}, timeout=None
    ) as reply:
        async for line in reply.aiter_lines():
            if not line.startswith("data:"):
                continue
            arrived = time.monotonic()
            event = json.loads(line[5:])
            run.changes += 1
            published = run.published_s.get(str(event.get("causation_id")))
            if published is None:
                run.unmatched += 1
            else:
                run.waits_s.append(arrived - published)
