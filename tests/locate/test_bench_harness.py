"""The harness on folders as an evaluation gives them: measurements alone, of runs never seen."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from bench.locate.__main__ import predictor
from bench.locate.output import Fix, rows

Row = Mapping[str, str]
SHORT_S = 12.0
FOREIGN = "99"


def written(path: Path, columns: Iterable[str], found: Iterable[Row]) -> None:
    """Write some rows as a CSV file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(found)


def beginning(path: Path, *, of_s: float = SHORT_S) -> list[dict[str, str]]:
    """Return the rows of the first seconds of a file."""
    found = list(rows(path))
    until = float(found[0]["t"]) + of_s
    return [row for row in found if float(row["t"]) <= until]


def office(data: Path, to: Path) -> tuple[str, str | None, set[str]]:
    heard = beginning(data / "ble_tetam" / "tracks" / "straight_04.events.csv")
    foreign = {**heard[5], "gateway": FOREIGN}
    written(to / "tracks" / "unseen.events.csv", heard[0], [*heard, foreign])
    written(to / "tracks" / "silent.events.csv", heard[0], [])
    written(to / "static" / "p1.events.csv", heard[0], heard)
    written(to / "tracks" / "unseen.truth.csv", ["not", "to", "be", "read"], [])
    return "ble_tetam", None, {"unseen", "static/p1"}


def calibration(data: Path, name: str, to: Path) -> Path:
    """Return the folder to calibrate from; of the flat a small part, to save time."""
    if name != "hybrid_apartment":
        return data / name
    for source in (data / name).glob("*.csv"):
        shutil.copy(source, to)
    (to / "runs").mkdir()
    for source in (data / name / "runs").glob("calib4.*"):
        shutil.copy(source, to / "runs")
    return to


def flat_ble(data: Path, to: Path) -> tuple[str, str | None, set[str]]:
    runs = data / "hybrid_apartment" / "runs"
    heard = beginning(runs / "calib3.ble.csv")
    some = [row for row in heard if row["anchor"] != "2"] + [{**heard[5], "anchor": FOREIGN}]
    written(to / "runs" / "test_robot.ble.csv", heard[0], some)
    written(to / "runs" / "silent.ble.csv", heard[0], [])
    written(to / "runs" / "test_robot.vectors_3hz.csv", ["t", "heading"], [])
    return "hybrid_apartment", "ble", {"test_robot"}


def flat_uwb(data: Path, to: Path) -> tuple[str, str | None, set[str]]:
    heard = beginning(data / "hybrid_apartment" / "runs" / "calib3.uwb_blinks.csv", of_s=20.0)
    wrong = {**heard[5], "toa_3": "12345"}
    columns = [name for name in heard[0] if name != "toa_2"] + ["toa_7"]
    written(to / "runs" / "test_robot.uwb_blinks.csv", columns, [*heard[:5], wrong, *heard[5:]])
    written(to / "runs" / "silent.uwb_blinks.csv", columns, [])
    return "hybrid_apartment", "uwb", {"test_robot"}


def racks(data: Path, to: Path) -> tuple[str, str | None, set[str]]:
    read = [row for row in rows(data / "uwb_industrial" / "ranges.csv") if row["position"] == "10"]
    columns = [name for name in read[0] if name != "nlos"]
    short = [{**row, "position": "11"} for row in read if int(row["k"]) < 40]
    odd = [{**short[0], "anchor": FOREIGN}, {**short[0], "range_m": ""}]
    written(to / "ranges.csv", columns, [*short, *odd])
    return "uwb_industrial", None, {"pos11"}


def room(data: Path, to: Path) -> tuple[str, str | None, set[str]]:
    read = beginning(data / "uwb_room" / "mid.ranges.csv")
    begin = float(read[0]["t"])
    gap = [row for row in read if not 5.0 < float(row["t"]) - begin < 6.0]
    stranger = [{**row, "tag": "7"} for row in gap if row["tag"] == "1"]
    written(to / "fast.ranges.csv", read[0], [*gap, *stranger, {**read[9], "anchor": FOREIGN}])
    written(to / "silent.ranges.csv", read[0], [])
    return "uwb_room", None, {f"fast_tag{tag}" for tag in (0, 1, 2, 7)}


