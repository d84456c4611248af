"""The product as processes: all in one with its own servers, or every service apart on outside ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tagtrail import running
from tagtrail.embedded import Embedded
from tagtrail_kernel.access import mint
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.settings import KernelSettings

ADDRESS = re.compile(r"answers at (http://\S+)")
SIGN_IN = re.compile(r"(http://\S+/console/enter\?code=\S+)")
START_S = 90.0
"""Other tests share the two cores; a quiet machine needs about 5 s."""


class ProcessEndedError(Exception):
    """A process ended, or did not say what was expected; the message has its output."""


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without settings of Tagtrail, with some added."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TAGTRAIL_")}
    return {**kept, "TAGTRAIL_LOG_LEVEL": "WARNING", **more}


@dataclass(slots=True)
class Launched:
    """A `tagtrail` process in a session of its own.

    Attributes:
        process: The process.
        lines: What it printed.
    """

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def said(self, pattern: re.Pattern[str], within_s: float = START_S) -> str:
        """Wait for a printed line; returns the first group.

        Raises:
            ProcessEndedError: it ended before, or did not say it in time.
        """
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._news.clear()
                    for line in self.lines:
                        found = pattern.search(line)
                        if found:
                            return found[1]
                    if self._reader is not None and self._reader.done():
                        raise ProcessEndedError(self.printed())
                    await self._news.wait()
        except TimeoutError:
            raise ProcessEndedError(f"not within {within_s} s: {self.printed()}") from None

    def printed(self) -> str:
        """Return the last lines."""
        return "\n".join(self.lines[-30:])

    async def read(self) -> None:
        """Keep what it prints until it ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode(errors="replace").rstrip())
            self._news.set()
        self._news.set()

    async def end(self, number: int = signal.SIGTERM, within_s: float = 20.0) -> float:
        """Send a signal and wait; returns the seconds it took. Kills what stays."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            try:
                await asyncio.wait_for(self.process.wait(), within_s)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        if self._reader is not None:
            await self._reader
        return loop.time() - began


async def launch(arguments: Sequence[str], environment: Mapping[str, str]) -> Launched:
    """Start `tagtrail …` in a session of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagtrail", *arguments, env=dict(environment),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    launched = Launched(process)
    launched._reader = asyncio.create_task(launched.read())
    return launched


async def command(
    arguments: Sequence[str], environment: Mapping[str, str], within_s: float = START_S
) -> tuple[int, str, str]:
    """Run `tagtrail …` to its end; returns exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagtrail", *arguments, env=dict(environment),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), within_s)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the services answer; the same address five times in the all-in-one process.

    Attributes:
        ingest: Every replica of ingest.
        locate: Address.
        inventory: Address.
        alerts: Address.
        console: Address.
    """

    ingest: tuple[str, ...]
    locate: str
    inventory: str
    alerts: str
    console: str

    @classmethod
    def same(cls, url: str) -> Urls:
        """Return the addresses of an all-in-one process."""
        return cls((url,), url, url, url, url)


@dataclass(frozen=True, slots=True)
class Product:
    """A running product.

    Attributes:
        urls: Where its services answer.
        key: An administrator's key.
        mqtt_url: Where gateways publish.
        environment: For further commands on it.
        launched: Its processes, by service.
        admin_database_url: For looks into the tables that no service offers.
    """

    urls: Urls
    key: str
    mqtt_url: str
    environment: dict[str, str]
    launched: dict[str, Launched]

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run another `tagtrail` command on this product."""
        return await command(arguments, self.environment)

    async def rebuilt(self) -> list[dict[str, Any]]:
        """Rebuild every projection beside the live one; returns what `--json` says."""
        code, out, err = await self.command("rebuild", "--json")
        if not out:
            raise ProcessEndedError(err)
        found: list[dict[str, Any]] = json.loads(out)
        assert (code == 0) == all(r["equal"] for r in found)
        return found

    async def sign_in_link(self) -> str:
        """Have a link made that signs in to the console."""
        code, out, err = await self.command("keys", "sign-in-link", "--url", self.urls.console)
        assert code == 0, err
        return out.strip()


@contextlib.asynccontextmanager
async def all_in_one(home: Path, **settings: str) -> AsyncIterator[Product]:
    """Run `tagtrail serve` with its own servers on a home."""
    environment = clean_environment(TAGTRAIL_HOME=str(home), **settings)
    launched = await launch(["serve", "--port", "0"], environment)
    try:
        url = await launched.said(ADDRESS)
        key = (home / "admin.key").read_text().strip()
        yield Product(Urls.same(url), key, gateway_mqtt_url(home), environment, {"serve": launched})
    finally:
        await launched.end()


def gateway_mqtt_url(home: Path) -> str:
    """Return the MQTT address for gateways of a home's embedded servers."""
    password = json.loads((home / "secrets.json").read_text())["gateway"]
    port = json.loads((home / "ports.json").read_text())["mqtt"]
    return f"mqtt://gateway:{password}@127.0.0.1:{port}"


