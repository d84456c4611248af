"""The real capture: one still watch in the office, ten ESPresense receivers, two minutes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.locate_scene import Scene, capture, envelope, rooms, sighting

from tagtrail_kernel.envelope import Envelope

RECEIVERS = (
    "basement", "bathroom", "dining", "family", "garage", "laundry", "master", "office",
    "office_alt", "upstairs_hallway",
)  # fmt: skip
OFFICE = {"office", "office_alt"}


def _played(shared_data: Path, before: list[Envelope]) -> tuple[Scene, float, int]:
    """Play the capture; returns the scene, the share of time in the office and the changes,
    both after the first 15 s."""
    facts = capture(shared_data)
    scene = Scene(rooms({fact.gateway_id for _, fact in facts}))
    scene.give(before)
    right_s = total_s = 0.0
    last_s, inside = 15.0, False
    for at_s, fact in facts:
        if at_s >= 15.0:
            total_s += at_s - last_s
            right_s += (at_s - last_s) * inside
            last_s = at_s
        scene.give([envelope(at_s, fact, subject="watch")])
        inside = scene.zone("watch") in OFFICE
    late = [change for change in scene.changes if change[0] >= 15.0]
    return scene, right_s / total_s, len(late)


def test_the_capture_is_in_the_office_after_fifteen_seconds(shared_data: Path) -> None:
    scene, right, changes = _played(shared_data, [])

    assert len(capture(shared_data)) == 1693
    assert right >= 0.998
    assert changes <= 1
    assert scene.engine.state.counters == {}


@pytest.mark.parametrize("wrong", RECEIVERS)
def test_a_wrong_start_is_corrected_within_fifteen_seconds(shared_data: Path, wrong: str) -> None:
    chance = random.Random(7)
    before = [
        sighting(
            at_s + 0.01 * n,
            receiver,
            chance.gauss(-62.0 if receiver == wrong else -80.0, 2.8),
            tag="watch",
        )
        for at_s in range(-60, 0)
        for n, receiver in enumerate(RECEIVERS)
    ]

    scene, right, changes = _played(shared_data, before)

    assert scene.changes[0][0] < 0
    assert right >= 0.998
    assert changes <= 1


def test_a_watch_that_was_silent_elsewhere_is_found_in_the_office(shared_data: Path) -> None:
    before = [sighting(-120.0 + n, "garage", -60.0, tag="watch") for n in range(20)]

    scene, right, changes = _played(shared_data, before)

    assert scene.changes[0] == (-120.0, "garage")
    assert right >= 0.998
    assert changes <= 1
