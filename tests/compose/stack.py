"""The composed containers, as seen through Docker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.compose.running import CommandError, run
from tests.support.processes import Urls

PROJECT: Final = "tagtrail-test"
SERVICES: Final = ("postgres", "nats", "ingest", "locate", "inventory", "alerts", "console")
HEALTHY_S: Final = 240.0


class UnhealthyError(Exception):
    """A container did not become healthy; the message says which and what it printed."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container.

    Attributes:
        detail: What `docker inspect` says.
    """

    detail: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.detail["Name"]).lstrip("/")

    @property
    def service(self) -> str:
        return str(self.detail["Config"]["Labels"]["com.docker.compose.service"])

    @property
    def host(self) -> dict[str, Any]:
        return dict(self.detail["HostConfig"])

    @property
    def pid(self) -> int:
        return int(self.detail["State"]["Pid"])

    @property
    def health(self) -> str:
        state = self.detail["State"]
        return str(state["Health"]["Status"] if "Health" in state else state["Status"])

    @property
    def ports(self) -> list[int]:
        published = self.detail["NetworkSettings"]["Ports"] or {}
        return [int(b["HostPort"]) for bindings in published.values() for b in bindings or ()]


@dataclass(frozen=True, slots=True)
class Stack:
    """The project.

    Attributes:
        stage: Folder with the compose files and the secrets.
        environment: For the clients of Docker.
    """

    stage: Path
    environment: Mapping[str, str]

    def compose(self, *words: str, within_s: float = 900) -> str:
        files = ["--file", "docker-compose.yml", "--file", "override.yml"]
        return run(
            ["docker-compose", "--project-name", PROJECT, *files, *words],
            environment=self.environment, folder=self.stage, within_s=within_s,
        )  # fmt: skip

    def tagtrail(self, *words: str) -> str:
        """Run a `tagtrail` command in a container of its own; returns what it prints."""
        return self.compose("run", "--rm", "-T", "setup", "tagtrail", *words)

    def docker(self, *words: str) -> str:
        return run(["docker", *words], environment=self.environment)

    def containers(self, *services: str, ended: bool = False) -> list[Container]:
        mine = ["--filter", f"label=com.docker.compose.project={PROJECT}"]
        every = ["--all"] if ended else []
        ids = self.docker("ps", "--quiet", "--no-trunc", *every, *mine).split()
        details = json.loads(self.docker("inspect", *ids)) if ids else []
        found = [Container(detail) for detail in details]
        return [c for c in found if not services or c.service in services]

    def secret(self, name: str) -> str:
        return (self.stage / "infra/secrets" / name).read_text().strip()

    def urls(self) -> Urls:
        """Return the published addresses."""

        def of(service: str) -> tuple[str, ...]:
            found = sorted(c.ports[0] for c in self.containers(service) if c.ports)
            return tuple(f"http://127.0.0.1:{port}" for port in found)

        return Urls(
            of("ingest"), of("locate")[0], of("inventory")[0], of("alerts")[0], of("console")[0]
        )

    def mqtt_url(self) -> str:
        (broker,) = self.containers("nats")
        return (
            f"mqtt://gateway:{quote(self.secret('gateway_password'))}@127.0.0.1:{broker.ports[0]}"
        )

    async def healthy(self, within_s: float = HEALTHY_S, replicas: int = 2) -> None:
        """Wait until every container is healthy.

        Raises:
            UnhealthyError: one is not, in time.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            found = await asyncio.to_thread(self.containers, *SERVICES)
            bad = [c for c in found if c.health != "healthy"]
            if len(found) == len(SERVICES) - 1 + replicas and not bad:
                return
            if asyncio.get_running_loop().time() > deadline:
                names = sorted(c.service for c in bad)
                raise UnhealthyError(f"{names} of {len(found)}: {self.troubles()}")
            await asyncio.sleep(1)

    def troubles(self) -> str:
        """Return what containers that are not well printed last."""
        texts = []
        for container in self.containers(ended=True):
            if container.health not in ("healthy", "running") and container.service != "setup":
                try:
                    texts.append(self.docker("logs", "--tail", "15", container.name))
                except CommandError as error:
                    texts.append(str(error))
                texts.append(json.dumps(container.detail["State"]))
        return "\n".join(texts)


class Cards:
    """What the fake Slack took: it prints one line per card."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @property
    def delivered(self) -> list[dict[str, Any]]:
        (slack,) = self._stack.containers("slack")
        lines = self._stack.docker("logs", slack.name).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]
