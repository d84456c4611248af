"""An RFID reader over LLRP: inventories, survives what readers do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from tests.support.agent_inputs import REAL_CLOCKS, Listener, hearing, until
from tests.support.llrp_reader import (
    REFUSED,
    ScriptedReader,
    SimulatedReader,
    message,
    tag_report,
)
from tests.support.portal_passes import PORTAL, Noise, Way, reads_of

from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.llrp.client import LlrpOptions, LlrpReader
from tagtrail_agent.inputs.portal import FoldingOptions, PortalOptions

EPCS = [f"3074257BF7194E40{n:08X}" for n in range(30)]
QUICK = FoldingOptions(quiet_s=0.2, longest_s=1.0)
KEEPALIVE = message(62, 9)
FOUR_ANTENNAS = bytes.fromhex("011f000800000000") + bytes.fromhex(
    "008900120004400000006519001e886a0000"
)


def reader_on(port: int, **changed: object) -> LlrpReader:
    settings: dict[str, object] = {
        "gateway_id": "dock-reader",
        "host": "127.0.0.1",
        "port": port,
        "folding": QUICK,
        "retry_least_s": 0.05,
        "retry_most_s": 0.2,
        "answer_timeout_s": 2.0,
    }
    return LlrpReader(LlrpOptions(**{**settings, **changed}), REAL_CLOCKS)  # type: ignore[arg-type]


async def test_it_inventories_the_simulated_reader(shared_data: Path) -> None:
    async with SimulatedReader(shared_data, EPCS).running() as simulated:
        reader = reader_on(simulated.port)
        async with hearing(reader) as listener:
            await until(lambda: len({r.tag for r in listener.readings}) == len(EPCS))

    assert {r.tag for r in listener.readings} == {f"epc:{e}" for e in EPCS}
    assert {r.gateway_id for r in listener.readings} == {"dock-reader"}
    assert all(-65 <= r.members["rssi_dbm"] <= -45 for r in listener.readings)
    assert simulated.sim.log[:5] == [1, 21, 3, 20, 24]


async def test_no_read_is_lost_between_reader_and_readings(shared_data: Path) -> None:
    async with SimulatedReader(shared_data, EPCS).running() as simulated:
        reader = reader_on(simulated.port)
        async with hearing(reader) as listener:
            await until(lambda: reader.counts["reads"] >= 1_000)

    told = Counter(r.members.get("ongoing", False) for r in listener.readings)
    ended = [r for r in listener.readings if not r.members.get("ongoing")]
    assert told[False] == len(ended)
    assert sum(r.members["samples"] for r in ended) == reader.counts["reads"]


async def test_it_survives_a_restart_of_the_reader(shared_data: Path) -> None:
    async with SimulatedReader(shared_data, EPCS).running() as simulated:
        reader = reader_on(simulated.port)
        async with hearing(reader) as listener:
            await until(lambda: listener.readings)
            await simulated.stop()
            await until(lambda: not reader.connected)
            before = len(listener.readings)
            await asyncio.sleep(0.3)
            await simulated.start()
            await until(lambda: reader.counts["connections"] == 2)
            await until(lambda: len(listener.readings) > before + len(EPCS))

    assert reader.counts["connection_lost"] >= 1


async def test_it_waits_for_a_reader_that_is_not_there_yet(shared_data: Path) -> None:
    simulated = SimulatedReader(shared_data, EPCS[:1])
    await simulated.start()
    await simulated.stop()
    reader = reader_on(simulated.port)

    async with hearing(reader) as listener:
        await until(lambda: reader.counts["connection_lost"] >= 2)
        async with simulated.running():
            await until(lambda: listener.readings)


async def test_when_it_ends_it_tells_what_it_has_and_frees_the_reader(shared_data: Path) -> None:
    async with SimulatedReader(shared_data, EPCS[:3]).running() as simulated:
        slow = FoldingOptions(quiet_s=30.0, longest_s=60.0)
        reader = reader_on(simulated.port, folding=slow)
        async with hearing(reader) as listener:
            await until(lambda: reader.counts["reads"] > 10)
            assert not listener.heard
        await until(lambda: simulated.sim.log[-2:] == [21, 14])

    assert {r.tag for r in listener.readings} == {f"epc:{e}" for e in EPCS[:3]}


async def test_the_portal_tells_a_direction(shared_data: Path) -> None:
    async with SimulatedReader(shared_data, EPCS[:4]).running() as simulated:
        reader = reader_on(simulated.port, portals=(PortalOptions(outer=(1, 2), inner=(3, 4)),))
        async with hearing(reader) as listener:
            await until(lambda: reader.counts["reads"] > 100)

    assert len(listener.readings) >= 4
    assert all("direction" in r.members or r.members["ongoing"] for r in listener.readings)


async def test_three_hundred_tags_through_a_door_are_three_hundred_events_with_their_direction() -> (
    None
):
    """The reads were 1 to 5 s before the connection, by the reader's clock in `CONNECTED`."""
    chance, now_us = random.Random(5), 0x000660F728E023A2
    ways: dict[str, Way] = {
        f"3074257BF7194E40{n:08X}": ("in", "out", "turned_back")[n % 3] for n in range(300)
    }
    noise = Noise(fading_db=3.0)
    reads = sorted(
        (
            read
            for epc, way in ways.items()
            for read in reads_of(epc, way, chance, noise=noise, start_s=-5.0, lasting_s=4.0)
        ),
        key=lambda read: read.elapsed_s,
    )
    reports = [
        tag_report(r.epc, r.antenna, round(r.rssi_dbm or 0), now_us + round(r.elapsed_s * 1e6))
        for r in reads
    ]
    stream = b"".join(message(61, n, b"".join(reports[n : n + 100])) for n in range(0, 15_000, 100))
    async with ScriptedReader(reports=stream).running() as scripted:
        reader = reader_on(scripted.port, portals=(PORTAL,), folding=FoldingOptions(quiet_s=2.0))
        async with hearing(reader) as listener:
            await until(lambda: len(listener.readings) >= 300)

    assert reader.counts["reads"] == 15_000
    assert len(listener.readings) == 300
    assert {r.tag.removeprefix("epc:"): r.members["direction"] for r in listener.readings} == ways


