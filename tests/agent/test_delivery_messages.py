"""Messages that only the server reads: from a local broker to the server's, as they came."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from paho.mqtt.client import MQTTMessage
from tests.support.agents import (
    FAST,
    Server,
    bare,
    eventually,
    ingest_server,
    write_config,
    write_credentials,
)

from tagtrail.embedded import Embedded
from tagtrail_agent import config
from tagtrail_agent.checking import checked
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.courier import MESSAGES
from tagtrail_agent.errors import ConfigError
from tagtrail_agent.inputs.mqtt import MqttGateways
from tagtrail_agent.items import text_of
from tagtrail_agent.readings import Reading
from tagtrail_agent.runtime import Agent
from tagtrail_ingest.mqtt import client_of
from tagtrail_kernel.events.registrations import GatewayRegistered

DOCK_2 = GatewayRegistered(gateway_id="dock-2", site_id="hall")
NOBODY_THERE = '[[input]]\nkind = "mqtt"\nport = 1\n'
"""An input whose broker is never there: the tests hand it its messages."""


def telemetry(rssi_dbm: int) -> bytes:
    item = {
        "trackingId": "02:c0:ff:ee:00:01",
        "sourceId": "dock-2",
        "rssi": rssi_dbm,
        "timestamp": text_of(SystemClock().now()),
    }
    return json.dumps([item], indent=3).encode()


def files(folder: Path, mqtt_url: str) -> Path:
    path = write_config(folder, mqtt=bare(mqtt_url), more=FAST + NOBODY_THERE)
    write_credentials(folder, mqtt_url=mqtt_url)
    return path


@contextlib.asynccontextmanager
async def hearing_gateways(path: Path) -> AsyncIterator[tuple[Agent, MqttGateways]]:
    """Run an agent as it is configured; lend it and its input."""
    agent = Agent(config.load(path))
    (source,) = agent.inputs
    assert isinstance(source, MqttGateways)
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent, source
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


def kept_by_the_broker(url: str, topic: str) -> MQTTMessage:
    """Return the message that a broker keeps as the state of a topic, and make it forget it."""
    found: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
    client = client_of(url, f"look-{secrets.token_hex(4)}")

    def connected(*_: Any) -> None:
        client.subscribe(topic, 1)

    client.on_connect = connected
    client.on_message = lambda *args: found.put(args[2])
    address = urlsplit(url)
    client.connect(address.hostname or "", address.port or 0)
    client.loop_start()
    try:
        kept = found.get(timeout=10)
        client.publish(topic, b"", qos=1, retain=True).wait_for_publish(10)
        return kept
    finally:
        client.disconnect()
        client.loop_stop()


async def strengths(server: Server) -> list[tuple[str, float]]:
    events = await server.events()
    return [(e["data"]["gateway_id"], e["data"]["rssi_dbm"]) for e in events]


async def test_a_foreign_message_reaches_ingest_and_leaves_the_outbox_when_acknowledged(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    async with ingest_server(database_url, infra, facts=[DOCK_2]) as server:
        async with hearing_gateways(files(tmp_path, server.mqtt_url)) as (agent, source):
            for rssi_dbm in (-70, -71, -72):
                source.take("kontakt/hall", telemetry(rssi_dbm))
            kept = agent.outbox.figures()["queue_items"]
            await eventually(lambda: agent.sender.forwarded_messages == 3, "forwarded")
            await eventually(lambda: _has(server, 3), "in the log")
            figures = agent.heartbeat.figures()
        found = await strengths(server)

    assert kept == 3
    assert sorted(found) == [("dock-2", -72), ("dock-2", -71), ("dock-2", -70)]
    assert (figures["queue_items"], figures["forwarded"], figures["dropped"]) == (0, 3, {})
    assert figures["inputs"]["mqtt"]["passed"] == 3


async def _has(server: Server, count: int) -> bool:
    return len(await strengths(server)) >= count


async def test_bytes_topic_and_retain_flag_are_those_that_came(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    topic, payload = f"espresense/rooms/{secrets.token_hex(4)}/status", b"\xff\x00 online \n"
    async with ingest_server(database_url, infra) as server:
        async with hearing_gateways(files(tmp_path, server.mqtt_url)) as (agent, source):
            source.take(topic, payload, retained=True)
            await eventually(lambda: agent.sender.forwarded_messages == 1, "forwarded")
        kept = await asyncio.to_thread(kept_by_the_broker, infra.mqtt_url, topic)

    assert (kept.topic, kept.payload, kept.retain) == (topic, payload, True)


async def test_messages_wait_for_the_server_over_a_restart_and_keep_their_order(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    topic = f"espresense/rooms/{secrets.token_hex(4)}/status"
    path = files(tmp_path, infra.gateway_mqtt_url)
    async with hearing_gateways(path) as (agent, source):  # ingest does not run yet
        source.take("kontakt/hall", telemetry(-60))
        for number in range(120):
            source.take(topic, b"%d" % number, retained=True)
        await asyncio.sleep(0.5)
        offline = agent.sender.forwarded_messages
    async with ingest_server(database_url, infra, facts=[DOCK_2]) as server:
        async with hearing_gateways(path) as (agent, _):
            await eventually(lambda: agent.sender.forwarded_messages == 121, "forwarded")
            await eventually(lambda: _has(server, 1), "in the log")
        kept = await asyncio.to_thread(kept_by_the_broker, infra.mqtt_url, topic)

    assert offline == 0
    assert kept.payload == b"119"


async def test_a_topic_that_would_end_the_connection_is_counted_and_blocks_nothing(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    async with ingest_server(database_url, infra, facts=[DOCK_2]) as server:
        async with hearing_gateways(files(tmp_path, server.mqtt_url)) as (agent, source):
            source.take("espresense/rooms/living room/status", b"online")
            source.take("kontakt/hall", telemetry(-61))
            await eventually(lambda: agent.sender.forwarded_messages == 1, "the next one")
            dropped = agent.outbox.tally.figures()

    assert dropped == {"unfit_topic": 1}


async def test_a_reading_that_calls_its_gateway_like_the_messages_is_still_a_reading(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    clock = SystemClock()
    async with ingest_server(database_url, infra) as server:
        async with hearing_gateways(files(tmp_path, server.mqtt_url)) as (agent, _):
            one = Reading("mac:02c0ffee0001", clock.now(), clock.elapsed_s(), {"rssi_dbm": -50})
            one.gateway_id = MESSAGES
            agent.hearing.hear([one])
            await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
        found = await strengths(server)

    assert found == [("dock-1", -50)]


async def test_over_http_messages_are_counted_and_check_says_so(
    database_url: str, tmp_path: Path
) -> None:
    async with ingest_server(database_url) as server:
        path = write_config(tmp_path, url=server.url, more=FAST + NOBODY_THERE)
        write_credentials(tmp_path, key=server.gateway_key)
        async with hearing_gateways(path) as (_, source):
            source.take("kontakt/hall", telemetry(-60))
            counts: dict[str, Any] = dict(source.counts)
        findings = await checked(path, offline=True)

    assert counts["not_passed"] == 1
    assert any("needs server.mqtt" in f.words for f in findings if f.what == "inputs")


async def test_messages_that_were_kept_for_mqtt_do_not_block_http(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    async with hearing_gateways(files(tmp_path, infra.gateway_mqtt_url)) as (_, source):
        source.take("kontakt/hall", telemetry(-60))
    async with ingest_server(database_url) as server:
        path = write_config(tmp_path, url=server.url, more=FAST + NOBODY_THERE)
        write_credentials(tmp_path, key=server.gateway_key)
        async with hearing_gateways(path) as (agent, _):
            await eventually(lambda: bool(agent.outbox.aside()), "put aside")
            aside = [(a.reason, a.items) for a in agent.outbox.aside()]

    assert aside == [("needs_mqtt", 1)]


def test_the_servers_own_broker_is_no_input(tmp_path: Path) -> None:
    path = write_config(tmp_path, mqtt="mqtt://127.0.0.1", more=FAST + '[[input]]\nkind = "mqtt"\n')

    with pytest.raises(ConfigError, match=r"line \d+.*the server's own broker"):
        Agent(config.load(path))
