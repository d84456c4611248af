"""MQTT over TLS against a real broker: whom the agent trusts, what it says, how it comes back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.agent_inputs import hearing
from tests.support.agents import (
    FAST,
    Fed,
    eventually,
    ingest_server,
    reading,
    running,
    write_config,
    write_credentials,
)
from tests.support.certificates import Authority
from tests.support.tls_broker import TlsBroker, tls_broker

from tagtrail_agent.checking import checked
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.delivery.mqtt import Broker, MqttLink
from tagtrail_agent.delivery.trust import context_of, words_of
from tagtrail_agent.errors import ConfigError
from tagtrail_agent.inputs.mqtt import MqttGateways, MqttOptions
from tagtrail_agent.runtime import Agent


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def broker(short_dir: Path, authority: Authority) -> AsyncIterator[TlsBroker]:
    async with tls_broker(short_dir, authority.issue()) as started:
        yield started


def files(folder: Path, broker: TlsBroker, ca_file: Path | None) -> Path:
    """Write an agent's files."""
    named = {"ca_file": str(ca_file)} if ca_file else {}
    path = write_config(folder / "agent", mqtt=broker.mqtt_url, more=FAST, **named)
    write_credentials(folder / "agent")
    return path


def fault(agent: Agent) -> str:
    link = agent.link
    assert isinstance(link, MqttLink)
    return link.fault or ""


async def test_readings_go_by_tls_and_again_after_the_broker_was_away(
    database_url: str,
    broker: TlsBroker,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))  # whom ingest trusts, as the system's
    clock, fed = SystemClock(), Fed()
    async with ingest_server(database_url, broker) as server:
        async with running(files(tmp_path, broker, authority.file), fed, clock) as agent:
            await fed.say([reading(1, clock)])
            await eventually(lambda: agent.sender.confirmed_items == 1, "the first is confirmed")
            await broker.stop()
            await eventually(lambda: not agent.link.connected, "the agent sees it")
            await fed.say([reading(2, clock)])
            await broker.start(authority.issue("renewed"))
            await eventually(lambda: agent.sender.confirmed_items == 2, "the second one too", 60)
        numbers = await server.numbers()

    assert numbers == [1, 2]


async def test_an_authority_that_is_not_its_own_is_told_with_what_to_do(
    broker: TlsBroker, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    path = files(tmp_path, broker, other.file)
    async with running(path, Fed()) as agent:
        await eventually(lambda: "not trusted" in fault(agent), "the agent says why")
        words, connected = fault(agent), agent.link.connected

    assert not connected
    assert "of 127.0.0.1 is not trusted" in words
    assert words.endswith("name the file of its authority as server.ca_file")
    finding = [f for f in await checked(path, offline=False) if f.what == "delivery by mqtt"]
    assert [(f.ok, f.words) for f in finding] == [(False, words)]


async def test_a_certificate_that_is_over_is_told_and_a_renewed_one_is_taken(
    short_dir: Path, authority: Authority, tmp_path: Path
) -> None:
    over = authority.issue("over", lasts=timedelta(hours=-1))
    async with (
        tls_broker(short_dir, over) as broker,
        running(files(tmp_path, broker, authority.file), Fed()) as agent,
    ):
        await eventually(lambda: "has expired" in fault(agent), "the agent says why")
        words = fault(agent)
        await broker.stop()
        await broker.start(authority.issue())
        await eventually(lambda: agent.link.connected, "it connects by itself")
        after = fault(agent)

    assert "renew it at the server, or set this machine's clock" in words
    assert after == ""


async def test_a_certificate_of_another_machine_is_not_taken(
    short_dir: Path, authority: Authority, tmp_path: Path
) -> None:
    others = authority.issue("others", host="192.0.2.7")
    async with (
        tls_broker(short_dir, others) as broker,
        running(files(tmp_path, broker, authority.file), Fed()) as agent,
    ):
        await eventually(lambda: "not trusted" in fault(agent), "the agent says why")
        words = fault(agent)

    assert "use the name that the certificate has" in words


async def test_a_certificate_that_newer_pythons_do_not_take_is_told_as_such(
    short_dir: Path, authority: Authority
) -> None:
    strict = context_of(authority.file)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    async with tls_broker(short_dir, authority.issue(bare=True)) as broker:
        port = int(broker.mqtt_url.rpartition(":")[2])
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            await asyncio.open_connection("127.0.0.1", port, ssl=strict)

    assert "anew: they lack what RFC 5280 asks for" in words_of(refused.value, "127.0.0.1")


async def test_a_file_of_authorities_that_is_none_is_a_mistake_of_the_configuration(
    tmp_path: Path,
) -> None:
    link = MqttLink(
        Broker("mqtts://127.0.0.1:1", ca_file=tmp_path / "none.pem"), site_id="s", gateway_id="g"
    )

    with pytest.raises(ConfigError, match="correct ca_file"):
        await link.open()


async def test_an_input_on_a_broker_with_tls_tells_whom_it_does_not_trust(
    broker: TlsBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path, "other")
    port = int(broker.mqtt_url.rpartition(":")[2])
    options = MqttOptions(host="127.0.0.1", port=port, ca_file=other.file)
    async with hearing(MqttGateways(options, SystemClock(), "hall")):
        await eventually(
            lambda: any(r.msg == "mqtt.out_of_reach" for r in caplog.records), "it tells why"
        )
    cause = next(vars(r)["cause"] for r in caplog.records if r.msg == "mqtt.out_of_reach")

    assert cause.endswith("name the file of its authority as ca_file of this input")
