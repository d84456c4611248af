"""Recordings are played as they were, faster or slower."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.support.agent_inputs import NOON, REAL_CLOCKS, Hands, Listener

from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.replay import Replay, ReplayOptions
from tagtrail_agent.readings import Advert

START = NOON - timedelta(days=3)


def advert(after_s: float, **changed: object) -> dict[str, Any]:
    return {
        "address": "58:B1:29:44:94:D3",
        "ad": "020106",
        "rssi_dbm": -61,
        "at": (START + timedelta(seconds=after_s)).isoformat(),
        **changed,
    }


def recorded(path: Path, *lines: object) -> Path:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


async def played(
    file: Path,
    factor: float | None = None,
    times: Literal["recorded", "now"] = "recorded",
) -> tuple[Listener, Replay]:
    listener = Listener()
    replay = Replay(ReplayOptions(file=file, factor=factor, times=times), Hands().clocks)
    await replay.run(listener)
    return listener, replay


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
async def test_adverts_keep_their_times_by_both_clocks(tmp_path: Path, name: str) -> None:
    file = recorded(
        tmp_path / name, advert(0, gateway_id="dock-1"), advert(2.5, random_address=True)
    )

    listener, _ = await played(file)

    assert listener.heard == [
        Advert("58b1294494d3", b"\x02\x01\x06", -61, START, 1000.0, None, "dock-1"),
        Advert("58b1294494d3", b"\x02\x01\x06", -61, START + timedelta(seconds=2.5), 1002.5, True),
    ]


async def test_times_may_be_moved_to_now(tmp_path: Path) -> None:
    file = recorded(tmp_path / "x.jsonl", advert(0), advert(2.5))

    listener, _ = await played(file, times="now")

    assert [(a.at, a.elapsed_s) for a in listener.heard] == [
        (NOON, 1000.0),
        (NOON + timedelta(seconds=2.5), 1002.5),
    ]


async def test_batches_and_messages_of_gateways_may_be_mixed(tmp_path: Path) -> None:
    at = advert(1)["at"]
    batch = {"gateway_id": "dock-2", "sightings": [{"tag": "epc:E2", "at": at, "samples": 3}]}
    message = {
        "topic": "espresense/devices/itag:1/dock",
        "payload": {"id": "itag:1", "rssi": -50},
        "at": advert(4)["at"],
    }
    file = recorded(tmp_path / "x.jsonl", batch, message, message | {"retain": True})

    listener, replay = await played(file)

    first, second = listener.readings
    assert (first.tag, first.gateway_id, first.members) == ("epc:E2", "dock-2", {"samples": 3})
    assert (second.tag, second.elapsed_s - first.elapsed_s) == ("espresense:itag:1", 3.0)
    assert replay.counts["retained"] == 1


async def test_the_whole_capture_is_heard(shared_data: Path) -> None:
    capture = shared_data / "gateway-samples" / "espresense-capture-2023-11-27.jsonl"

    listener, replay = await played(capture)

    assert len(listener.readings) == 1693
    assert replay.counts == {"lines": 1693, "heard": 1693}


async def test_bad_lines_are_counted_and_skipped(tmp_path: Path) -> None:
    lines = ["", "{", "[]", "{}", {"sightings": 3}, advert(0, ad="xyz"), advert(0)]

    listener, replay = await played(recorded(tmp_path / "x.jsonl", *lines))

    assert len(listener.heard) == 1
    assert replay.counts == {
        "lines": 6, "no_json": 1, "no_object": 1, "no_advert": 2, "no_sightings": 1, "heard": 1,
    }  # fmt: skip


async def test_the_factor_decides_how_long_it_takes(tmp_path: Path) -> None:
    file = recorded(tmp_path / "x.jsonl", advert(0), advert(5), advert(10))
    replay = Replay(ReplayOptions(file=file, factor=50.0), REAL_CLOCKS)
    began_s = REAL_CLOCKS.elapsed_s()

    await replay.run(Listener())

    assert 0.2 <= REAL_CLOCKS.elapsed_s() - began_s < 2.0


@pytest.mark.parametrize("name", ["missing.jsonl", "plain.gz", "cut.gz"])
async def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain.gz").write_text("{}\n")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"{}\n" * 1000)[:-12])

    with pytest.raises(AgentError, match="give a file of JSON lines"):
        await played(tmp_path / name)
