"""agent.toml: every mistake is told with its line and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tagtrail_agent import config
from tagtrail_agent.assembly import KINDS, input_of
from tagtrail_agent.clock import SystemClock
from tagtrail_agent.errors import ConfigError
from tagtrail_agent.simulation import SimulationOptions

GOOD = """\
[gateway]
id = "dock-1"
site = "hall"
state = "state"

[server]
url = "https://tagtrail.example"
mqtt = "mqtts://tagtrail.example:8883"

[batch]
wait_s = 5

[[input]]
kind = "simulated"
tags = 3

[[input]]
kind = "simulated"
name = "second"
adverts_per_s = 2.5
"""


def load(folder: Path, text: str) -> config.Config:
    path = folder / "agent.toml"
    path.write_text(text)
    return config.load(path)


def with_inputs(folder: Path, text: str) -> None:
    loaded = load(folder, text)
    for entry in loaded.inputs:
        input_of(loaded, entry, SystemClock(), lambda _: True)


def test_a_good_file_is_read_and_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD)

    assert loaded.server.way == "mqtt"
    assert loaded.state == tmp_path / "state"
    assert (loaded.batch.wait_s, loaded.batch.max_items) == (5.0, 200)
    assert [(i.kind, i.name) for i in loaded.inputs] == [
        ("simulated", "simulated"), ("simulated", "second"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('id = "dock-1"', "id = 7", 2, "must be text in quotes"),
        ('id = "dock-1"', 'id = "dock 1/2"', 1, "use letters, digits"),
        ('id = "dock-1"', "", 1, "gateway.id is missing"),
        ('site = "hall"', 'sites = "hall"', 3, "did you mean site?"),
        ("https://", "ftp://", 6, "must read https://host:port"),
        ("wait_s = 5", "wait_s = 0", 11, "at least 0.05"),
        ("wait_s = 5", "wait_s = true", 11, "must be a number"),
        ("wait_s = 5", "max_items = 1.5", 11, "must be a whole number"),
        ("[batch]", "[batches]", 10, "sections are"),
        ("tags = 3", "tags = 0", 15, "at least 1"),
        ("tags = 3", "tag = 3", 15, "did you mean tags?"),
        ("adverts_per_s = 2.5", "adverts_per_s = 1000000", 20, "at most 100000"),
        ('kind = "simulated"\ntags', 'kind = "bluetoth"\ntags', 14, "there are bluetooth"),
        ("wait_s = 5", "wait_s = = 5", 11, "not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        with_inputs(tmp_path, GOOD.replace(old, new, 1))

    assert caught.value.line == line
    assert words in str(caught.value)
    assert f"agent.toml, line {line}: " in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tagtrail-agent enrol"):
        config.load(tmp_path / "agent.toml")


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("", "add url"),
        ('transport = "mqtt"\nurl = "https://x.example"', "add mqtt"),
        ('transport = "udp"', "allowed are 'auto', 'mqtt', 'http'"),
    ],
)
def test_a_server_that_cannot_be_reached_as_written_is_told(
    tmp_path: Path, server: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, f'[gateway]\nid = "g"\nsite = "s"\n[server]\n{server}\n')


def test_credentials_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"key": "tt_x"}))
    path.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        config.credentials_in(path)
    path.chmod(0o600)
    assert config.credentials_in(path).key == "tt_x"
    assert "tt_x" not in repr(config.credentials_in(path))


def test_no_credentials_are_no_mistake_and_damaged_ones_are(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    assert config.credentials_in(path).key == ""
    path.touch(0o600)
    path.write_text('{"config_key": "xyz"}')

    with pytest.raises(ConfigError, match="enrol this gateway anew"):
        config.credentials_in(path)


def test_paths_of_inputs_count_from_the_file(tmp_path: Path) -> None:
    text = GOOD.replace('kind = "simulated"\ntags = 3', 'kind = "replay"\nfile = "a.jsonl"')
    loaded = load(tmp_path, text)
    replay = input_of(loaded, loaded.inputs[0], SystemClock(), lambda _: True)

    assert replay._options.file == tmp_path / "a.jsonl"  # type: ignore[attr-defined]


def test_every_kind_of_input_is_where_the_table_says() -> None:
    assert {"bluetooth", "mqtt", "rfid", "uwb", "phones", "replay", "simulated"} <= set(KINDS)
    assert all(kind.words for kind in KINDS.values())
    assert SimulationOptions().tags == 20
