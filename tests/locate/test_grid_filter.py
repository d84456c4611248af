from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tagtrail_locate.core.grid import Grid, grid_over
from tagtrail_locate.core.grid_filter import Belief, FilterSettings, GridFilter
from tagtrail_locate.core.grid_motion import Gait, Motion
from tagtrail_locate.core.radio_map import map_of_plan

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Readings = tuple[Floats, Indices, Floats, Floats]

GATEWAYS = ("g0", "g1", "g2", "g3")
POSITIONS = np.array([[0.5, 0.5, 2.0], [11.5, 0.5, 2.0], [0.5, 7.5, 2.0], [11.5, 7.5, 2.0]])
KINDS = {
    "directed": FilterSettings(),
    "wandering": FilterSettings(gait=Gait(directed=False)),
    "paths": FilterSettings(follow_paths=True),
}


def hall() -> Grid:
    zones = {
        "west": [(0.0, 0.0), (6.0, 0.0), (6.0, 8.0), (0.0, 8.0)],
        "east": [(6.0, 0.0), (12.0, 0.0), (12.0, 8.0), (6.0, 8.0)],
    }
    walls = [((6.0, 0.0), (6.0, 3.0)), ((6.0, 4.0), (6.0, 8.0))]
    presence = np.ones(96)
    presence[40:44] = 0.1
    return grid_over(zones, cell_m=1.0, walls_m=walls, presence=presence)


def tracker(kind: str) -> GridFilter:
    grid = hall()
    return GridFilter(grid, map_of_plan(grid, GATEWAYS, POSITIONS), KINDS[kind])


def levels_at(x_m: float, y_m: float) -> Floats:
    grid = hall()
    cell = grid.cell_at(x_m, y_m)
    assert cell is not None
    return map_of_plan(grid, GATEWAYS, POSITIONS).mean_db[:, cell]


def heard(x_m: float, y_m: float, dt_s: float = 1.0) -> Readings:
    """Return the arguments of a step in which all gateways hear one tag as the map expects."""
    level = levels_at(x_m, y_m)[None]
    return np.array([dt_s]), np.arange(4)[None], level, np.ones((1, 4))


def stream(tags: int, steps: int) -> list[Readings]:
    """Return readings of any kind: several per step, padding, silence and odd pauses."""
    chance = np.random.default_rng(7)
    made = []
    for _step in range(steps):
        gateway = chance.integers(0, 5, (tags, 6))
        level = chance.uniform(-100.0, -40.0, (tags, 6))
        level[chance.random((tags, 6)) < 0.1] = np.nan
        count = np.where(gateway == 4, 0.0, chance.uniform(0.2, 3.0, (tags, 6)))
        made.append((chance.choice([0.0, 0.3, 2.0, 40.0], tags), gateway, level, count))
    return made


def digest(kind: str, rows: slice) -> list[str]:
    """Return a digest of everything that some of the tags of `stream` get, tag by tag."""
    core, tags = tracker(kind), 5
    beliefs, evidence = [], []
    belief = core.start(len(range(tags)[rows]))
    for dt_s, gateway, level, count in stream(tags, 6):
        belief, told = core.step_with_evidence(
            belief, dt_s[rows], gateway[rows], level[rows], count[rows]
        )
        beliefs.append(belief)
        evidence.append(told)
    past = core.smoothed(beliefs[2].mass, evidence[3:])
    answers: list[npt.NDArray[np.generic]] = [*belief, past]
    answers += [*core.summary(belief.mass), *core.summary(past)]
    return [_digest_of([one[tag] for one in answers]) for tag in range(len(past))]


def _digest_of(parts: list[npt.NDArray[np.generic]]) -> str:
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_tags_answer_is_the_same_whatever_batch_it_is_in(kind: str) -> None:
    together = digest(kind, slice(None))

    assert digest(kind, slice(0, 2)) + digest(kind, slice(2, 5)) == together
    assert digest(kind, slice(3, 4)) == together[3:4]


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_wide_instructions_gives_the_same_bytes(kind: str) -> None:
    wide = "AVX2 FMA3 AVX512F AVX512_SKX X86_V3 X86_V4"
    known = [name for name in wide.split() if name in cpu_features()]
    place = Path(__file__)
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('told', {str(place)!r})\n"
        "told = importlib.util.module_from_spec(spec)\n"
        "sys.modules['told'] = told\n"
        "spec.loader.exec_module(told)\n"
        f"sys.stdout.write(' '.join(told.digest({kind!r}, slice(None))))\n"
    )
    narrow = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(known)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=narrow, check=True, capture_output=True, text=True
    )

    assert ran.stdout.split() == digest(kind, slice(None))


def cpu_features() -> list[str]:
    """Return the names that this numpy can switch off."""
    found: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return found


