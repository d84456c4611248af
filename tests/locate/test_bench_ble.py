from __future__ import annotations

import csv
import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from bench.locate import ble_tetam, left_out
from bench.locate.output import Fix, rows, write


def errors_m(fixes: list[Fix], truth: Path) -> list[float]:
    """Return the error of the last fix before each place of a track, metres, one per second."""
    at = np.array([fix.t for fix in fixes])
    known = [(float(row["t"]), float(row["x"]), float(row["y"])) for row in rows(truth)]
    found, until = [], known[0][0] + 3.0
    for t, x, y in known:
        if t < until:
            continue
        until += 1.0
        fix = fixes[int(np.searchsorted(at, t, side="right")) - 1]
        found.append(float(np.hypot(fix.x - x, fix.y - y)))
    return found


@pytest.mark.slow
def test_the_office_is_located_to_the_goal_of_the_measured_set(shared_data: Path) -> None:
    folder = shared_data / "locate" / "ble_tetam"
    fixes = list(ble_tetam.predict(folder, folder, "dev", delay_s=3.0, radio=None))
    errors: list[float] = []
    for truth in sorted(folder.glob("tracks/*.truth.csv")):
        run = truth.name.removesuffix(".truth.csv")
        errors += errors_m([fix for fix in fixes if fix.run == run], truth)

    assert np.median(errors) <= 0.9
    assert np.quantile(errors, 0.95) <= 2.2


@pytest.mark.slow
@pytest.mark.parametrize(("drift_db", "most_m"), [(0.0, 4.0), (2.0, 4.5)])
def test_still_tags_at_places_left_out_are_found_with_fresh_and_with_drifted_gateways(
    shared_data: Path, drift_db: float, most_m: float
) -> None:
    folder = shared_data / "locate" / "ble_tetam"
    found = list(left_out.office(folder, delay_s=10.0, every=8, fold=0, drift_db=drift_db))
    error, right, radius = (np.array(column) for column in zip(*found, strict=True))

    assert np.median(error) <= 1.5
    assert np.quantile(error, 0.95) <= most_m
    assert right.mean() >= 0.9
    assert np.mean(error <= radius) >= 0.9


def first_minute(folder: Path, place: tuple[str, str], to: Path) -> None:
    """Write what was heard of a tag at a place of rest as the events of a run."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "fingerprints_set_1_first60s.csv.gz", "rt", newline="") as file:
        own = [r for r in csv.DictReader(file) if (r["x"], r["y"]) == place]
    lines = [f"{r['t']},{r['gateway']},{r['rssi']}" for r in own]
    to.write_text("\n".join(["t,gateway,rssi", *lines]) + "\n")


def test_a_tag_that_lies_still_is_known_by_its_levels_whatever_its_folder_is_called(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "locate" / "ble_tetam"
    kinds = ("static", "tracks")
    for kind in kinds:
        first_minute(folder, ("10.37", "13.35"), tmp_path / kind / kind / "p.events.csv")
    static, track = (
        list(ble_tetam.predict(folder, tmp_path / kind, "x", delay_s=10.0, radio=None))
        for kind in kinds
    )

    assert {fix.run for fix in static} == {"static/p"}
    assert {fix.run for fix in track} == {"p"}
    assert [fix[2:] for fix in static] == [fix[2:] for fix in track]
    assert np.hypot(static[-1].x - 10.37, static[-1].y - 13.35) < 2.0


def test_a_run_is_told_every_quarter_of_a_second_without_reading_its_truth(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "locate" / "ble_tetam"
    (tmp_path / "tracks").mkdir()
    shutil.copy(folder / "tracks" / "straight_04.events.csv", tmp_path / "tracks")
    fixes = list(ble_tetam.predict(folder, tmp_path, "x", delay_s=0.0, radio=None))
    count = write(tmp_path / "pred.csv", fixes)
    with (tmp_path / "pred.csv").open(newline="") as file:
        written = list(csv.DictReader(file))

    steps = np.diff([float(row["t"]) for row in written])
    assert count == len(written)
    assert steps.max() <= 0.3
    assert {row["run"] for row in written} == {"straight_04"}
    assert {row["zone"] for row in written} <= {f"z{n}" for n in range(9)}


def test_an_empty_folder_is_refused_by_name(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "locate" / "ble_tetam"

    with pytest.raises(FileNotFoundError, match=r"neither tracks"):
        list(ble_tetam.predict(folder, tmp_path, "x", delay_s=0.0, radio=None))
