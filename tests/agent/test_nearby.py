"""`tagtrail-agent nearby`: what is around, for enrolling; on the screen, never on the disk."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from tests.support.agent_inputs import hearing, until
from tests.support.publishing import Publisher

from tagtrail.embedded import Embedded
from tagtrail_agent.cli import main
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.identity import Enrolment
from tagtrail_agent.inputs.mqtt import MqttGateways, MqttOptions
from tagtrail_agent.models import load_models
from tagtrail_agent.nearby import Nearby, Row, figures_of, masked, table_of
from tagtrail_agent.readings import Advert, Reading

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PLAIN = "0c16d2fc400161020c0903bf13"
BEACON = "0201061aff4c000215f7826da64fa24e988024bc5b71e0893e0007002ac5"
BEACON_ID = "ibeacon:f7826da64fa24e988024bc5b71e0893e:7:42"
AIRTAG = "1eff4c001219102807ce0b3c33332ed37b5d9d8291b1d99d0b8615189700e0"
MINE, STRANGER, PRIVATE = "5448e68f80a5", "58b1294494d3", "7a112233445e"


def ear(**enrolled: list[str]) -> Nearby:
    tags = [{"tag_id": tag_id, "identities": ids} for tag_id, ids in enrolled.items()]
    enrolment = Enrolment.parse({"tags": tags, "ranges": ["epc:3034257BF7"]})
    return Nearby(enrolment, load_models().decoder().decode)


def advert(address: str, ad: str = PLAIN, rssi_dbm: int = -60, **more: Any) -> Advert:
    return Advert(address, bytes.fromhex(ad), rssi_dbm, AT, 1.0, **more)


def shown(rows: Sequence[Row]) -> list[tuple[str | None, str | None, int]]:
    return [(r.identity, r.tag_id, r.count) for r in rows]


def test_what_is_strongest_comes_first_with_how_often_and_whose_it_is() -> None:
    listener = ear(crate=[f"mac:{MINE}"])
    listener.hear([advert(MINE, rssi_dbm=-80), advert(STRANGER, rssi_dbm=-50)])
    listener.hear([advert(MINE, rssi_dbm=-70), advert("5a0000000001", BEACON, -60)])

    rows = listener.rows()
    assert shown(rows) == [
        (f"mac:{STRANGER}", None, 1), (BEACON_ID, None, 1), (f"mac:{MINE}", "crate", 2),
    ]  # fmt: skip
    assert [(r.rssi_dbm, r.best_dbm) for r in rows] == [(-50, -50), (-60, -60), (-70, -70)]
    assert "ibeacon" in rows[1].what


def test_what_names_nobody_on_purpose_is_counted_together() -> None:
    listener = ear()
    listener.hear([advert(f"c0000000000{n}", AIRTAG, random_address=True) for n in range(5)])
    listener.hear([advert(f"7a000000000{n}", random_address=True) for n in range(3)])

    assert {(r.what, r.identity, r.count) for r in listener.rows()} == {
        ("findmy (names nobody)", None, 5), ("bthome (its address changes)", None, 3),
    }  # fmt: skip


def test_readings_of_labels_and_ranges_are_shown_by_their_technology() -> None:
    listener = ear()
    readings = [
        Reading("epc:3034257bf7000001", AT, 1.0, {"rssi_dbm": -55, "technology": "rfid"}),
        Reading("epc:30140F4C", AT, 1.0, {}),
        Reading("uwb:17", AT, 1.0, {"range_m": 2.5, "technology": "uwb"}, "anchor-1"),
    ]
    listener.hear(readings)

    assert [(r.identity, r.technology, r.tag_id) for r in listener.rows()] == [
        ("epc:3034257BF7000001", "rfid", "in an enrolled range"),
        ("epc:30140F4C", "rfid", None),
        ("uwb:17", "uwb", None),
    ]


def test_strangers_are_shortened_and_enrolled_tags_are_not() -> None:
    own, other = Row("mac:5448e68f80a5", "x", "ble", "crate"), Row("mac:58b1294494d3", "x", "ble")

    assert (masked(own), masked(other)) == ("mac:5448e68f80a5", "mac:58b129…")
    assert "58b1294494d3" not in table_of([other], whole=False)
    assert "58b1294494d3" in table_of([other], whole=True)
    assert figures_of([other], 1.0, whole=False)[0]["identity"] == "mac:58b129…"


def test_a_long_list_says_what_it_leaves_out() -> None:
    rows = [Row(f"mac:0000000000{n:02x}", "x", "ble") for n in range(5)]

    assert table_of(rows, whole=True, most=3).splitlines()[-1].strip() == "and 2 weaker ones"


def files(folder: Path, *inputs: str) -> Path:
    """Write a configuration with a recording of one enrolled tag and two strangers."""
    lines = [
        {"address": a, "ad": ad, "rssi_dbm": -60, "at": AT.isoformat(), "random_address": kind}
        for a, ad, kind in ((MINE, PLAIN, False), (STRANGER, PLAIN, False), (PRIVATE, PLAIN, True))
    ]
    (folder / "heard.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "tags.json").write_text(
        json.dumps([{"tag_id": "crate", "identities": [f"mac:{MINE}"]}])
    )
    path = folder / "agent.toml"
    path.write_text(
        '[gateway]\nid = "dock-1"\nsite = "hall"\nstate = "state"\n'
        '[server]\nurl = "http://127.0.0.1:1"\n[tags]\nfile = "tags.json"\n' + "".join(inputs)
    )
    return path


RECORDING = '[[input]]\nkind = "replay"\nname = "recording"\nfile = "heard.jsonl"\n'
PHONES = '[[input]]\nkind = "phones"\nname = "counter"\n'
READER = '[[input]]\nkind = "rfid"\nname = "door"\nhost = "192.0.2.1"\n'


@pytest.mark.parametrize(
    ("more", "stranger"), [([], "mac:58b129…"), (["--full"], f"mac:{STRANGER}")]
)
def test_a_program_gets_strangers_shortened_unless_it_asks_and_nothing_is_written(
    more: list[str], stranger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files(tmp_path, RECORDING)
    before = sorted(tmp_path.rglob("*"))

    assert main(["nearby", "--json", "--config", str(path), *more]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert sorted((r["identity"] or "-", r["enrolled"], r["count"]) for r in rows) == sorted(
        [(f"mac:{MINE}", True, 1), (stranger, False, 1), ("-", False, 1)]
    )
    assert {r["tag_id"] for r in rows if r["enrolled"]} == {"crate"}
    assert sorted(tmp_path.rglob("*")) == before


def test_people_get_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nearby", "--config", str(files(tmp_path, RECORDING))]) == 0

    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["dBm", "count", "radio", "enrolled", "identity", "what"]
    assert [r.split()[3] for r in rows].count("crate") == 1


@pytest.mark.parametrize(
    ("inputs", "more", "words"),
    [
        ([RECORDING], ["--input", "none"], "there are recording"),
        ([RECORDING, PHONES], ["--input", "counter"], "the agent needs it"),
        ([READER], [], "name one with --input"),
        ([RECORDING], ["--seconds", "0"], "greater than 0"),
    ],
    ids=["unknown", "phones", "reader only", "no time"],
)
def test_what_cannot_be_listened_to_is_told(
    inputs: list[str], more: list[str], words: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["nearby", "--config", str(files(tmp_path, *inputs)), *more]) == 2

    assert words in capsys.readouterr().err


def test_it_ends_after_the_seconds_that_were_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated = '[[input]]\nkind = "simulated"\ntags = 3\nadverts_per_s = 100\n'
    path = files(tmp_path, simulated)

    assert main(["nearby", "--json", "--seconds", "0.4", "--config", str(path)]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 3
    assert 10 < sum(r["count"] for r in rows) < 100


async def test_a_broker_is_heard_beside_the_running_agent_which_misses_nothing(
    infra: Embedded, tmp_path: Path
) -> None:
    address = urlsplit(infra.mqtt_url)
    (tmp_path / "password").write_text(unquote(address.password or ""))
    entry = (
        f'[[input]]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {address.port}\n'
        f'username = "{address.username}"\npassword_file = "password"\nclient_id = "beside"\n'
        'subscribe = ["minew/#"]\n'
    )
    path = files(tmp_path, entry)
    running = MqttGateways(
        MqttOptions(
            host="127.0.0.1", port=address.port or 0, username=address.username,
            password_file=tmp_path / "password", client_id="beside", subscribe=("minew/#",),
        ),
        SystemClock(),
    )  # fmt: skip
    body = json.dumps([{"mac": STRANGER.upper(), "rssi": -58, "rawData": PLAIN}]).encode()
    arguments = ["nearby", "--json", "--full", "--seconds", "1.5", "--config", str(path)]
    async with hearing(running) as agents, Publisher(infra.mqtt_url, "gw").connected() as publisher:
        await until(lambda: running.subscribed)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tagtrail_agent", *arguments, stdout=asyncio.subprocess.PIPE
        )
        said = asyncio.create_task(process.communicate())
        published = 0
        while not said.done():
            await publisher.publish("minew/one", body)
            published += 1
            await asyncio.sleep(0.1)
        await until(lambda: len(agents.adverts) == published)
    rows = json.loads((await said)[0])

    assert process.returncode == 0
    assert [r["identity"] for r in rows] == [f"mac:{STRANGER}"]
    assert 0 < rows[0]["count"] <= published
