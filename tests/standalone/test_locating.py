"""`tagtrail locate` against a running server: a walk, its verdict, a calibration (S12, N15)."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.all_in_one import Running, all_in_one
from typer.testing import CliRunner, Result

from tagtrail.locating.cli import app

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
GATEWAYS = {"g0": (1.0, 1.0), "g1": (23.0, 1.0), "g2": (1.0, 15.0), "g3": (23.0, 15.0)}
OFFSETS_DB = {"g0": -46.0, "g1": -68.0, "g2": -58.0, "g3": -62.0}
ZONES = {f"z{c}{r}": (8.0 * c, 8.0 * r) for c in range(3) for r in range(2)}
STAY_S = 40
STOPS = [
    (zone, x + dx, y + dy) for zone, (x, y) in ZONES.items() for dx, dy in ((2.5, 3.0), (5.5, 5.0))
]


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[Running]:
    async with all_in_one(database_url) as found:
        yield found


def _registrations() -> list[dict[str, Any]]:
    facts: list[tuple[str, dict[str, Any]]] = [
        ("retention.set", {"event_class": "radio", "keep_days": 30, "basis": "test"}),
        ("site.registered", {"site_id": "hall", "name": "Hall"}),
    ]
    for zone, (x, y) in ZONES.items():
        outline = [[x, y], [x + 8, y], [x + 8, y + 8], [x, y + 8]]
        data = {"zone_id": zone, "site_id": "hall", "name": zone, "outline_m": outline}
        facts.append(("zone.registered", data))
    for name, (x, y) in GATEWAYS.items():
        place = {"gateway_id": name, "site_id": "hall", "x_m": x, "y_m": y, "z_m": 2.3}
        facts.append(("gateway.registered", place))
    tag = {"tag_id": "tag-7", "identities": ["mac:58b1294494d3"], "interval_s": 1.0}
    facts.append(("tag.registered", tag))
    return [{"type": kind, "data": data} for kind, data in facts]


def _walk() -> list[dict[str, Any]]:
    """The tag rests at the stops one after the other; gateways differ in sensitivity."""
    chance = np.random.default_rng(3)
    items = []
    for n, (_, x, y) in enumerate(STOPS):
        for second in range(STAY_S):
            at = START + timedelta(seconds=n * (STAY_S + 10) + second)
            for k, (name, (gx, gy)) in enumerate(GATEWAYS.items()):
                away = math.dist((x, y, 1.0), (gx, gy, 2.3))
                level = OFFSETS_DB[name] - 24.0 * math.log10(away) + chance.normal(0.0, 2.5)
                moment = at + timedelta(milliseconds=2 * k)
                items.append(
                    {"tag_id": "tag-7", "gateway_id": name, "rssi_dbm": round(float(level), 1),
                     "at": moment.isoformat()}
                )  # fmt: skip
    return items


def _plan(folder: Path) -> Path:
    lines = ["zone_id,x_m,y_m,from_at,until_at"]
    for n, (zone, x, y) in enumerate(STOPS):
        began = START + timedelta(seconds=n * (STAY_S + 10))
        ended = began + timedelta(seconds=STAY_S)
        lines.append(f"{zone},{x},{y},{began.isoformat()},{ended.isoformat()}")
    path = folder / "stops.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


async def _command(running: Running, *words: str) -> Result:
    """Run the command in a thread, as a process beside the server would."""
    runner = CliRunner(env={"TAGTRAIL_API_KEY": running.amber})
    line = [*words, "--api-url", running.url, "--json"]
    return await asyncio.to_thread(runner.invoke, app, line)


@pytest.fixture
async def walked(running: Running) -> Running:
    async with running.client(running.amber) as http:
        reply = await http.post("/v1/events", json={"events": _registrations()})
        assert reply.status_code == 200, reply.text
        items = _walk()
        for start in range(0, len(items), 500):
            for _ in range(100):  # the directory learns new tags and rules within seconds
                reply = await http.post(
                    "/v1/sightings", json={"sightings": items[start : start + 500]}
                )
                if reply.status_code == 200 and reply.json()["unenrolled"] == 0:
                    break
                await asyncio.sleep(0.1)
            assert reply.status_code == 200, reply.text
            assert reply.json()["rejected"] == reply.json()["unenrolled"] == 0
    return running


async def test_s12_a_walk_is_judged_calibrated_and_judged_again(
    walked: Running, tmp_path: Path
) -> None:
    plan = str(_plan(tmp_path))
    line = ("survey", "--site", "hall", "--tag", "tag-7", "--plan", plan, "--id", "walk-1")

    first = await _command(walked, *line)
    again = await _command(walked, *line)
    tried = await _command(walked, "calibrate", "--site", "hall", "--survey", "walk-1")
    applied = await _command(walked, "calibrate", "--site", "hall", "--survey", "walk-1", "--apply")
    after = await _command(walked, "score", "--survey", "walk-1")

    before, found, now = (json.loads(r.stdout) for r in (first, tried, after))
    assert first.exit_code == 1, first.output
    assert json.loads(again.stdout)["confusion_s"] == before["confusion_s"]
    assert before["reasons"]
    assert not found["applied"]
    assert found["left_out_error_m"] < found["plan_error_m"]
    assert applied.exit_code == 0, applied.output
    assert now["accuracy"] == pytest.approx(found["zone_accuracy_after"], abs=1e-3)
    assert now["accuracy"] > before["accuracy"]
    async with walked.client(walked.amber) as http:
        marks = (await http.get("/v1/events", params={"types": "survey.marked"})).json()["items"]
        verdicts = (await http.get("/v1/events", params={"types": "site.surveyed"})).json()["items"]
    assert len(marks) == len(STOPS)
    assert [v["data"]["verdict"] for v in verdicts] == ["no_go"]


async def test_what_cannot_be_judged_says_why_and_what_to_do(
    walked: Running, tmp_path: Path
) -> None:
    plan = _plan(tmp_path)
    broken = tmp_path / "broken.csv"
    broken.write_text(plan.read_text(encoding="utf-8").replace("2.5", "two", 1), encoding="utf-8")
    short = tmp_path / "short.csv"
    short.write_text("\n".join(plan.read_text(encoding="utf-8").splitlines()[:3]), "utf-8")

    wrong = await _command(
        walked, "survey", "--site", "hall", "--tag", "tag-7", "--plan", str(broken)
    )
    few = await _command(walked, "survey", "--site", "hall", "--tag", "tag-7", "--plan", str(short))
    none = await _command(walked, "score", "--survey", "nowhere")
    neither = await _command(walked, "calibrate", "--site", "hall")

    assert [r.exit_code for r in (wrong, few, none, neither)] == [2, 2, 2, 2]
    assert "line 2: x_m" in wrong.stderr
    assert "2 of 2 stops" in few.stderr
    assert "nowhere" in none.stderr
    assert "--survey or --reference" in neither.stderr


async def test_tags_that_hang_at_known_places_calibrate_a_site(
    walked: Running, tmp_path: Path
) -> None:
    refused = await _command(
        walked, "calibrate", "--site", "hall", "--reference", "tag-7=2.5,3.0", "--hours", "0.01"
    )

    assert refused.exit_code == 2
    assert "1 places" in refused.stderr
