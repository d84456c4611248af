"""What can be said of the deployment files without containers; `make test-compose` runs them."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI, Response
from tests.support.serving import served

from tagtrail.composition import PORTS
from tagtrail.embedded import nats
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_console.settings import ConsoleSettings
from tagtrail_ingest.settings import IngestSettings
from tagtrail_inventory.settings import InventorySettings
from tagtrail_kernel.access import KEY_TEXT
from tagtrail_kernel.settings import KernelSettings
from tagtrail_locate.settings import LocateSettings

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
INFRA = REPOSITORY / "infra"
CLASSES = (
    KernelSettings, IngestSettings, LocateSettings, InventorySettings, AlertsSettings,
    ConsoleSettings,
)  # fmt: skip


def known_settings() -> set[str]:
    return {
        f"{cls.model_config.get('env_prefix')}{name}".upper()
        for cls in CLASSES
        for name in cls.model_fields
    }


@pytest.mark.parametrize(
    "path",
    ["docker-compose.yml", "tests/compose/override.yml", "infra/tagtrail.Dockerfile",
     "infra/systemd/tagtrail.service", "infra/systemd/tagtrail@.service"],
)  # fmt: skip
def test_every_setting_that_a_deployment_gives_exists(path: str) -> None:
    lines = (REPOSITORY / path).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.strip().startswith("#"))
    given = set(re.findall(r"(TAGTRAIL_[A-Z_]+)(?:: |=)", text))

    assert given
    assert {name.removesuffix("_FILE") for name in given} <= known_settings()


def test_services_are_asked_at_the_ports_where_they_listen() -> None:
    for name, port in PORTS.items():
        assert f'command: ["serve", "{name}", "--port", "{port}"]' in COMPOSE
        assert f'"http://127.0.0.1:{port}/readyz"' in COMPOSE
    asked = set(re.findall(r"http://(ingest|locate|inventory|alerts):(\d+)", COMPOSE))
    assert asked == {(n, str(p)) for n, p in PORTS.items() if n != "console"}


def test_the_broker_of_the_containers_has_the_limits_of_the_embedded_one() -> None:
    def limits(text: str) -> list[str]:
        words = ("ack_wait", "max_ack_pending", "max_payload", "max_connections", "deny:", "allow",
                 "subscribe:", "write_deadline", "sync_interval")  # fmt: skip
        lines = [line.strip() for line in text.splitlines()]
        return sorted(line for line in lines if line.startswith(words))

    embedded = nats._SETTINGS.format(
        port=1, mqtt_port=1, store="", max_store="", sync_interval='"2m"', service_user="",
        service_password="", gateway_user="", gateway_password="",
    )  # fmt: skip
    container = (INFRA / "nats.conf").read_text()
    assert limits(container) == limits(embedded)


def made_secrets(folder: Path) -> dict[str, str]:
    subprocess.run([INFRA / "make-secrets.sh", folder], check=True, capture_output=True)
    return {path.name: path.read_text().strip() for path in folder.iterdir()}


def test_secrets_are_random_closed_to_others_and_enough_for_compose(tmp_path: Path) -> None:
    first, second = made_secrets(tmp_path / "a"), made_secrets(tmp_path / "b")

    wanted = re.findall(r"secrets}/([a-z_]+)\"", COMPOSE)
    assert wanted
    assert set(wanted) <= first.keys()
    assert [n for n in first if first[n] == second[n]] == ["slack_webhook_url"]
    assert KEY_TEXT.fullmatch(first["service_key"])
    assert first["database_password"] in first["database_url"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "a").iterdir()} == {0o444}


def test_secrets_that_are_there_are_kept_and_a_deleted_one_is_renewed(tmp_path: Path) -> None:
    first = made_secrets(tmp_path)
    (tmp_path / "broker_password").unlink()

    second = made_secrets(tmp_path)

    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"broker_password", "nats_url", "mqtt_url", "nats_passwords"}


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)], ids=["ready", "failing"])
async def test_the_health_check_fails_unless_the_answer_is_ok(status: int, code: int) -> None:
    app = FastAPI()

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response("the reason", status)

    async with served(app) as url:
        command = [sys.executable, str(INFRA / "healthcheck.py"), f"{url}/readyz"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()

    assert process.returncode == code
    assert ("the reason" in out.decode()) == bool(code)


def test_the_health_check_fails_where_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        addresses = [f"{kind}://127.0.0.1:{free.getsockname()[1]}/x" for kind in ("tcp", "http")]
        done = subprocess.run(
            [sys.executable, INFRA / "healthcheck.py", *addresses], capture_output=True, check=False
        )

    assert done.returncode == 1
    assert done.stdout.count(b"refused") == 2
