"""One command and a one-time code make a machine a gateway; what it is to know comes signed."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.agents import (
    GATEWAY,
    SITE,
    Fed,
    Server,
    eventually,
    ingest_server,
    reading,
    running,
)

from tagtrail.embedded import Embedded
from tagtrail_agent import config, remote
from tagtrail_agent.cli import main
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.errors import RemoteConfigError
from tagtrail_ingest.enrolment import SIGNED, code_hash, new_code, signed
from tagtrail_kernel.access import code_hash as sign_in_hash


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Server]:
    async with ingest_server(database_url) as running_server:
        yield running_server


async def new(server: Server, gateway_id: str = GATEWAY, **body: Any) -> str:
    reply = await server.client.post(f"/v1/gateways/{gateway_id}/enrolment-codes", json=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["code"])


async def enrol(server: Server, folder: Path, code: str, *more: str) -> int:
    arguments = [
        "enrol", "--server", server.url, "--code", code, "--config", str(folder / "agent.toml"),
        "--state", str(folder / "state"), *more,
    ]  # fmt: skip
    return await asyncio.to_thread(main, arguments)


async def test_a_code_makes_a_machine_a_gateway_that_delivers(
    server: Server, tmp_path: Path
) -> None:
    code, clock, fed = await new(server), SystemClock(), Fed()

    assert await enrol(server, tmp_path, code) == 0

    loaded = config.load(tmp_path / "agent.toml")
    mode = stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode)
    async with running(tmp_path / "agent.toml", fed, clock) as agent:
        await fed.say([reading(7, clock)])
        agent.hearing.flush()
        await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
    assert (loaded.gateway.id, loaded.gateway.site, mode) == (GATEWAY, SITE, 0o600)
    assert await server.numbers() == [7]
    assert [e["data"]["gateway_id"] for e in await server.events("gateway.enrolled")] == [GATEWAY]


async def test_the_release_key_of_the_server_is_pinned_with_the_enrolment(
    database_url: str, tmp_path: Path
) -> None:
    async with ingest_server(database_url, release_key="cmVsZWFzZQ==") as server:
        assert await enrol(server, tmp_path, await new(server)) == 0

    assert config.load(tmp_path / "agent.toml").updates.key == "cmVsZWFzZQ=="


async def test_a_code_works_once_and_is_stored_as_a_hash(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await new(server)

    first = await enrol(server, tmp_path / "one", code.lower().replace("-", " "))
    second = await enrol(server, tmp_path / "two", code)

    assert (first, second) == (0, 1)
    assert "ask for another" in capsys.readouterr().err
    assert not (tmp_path / "two" / "credentials.json").exists()
    assert code_hash(code) != sign_in_hash(code)


async def test_a_new_code_voids_the_one_before(server: Server, tmp_path: Path) -> None:
    old, new_one = await new(server), await new(server)

    assert await enrol(server, tmp_path, old) == 1
    assert await enrol(server, tmp_path, new_one) == 0


async def test_enrolling_again_ends_the_key_of_the_machine_before(
    server: Server, tmp_path: Path
) -> None:
    await enrol(server, tmp_path / "one", await new(server))
    await enrol(server, tmp_path / "two", await new(server))

    keys = (await server.client.get("/v1/keys")).json()["items"]
    enrolled = [k for k in keys if k["name"] == "enrolled gateway"]
    assert sorted(k["revoked_at"] is None for k in enrolled) == [False, True]
    assert {(k["role"], k["gateway_id"]) for k in enrolled} == {("gateway", GATEWAY)}


async def test_codes_are_only_for_registered_gateways_and_for_keepers_of_keys(
    server: Server,
) -> None:
    unknown = await server.client.post("/v1/gateways/nobody/enrolment-codes", json={})
    gateway = {"Authorization": f"Bearer {server.gateway_key}"}
    forbidden = await server.client.post(
        f"/v1/gateways/{GATEWAY}/enrolment-codes", json={}, headers=gateway
    )

    assert (unknown.status_code, forbidden.status_code) == (404, 403)


def test_codes_have_eighty_bits_and_letters_that_can_be_read_aloud() -> None:
    codes = [new_code() for _ in range(200)]

    assert len(set(codes)) == 200
    assert {len(c.replace("-", "")) for c in codes} == {16}
    assert not set("".join(codes)) & set("ILOU")
    assert code_hash("0o1I-lL") == code_hash("001111")


async def test_http_to_another_machine_is_refused_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["enrol", "--server", "http://tagtrail.example", "--code", "ABCD-EFGH"]

    assert main([*arguments, "--config", str(tmp_path / "agent.toml")]) == 1

    assert "not encrypted" in capsys.readouterr().err


async def test_a_gateway_reads_its_own_configuration_and_an_etag_saves_the_rest(
    server: Server,
) -> None:
    own = {"Authorization": f"Bearer {server.gateway_key}"}
    path = f"/v1/gateways/{GATEWAY}/config"
    first = await server.client.get(path, headers=own)
    again = await server.client.get(path, headers=own | {"If-None-Match": first.headers["etag"]})
    await server.client.put(path, json={"settings": {"heartbeat_s": 9}})
    changed = await server.client.get(path, headers=own | {"If-None-Match": first.headers["etag"]})
    foreign = await server.client.get("/v1/gateways/dock-2/config", headers=own)

    assert [r.status_code for r in (first, again, changed, foreign)] == [200, 304, 200, 404]


async def test_rules_and_settings_reach_a_running_agent_and_survive_its_restart(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    rules = {"kind": "tagtrail.edge-rules", "version": 1, "revision": 5}
    async with ingest_server(
        database_url, infra, gateway_mqtt_url=infra.gateway_mqtt_url
    ) as server:
        await enrol(server, tmp_path, await new(server))
        async with running(tmp_path / "agent.toml", Fed()) as agent:
            assert agent.config.server.way == "mqtt"
            await eventually(lambda: agent.sender.last_confirmed_s is not None, "met the server")
            await server.client.put(
                f"/v1/gateways/{GATEWAY}/config",
                json={"settings": {"heartbeat_s": 7}, "rules": rules},
            )
            await eventually(lambda: agent.heartbeat.every_s == 7, "pushed over MQTT", within_s=15)
            filter_revision = agent.hearing.figures()["filter"]["rules_revision"]
    async with running(tmp_path / "agent.toml", Fed()) as offline:
        assert offline.heartbeat.every_s == 7
        assert offline.hearing.figures()["filter"]["rules_revision"] == 5
    assert filter_revision == 5


@pytest.mark.parametrize(
    ("broker", "client", "given"),
    [
        ("mqtt://gateway:x@127.0.0.1:1883", "127.0.0.1", True),
        ("mqtt://gateway:x@127.0.0.1:1883", "192.0.2.7", False),
        ("mqtt://gateway:x@localhost:1883", "192.0.2.7", False),
        ("mqtts://gateway:x@tagtrail.example:8883", "192.0.2.7", True),
    ],
)
async def test_a_broker_on_the_loopback_is_given_only_to_gateways_of_its_machine(
    broker: str, client: str, given: bool, database_url: str
) -> None:
    async with ingest_server(database_url, gateway_mqtt_url=broker) as server:
        reply = await server.client.post(
            "/v1/enrolments",
            json={"code": await new(server)},
            headers={"X-Forwarded-For": client},
        )

    assert reply.status_code == 201
    assert (reply.json()["mqtt"] is not None) == given


KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()


def raw(key: Ed25519PrivateKey = KEY, **members: Any) -> bytes:
    document = {"gateway_id": GATEWAY, "revision": 5, "tags": [], "settings": {}, **members}
    return json.dumps(signed(document, key)).encode()


def test_what_the_pinned_key_signed_for_this_gateway_is_taken() -> None:
    pushed = remote.verified(raw(), key=PUBLIC, gateway_id=GATEWAY, at_least=5)

    assert pushed.revision == 5
    assert remote.CONTEXT == SIGNED


@pytest.mark.parametrize(
    ("pushed", "why"),
    [
        (raw(Ed25519PrivateKey.generate()), "not signed by the key"),
        (raw().replace(b'"signature": "', b'"signature": "AAAA'), "not signed by the key"),
        (raw(gateway_id="dock-2"), "dock-2"),
        (raw(revision=4), "older"),
        (raw(revision="6"), "older"),
        (raw(tags={}), "must be a list"),
        (raw(rules={"kind": "tagtrail.edge-rules", "version": 9, "revision": 1}), "version"),
        (b"{}", "not a signed"),
        (b"\xff", "not a signed"),
    ],
)
def test_anything_else_that_is_pushed_is_refused(pushed: bytes, why: str) -> None:
    with pytest.raises(RemoteConfigError, match=why):
        remote.verified(pushed, key=PUBLIC, gateway_id=GATEWAY, at_least=5)
