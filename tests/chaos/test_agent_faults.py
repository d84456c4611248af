"""The agent against a real broker and ingest, with everything failing: none lost, none double.

What half an hour without a broker holds (18,000 readings at 10 a second) is heard within seconds,
and the waits between attempts are as short in proportion.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.agents import (
    Fed,
    Server,
    ShiftedClock,
    bare,
    eventually,
    ingest_server,
    reading,
    running,
    write_config,
    write_credentials,
)
from tests.support.processes import free_port

from tagtrail.embedded import Embedded
from tagtrail_agent.clock import SystemClock

SEED = int(os.environ.get("TAGTRAIL_CHAOS_SEED", "20261124"))
KILLS = 20
MOST_KILLS = 80
"""Killed on until one kill fell between the commit and its confirmation: chance decides when."""
HALF_AN_HOUR = 18_000

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="agent-faults")]


@pytest.fixture
async def server(database_url: str, infra: Embedded) -> AsyncIterator[Server]:
    async with ingest_server(database_url, infra) as running_server:
        yield running_server


@contextlib.asynccontextmanager
async def bad_cable(shared_data: Path, server: Server) -> AsyncIterator[tuple[Any, str]]:
    """Lend the shared proxy before the broker, and the address through it."""
    spec = importlib.util.spec_from_file_location(
        "chaos_proxy", shared_data.parent / "tools" / "chaos_proxy.py"
    )
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    parts, port = urlsplit(server.mqtt_url), free_port()
    proxy = tool.Chaos((parts.hostname, parts.port), port)
    await proxy.start()
    try:
        yield proxy, f"mqtt://127.0.0.1:{port}"
    finally:
        proxy.cut()
        proxy.srv.close()
        await asyncio.sleep(0.1)


def files(folder: Path, server: Server, url: str, more: str = "") -> Path:
    path = write_config(folder, mqtt=url, more=more)
    write_credentials(folder, mqtt_url=server.mqtt_url)
    return path


async def test_half_an_hour_without_broker_loses_and_doubles_nothing(
    server: Server, shared_data: Path, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    async with bad_cable(shared_data, server) as (proxy, url):
        more = "[batch]\nwait_s = 0.1\nmax_items = 500\nretry_s = 0.1\nmax_retry_s = 1\n"
        async with running(files(tmp_path, server, url, more), fed, clock) as agent:
            await fed.say([reading(0, clock)])
            await eventually(lambda: agent.sender.confirmed_items == 1, "before")
            proxy.cut()
            for start in range(1, HALF_AN_HOUR, 500):
                await fed.say(
                    [reading(n, clock) for n in range(start, min(start + 500, HALF_AN_HOUR))]
                )
                await asyncio.sleep(0.02)
            queued = agent.outbox.figures()["queue_items"]
            proxy.heal()
            await eventually(
                lambda: agent.outbox.figures()["queue_items"] == 0, "all confirmed", within_s=60
            )
            dropped = agent.outbox.tally.figures()
        counted = Counter(await server.numbers())

    assert queued == HALF_AN_HOUR - 1
    assert counted == Counter(range(HALF_AN_HOUR))
    assert dropped == {}


async def test_a_link_that_is_cut_and_delayed_again_and_again_loses_and_doubles_nothing(
    server: Server, shared_data: Path, tmp_path: Path
) -> None:
    clock, fed, chance = SystemClock(), Fed(), random.Random(SEED)
    async with bad_cable(shared_data, server) as (proxy, url):
        async with running(files(tmp_path, server, url), fed, clock) as agent:
            for turn in range(8):
                proxy.latency = chance.choice([0, 0.02, 0.15])
                for n in range(turn * 40, turn * 40 + 40):
                    await fed.say([reading(n, clock)])
                    await asyncio.sleep(0.01)
                proxy.cut()
                await asyncio.sleep(chance.uniform(0.05, 0.4))
                proxy.heal()
                await asyncio.sleep(chance.uniform(0.05, 1.2))
            proxy.latency = 0
            await eventually(
                lambda: agent.outbox.figures()["queue_items"] == 0, "all confirmed", within_s=30
            )
            repeats = agent.sender.repeats
        counted = Counter(await server.numbers())

    assert counted == Counter(range(320))
    assert repeats > 0


class Program:
    """Another program that tells an agent process numbered readings, and repeats what it must."""

    def __init__(self, path: Path) -> None:
        self._arguments = [sys.executable, "-m", "tagtrail_agent", "run", "--config", str(path)]
        self._log = path.with_name("agent.log")
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._told: list[bytes] = []
        self._kept = 0
        self.numbers = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the agent, and tell it again what it did not say it kept."""
        self._told, self._kept = self._told[self._kept :], 0
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._process))
        for line in self._told:
            await self._write(line)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._kept = json.loads(line)["kept"]

    async def _write(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(line)
            await self._process.stdin.drain()

    async def tell(self, count: int) -> None:
        """Tell some more readings."""
        for _ in range(count):
            item = {
                "tag": f"mac:02c0ffee{self.numbers % 8:04x}", "at": datetime.now(UTC).isoformat(),
                "rssi_dbm": -60, "distance_m": self.numbers / 100,
            }  # fmt: skip
            self.numbers += 1
            line = json.dumps(item).encode() + b"\n"
            self._told.append(line)
            await self._write(line)

    async def all_kept(self) -> None:
        """Wait until the agent has kept everything that it was told."""
        await eventually(lambda: self._kept == len(self._told), "all kept")

    async def end(self, number: int = signal.SIGKILL) -> int:
        """End the agent."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        code = await asyncio.wait_for(self._process.wait(), 20)
        assert self._reader is not None
        await self._reader
        return code

    def log(self) -> str:
        """Return what the agent logged."""
        return self._log.read_text()


LINES = (
    "[batch]\nwait_s = 0.1\nmax_items = 50\nconfirm_within_s = 2\nretry_s = 0.1\nmax_retry_s = 1\n"
    '[[input]]\nkind = "lines"\n'
)


async def test_kill_9_of_the_agent_twenty_times_loses_and_doubles_nothing(
    server: Server, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    program = Program(files(tmp_path, server, bare(server.mqtt_url), LINES))
    kills = 0
    while kills < KILLS or (kills < MOST_KILLS and not await _doubled(server)):
        kills += 1
        await program.start()
        await program.tell(5)
        await program.all_kept()
        for _ in range(5):
            await program.tell(5)
            await asyncio.sleep(chance.uniform(0.01, 0.15))
        assert await program.end() == -signal.SIGKILL
    meanwhile = len(await server.numbers())
    await program.start()
    await program.tell(30)
    await program.all_kept()
    await eventually(lambda: _has(server, program.numbers), "all in the log", within_s=30)
    code = await program.end(signal.SIGTERM)
    doubled = await _doubled(server)

    assert code == 0, program.log()
    assert meanwhile > 100
    assert doubled > 0
    assert program.numbers == (kills + 1) * 30
    assert Counter(await server.numbers()) == Counter(range(program.numbers))


async def _doubled(server: Server) -> int:
    """Return how many items came to ingest again, because a kill fell before the confirmation."""
    stats = (await server.client.get("/v1/ingest/stats")).json()["by_adapter"]
    return int(stats.get("native", {}).get("event.duplicate", 0))


async def _has(server: Server, count: int) -> bool:
    return len(await server.numbers()) >= count


async def test_a_full_disk_is_reported_and_loses_nothing_that_memory_can_hold(
    server: Server, shared_data: Path, tmp_path: Path
) -> None:
    async with bad_cable(shared_data, server) as (proxy, url):
        proxy.cut()
        program = Program(files(tmp_path, server, url, LINES))
        await program.start()
        await program.tell(200)
        await program.all_kept()
        grown = (tmp_path / "state" / "outbox.db-wal").stat().st_size
        everything = resource.prlimit(program.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (grown + 20_000, everything[1]))
        await program.tell(2000)
        await program.all_kept()
        failed = "outbox.disk_failed" in program.log()
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, everything)
        await eventually(lambda: "outbox.disk_works_again" in program.log(), "works again")
        await program.tell(10)
        await program.all_kept()
        await program.end()  # what had only been in memory is on the disk now
        proxy.heal()
        await program.start()
        await eventually(lambda: _has(server, program.numbers), "all in the log", within_s=30)
        await program.end(signal.SIGTERM)

    assert failed
    assert Counter(await server.numbers()) == Counter(range(2210))


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_a_clock_that_jumps_by_an_hour_while_the_link_is_down_moves_nothing(
    jump_s: float, server: Server, shared_data: Path, tmp_path: Path
) -> None:
    clock, fed, began = ShiftedClock(), Fed(), datetime.now(UTC)
    async with bad_cable(shared_data, server) as (proxy, url):
        async with running(files(tmp_path, server, url), fed, clock) as agent:
            await fed.say([reading(n, clock) for n in range(20)])
            await eventually(lambda: agent.sender.confirmed_items == 20, "before")
            proxy.cut()
            await fed.say([reading(n, clock) for n in range(20, 40)])
            clock.ahead_s = jump_s
            await asyncio.sleep(0.5)
            await fed.say([reading(n, clock) for n in range(40, 60)])
            proxy.heal()
            await eventually(lambda: agent.sender.confirmed_items == 60, "after")
        events = await server.events()

    at = {
        round(e["data"]["distance_m"] * 100): datetime.fromisoformat(e["occurred_at"])
        for e in events
    }
    assert sorted(at) == list(range(60))
    assert len(events) == 60
    assert began - timedelta(seconds=1) < min(at.values())
    assert max(at.values()) < datetime.now(UTC) + timedelta(seconds=1)
    assert max(at[n] for n in range(40)) < min(at[n] for n in range(40, 60))
