"""The commands of the agent: what they print, how they end."""

from __future__ import annotations

import asyncio
import configparser
import importlib.metadata
import json
import logging
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.agents import (
    FAST,
    bare,
    eventually,
    ingest_server,
    write_config,
    write_credentials,
)

from tagtrail.embedded import Embedded
from tagtrail_agent import VERSION
from tagtrail_agent.cli import main

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "gateway-agent"


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Give the logging of the process back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_help_names_every_command_and_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    text = capsys.readouterr().out
    assert ended.value.code == 0
    commands = (
        "run", "check", "nearby", "simulate", "enrol", "bench", "status", "aside", "launch",
    )  # fmt: skip
    assert all(f"    {command}" in text for command in commands)
    assert "tagtrail-agent enrol --server" in text


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    project = tomllib.loads((AGENT / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out.strip() == VERSION == project["version"]


@pytest.mark.parametrize("command", ["run", "check", "status", "simulate", "aside", "launch"])
def test_a_missing_configuration_ends_with_2_and_says_what_to_do(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", str(tmp_path / "agent.toml")]) == 2
    assert "tagtrail-agent enrol" in capsys.readouterr().err


def test_run_without_an_input_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, mqtt="mqtt://127.0.0.1:1")

    assert main(["run", "--config", str(path)]) == 2
    assert "[[input]]" in capsys.readouterr().err


def test_simulated_tags_are_printed_as_the_api_takes_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["simulate", "--list", "--tags", "3"]) == 0

    tags = json.loads(capsys.readouterr().out)
    assert [t["identities"] for t in tags] == [[f"mac:02c0ffee000{n}"] for n in range(3)]


def test_bench_gives_figures_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "0.2", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["adverts_per_s"] > 1000


def test_status_before_the_first_heartbeat_asks_whether_the_agent_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, mqtt="mqtt://127.0.0.1:1")

    assert main(["status", "--config", str(path)]) == 1
    assert "is the agent running?" in capsys.readouterr().err


async def test_check_says_of_each_part_whether_it_works(
    database_url: str, infra: Embedded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = FAST + '[[input]]\nkind = "simulated"\n'
    async with ingest_server(database_url, infra) as server:
        path = write_config(tmp_path, mqtt=bare(server.mqtt_url), url=server.url, more=more)
        write_credentials(tmp_path, mqtt_url=server.mqtt_url)
        good = await asyncio.to_thread(main, ["check", "--config", str(path), "--json"])
        findings = json.loads(capsys.readouterr().out)
        path.write_text(path.read_text().replace(bare(server.mqtt_url), "mqtt://127.0.0.1:1"))
        bad = await asyncio.to_thread(main, ["check", "--config", str(path)])
        said = capsys.readouterr().out

    assert (good, [f["what"] for f in findings if not f["ok"]]) == (0, [])
    assert {"configuration", "inputs", "queue", "tags", "server", "delivery by mqtt"} == {
        f["what"] for f in findings
    }
    assert bad == 1
    assert "BAD  delivery by mqtt" in said


async def test_a_run_writes_its_status_and_ends_cleanly_on_sigterm(
    database_url: str, infra: Embedded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = FAST + '[[input]]\nkind = "simulated"\ntags = 8\n'
    async with ingest_server(database_url, infra) as server:
        path = write_config(tmp_path, mqtt=bare(server.mqtt_url), more=more)
        write_credentials(tmp_path, mqtt_url=server.mqtt_url)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tagtrail_agent", "run", "--config", str(path),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await eventually((tmp_path / "state" / "status.json").exists, "a status")
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
        reports = await server.events("gateway.reported")

    lines = [json.loads(line) for line in err.decode().splitlines()]
    assert process.returncode == 0
    assert main(["status", "--config", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == VERSION
    assert {"ts", "level", "service", "event"} <= set(lines[0])
    news = [r["data"]["online"] for r in reports if not r["data"].get("retained")]
    assert (news[0], news[-1]) == (True, False)


async def test_a_recording_is_delivered_and_the_agent_ends_when_it_is_done(
    database_url: str, tmp_path: Path
) -> None:
    recording = tmp_path / "readings.jsonl"
    item = {"tag": "mac:02c0ffee0001", "rssi_dbm": -60}
    topic = "tagtrail/v1/hall/dock-1/sightings"
    lines = [
        {"at": f"2026-11-20T10:00:{n:02d}Z", "topic": topic, "payload": {"sightings": [item]}}
        for n in range(30)
    ]
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = FAST + '[[input]]\nkind = "replay"\nfile = "readings.jsonl"\nfactor = 1000\n'
    async with ingest_server(database_url) as server:
        path = write_config(tmp_path, url=server.url, more=more)
        write_credentials(tmp_path, key=server.gateway_key)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tagtrail_agent", "run", "--until-done", "--config", str(path),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await asyncio.wait_for(process.communicate(), 60)
        events = await server.events()

    assert process.returncode == 0, err.decode()
    assert len(events) == 30


def test_the_service_runs_the_launcher_without_rights() -> None:
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "infra" / "systemd" / "tagtrail-agent.service")
    service = dict(unit["Service"])

    assert service["ExecStart"].endswith("/tagtrail-agent launch")
    assert (service["Restart"], service["User"]) == ("always", "tagtrail-agent")
    assert service["CapabilityBoundingSet"] == ""
    strict = ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "MemoryDenyWriteExecute")
    assert {service[name] for name in strict} == {"yes"}
    assert service["ProtectSystem"] == "strict"


MOST_MB = 25
MOST_PACKAGES = 25


def needed(name: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    """Collect a distribution and all that it needs without extras."""
    if name in found:
        return
    found[name] = importlib.metadata.distribution(name)
    for text in found[name].requires or ():
        if "extra ==" not in text and "python_version <" not in text.replace("'", '"'):
            bare_name = text.split(";")[0]
            for sign in "<>=!~[( ":
                bare_name = bare_name.split(sign)[0]
            marker = text.partition(";")[2]
            if "platform_python_implementation == 'PyPy'" not in marker.replace('"', "'"):
                needed(bare_name.strip().lower(), found)


def test_the_agent_without_extras_is_small_and_free_of_gpl() -> None:
    declared = tomllib.loads((AGENT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: dict[str, importlib.metadata.Distribution] = {}
    for text in declared:
        needed(text.split(">")[0].split("=")[0].strip().lower(), found)
    size = sum(
        path.stat().st_size
        for distribution in found.values()
        for file in distribution.files or ()
        if "__pycache__" not in str(file) and (path := Path(str(file.locate()))).is_file()
    )
    own = sum(p.stat().st_size for p in (AGENT / "tagtrail_agent").rglob("*") if p.suffix != ".pyc")
    licences = {
        name: " ".join(
            d.metadata.get_all("License-Expression", [])
            + d.metadata.get_all("License", [])
            + [c for c in d.metadata.get_all("Classifier", []) if c.startswith("License")]
        )
        for name, d in found.items()
    }
    sys.stdout.write(
        f"\n{(size + own) / 1e6:.1f} MB in {len(found) + 1} packages: {sorted(found)}\n"
    )

    assert (size + own) / 1e6 <= MOST_MB
    assert len(found) + 1 <= MOST_PACKAGES
    assert all(text and "GPL" not in text and "GNU" not in text for text in licences.values())