@pytest.mark.parametrize("directed", [True, False])
def test_motion_keeps_every_tags_total_and_its_transpose_is_exact(directed: bool) -> None:
    motion, chance = Motion(hall(), Gait(directed=directed)), np.random.default_rng(3)
    mass = chance.random((2, motion.modes, 96)).astype(np.float32)
    value = chance.random((2, motion.modes, 96)).astype(np.float32)
    dt_s = np.array([0.4, 3.0])

    moved, back = motion.forward(mass, dt_s), motion.backward(value, dt_s)

    assert np.allclose(moved.sum(axis=(1, 2)), mass.sum(axis=(1, 2)), rtol=1e-5)
    ahead, behind = (moved * value).sum(axis=(1, 2)), (mass * back).sum(axis=(1, 2))
    assert np.allclose(ahead, behind, rtol=1e-5)
    assert moved.min() >= 0.0


def test_belief_goes_through_the_door_and_not_through_the_wall() -> None:
    grid = hall()
    motion = Motion(grid, Gait())
    mass = np.zeros((2, motion.modes, grid.cells), dtype=np.float32)
    mass[0, 1, 3 * 12 + 5] = mass[1, 1, 6 * 12 + 5] = 1.0  # heading east, at the door and not

    moved = motion.forward(mass, np.array([2.0, 2.0])).sum(axis=1)

    in_east = moved @ (grid.zone == 1)
    assert in_east[0] > 0.3
    assert in_east[1] < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_tag_is_found_where_its_levels_fit(kind: str) -> None:
    core = tracker(kind)
    belief = core.start(1)
    for _second in range(10):
        belief = core.step(belief, *heard(9.5, 2.5))
    place = core.summary(belief.mass)

    assert abs(place.x_m[0] - 9.5) < 1.0
    assert abs(place.y_m[0] - 2.5) < 1.0
    assert place.zones[0, 1] > 0.95
    assert place.zones.sum() == pytest.approx(1.0, abs=1e-5)


def test_hearing_nothing_leaves_every_zone_open() -> None:
    core = tracker("directed")
    place = core.summary(core.start(1).mass)

    assert place.zones[0].tolist() == pytest.approx([0.5, 0.5, 0.0], abs=0.03)
    assert place.radius_m[0] > 5.0


def test_a_longer_silence_makes_the_area_larger() -> None:
    core = tracker("directed")
    belief = core.start(1)
    for _second in range(10):
        belief = core.step(belief, *heard(3.5, 3.5))
    nothing = np.full((1, 1), 4), np.zeros((1, 1)), np.zeros((1, 1))

    radii = [core.summary(core.step(belief, np.array([dt]), *nothing).mass).radius_m[0]
             for dt in (0.0, 10.0, 600.0)]  # fmt: skip

    assert radii[0] < radii[1] < radii[2]


def test_later_readings_correct_an_earlier_moment() -> None:
    core = tracker("directed")
    belief, _told = core.step_with_evidence(core.start(1), *heard(6.5, 3.5))
    past = belief
    later = []
    for _second in range(4):
        belief, told = core.step_with_evidence(belief, *heard(10.5, 1.5, dt_s=0.5))
        later.append(told)

    at_once, smoothed = core.summary(past.mass), core.summary(core.smoothed(past.mass, later))

    assert smoothed.x_m[0] > at_once.x_m[0] + 0.3
    assert smoothed.radius_m[0] < at_once.radius_m[0]
    assert np.array_equal(core.smoothed(past.mass, []), past.mass)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gateway_that_hears_a_tag_too_well_is_found_out(kind: str) -> None:
    core = tracker(kind)
    gateway, count = np.arange(4)[None], np.ones((1, 4))

    def learned_db(louder_db: float) -> float:
        belief = core.start(1)
        level = levels_at(3.5, 3.5) + np.array([0.0, louder_db, 0.0, 0.0])
        for _second in range(60):
            belief = core.step(belief, np.ones(1), gateway, level[None], count)
        return float(errors_of(belief)[1])

    assert learned_db(5.0) > learned_db(0.0) + 0.4
    assert learned_db(-5.0) < learned_db(0.0) - 0.4


def errors_of(belief: Belief) -> Floats:
    """Return the believed error per gateway of the first tag, dB."""
    error = belief.error_db[0].astype(np.float64)
    if error.ndim == 1:
        return np.asarray(error, dtype=np.float64)
    return np.asarray((error * belief.mass[0]).sum(axis=(1, 2)), dtype=np.float64)


def test_readings_in_quick_succession_count_less_than_as_many_over_time() -> None:
    core = tracker("wandering")

    def weight_of_the_last(dt_s: float) -> float:
        belief, last = core.start(1), 0.0
        for _reading in range(12):
            belief, told = core.step_with_evidence(belief, *heard(9.5, 2.5, dt_s=dt_s))
            last = -float(np.log(told.likelihood[0, 0]).mean())
        return last

    assert 0.0 < weight_of_the_last(0.01) < 0.5 * weight_of_the_last(30.0)


def test_a_map_of_another_grid_is_refused() -> None:
    grid = hall()
    other = grid_over({"a": [(0.0, 0.0), (3.0, 0.0), (3.0, 3.0), (0.0, 3.0)]}, cell_m=1.0)

    with pytest.raises(ValueError, match="needs the grid's cells"):
        GridFilter(grid, map_of_plan(other, GATEWAYS, POSITIONS), FilterSettings())
