"""Updates that the server puts out: first to a few, to all when those work, stopped when not (S89)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.agents import (
    FAST,
    GATEWAY,
    SITE,
    Fed,
    Server,
    eventually,
    ingest_server,
    key_of_gateway,
    running,
    write_config,
)

import tagtrail_agent
from tagtrail_agent.updates import CONTEXT, LAUNCHED, MOST_STARTS, Versions
from tagtrail_ingest.updates.manifest import SIGNED
from tagtrail_kernel.events.registrations import GatewayRegistered

KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
FOREIGN = Ed25519PrivateKey.from_private_bytes(b"f" * 32)
OTHER = base64.b64encode(FOREIGN.public_key().public_bytes_raw()).decode()
NEW = "9.1.0"
OTHERS = [GatewayRegistered(gateway_id=f"dock-{n}", site_id=SITE) for n in (2, 3)]

BROKEN = b"""
async def _broken(*_args, **_more):
    raise SystemExit(3)

Agent.run = _broken
"""


def wheel(version: str = NEW, *, works: bool = True) -> bytes:
    """Return the agent of this repository as a wheel of another version."""
    package, held = Path(tagtrail_agent.__file__).parent, io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                content = path.read_bytes()
                if path == package / "__init__.py":
                    content = content.replace(tagtrail_agent.VERSION.encode(), version.encode())
                if path == package / "runtime.py" and not works:
                    content += BROKEN
                archive.writestr(str(path.relative_to(package.parent)), content)
    return held.getvalue()


def release(content: bytes, version: str = NEW) -> dict[str, Any]:
    """Return a body of POST /v1/updates."""
    sha256 = hashlib.sha256(content).hexdigest()
    payload = json.dumps({"version": version, "url": "agent.whl", "sha256": sha256}).encode()
    return {
        "manifest": {
            "payload": base64.b64encode(payload).decode(),
            "signature": base64.b64encode(KEY.sign(CONTEXT + payload)).decode(),
        },
        "wheel": base64.b64encode(content).decode(),
        "soak_minutes": 0,
    }


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Server]:
    async with ingest_server(database_url, facts=OTHERS, release_key=PUBLIC) as running_server:
        yield running_server


async def enrolled(server: Server, folder: Path, more: str = "") -> Path:
    """Write the files of an agent that knows the server's keys."""
    code = await server.client.post(f"/v1/gateways/{GATEWAY}/enrolment-codes", json={})
    answer = (await server.client.post("/v1/enrolments", json={"code": code.json()["code"]})).json()
    updates = f'[updates]\nkey = "{answer["release_key"]}"\nroot = "versions"\n'
    path = write_config(
        folder, url=server.url, more=FAST + updates + more,
    )  # fmt: skip
    text = path.read_text().replace("[server]", "[server]\nconfig_every_s = 5", 1)
    path.write_text(text)
    credentials = folder / "credentials.json"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({k: answer[k] for k in ("key", "config_key")}))
    return path


async def says(server: Server, key: str, gateway_id: str = GATEWAY, **figures: Any) -> None:
    """Report figures as an agent does."""
    sent_at = datetime.now(UTC).isoformat()
    body = {"gateway_id": gateway_id, "sent_at": sent_at, "sightings": [], "config_revision": 7}
    headers = {"Authorization": f"Bearer {key}"}
    (
        await server.client.post("/v1/sightings", json=body | figures, headers=headers)
    ).raise_for_status()


async def latest(server: Server) -> dict[str, Any]:
    reply = await server.client.get("/v1/updates/latest")
    return dict(reply.json()) if reply.status_code == 200 else {"stage": None}


async def offered(server: Server, gateway_id: str) -> Any:
    """Return the version that a gateway's configuration offers."""
    reply = await server.client.get(f"/v1/gateways/{gateway_id}/config")
    update = json.loads(base64.b64decode(reply.json()["payload"]))["update"]
    return update and update["version"]


async def stage(server: Server, wanted: str) -> None:
    async def reached() -> bool:
        return bool((await latest(server))["stage"] == wanted)

    await eventually(reached, f"the update is at {wanted}")


async def launched(path: Path) -> tuple[int | None, str]:
    """Start the agent as the service manager does, until it ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagtrail_agent", "launch", "--config", str(path),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    return process.returncode, err.decode()


@contextlib.asynccontextmanager
async def restarted(path: Path) -> AsyncIterator[None]:
    """Start the agent as the service manager does, and end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagtrail_agent", "launch", "--config", str(path),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_s89_an_update_goes_to_a_canary_that_runs_it_and_then_to_all(
    server: Server, tmp_path: Path
) -> None:
    path = await enrolled(server, tmp_path, '[[input]]\nkind = "lines"\n')
    published = await server.client.post(
        "/v1/updates", json={**release(wheel()), "canaries": [GATEWAY]}
    )
    before = [await offered(server, g) for g in (GATEWAY, "dock-2")]
    first_end = await launched(path)  # it installs the version, and ends to be started again
    async with restarted(path):
        await stage(server, "everyone")
    state, after = await latest(server), await offered(server, "dock-2")

    assert published.status_code == 201, published.text
    assert (before, first_end[0], after) == ([NEW, None], 0, NEW)
    assert [(g["gateway_id"], g["version"], g["standing"]) for g in state["gateways"]] == [
        (GATEWAY, NEW, "healthy")
    ]
    facts = await server.events("update.published,update.extended")
    assert [(e["type"], e["data"].get("by") is None) for e in facts] == [
        ("update.published", False), ("update.extended", True),
    ]  # fmt: skip


