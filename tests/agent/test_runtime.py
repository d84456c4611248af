"""One running agent: an input's faults are its own, what it hears is sorted, alarms go out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.agents import (
    FAST,
    Fed,
    Server,
    eventually,
    ingest_server,
    reading,
    running,
    write_config,
    write_credentials,
)

from tagtrail_agent import config
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.errors import AgentError
from tagtrail_agent.readings import Advert, Ear, Input
from tagtrail_agent.runtime import Agent


class Failing(Fed):
    """An input that fails by a fault of ours before it works."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._errors: Iterator[Exception] = iter([error])

    async def run(self, ear: Ear) -> None:
        """Fail, then hear."""
        for error in self._errors:
            raise error
        await super().run(ear)


class Clinging(Fed):
    """An input that takes a first cancellation for something else."""

    async def run(self, ear: Ear) -> None:
        """Hear, and go on once after the cancellation."""
        with contextlib.suppress(asyncio.CancelledError):
            await super().run(ear)
        await asyncio.Event().wait()


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Server]:
    async with ingest_server(database_url) as running_server:
        yield running_server


def files(folder: Path, server: Server, more: str = "") -> Path:
    path = write_config(folder, url=server.url, more=FAST + more)
    write_credentials(folder, key=server.gateway_key)
    return path


async def test_an_input_that_fails_by_a_fault_of_ours_is_run_again(
    server: Server, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Failing(RuntimeError("a fault"))
    async with running(files(tmp_path, server), fed, clock) as agent:
        await fed.say([reading(5, clock)])
        await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")

    assert await server.numbers() == [5]


async def test_an_input_that_can_never_work_ends_the_agent_with_its_words(
    server: Server, tmp_path: Path
) -> None:
    inputs: list[Input] = [Failing(AgentError("install BlueZ: apt install bluez"))]
    agent = Agent(config.load(files(tmp_path, server)), inputs=inputs)

    with pytest.raises(AgentError, match="apt install bluez"):
        await asyncio.wait_for(agent.run(asyncio.Event()), 20)


async def test_an_agent_ends_though_a_part_of_it_swallows_a_cancellation(
    server: Server, tmp_path: Path
) -> None:
    fed = Clinging()

    async with asyncio.timeout(10), running(files(tmp_path, server), fed) as agent:
        await fed.say([])

    assert agent.stopping


async def test_adverts_become_readings_of_enrolled_tags_and_the_rest_is_counted(
    server: Server, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    ad = bytes.fromhex("0201060816d2fc400001015a")
    heard = [
        Advert("02c0ffee0003", ad, -61, clock.now(), clock.elapsed_s(), False),
        Advert("02dead000001", ad, -50, clock.now(), clock.elapsed_s(), False),
    ]
    async with running(files(tmp_path, server), fed, clock) as agent:
        await fed.say(heard)
        await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
        figures = agent.hearing.figures()
    (event,) = await server.events()

    assert (event["data"]["tag_id"], event["data"]["rssi_dbm"]) == ("t3", -61)
    assert event["data"]["battery_pct"] == 90
    assert figures["adverts"] == 2
    assert figures["kept"] == 1


async def test_content_that_breaks_the_agents_own_code_is_counted_and_ends_nothing(
    server: Server, tmp_path: Path
) -> None:
    clock, fed = SystemClock(), Fed()
    async with running(files(tmp_path, server), fed, clock) as agent:
        await fed.say([reading(1, clock, strange=object())])
        await fed.say([reading(2, clock)])
        await eventually(lambda: agent.sender.confirmed_items == 1, "confirmed")
        dropped = agent.outbox.tally.figures()

    assert dropped == {"fault_of_agent": 1}
    assert await server.numbers() == [2]


async def test_a_local_alarm_goes_out_with_the_next_heartbeat(
    server: Server, tmp_path: Path
) -> None:
    rules = {
        "kind": "tagtrail.edge-rules", "version": 1, "revision": 1,
        "alarms": [{"id": "gate", "kind": "heard", "only_offline": False,
                    "match": {"tag": ["mac:02c0ffee*"]}}],
    }  # fmt: skip
    clock, fed = SystemClock(), Fed()
    path = files(tmp_path, server)
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    path.write_text(path.read_text().replace("enabled = false", 'rules = "rules.json"'))
    async with running(path, fed, clock) as agent:
        await fed.say([reading(n * 8, clock) for n in range(3)])
        await eventually(lambda: _alarms(server), "the alarm is reported", within_s=10)
        noted = json.loads((tmp_path / "state" / "alarms.json").read_text())
        waiting = list(agent.alarms)
    told = [
        alarm
        for r in await server.events("gateway.reported")
        for alarm in (r["data"].get("values") or {}).get("alarms", [])
    ]

    assert [a["alarm"] for a in noted["open"]] == ["gate"]
    assert waiting == []
    assert [(a["alarm"], a["state"], a["tag_id"]) for a in told] == [("gate", "raised", "t0")]
    assert "02c0ffee" not in json.dumps(told)


async def _alarms(server: Server) -> bool:
    reports = await server.events("gateway.reported")
    return any("alarms" in (r["data"].get("values") or {}) for r in reports)
