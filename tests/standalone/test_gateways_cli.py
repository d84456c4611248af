"""`tagtrail gateways`: codes from a running server to an agent that delivers; updates of agents."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from tests.support.processes import Product, all_in_one, clean_environment, command

from tagtrail_agent import config
from tagtrail_agent.checking import checked
from tagtrail_agent.cli import main

pytestmark = pytest.mark.slow


async def register(product: Product) -> None:
    """Register a site and a gateway in it."""
    facts = [
        {"type": "site.registered", "data": {"site_id": "hall", "name": "Hall"}},
        {"type": "gateway.registered", "data": {"gateway_id": "dock-1", "site_id": "hall"}},
    ]
    headers = {"Authorization": f"Bearer {product.key}"}
    async with httpx2.AsyncClient(base_url=product.urls.console, headers=headers) as client:
        (await client.post("/v1/events", json={"events": facts})).raise_for_status()


async def test_a_code_of_the_command_line_enrols_an_agent_that_delivers_by_mqtt(
    home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.toml"
    async with all_in_one(home) as product:
        await register(product)
        before = datetime.now(UTC)
        code, out, err = await product.command(
            "gateways", "enrol-code", "dock-1", "--hours", "1", "--json"
        )
        made = json.loads(out)
        arguments = ["enrol", "--server", product.urls.console, "--code", made["code"]]
        places = ["--config", str(path), "--state", str(tmp_path / "state")]
        enrolled = await asyncio.to_thread(main, [*arguments, *places])
        delivery = [f for f in await checked(path, offline=False) if "delivery" in f.what]
        refused = await product.command("gateways", "enrol-code", "dock-9")
        shown = await product.command("gateways", "enrol-code", "dock-1")

    assert (code, err, enrolled) == (0, "", 0)
    assert (made["gateway_id"], made["site_id"]) == ("dock-1", "hall")
    assert made["command"] == f"tagtrail-agent {' '.join(arguments)}"
    works_s = (datetime.fromisoformat(made["expires_at"]) - before).total_seconds()
    assert works_s == pytest.approx(3600, abs=60)
    assert config.load(path).server.way == "mqtt"
    assert [(f.what, f.ok) for f in delivery] == [("delivery by mqtt", True)]
    assert (refused[0], "register it first" in refused[2]) == (2, True)
    assert shown[1].splitlines()[-1].strip().endswith(shown[1].splitlines()[0])


async def test_without_a_server_the_command_says_what_to_do(tmp_path: Path) -> None:
    environment = clean_environment(TAGTRAIL_HOME=str(tmp_path))

    code, _, err = await command(["gateways", "enrol-code", "dock-1"], environment)

    assert code == 2
    assert "start one with `tagtrail serve`" in err


async def test_its_help_says_how_long_a_code_works(tmp_path: Path) -> None:
    environment = clean_environment(TAGTRAIL_HOME=str(tmp_path), COLUMNS="120")

    code, out, _ = await command(["gateways", "enrol-code", "--help"], environment)

    assert code == 0
    assert "Hours that the code works" in out
    assert "--json" in out


async def test_a_version_is_signed_put_out_watched_and_stopped_by_the_command_line(
    home: Path, tmp_path: Path
) -> None:
    wheel, manifest, key = (
        tmp_path / name for name in ("tagtrail_agent-9.1.0-py3-none-any.whl", "m.json", "release")
    )
    wheel.write_bytes(b"a wheel")
    environment = clean_environment(TAGTRAIL_HOME=str(tmp_path))
    update = ("gateways", "update")
    made_key = await command([*update, "new-key", str(key)], environment)
    signed = await command(
        [*update, "sign", str(wheel), "--key", str(key), "--out", str(manifest)], environment
    )
    publish = [*update, "publish", str(wheel), "--manifest", str(manifest)]
    async with all_in_one(home, TAGTRAIL_INGEST_RELEASE_KEY=made_key[1].strip()) as product:
        await register(product)
        nobody = await product.command(*publish)
        published = await product.command(*publish, "--canary", "dock-1", "--soak-minutes", "5")
        async with asyncio.timeout(60):
            while (shown := await product.command(*update, "status"))[0] != 0:
                await asyncio.sleep(0.2)
        as_json = json.loads((await product.command(*update, "status", "--json"))[1])
        stopped = await product.command(*update, "stop", "not today")
        versions = await product.command(*update, "versions", "--below", "9.1.0", "--json")
        again = await product.command(*update, "extend")

    assert (key.stat().st_mode & 0o777, made_key[0], signed[0]) == (0o600, 0, 0)
    assert (nobody[0], "name the first ones as canaries" in nobody[2]) == (2, True)
    assert published[:2] == (
        0,
        "9.1.0 is out; first: dock-1\nSee how it goes with `tagtrail gateways update status`.\n",
    )
    assert shown[1].split() == ["9.1.0", "canary", "dock-1", "-", "waiting", "first"]
    assert (as_json["soak_minutes"], as_json["gateways"][0]["canary"]) == (5, True)
    assert stopped[1] == "9.1.0: stopped\n"
    assert json.loads(versions[1]) == []
    assert (again[0], "stopped, or another one" in again[2]) == (2, True)


@pytest.mark.parametrize("name", ["agent.whl", "tagtrail_agent-1.x-py3-none-any.whl"])
async def test_only_a_wheel_of_the_agent_is_signed(name: str, tmp_path: Path) -> None:
    wheel = tmp_path / name
    wheel.write_bytes(b"")
    arguments = ["gateways", "update", "sign", str(wheel), "--key", "k", "--out", "o"]
    code, _, err = await command(arguments, clean_environment(TAGTRAIL_HOME=str(tmp_path)))

    assert (code, "is not named tagtrail_agent-<version>" in err) == (2, True)