async def test_s89_a_failed_canary_stops_the_update_and_the_rest_never_sees_it(
    server: Server, tmp_path: Path
) -> None:
    path = await enrolled(server, tmp_path, '[[input]]\nkind = "lines"\n')
    body = {**release(wheel(works=False)), "canaries": [GATEWAY]}
    await server.client.post("/v1/updates", json=body)
    ends = [(await launched(path))[0]]  # it installs the version
    versions = Versions(tmp_path / "versions")
    while versions.trial.starts < MOST_STARTS - 1:
        versions.before_start()  # as a start in vain; test_updates.py makes them all
    ends.append((await launched(path))[0])
    async with restarted(path):  # the installed agent again, which tells
        await stage(server, "stopped")
    state = await latest(server)

    assert ends == [0, 3]
    assert (state["stage"], state["gateway_id"]) == ("stopped", GATEWAY)
    assert "took 9.1.0 back" in state["cause"]
    assert [await offered(server, g) for g in (GATEWAY, "dock-2")] == [None, None]


@pytest.mark.parametrize(
    ("key", "by_launcher", "words"),
    [(OTHER, True, "not signed by the release key"), ("", True, "knows no release key"),
     (PUBLIC, False, "tagtrail-agent launch")],
    ids=["another key", "no key", "by hand"],
)  # fmt: skip
async def test_an_agent_that_does_not_take_it_says_why_and_the_update_stops(
    key: str, by_launcher: bool, words: str, server: Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if by_launcher:
        monkeypatch.setenv(LAUNCHED, "1")
    path = await enrolled(server, tmp_path)
    path.write_text(
        path.read_text().replace(f'key = "{PUBLIC}"\n', f'key = "{key}"\n' if key else "")
    )
    body = {**release(wheel()), "canaries": [GATEWAY]}
    assert (await server.client.post("/v1/updates", json=body)).status_code == 201
    async with running(path, Fed()) as agent:
        await stage(server, "stopped")
        still_running = not agent.stopping
    state = await latest(server)

    assert still_running
    assert words in state["cause"]
    assert not (tmp_path / "versions" / "current").exists()


async def test_canaries_are_chosen_among_the_gateways_that_would_be_updated(
    server: Server, database_url: str
) -> None:
    second, third = [
        await key_of_gateway(database_url, server.log_id, g) for g in ("dock-2", "dock-3")
    ]
    none = await server.client.post("/v1/updates", json=release(b"w"))
    await says(server, server.gateway_key, version="0.1.0")
    await says(server, second, "dock-2", version="0.1.0", config_revision=None)
    await says(server, third, "dock-3", version=NEW)

    async def heard() -> bool:
        return len((await server.client.get("/v1/gateway-versions")).json()["items"]) == 3

    await eventually(heard, "all versions are known")
    chosen = await server.client.post("/v1/updates", json={**release(b"w"), "canary_pct": 100})
    below = await server.client.get("/v1/gateway-versions", params={"below": NEW})

    assert (none.status_code, "name the first ones" in none.text) == (422, True)
    assert chosen.json()["canaries"] == [GATEWAY]
    assert [(g["gateway_id"], g["takes_updates"]) for g in below.json()["items"]] == [
        (GATEWAY, True), ("dock-2", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wheel": base64.b64encode(b"other").decode()}, "SHA-256"),
        ({"wheel": "?"}, "base64"),
        ({"canaries": ["nobody"]}, "no gateway 'nobody'"),
        ({"manifest": {"payload": "e30=", "signature": "AAAA"}}, "not signed by the release key"),
        ({"manifest": {"payload": "?", "signature": "AAAA"}}, "payload, base64"),
    ],
    ids=["another wheel", "no base64", "unknown gateway", "unsigned", "no payload"],
)
async def test_what_is_not_right_is_not_put_out(
    change: dict[str, Any], words: str, server: Server
) -> None:
    body = {**release(b"w"), "canaries": [GATEWAY], **change}
    reply = await server.client.post("/v1/updates", json=body)

    assert (reply.status_code, words in reply.text) == (422, True), reply.text
    assert await server.events("update.published") == []


async def test_an_update_is_stopped_and_extended_by_hand_once(server: Server) -> None:
    body = {**release(b"w"), "canaries": [GATEWAY]}
    path = f"/v1/updates/{(await server.client.post('/v1/updates', json=body)).json()['update_id']}"
    fetched = await server.client.get(f"{path}/wheel")
    extended = await server.client.post(f"{path}/extend")
    everyones = await offered(server, "dock-2")
    stopped = await server.client.post(f"{path}/stop", json={"cause": "a better one is coming"})
    await stage(server, "stopped")
    again = await server.client.post(f"{path}/stop", json={"cause": "x"})
    gone = await server.client.get(f"{path}/wheel")
    unknown = await server.client.post("/v1/updates/none/extend")

    assert (fetched.content, extended.status_code, everyones) == (b"w", 200, NEW)
    assert [r.status_code for r in (stopped, again, gone, unknown)] == [200, 409, 404, 404]
    listed = (await server.client.get("/v1/updates")).json()["items"]
    assert [u["cause"] for u in listed] == ["a better one is coming"]


async def test_only_operators_of_the_tenant_put_updates_out(
    server: Server, database_url: str
) -> None:
    gateway = {"Authorization": f"Bearer {server.gateway_key}"}
    body = {**release(b"w"), "canaries": [GATEWAY]}
    refused = await server.client.post("/v1/updates", json=body, headers=gateway)
    fact = {"type": "update.stopped", "data": {"update_id": "u", "version": NEW, "cause": "x"}}
    aside = await server.client.post("/v1/events", json={"events": [fact]})

    assert refused.status_code == 403
    assert (aside.status_code, "/v1/updates" in aside.text) == (422, True)


def test_both_sides_sign_the_same_words() -> None:
    assert SIGNED == CONTEXT