async def test_the_power_is_the_highest_of_the_table_that_is_not_above(shared_data: Path) -> None:
    async with SimulatedReader(shared_data, EPCS[:1]).running() as simulated:
        async with hearing(reader_on(simulated.port, power_dbm=17.4, antennas=(2,))) as listener:
            await until(lambda: listener.readings)

    added = next(raw for kind, raw in simulated.sim.raw if kind == 20)
    assert "00e0000a000100010007" in added
    assert "00b70047" in added or "00de00200002" in added


@pytest.mark.parametrize("power_dbm", [-3.0, 11.0])
async def test_a_power_below_the_table_is_its_lowest(shared_data: Path, power_dbm: float) -> None:
    async with SimulatedReader(shared_data, EPCS[:1]).running() as simulated:
        async with hearing(reader_on(simulated.port, power_dbm=power_dbm)) as listener:
            await until(lambda: listener.readings)

    assert "00e0000a000100010001" in next(raw for kind, raw in simulated.sim.raw if kind == 20)


async def test_keepalives_are_answered() -> None:
    async with ScriptedReader(ticks=KEEPALIVE).running() as scripted:
        async with hearing(reader_on(scripted.port, keepalive_s=0.1)):
            await until(lambda: scripted.asked.count(72) >= 20)

    assert scripted.connections == 1


async def test_a_reader_that_falls_silent_is_connected_again() -> None:
    async with ScriptedReader().running() as scripted:
        reader = reader_on(scripted.port, keepalive_s=0.05)
        async with hearing(reader):
            await until(lambda: scripted.connections >= 2)

    assert reader.counts["connection_lost"] >= 1


async def test_a_reader_that_has_another_client_is_asked_again() -> None:
    async with ScriptedReader(first=REFUSED).running() as scripted:
        reader = reader_on(scripted.port)
        async with hearing(reader):
            await until(lambda: scripted.connections >= 2)

    assert reader.counts["refused"] >= 1
    assert scripted.asked == []


async def test_a_refused_request_is_tried_again() -> None:
    refusal = bytes.fromhex("011f000d00640005") + b"nope!"
    async with ScriptedReader(answers={20: refusal}).running() as scripted:
        reader = reader_on(scripted.port)
        async with hearing(reader):
            await until(lambda: reader.counts["refused"] >= 2)

    assert 24 not in scripted.asked


async def test_what_speaks_another_language_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedReader(first=b"HTTP/1.1 400 Bad Request\r\n\r\n").running() as scripted:
        reader = reader_on(scripted.port)
        async with hearing(reader):
            await until(lambda: reader.counts["refused"] >= 1)

    assert "does not speak LLRP" in caplog.records[-1].__dict__["reason"]


async def test_reports_cut_or_broken_never_end_the_inventory() -> None:
    broken = message(61, 1, bytes.fromhex("00f0000481"))
    whole = message(61, 2, bytes.fromhex("00f00011") + b"\x8d" + bytes(11) + b"\x07")
    async with ScriptedReader(ticks=broken + whole).running() as scripted:
        reader = reader_on(scripted.port)
        async with hearing(reader) as listener:
            await until(lambda: reader.counts["reads"] > 5)

    assert reader.counts["unreadable_report"] >= 5
    assert {r.tag for r in listener.readings} == {"epc:" + "0" * 23 + "7"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"antennas": (1, 5)}, "has 4 antenna ports, but antenna 5 is configured"),
        (
            {"antennas": (1,), "portals": (PortalOptions(outer=(1,), inner=(2,)),)},
            "antenna 2, which is not in",
        ),
    ],
)
async def test_antennas_that_cannot_work_end_the_input_with_what_to_do(
    changed: dict[str, object], words: str
) -> None:
    async with ScriptedReader(answers={1: FOUR_ANTENNAS}).running() as scripted:
        with pytest.raises(AgentError, match=words):
            await reader_on(scripted.port, **changed).run(Listener())


async def test_a_missing_ca_file_ends_the_input_with_what_to_do(tmp_path: Path) -> None:
    reader = reader_on(1, tls_ca_file=tmp_path / "none.pem")

    with pytest.raises(AgentError, match="give a PEM file"):
        await reader.run(Listener())


def test_an_antenna_on_two_sides_is_refused_with_the_readers_name() -> None:
    with pytest.raises(AgentError, match="reader rfid: antenna 1 stands on two sides"):
        reader_on(1, portals=(PortalOptions(outer=(1,), inner=(1,)),))
