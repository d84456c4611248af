"""Borders of zones between gateways and tags: how many, and what they take."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.locate_scene import Scene, envelope, square, two_zones

from tagtrail_kernel.events.registrations import ConfigChanged
from tagtrail_locate.core.borders import MOST_BORDERS, Raster, loss_by_survey
from tagtrail_locate.core.plan import plan_of
from tagtrail_locate.core.radio_map import Survey

ROOMS = [square(10.0 * n, 0.0) for n in range(8)]


def between(outlines: list[tuple[tuple[float, float], ...]], x_m: list[float]) -> list[float]:
    """Return the borders between a gateway in the first room and places to the east of it."""
    raster = Raster(outlines)
    found: list[float] = raster.between((5.0, 5.0), np.array(x_m), np.full(len(x_m), 6.0)).tolist()
    return found


def test_each_room_is_behind_one_border_more_until_the_signal_comes_around() -> None:
    assert between(ROOMS, [1.0, 9.0, 11.0, 25.0, 35.0, 45.0]) == [0, 0, 1, 2, 3, 4]
    assert between(ROOMS, [75.0]) == [MOST_BORDERS]


def test_a_wall_that_is_drawn_with_its_thickness_is_one_border() -> None:
    apart = [square(10.6 * n, 0.0) for n in range(3)]

    assert between(apart, [9.0, 12.0, 25.0]) == [0, 1, 2]


def test_a_place_in_no_zone_is_behind_one_border() -> None:
    assert between(ROOMS[:2], [15.0, 24.0]) == [1, 2]


def test_a_site_of_open_marks_can_say_that_borders_take_nothing() -> None:
    scene = Scene(two_zones())
    walls = plan_of(scene.engine.state.registry, "hall")
    values = {"border_loss_db": 0.0}
    scene.give([envelope(0.0, ConfigChanged(section="locate", values=values))])
    marks = plan_of(scene.engine.state.registry, "hall")

    assert walls is not None
    assert marks is not None
    there = walls.cells.presence > 0.0
    beyond = there & (walls.cells.x_m > 10.5)
    here = there & (walls.cells.x_m < 9.5)
    assert (marks.mean_dbm[0][beyond] - walls.mean_dbm[0][beyond] == 4.0).all()
    assert (marks.mean_dbm[0][here] == walls.mean_dbm[0][here]).all()
    assert (walls.borders_db[0][beyond] > 0.0).all()
    assert (walls.borders_db[0][here] == 0.0).all()


@pytest.mark.parametrize("loss_db", [0.0, 3.0, 9.0])
def test_a_survey_tells_what_borders_take(loss_db: float) -> None:
    rng = np.random.default_rng(3)
    places = np.stack([rng.uniform(0, 40, 60), rng.uniform(0, 10, 60), np.ones(60)], axis=1)
    gateway = np.array([[5.0, 5.0, 2.5]])
    passed = Raster(ROOMS[:4]).between((5.0, 5.0), places[:, 0], places[:, 1])
    away_m = np.sqrt(np.sum((places - gateway) ** 2, axis=1))
    level = -59.0 - 24.0 * np.log10(away_m) - loss_db * passed + rng.normal(0.0, 1.0, 60)
    survey = Survey(places, np.arange(60), np.zeros(60, dtype=np.intp), level, np.full(60, 5.0))

    assert loss_by_survey(survey, gateway, passed, 4.0) == pytest.approx(loss_db, abs=1.5)
