"""A dead agent makes its tags unobservable; a tag that a living gateway no longer hears is missing."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.agents import (
    FAST,
    GATEWAY,
    SITE,
    Server,
    bare,
    eventually,
    ingest_server,
    write_config,
    write_credentials,
)

from tagtrail.embedded import Embedded
from tagtrail_kernel.events.registrations import (
    ConfigChanged,
    GatewayRegistered,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.migrations import Migration
from tagtrail_locate.service import build as build_locate
from tagtrail_locate.settings import LocateSettings

QUICK = {
    "gateway_timeout_s": 2.0, "overdue_s": 2.0, "overdue_factor": 2.0, "missing_s": 5.0,
    "missing_factor": 4.0, "silence_grace_s": 1.0, "missing_probability": 0.0,
}  # fmt: skip
FACTS = (
    ZoneRegistered(zone_id="dock", site_id=SITE, name="Dock"),
    GatewayRegistered(gateway_id=GATEWAY, site_id=SITE, zone_id="dock", x_m=0.0, y_m=0.0),
    GatewayRegistered(gateway_id="dock-2", site_id=SITE, zone_id="dock", x_m=30.0, y_m=0.0),
    ConfigChanged(section="locate", values=QUICK),
    *(
        TagRegistered(
            tag_id=f"t{n}", identities=(f"mac:02c0ffee{n:04x}",), mode="transit", interval_s=0.3
        )
        for n in range(3)
    ),
)
"""t0 is heard by the agent, t1 and t2 by another gateway."""


def item(number: int) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"tag": f"mac:02c0ffee{number:04x}", "at": at, "rssi_dbm": -55}


async def others(server: Server, heard: list[int]) -> None:
    """Have the other gateway hear some tags, three times a second, for ever."""
    while True:
        body = {"gateway_id": "dock-2", "sightings": [item(n) for n in heard]}
        (await server.client.post("/v1/sightings", json=body)).raise_for_status()
        await asyncio.sleep(0.3)


async def presence(client: httpx2.AsyncClient, tag_id: str) -> str | None:
    reply = await client.get(f"/v1/tags/{tag_id}/place")
    return str(reply.json()["presence"]) if reply.status_code == 200 else None


@pytest.mark.slow
async def test_s16_tags_of_a_dead_agent_are_unobservable_and_not_missing(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    more = FAST + '[[input]]\nkind = "lines"\n'
    async with ingest_server(
        database_url,
        infra,
        others=[lambda deps: build_locate(deps, LocateSettings())],
        migrations=[Migration("locate", "tagtrail_locate.migrations")],
        facts=FACTS,
    ) as server:
        path = write_config(tmp_path, mqtt=bare(server.mqtt_url), more=more)
        write_credentials(tmp_path, mqtt_url=server.mqtt_url)
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tagtrail_agent", "run", "--config", str(path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        both = asyncio.create_task(others(server, [1, 2]))
        assert agent.stdin is not None
        for _ in range(25):
            agent.stdin.write(json.dumps(item(0)).encode() + b"\n")
            await asyncio.sleep(0.2)
        await eventually(lambda: _is(server, "t0", "present"), "heard by the agent")
        agent.send_signal(signal.SIGKILL)
        await agent.wait()
        both.cancel()
        one = asyncio.create_task(others(server, [2]))
        seen: set[str | None] = set()
        await eventually(lambda: _is(server, "t0", "unobservable"), "the agent's tag")
        await eventually(lambda: _is(server, "t1", "missing"), "the silent tag")
        for _ in range(10):
            seen.add(await presence(server.client, "t0"))
            await asyncio.sleep(0.3)
        still = await presence(server.client, "t2")
        one.cancel()
        await asyncio.gather(one, both, return_exceptions=True)
        reports = await server.events("gateway.reported")

    assert seen == {"unobservable"}
    assert still == "present"
    assert [r["data"]["online"] for r in reports if "online" in r["data"]][-1] is False


async def _is(server: Server, tag_id: str, state: str) -> bool:
    return await presence(server.client, tag_id) == state
