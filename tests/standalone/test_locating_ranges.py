"""`tagtrail locate calibrate` for ranges against a running server: what anchors measure too much."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests.support.all_in_one import Running, all_in_one
from typer.testing import CliRunner, Result

from tagtrail.locating.cli import app

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ANCHORS = {
    "u0": (1.0, 1.0, 2.5), "u1": (12.0, 1.0, 3.5), "u2": (23.0, 1.0, 2.5),
    "u3": (1.0, 15.0, 3.5), "u4": (12.0, 15.0, 2.5), "u5": (23.0, 15.0, 3.5),
}  # fmt: skip
OFFSETS_M = {"u0": 0.35, "u1": 0.2, "u2": 0.5, "u3": 0.3, "u4": 0.15, "u5": 0.4}
HANGING = {
    "ref-0": (5.0, 4.0), "ref-1": (18.0, 5.0), "ref-2": (9.0, 12.0),
    "ref-3": (20.0, 11.0), "ref-4": (13.0, 7.0),
}  # fmt: skip
READINGS = 12


@pytest.fixture
async def running(database_url: str) -> AsyncIterator[Running]:
    async with all_in_one(database_url) as found:
        yield found


def _registrations() -> list[dict[str, Any]]:
    facts: list[tuple[str, dict[str, Any]]] = [
        ("retention.set", {"event_class": "radio", "keep_days": 30, "basis": "test"}),
        ("site.registered", {"site_id": "hall", "name": "Hall"}),
        ("zone.registered", {"zone_id": "floor", "site_id": "hall", "name": "Floor",
                             "outline_m": [[0, 0], [24, 0], [24, 16], [0, 16]]}),
    ]  # fmt: skip
    for name, (x, y, z) in ANCHORS.items():
        place = {"gateway_id": name, "site_id": "hall", "x_m": x, "y_m": y, "z_m": z}
        facts.append(("gateway.registered", place))
    for n, name in enumerate([*HANGING, *ANCHORS, "walker"]):
        facts.append(("tag.registered", {"tag_id": name, "identities": [f"mac:58b12944{n:04x}"]}))
    return [{"type": kind, "data": data} for kind, data in facts]


def _ranges(
    tag: str, place: tuple[float, float, float], chance: np.random.Generator, *, since_s: float
) -> Iterator[dict[str, Any]]:
    """Yield what the anchors measure of a tag: true distance, offset, noise."""
    for n in range(READINGS):
        for k, (name, stands) in enumerate(ANCHORS.items()):
            if name == tag:
                continue
            ends = OFFSETS_M[name] + OFFSETS_M.get(tag, 0.0)
            measured = math.dist(place, stands) + ends + float(chance.normal(0.0, 0.05))
            at = START + timedelta(seconds=since_s + n, milliseconds=5 * k)
            yield {
                "tag_id": tag, "gateway_id": name, "technology": "uwb", "at": at.isoformat(),
                "range_m": round(measured, 3), "sigma_m": 0.1,
            }  # fmt: skip


async def _send(running: Running, items: list[dict[str, Any]]) -> None:
    async with running.client(running.amber) as http:
        for start in range(0, len(items), 500):
            part = {"sightings": items[start : start + 500]}
            for _ in range(100):  # the directory learns new tags and rules within seconds
                reply = await http.post("/v1/sightings", json=part)
                if reply.status_code == 200 and reply.json()["unenrolled"] == 0:
                    break
                await asyncio.sleep(0.1)
            assert reply.status_code == 200, reply.text
            assert reply.json()["rejected"] == reply.json()["unenrolled"] == 0


@pytest.fixture
async def measured(running: Running) -> Running:
    """The tags hang, the anchors have ranged with each other."""
    chance = np.random.default_rng(4)
    async with running.client(running.amber) as http:
        reply = await http.post("/v1/events", json={"events": _registrations()})
        assert reply.status_code == 200, reply.text
    tags = {t: (x, y, 1.0) for t, (x, y) in HANGING.items()} | ANCHORS
    await _send(running, [i for t, p in tags.items() for i in _ranges(t, p, chance, since_s=0.0)])
    return running


async def _command(running: Running, *words: str) -> Result:
    """Run the command in a thread, as a process beside the server would."""
    runner = CliRunner(env={"TAGTRAIL_API_KEY": running.amber})
    line = ["calibrate", "--site", "hall", *words, "--api-url", running.url]
    return await asyncio.to_thread(runner.invoke, app, line)


def _references(count: int) -> list[str]:
    some = itertools.islice(HANGING.items(), count)
    return [w for t, (x, y) in some for w in ("--reference", f"{t}={x},{y}")]


async def _walked(running: Running, since_s: float) -> float:
    """Range a tag at a known place; returns how far from it the server draws it, metres."""
    place, chance = (7.0, 9.0, 1.0), np.random.default_rng(5)
    await _send(running, list(_ranges("walker", place, chance, since_s=since_s)))
    newest = START + timedelta(seconds=since_s + READINGS - 2)
    async with running.client(running.amber) as http:
        for _ in range(100):
            reply = await http.get("/v1/tags/walker/place")
            found = reply.json() if reply.status_code == 200 else {}
            if found and datetime.fromisoformat(found["last_heard_at"]) >= newest:
                break
            await asyncio.sleep(0.1)
    return math.dist((found["x_m"], found["y_m"]), place[:2])


async def test_reference_tags_calibrate_ranges_and_the_places_told_get_better(
    measured: Running,
) -> None:
    before_m = await _walked(measured, 100.0)

    tried = await _command(measured, *_references(5), "--ranges", "--json")
    applied = await _command(measured, *_references(5), "--ranges", "--apply")
    after_m = await _walked(measured, 200.0)

    found = json.loads(tried.stdout)
    assert not found["applied"]
    assert found["links"] == 30
    assert found["left_out_range_error_m"] < 0.5 * found["range_error_before_m"]
    assert found["without_range_errors_because"] == "the ranges carry no received power"
    for name, offset_m in found["anchors"].items():
        assert offset_m == pytest.approx(OFFSETS_M[name], abs=0.1)
    assert applied.exit_code == 0, applied.output
    assert "applied" in applied.stdout
    assert after_m < 0.1 < before_m


async def test_anchors_that_range_with_each_other_calibrate_themselves(measured: Running) -> None:
    applied = await _command(measured, "--anchors", "--apply", "--json")

    found = json.loads(applied.stdout)
    assert (found["links"], found["source"], found["applied"]) == (15, "anchors", True)
    assert found["left_out_range_error_m"] < 0.3 * found["range_error_before_m"]
    mean_m = sum(OFFSETS_M.values()) / len(OFFSETS_M)
    for name, offset_m in found["anchors"].items():
        assert offset_m == pytest.approx(OFFSETS_M[name] + mean_m, abs=0.1)
    async with measured.client(measured.amber) as http:
        kept = (await http.get("/v1/events", params={"types": "config.changed"})).json()["items"]
    assert kept[-1]["data"]["section"] == "locate.calibration.hall"
    assert set(kept[-1]["data"]["values"]["anchors"]) == set(ANCHORS)


async def test_ranges_that_do_not_calibrate_say_why(measured: Running) -> None:
    few = await _command(measured, *_references(2), "--ranges", "--apply")
    none = await _command(measured, "--ranges")
    wrong = await _command(
        measured, "--ranges", "--reference", "ref-0=50,40", "--reference", "ref-1=2,50",
        "--reference", "ref-2=70,2",
    )  # fmt: skip
    silent = await _command(measured, "--ranges", "--reference", "walker=1,1")

    assert [r.exit_code for r in (few, none, wrong, silent)] == [2, 2, 2, 2]
    assert "2 places" in few.stderr
    assert "--reference" in none.stderr
    assert "check the coordinates" in wrong.stderr
    assert "never ranged" in silent.stderr
    async with measured.client(measured.amber) as http:
        kept = (await http.get("/v1/events", params={"types": "config.changed"})).json()["items"]
    assert kept == []
