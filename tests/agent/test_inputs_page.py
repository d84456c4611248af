"""docs/gateway-inputs.md: every configuration is taken, every example gives what the page says."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.agent_inputs import NOON, Hands, Listener
from tests.support.phone_counter import counter

from tagtrail_agent import config
from tagtrail_agent.assembly import KINDS, input_of
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.inputs.portal import PortalOptions, Read, ReadFolder
from tagtrail_agent.inputs.replay import Replay, ReplayOptions
from tagtrail_agent.inputs.uwb import UwbLines, UwbOptions
from tagtrail_agent.piping import Lines, LinesOptions
from tagtrail_agent.readings import Advert, Reading

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gateway-inputs.md"
TEXT = PAGE.read_text()
CONFIGS = re.findall(r"<!-- config -->\n```toml\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES = re.findall(
    r"<!-- example: ([^\n]+) -->\n```\w+\n(.*?)```\n\n<!-- gives -->\n```json\n(.*?)```",
    TEXT,
    re.DOTALL,
)


def told(one: Advert | Reading) -> dict[str, Any]:
    """Return what an input gave, as the page writes it: without times and made-up ids."""
    named = {"gateway_id": one.gateway_id} if one.gateway_id else {}
    if isinstance(one, Advert):
        return {"address": one.address, "ad": one.ad.hex(), "rssi_dbm": one.rssi_dbm, **named}
    members = {k: v for k, v in one.members.items() if k not in ("id", "first_seen_at")}
    return {"tag": one.tag, **members, **named}


async def of_uwb(example: str, _folder: Path) -> list[Advert | Reading]:
    source, listener = UwbLines(UwbOptions(udp_port=0), Hands().clocks), Listener()
    source._packet(example.encode(), listener)
    assert set(source.counts) == {"ranges"}
    return listener.heard


async def of_phone(example: str, _folder: Path) -> list[Advert | Reading]:
    async with counter() as at_counter:
        verdicts = await at_counter.send(*json.loads(example)["items"])
    assert {v["verdict"] for v in verdicts} == {"taken"}
    return at_counter.listener.heard


async def of_portal(example: str, _folder: Path) -> list[Advert | Reading]:
    portal = PortalOptions(outer=(1, 2), inner=(3, 4), gateway_id="door-1")
    folder = ReadFolder(None, [portal])
    for row in csv.DictReader(example.splitlines()):
        read = Read(
            row["epc"], int(row["antenna"]), float(row["rssi_dbm"]), 1000.0 + float(row["after_s"])
        )
        folder.add([read])
    return list(folder.due(NOON, 1010.0))


async def of_recording(example: str, folder: Path) -> list[Advert | Reading]:
    file = folder / "recording.jsonl"
    file.write_text(example)
    listener = Listener()
    replay = Replay(ReplayOptions(file=file, factor=None), SystemClock())
    await replay.run(listener)
    assert set(replay.counts) <= {"lines", "heard"}
    return listener.heard


async def of_lines(example: str, _folder: Path) -> list[Advert | Reading]:
    lines = Lines(LinesOptions(), Hands().clocks)
    found = [lines._reading(line.encode()) for line in example.splitlines()]
    return [reading for reading in found if reading is not None]


READ: dict[str, Callable[[str, Path], Awaitable[list[Advert | Reading]]]] = {
    "uwb": of_uwb,
    "phone": of_phone,
    "portal": of_portal,
    "lines of a recording": of_recording,
    "lines": of_lines,
}


@pytest.mark.parametrize(("kind", "example", "gives"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
async def test_every_example_gives_what_the_page_says(
    kind: str, example: str, gives: str, tmp_path: Path
) -> None:
    heard = [told(one) for one in await READ[kind](example, tmp_path)]

    assert heard == [json.loads(line) for line in gives.splitlines()]


@pytest.mark.parametrize("written", CONFIGS, ids=lambda c: re.findall('kind = "(.*?)"', c)[0])
def test_every_configuration_is_taken_as_it_stands(written: str, tmp_path: Path) -> None:
    (tmp_path / "broker-password").write_text("secret")
    path = tmp_path / "agent.toml"
    path.write_text(
        '[gateway]\nid = "g"\nsite = "s"\n[server]\nurl = "https://tagtrail.example"\n' + written
    )
    loaded = config.load(path)

    inputs = [input_of(loaded, e, SystemClock(), lambda _: True) for e in loaded.inputs]
    assert [i.name for i in inputs] == [e.kind for e in loaded.inputs]


def test_the_page_has_all_kinds_of_input_and_an_example_of_each_format() -> None:
    assert all(f"`{kind}`" in TEXT for kind in KINDS)
    assert len(CONFIGS) == 6
    assert {kind for kind, _, _ in EXAMPLES} == set(READ)