def free_port() -> int:
    """Return a port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def separate(servers: Embedded, **settings: str) -> AsyncIterator[Product]:
    """Run every service as a process of its own, ingest twice, on servers that are there already."""
    outside = KernelSettings(
        database_url=servers.database_url, nats_url=servers.nats_url, mqtt_url=servers.mqtt_url
    )
    key, service_key = await _keys(outside)
    ports = {name: free_port() for name in ("ingest", "second", "locate", "inventory", "alerts")}
    address = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    environment = clean_environment(
        TAGTRAIL_DATABASE_URL=servers.database_url,
        TAGTRAIL_NATS_URL=servers.nats_url,
        TAGTRAIL_MQTT_URL=servers.mqtt_url,
        TAGTRAIL_SERVICE_KEY=service_key,
        TAGTRAIL_LOCATE_URL=address["locate"],
        TAGTRAIL_INVENTORY_URL=address["inventory"],
        TAGTRAIL_ALERTS_URL=address["alerts"],
        **settings,
    )
    launched: dict[str, Launched] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, service, ingest in (
            ("ingest", "ingest", ""), ("second", "ingest", ""), ("locate", "locate", "ingest"),
            ("inventory", "inventory", "second"), ("alerts", "alerts", "ingest"),
            ("console", "console", "second"),
        ):  # fmt: skip
            own = {"TAGTRAIL_INGEST_URL": address[ingest]} if ingest else {}
            port = str(ports.get(name, 0))
            launched[name] = await launch(["serve", service, "--port", port], environment | own)
            stack.push_async_callback(launched[name].end)
        found = {name: await process.said(ADDRESS) for name, process in launched.items()}
        urls = Urls(
            (found["ingest"], found["second"]),
            found["locate"], found["inventory"], found["alerts"], found["console"],
        )  # fmt: skip
        yield Product(urls, key, servers.gateway_mqtt_url, environment, launched)


async def _keys(settings: KernelSettings) -> tuple[str, str]:
    """Migrate, make the default tenant, an administrator's key and a key of the services."""
    await running.prepare_database(settings)
    tenant = await running.ensure_tenant(settings, *running.DEFAULT_TENANT)
    now = SystemClock().now()
    texts = []
    async with running.access_of(settings) as access:
        for log_id, role in ((tenant.log_id, "admin"), (None, "service")):
            text, key = mint(log_id, name="end to end", role=role, at=now)
            await access.add_key(key)
            texts.append(text)
    return texts[0], texts[1]


def session_members(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[3]) == session:
                found.append(int(entry.name))
    return found


def descendants(pid: int) -> list[int]:
    """Return the living descendants of a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting, found = [pid], []
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


async def ready(url: str, within_s: float = START_S) -> dict[str, Any]:
    """Wait until a process says that every part works; returns its last answer.

    Raises:
        ProcessEndedError: it does not become ready; the message says what is failing.
    """
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(within_s), httpx2.AsyncClient(timeout=10) as client:
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    reply = await client.get(f"{url}/readyz")
                    last = reply.json()
                    if reply.status_code == 200:
                        return last
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise ProcessEndedError(f"{url} is not ready: {last}") from None
