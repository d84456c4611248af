"""The embedded PostgreSQL and NATS of the test process: what they are and whom they let in."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import nats
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.support.broker_memory import forget_retained

from tagtrail.embedded import Embedded
from tagtrail.embedded.accounts import Account

NatsAnswer = Callable[[str], str]

LOOPBACK = "0100007F"  # 127.0.0.1 as /proc/net/tcp writes it
LISTEN = "0A"


async def test_a_test_gets_an_empty_database_of_its_own(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        owner = await connection.fetchval(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()

    assert (tables, owner) == (0, "tagtrail")


async def test_the_database_is_durable_and_checks_its_pages(infra: Embedded) -> None:
    connection = await asyncpg.connect(infra.database_url)
    try:
        settings = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("fsync", "synchronous_commit", "data_checksums", "server_encoding")
        }
    finally:
        await connection.close()

    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
    }


async def test_the_services_role_makes_and_uses_roles_but_is_no_superuser(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE ROLE embedded_reader")
        await connection.execute("SET ROLE embedded_reader; RESET ROLE; DROP ROLE embedded_reader")
        superuser = await connection.fetchval("SHOW is_superuser")
    finally:
        await connection.close()

    assert superuser == "off"


@pytest.mark.parametrize("role", ["tagtrail", "postgres"])
async def test_the_database_demands_the_right_password(infra: Embedded, role: str) -> None:
    at = urlsplit(infra.database_url)

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://{role}:wrong@{at.hostname}:{at.port}/postgres")


async def test_passwords_are_stored_as_scram(infra: Embedded) -> None:
    admin = await asyncpg.connect(infra.admin_database_url)
    try:
        stored = await admin.fetch("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
    finally:
        await admin.close()

    assert len(stored) == 2
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$") for row in stored)


def test_secrets_are_readable_by_their_owner_only(infra: Embedded) -> None:
    files = [
        infra.home / "secrets.json",
        infra.home / "nats" / "nats.conf",
        infra.home / "log" / "postgres.log",
    ]

    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_servers_do_not_run_as_root(infra: Embedded, account: Account | None) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in infra.pids().values()}

    assert owners == {account.uid if account else os.getuid()}
    assert 0 not in owners


def test_the_servers_listen_on_loopback_only(infra: Embedded) -> None:
    pids = infra.pids().values()
    wanted = {urlsplit(u).port for u in (infra.database_url, infra.nats_url, infra.mqtt_url)}

    assert {port for pid in pids for port in _listening(pid, "tcp")} == wanted
    assert [port for pid in pids for port in _listening(pid, "tcp6")] == []


def _listening(pid: int, table: str) -> list[int]:
    """Return the ports that a process listens on; fails if one is not on 127.0.0.1."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    ports = []
    for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == LISTEN and words[9] in sockets:
            address, _, port = words[1].partition(":")
            assert address == LOOPBACK
            ports.append(int(port, 16))
    return ports


def test_idle_servers_occupy_less_than_a_quarter_of_the_product_s_share(infra: Embedded) -> None:
    occupied = infra.memory_bytes()

    assert set(occupied) == {"postgres", "nats"}
    assert all(bytes_ > 1_000_000 for bytes_ in occupied.values())
    assert sum(occupied.values()) < 100_000_000


def test_nats_demands_the_right_password(infra: Embedded, nats_answer: NatsAnswer) -> None:
    at = urlsplit(infra.nats_url)
    right = nats_answer(infra.nats_url)
    wrong = nats_answer(f"nats://{at.username}:wrong@{at.hostname}:{at.port}")
    missing = nats_answer(f"nats://{at.hostname}:{at.port}")

    assert right == "PONG"
    assert [wrong, missing] == ["-ERR 'Authorization Violation'"] * 2


def test_a_gateway_cannot_speak_plain_nats(infra: Embedded, nats_answer: NatsAnswer) -> None:
    gateway = urlsplit(infra.gateway_mqtt_url)
    service = urlsplit(infra.nats_url)
    url = f"nats://{gateway.username}:{gateway.password}@{service.hostname}:{service.port}"

    assert nats_answer(url).startswith("-ERR")


def test_a_gateway_publishes_sightings_in_any_format_but_not_into_the_log(infra: Embedded) -> None:
    topics = [
        "tagtrail/v1/dock/gw1/sightings",
        "espresense/devices/x/office",
        "shellies/gw/ble",
        "$TAGTRAIL/log/1",
        "$JS/API/INFO",
    ]
    heard: list[str] = []
    done = threading.Event()

    def on_message(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        heard.append(message.topic)
        if message.topic == "end":
            done.set()

    with _signed_in(infra.mqtt_url) as service, _signed_in(infra.gateway_mqtt_url) as gateway:
        service.on_message = on_message
        _subscribe(service, "#")
        _subscribe(service, "$JS/#")
        _subscribe(service, "$TAGTRAIL/#")
        for topic in [*topics, "end"]:
            gateway.publish(topic, b"{}", qos=1).wait_for_publish(5)
        assert done.wait(5)

    assert not [topic for topic in heard if topic.startswith("$TAGTRAIL")]
    assert [topic for topic in heard if not topic.startswith("$")] == [*topics[:3], "end"]
    assert "$JS/API/INFO" not in heard


def test_what_a_test_left_at_the_shared_broker_is_forgotten(infra: Embedded) -> None:
    topics = ["tagtrail/v1/dock/gw1/status", "tagtrail/v1/dock/gw1/config", "other/topic"]
    with _signed_in(infra.gateway_mqtt_url) as gateway:
        for number, topic in enumerate(topics):
            gateway.publish(topic, b"{}", qos=number % 2, retain=True).wait_for_publish(5)
        gateway.publish("end", b"{}", qos=1).wait_for_publish(5)

    gone = forget_retained(infra.mqtt_url)

    assert sorted(gone) == sorted(topics)
    assert forget_retained(infra.mqtt_url) == []


def test_a_gateway_hears_tagtrail_s_topics_and_nobody_else_s(infra: Embedded) -> None:
    with _signed_in(infra.gateway_mqtt_url) as gateway:
        granted = _subscribe(gateway, "tagtrail/v1/dock/#")
        refused = [_subscribe(gateway, t) for t in ("espresense/#", "#", "$MQTT/sub/#", "$SYS/#")]

    assert granted == 1
    assert refused == [0x80] * 4


def _subscribe(client: mqtt.Client, topic: str) -> int:
    """Subscribe with QoS 1 and return the server's answer: the granted QoS, 0x80 refused."""
    answers: list[int] = []
    answered = threading.Event()

    def on_subscribe(*arguments: object) -> None:
        codes = arguments[3]
        assert isinstance(codes, list)
        answers.append(codes[0].value)
        answered.set()

    client.on_subscribe = on_subscribe
    client.subscribe(topic, qos=1)
    assert answered.wait(5)
    return answers[0]


@contextmanager
def _signed_in(url: str) -> Iterator[mqtt.Client]:
    at = urlsplit(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(at.username or "", at.password)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect(at.hostname or "", at.port or 0)
    client.loop_start()
    try:
        assert connected.wait(5)
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


async def test_jetstream_keeps_messages(infra: Embedded) -> None:
    client = await nats.connect(infra.nats_url)
    try:
        stream = client.jetstream()
        await stream.add_stream(name="kept", subjects=["kept.>"])
        acknowledgement = await asyncio.wait_for(stream.publish("kept.one", b"x"), 5)
        await stream.delete_stream("kept")
    finally:
        await client.close()

    assert acknowledgement.seq == 1
