"""MQTT over TLS: by whose certificates ingest trusts its broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from tests.support.agents import eventually
from tests.support.certificates import Authority
from tests.support.serving import ingest_app, prepared, served, settings_for
from tests.support.tls_broker import tls_broker

from tagtrail_ingest.mqtt import MqttSession
from tagtrail_ingest.service import build
from tagtrail_ingest.settings import IngestSettings
from tagtrail_kernel.bootstrap import deps_of
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.settings import SettingsError


async def test_a_broker_is_trusted_by_the_authority_that_is_named(
    database_url: str, short_dir: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    _, key = await prepared(database_url)
    settings = IngestSettings(mqtt_client_id="trusts", mqtt_ca_file=str(authority.file))
    async with tls_broker(short_dir, authority.issue()) as broker:
        app = ingest_app(settings_for(database_url, "", broker.mqtt_url), settings)
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            served(app) as url,
            httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client,
        ):

            async def is_connected() -> bool:
                return bool((await client.get("/v1/ingest/stats")).json()["mqtt_connected"])

            await eventually(is_connected, "ingest holds its session")


async def test_a_broker_of_another_authority_gets_no_session(
    short_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, others = Authority(tmp_path), Authority(tmp_path, "other")

    async def handle(_: object) -> None:
        raise AssertionError("nothing is taken")

    def session(url: str, ca_file: Path) -> MqttSession:
        return MqttSession(
            url, client_id="trust", filters=["#"], handle=handle, clock=SystemClock(),
            queue_bytes=1000, ca_file=str(ca_file),
        )  # fmt: skip

    async with tls_broker(short_dir, others.issue()) as broker:
        wrong, right = session(broker.mqtt_url, ours.file), session(broker.mqtt_url, others.file)
        running = [asyncio.create_task(s.run(lambda: True)) for s in (wrong, right)]
        await eventually(lambda: right.connections > 0, "the one that trusts it")
        await eventually(lambda: "mqtt.unreachable" in caplog.messages, "the other one has tried")
        was_connected = wrong.connections
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    assert was_connected == 0


@pytest.mark.parametrize("written", [None, "no certificate"])
async def test_a_file_that_holds_no_certificates_is_named_at_the_start(
    tmp_path: Path, written: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if written is not None:
        path.write_text(written, encoding="utf-8")
    deps = deps_of(settings_for("postgresql://nobody@127.0.0.1:1/none", "", "mqtts://127.0.0.1:1"))

    with pytest.raises(SettingsError, match=r"TAGTRAIL_INGEST_MQTT_CA_FILE: .*ca\.pem"):
        build(deps, IngestSettings(mqtt_ca_file=str(path)))
