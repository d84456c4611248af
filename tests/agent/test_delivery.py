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


async def test_a_batch_that_goes_into_quarantine_is_put_aside_and_blocks_nothing(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    async with ingest_server(database_url, infra, retention=False) as server:
        path = agent_files(tmp_path, server, "mqtt")
        async with running(path, fed, clock) as agent:
            await fed.say([reading(1, clock), reading(2, clock)])
            await eventually(lambda: bool(agent.outbox.aside()), "put aside")
            await server.allow_radio()
            await fed.say([reading(3, clock)])
            await eventually(lambda: agent.sender.confirmed_items == 1, "the next one")
            aside = agent.outbox.aside()
            figures = agent.heartbeat.figures()

    assert [(a.items, a.reason) for a in aside] == [(2, "retention-missing")]
    assert figures["dropped"] == {"refused_retention-missing": 2}
    assert figures["queue_items"] == 0


async def test_over_http_a_batch_waits_until_the_server_may_keep_sightings(
    database_url: str, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    async with ingest_server(database_url, retention=False) as server:
        path = agent_files(tmp_path, server, "http")
        async with running(path, fed, clock) as agent:
            await fed.say([reading(1, clock)])
            await eventually(lambda: agent.sender.repeats >= 2, "tried again")
            waiting = agent.outbox.figures()["queue_items"]
            await server.allow_radio()
            await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
        numbers = await server.numbers()

    assert waiting == 1
    assert numbers == [1]


async def test_what_the_server_refuses_of_a_batch_is_counted_by_reason(
    database_url: str, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    async with ingest_server(database_url) as server:
        path = agent_files(tmp_path, server, "http")
        async with running(path, fed, clock) as agent:
            await fed.say([reading(1, clock), reading(2, clock, x_m=1.0), reading(3, clock)])
            await eventually(lambda: agent.sender.confirmed_items == 3, "settled")
            dropped = agent.outbox.tally.figures()
        numbers = await server.numbers()

    assert dropped == {"rejected_incomplete_position": 1}
    assert numbers == [1, 3]


def everything_in(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


async def test_addresses_that_nobody_enrolled_reach_neither_disk_nor_server(
    database_url: str, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    stranger = reading(1, clock)
    stranger.tag = "mac:02dead00beef"
    async with ingest_server(database_url) as server:
        path = agent_files(tmp_path, server, "http")
        async with running(path, fed, clock) as agent:
            await fed.say([stranger, reading(2, clock)])
            await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
            figures = agent.heartbeat.figures()
            await agent.heartbeat.beat()
        unenrolled = (await server.client.get("/v1/unenrolled")).json()["items"]

    written = everything_in(tmp_path)
    assert b"02c0ffee0002" in written
    assert b"dead00beef" not in written
    assert figures["identity"] == {"resolved": 1, "unknown_mac": 1}
    assert unenrolled == []


async def test_the_heartbeat_becomes_figures_of_the_gateway(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    async with ingest_server(database_url, infra) as server:
        path = agent_files(tmp_path, server, "mqtt")
        async with running(path, Fed()) as agent:
            await eventually(lambda: agent.server_time.known, "met")
            await agent.heartbeat.beat()
            await eventually(lambda: _reported(server), "reported")
        reports = [e["data"] for e in await server.events("gateway.reported")]

    last = [r for r in reports if r.get("online") and not r.get("retained")][-1]
    wanted = {
        "version", "queue_items", "queue_age_s", "dropped", "adverts_per_s", "clock_skew_s",
        "load_1min", "resident_mb", "confirmed", "inputs",
    }  # fmt: skip
    assert wanted <= set(last["values"])


async def _reported(server: Server) -> bool:
    events = await server.events("gateway.reported")
    return any("clock_skew_s" in (e["data"].get("values") or {}) for e in events)
