"""A plan alone, against the published baseline of ESPresense-companion.

Its docs/accuracy.md (Apache-2.0): 6 x 4 m, two rooms, four nodes in the ceiling's corners, one level
per node and sample, normal noise of 2.5 dB, every tenth level 6 dB weaker; -59 dBm at 1 m and an
exponent of 3. Published: median 0.60 m, P95 1.33 and 1.61 m, wrong room 6.6 and 22.3 %.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tagtrail_locate.core.gaussian_process import decades
from tagtrail_locate.core.grid import grid_over
from tagtrail_locate.core.grid_filter import FilterSettings, GridFilter
from tagtrail_locate.core.grid_motion import Gait
from tagtrail_locate.core.radio_map import map_of_plan

Floats = npt.NDArray[np.float64]

ROOMS = {
    "living": [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)],
    "bedroom": [(4.0, 0.0), (6.0, 0.0), (6.0, 4.0), (4.0, 4.0)],
}
NODES = np.array([[0.0, 0.0, 2.4], [0.0, 4.0, 2.4], [6.0, 0.0, 2.4], [6.0, 4.0, 2.4]])
TAG_HEIGHT_M = 1.0
DIAGONAL = np.linspace([0.3, 0.3], [5.7, 3.7], 61)
BOUNDARY = np.linspace([1.0, 2.0], [5.5, 2.0], 121)
LAG = 3
SEEDS = range(20260530, 20260540)


def core() -> GridFilter:
    grid = grid_over(ROOMS, cell_m=0.25)
    names = ("sw", "nw", "se", "ne")
    plan = map_of_plan(
        grid, names, NODES, tag_height_m=TAG_HEIGHT_M, level_at_1m_db=-59.0, exponent=3.0
    )
    return GridFilter(grid, plan, FilterSettings(gait=Gait(directed=False)))


def walked(track: Floats) -> tuple[Floats, Floats]:
    """Return the errors in metres and whether the room was wrong, one row per sample and seed.

    One sample a second, all seeds as tags of one batch, smoothed with the product's lag of 3 s.
    """
    tracker, noise = core(), [np.random.default_rng(seed) for seed in SEEDS]
    tags = len(noise)
    belief, masses, heard = tracker.start(tags), [], []
    for x, y in track:
        place = np.array([[x, y, TAG_HEIGHT_M]])
        clean = np.array([-59.0 + 3.0 * decades(node, place)[0] for node in NODES])
        burst = np.stack([6.0 * (chance.random(4) < 0.1) for chance in noise])
        level = clean + np.stack([chance.normal(0.0, 2.5, 4) for chance in noise]) - burst
        nodes = np.tile(np.arange(4), (tags, 1))
        belief, told = tracker.step_with_evidence(
            belief, np.ones(tags), nodes, level, np.ones((tags, 4))
        )
        masses.append(belief.mass)
        heard.append(told)
    errors, wrong = [], []
    for sample, (x, y) in enumerate(track):
        later = heard[sample + 1 : sample + 1 + LAG]
        answer = tracker.summary(tracker.smoothed(masses[sample], later))
        errors.append(np.hypot(answer.x_m - x, answer.y_m - y))
        wrong.append(np.argmax(answer.zones, axis=1) != int(x > 4.0))
    return np.array(errors), np.array(wrong, dtype=np.float64)


@pytest.mark.parametrize(
    ("track", "most_wrong"), [(DIAGONAL, 0.05), (BOUNDARY, 0.18)], ids=["diagonal", "boundary"]
)
def test_a_plan_alone_beats_the_published_baseline(track: Floats, most_wrong: float) -> None:
    errors, wrong = walked(track)

    assert np.median(errors) <= 0.5
    assert np.quantile(errors, 0.95) <= 1.2
    assert wrong.mean() <= most_wrong
