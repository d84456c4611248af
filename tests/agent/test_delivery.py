"""From the outbox to the log, over MQTT and over HTTP, with the real broker and a real ingest."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.agents import (
    FAST,
    Fed,
    Server,
    ShiftedClock,
    bare,
    eventually,
    ingest_server,
    reading,
    running,
    write_config,
    write_credentials,
)

from tagtrail.embedded import Embedded
from tagtrail_agent.clock import SystemClock

WAYS = ["mqtt", "http"]


def agent_files(folder: Path, server: Server, way: str, more: str = FAST) -> Path:
    if way == "mqtt":
        path = write_config(folder, mqtt=bare(server.mqtt_url), more=more)
        write_credentials(folder, mqtt_url=server.mqtt_url)
        return path
    path = write_config(folder, url=server.url, more=more)
    write_credentials(folder, key=server.gateway_key)
    return path


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_heard_is_in_the_log_once_and_leaves_the_outbox_when_confirmed(
    way: str, database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    async with ingest_server(database_url, infra if way == "mqtt" else None) as server:
        path = agent_files(tmp_path, server, way)
        async with running(path, fed, clock) as agent:
            await fed.say([reading(n, clock) for n in range(120)])
            assert agent.outbox.figures()["queue_items"] == 120
            await eventually(
                lambda: agent.sender.confirmed_items == 120, "all confirmed", within_s=6
            )
            queued = agent.outbox.figures()["queue_items"]
        events = await server.events()

    assert queued == 0
    assert Counter(round(e["data"]["distance_m"] * 100) for e in events) == Counter(range(120))
    assert {e["data"]["gateway_id"] for e in events} == {"dock-1"}
    assert {e["time_quality"] for e in events} == {"gateway_receive"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ahead_s", [3600, -3600])
async def test_a_clock_that_is_an_hour_off_does_not_move_what_was_heard(
    way: str, ahead_s: float, database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    right, wrong, fed = SystemClock(), ShiftedClock(ahead_s), Fed()
    async with ingest_server(database_url, infra if way == "mqtt" else None) as server:
        async with running(agent_files(tmp_path, server, way), fed, wrong) as agent:
            before = right.now()
            await fed.say([reading(1, wrong)])
            await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
            figures = agent.heartbeat.figures()
        (event,) = await server.events()

    at = datetime.fromisoformat(event["occurred_at"])
    assert abs(at - before) < timedelta(seconds=2)
    assert event["data"]["extra"]["clock_ahead_s"] == pytest.approx(ahead_s, abs=1)
    assert figures["clock_skew_s"] == pytest.approx(ahead_s, abs=1)
