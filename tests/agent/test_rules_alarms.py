"""Alarms that a gateway raises by itself while the server cannot be reached."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tagtrail_agent.filtering import Alarm, AlarmWatch, LogAndFile, Traits, parse_rules
from tagtrail_agent.readings import Reading

START = datetime(2026, 3, 2, 21, 30, tzinfo=UTC)
"""22:30 in Berlin."""

SILENT = {"id": "gone", "kind": "silent", "match": {"tag": "mac:a*"}, "after_s": 300}
EXIT = {
    "id": "night-exit", "kind": "heard", "match": {"gateway": "exit", "model": "pallet*"},
    "between": ["22:00", "05:00"], "timezone": "Europe/Berlin", "min_rssi_dbm": -75,
    "readings": 3, "within_s": 20, "clear_after_s": 60,
}  # fmt: skip


class Bell:
    """Keeps the alarms."""

    def __init__(self) -> None:
        self.rung: list[Alarm] = []

    def alarm(self, alarm: Alarm) -> None:
        self.rung.append(alarm)

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(a.alarm_id, a.state) for a in self.rung]


class Yard:
    """A watch with a clock that is moved by hand."""

    def __init__(self, *alarms: dict[str, Any], most_watched: int = 100) -> None:
        raw = {"kind": "tagtrail.edge-rules", "version": 1, "revision": 1, "alarms": alarms}
        rules = parse_rules(json.dumps(raw).encode()).alarms
        self.bell = Bell()
        self.watch = AlarmWatch(
            rules, self.bell, lambda _: Traits("pallet-tag"), "exit", most_watched
        )
        self.now_s = 0.0
        self.online = False

    def hear(self, tag: str, rssi_dbm: float = -60.0, gateway_id: str | None = None) -> None:
        at = START + timedelta(seconds=self.now_s)
        reading = Reading(tag, at, self.now_s, {"rssi_dbm": rssi_dbm}, gateway_id)
        self.watch.take([reading], self.now_s, online=self.online)

    def wait(self, seconds: int, *hearing: str) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            for tag in hearing:
                self.hear(tag)
            at = START + timedelta(seconds=self.now_s)
            self.watch.due(self.now_s, at, online=self.online)


def test_a_tag_that_falls_silent_while_the_link_is_down_raises_an_alarm_once() -> None:
    yard = Yard(SILENT)
    yard.wait(10, "mac:a1", "mac:b1")
    yard.wait(299, "mac:b1")
    before = list(yard.bell.rung)
    yard.wait(600, "mac:b1")

    assert before == []
    assert yard.bell.said == [("gone", "raised")]
    assert yard.bell.rung[0].tag == "mac:a1"
    assert yard.bell.rung[0].elapsed_s == 310.0
    assert yard.bell.rung[0].text == "mac:a1 was not heard for 300 s (gone)"
    assert yard.watch.open == [("gone", "mac:a1")]


def test_it_is_cleared_by_three_readings_within_a_minute_not_by_one() -> None:
    yard = Yard(SILENT)
    yard.wait(10, "mac:a1", "mac:b1")
    yard.wait(400, "mac:b1")
    yard.hear("mac:a1")
    yard.wait(100, "mac:b1")
    after_one = yard.bell.said
    yard.wait(3, "mac:a1", "mac:b1")

    assert after_one == [("gone", "raised")]
    assert yard.bell.said == [("gone", "raised"), ("gone", "cleared")]
    assert yard.watch.open == []


def test_while_the_server_is_reached_the_gateway_is_silent() -> None:
    yard = Yard(SILENT)
    yard.online = True
    yard.wait(10, "mac:a1", "mac:b1")
    yard.wait(400, "mac:b1")
    online = list(yard.bell.rung)
    yard.online = False
    yard.wait(1, "mac:b1")

    assert online == []
    assert yard.bell.said == [("gone", "raised")]


def test_a_rule_may_hold_online_too() -> None:
    yard = Yard({**SILENT, "only_offline": False})
    yard.online = True
    yard.wait(10, "mac:a1", "mac:b1")
    yard.wait(300, "mac:b1")

    assert yard.bell.said == [("gone", "raised")]
    assert yard.bell.rung[0].online


def test_a_deaf_gateway_misses_nobody() -> None:
    yard = Yard(SILENT)
    yard.wait(10, "mac:a1", "mac:b1")
    yard.wait(3600)
    deaf = list(yard.bell.rung)
    yard.wait(200, "mac:b1")
    hearing_again = list(yard.bell.rung)
    yard.wait(101, "mac:b1")

    assert deaf == hearing_again == []
    assert yard.bell.said == [("gone", "raised")]


def test_a_tag_that_the_rule_names_is_missed_even_if_it_was_never_heard() -> None:
    yard = Yard({**SILENT, "match": {"tag": "mac:safe"}})
    yard.wait(301, "mac:b1")

    assert [a.tag for a in yard.bell.rung] == ["mac:safe"]


def test_a_tag_at_the_exit_at_night_raises_an_alarm_and_leaving_clears_it() -> None:
    yard = Yard(EXIT)
    yard.wait(2, "mac:c1")
    before = list(yard.bell.rung)
    yard.wait(10, "mac:c1")
    yard.wait(59)
    held = yard.bell.said
    yard.wait(1)

    assert before == []
    assert held == [("night-exit", "raised")]
    assert yard.bell.said == [("night-exit", "raised"), ("night-exit", "cleared")]


@pytest.mark.parametrize(("rssi_dbm", "raised"), [(-75.0, True), (-75.5, False)])
def test_a_tag_that_is_far_from_the_exit_does_not_count(rssi_dbm: float, raised: bool) -> None:
    yard = Yard(EXIT)
    for _ in range(5):
        yard.now_s += 1
        yard.hear("mac:c1", rssi_dbm)

    assert bool(yard.bell.rung) is raised


def test_readings_too_far_apart_do_not_add_up() -> None:
    yard = Yard(EXIT)
    for _ in range(10):
        yard.now_s += 15
        yard.hear("mac:c1")

    assert yard.bell.rung == []


@pytest.mark.parametrize(("gateway_id", "raised"), [(None, True), ("hall", False)])
def test_another_gateway_is_not_the_exit(gateway_id: str | None, raised: bool) -> None:
    yard = Yard(EXIT)
    for _ in range(5):
        yard.now_s += 1
        yard.hear("mac:c1", gateway_id=gateway_id)

    assert bool(yard.bell.rung) is raised


@pytest.mark.parametrize(
    ("minutes", "raised"), [(-31, False), (-30, True), (389, True), (390, False)]
)
def test_the_night_is_that_of_the_place_and_passes_midnight(minutes: int, raised: bool) -> None:
    yard = Yard(EXIT)
    yard.now_s = 60.0 * minutes
    for _ in range(5):
        yard.now_s += 1
        yard.hear("mac:c1")

    assert bool(yard.bell.rung) is raised


def test_the_figures_name_what_is_open_and_can_be_sent() -> None:
    yard = Yard(EXIT)
    yard.wait(5, "mac:c1")

    open_now = [{"alarm": "night-exit", "tag": "mac:c1"}]
    assert yard.watch.figures() == {"alarms_open": open_now, "alarms_raised": 1}
    assert json.loads(json.dumps(yard.bell.rung[0].figures()))["at"] == "2026-03-02T21:30:03.000Z"


def test_alarms_are_logged_and_kept_in_a_file_without_addresses_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yard = Yard(EXIT)
    yard.wait(5, "mac:c1")
    raised = yard.bell.rung[0]
    sink = LogAndFile(tmp_path / "alarms.json")
    with caplog.at_level(logging.WARNING):
        sink.alarm(raised)
    written = json.loads((tmp_path / "alarms.json").read_text(encoding="utf-8"))
    sink.alarm(raised._replace(state="cleared"))
    after = json.loads((tmp_path / "alarms.json").read_text(encoding="utf-8"))

    assert [a["alarm"] for a in written["open"]] == ["night-exit"]
    assert after == {"open": []}
    assert [r.message for r in caplog.records] == ["alarm.raised", "alarm.cleared"]
    assert "mac:c1" not in caplog.text


def test_a_file_that_cannot_be_written_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yard = Yard(EXIT)
    yard.wait(5, "mac:c1")
    with caplog.at_level(logging.ERROR):
        LogAndFile(tmp_path / "absent" / "alarms.json").alarm(yard.bell.rung[0])

    assert [r.message for r in caplog.records] == ["alarm.file_failed"]


def test_no_more_tags_are_watched_than_the_limit() -> None:
    yard = Yard(SILENT, most_watched=5)
    for n in range(20):
        yard.now_s += 1
        yard.hear(f"mac:a{n}")
    yard.wait(301, "mac:b1")

    assert sorted(a.tag for a in yard.bell.rung) == [f"mac:a{n}" for n in range(15, 20)]