def vehicle(data: Path, to: Path) -> tuple[str, str | None, set[str]]:
    read = beginning(data / "uwb_vehicle" / "los_B_3" / "ranges.csv", of_s=20.0)
    odd = [{**read[5], "anchor": FOREIGN}, {**read[5], "range_m": ""}]
    written(to / "los_B_4" / "ranges.csv", read[0], [*read, *odd])
    written(to / "los_A_2" / "ranges.csv", read[0], [])
    return "uwb_vehicle", None, {"los_B_4"}


Arrange = Callable[[Path, Path], tuple[str, str | None, set[str]]]


@pytest.mark.parametrize("arrange", [office, flat_ble, flat_uwb, racks, room, vehicle])
def test_unseen_runs_with_strange_anchors_gaps_and_silence_are_told_throughout(
    shared_data: Path, tmp_path: Path, arrange: Arrange
) -> None:
    (to := tmp_path / "evaluate").mkdir()
    (known := tmp_path / "calibrate").mkdir()
    name, radio, expected = arrange(shared_data / "locate", to)
    calibrate = calibration(shared_data / "locate", name, known)
    by_run: dict[str, list[Fix]] = {}
    for fix in predictor(name, radio)(calibrate, to, "hid/x", delay_s=1.0, radio=radio):
        by_run.setdefault(fix.run, []).append(fix)

    assert set(by_run) == expected
    longest = 1.0 if arrange is racks else 0.3
    for fixes in by_run.values():
        at = np.array([fix.t for fix in fixes])
        assert np.all(np.diff(at) > 0.0)
        assert float(np.max(np.diff(at))) <= longest
        assert at[-1] - at[0] >= (30.0 if arrange is racks else 0.9 * SHORT_S - 1.0)
        assert np.all(np.isfinite([(fix.x, fix.y) for fix in fixes]))
        assert {fix.set for fix in fixes} == {"hid/x"}


def cut_off(to: Path, after_s: float) -> None:
    """Add to each run of a folder one that ends early, "cut" before its name."""
    for path in sorted(to.rglob("*.csv")):
        heard = list(rows(path))
        if not heard or "t" not in heard[0]:
            continue
        until = min(float(row["t"]) for row in heard) + after_s
        other = path.with_name(f"cut{path.name}")
        if path.name == "ranges.csv":
            other = path.parent.with_name(f"{path.parent.name}cut") / path.name
        written(other, heard[0], [row for row in heard if float(row["t"]) <= until])


@pytest.mark.parametrize(
    ("arrange", "delay_s"),
    [(office, 0.0), (office, 3.0), (flat_ble, 3.0), (flat_uwb, 3.0), (room, 0.0), (vehicle, 1.0)],
)
def test_a_fix_does_not_change_with_what_comes_after_its_delay(
    shared_data: Path, tmp_path: Path, arrange: Arrange, delay_s: float
) -> None:
    (to := tmp_path / "evaluate").mkdir()
    (known := tmp_path / "calibrate").mkdir()
    name, radio, expected = arrange(shared_data / "locate", to)
    cut_off(to, 8.0)
    calibrate = calibration(shared_data / "locate", name, known)
    fixes = predictor(name, radio)(calibrate, to, "x", delay_s=delay_s, radio=radio)
    told = {(fix.run, round(fix.t, 4)): (fix.x, fix.y) for fix in fixes}

    for run in expected:
        begin = min(t for own, t in told if own == run)
        cut = run.replace("static/", "static/cut") if "/" in run else f"cut{run}"
        cut = f"{run}cut" if arrange is vehicle else cut
        early = [t for own, t in told if own == cut and t <= begin + 8.0 - delay_s - 1.7]
        assert len(early) > 10
        for t in early:
            assert told[cut, t] == pytest.approx(told[run, t], abs=1e-6)
