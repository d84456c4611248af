"""Measured ranges through the live rounds: racks with powers, a trolley, a walker around a car."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.locate import industrial, room
from bench.locate.output import rows

from tagtrail_kernel.events.registrations import ConfigChanged, GatewayRegistered, SiteRegistered
from tagtrail_locate.core.calibration_config import SECTION
from tagtrail_locate.core.facts import Range
from tagtrail_locate.core.ranged import take_range
from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.state import Point, TagState

Heard = tuple[float, str, float, float | None, float | None]
"""Time, anchor, distance, received power, power of the first path."""

ROUNDS = 60


def _registry(
    anchors: Mapping[str, tuple[float, float, float]], tag_height_m: float, calibration: Any = None
) -> Registry:
    registry = Registry()
    registry.fold(1, SiteRegistered(site_id="site", name="Site"))
    for name, (x, y, z) in sorted(anchors.items()):
        fact = GatewayRegistered(gateway_id=name, site_id="site", x_m=x, y_m=y, z_m=z)
        registry.fold(1, fact)
    registry.fold(2, ConfigChanged(section="locate", values={"tag_height_m": tag_height_m}))
    if calibration is not None:
        registry.fold(3, ConfigChanged(section=f"{SECTION}site", values=calibration))
    assert registry.trouble is None
    return registry


def _played(registry: Registry, heard: Iterable[Heard]) -> list[Point]:
    tag, found = TagState("tag"), []
    for at_s, anchor, range_m, rssi_dbm, first_path_dbm in heard:
        fact = Range(
            tag_id="tag", gateway_id=anchor, range_m=range_m, rssi_dbm=rssi_dbm,
            first_path_dbm=first_path_dbm,
        )  # fmt: skip
        point = take_range(tag, fact, at_s, b"", registry)
        if point is not None:
            found.append(point)
    return found


def _racks(folder: Path, *, powers: bool, learned: bool) -> tuple[list[float], list[bool]]:
    """Return the errors of all rounds at all places, and whether the 95 % area holds the truth."""
    anchors = industrial.anchors_of(folder)
    places = industrial.surveyed(folder, without=None).places
    errors, inside = [], []
    for name, rounds in industrial.measured(folder).items():
        model, height_m = industrial.calibrated(folder, without=name)
        calibration = {
            "anchors": {a: {"offset_m": o} for a, o in model.offsets_m.items()},
            "range_errors": {
                "gates": model.gates, "means_m": model.means_m, "scales_m": model.scales_m
            },
        }  # fmt: skip
        heard = [
            (
                float(k) + 0.005 * i, r.anchor_id, r.range_m,
                r.rssi_dbm if powers and math.isfinite(r.rssi_dbm) else None,
                r.first_path_dbm if powers and math.isfinite(r.first_path_dbm) else None,
            )
            for k in sorted(rounds)[:ROUNDS]
            for i, r in enumerate(rounds[k])
        ]  # fmt: skip
        for point in _played(_registry(anchors, height_m, calibration if learned else None), heard):
            errors.append(math.dist((point.x_m, point.y_m), places[name][:2]))
            inside.append(errors[-1] < 1.73 * point.accuracy_m)
    return errors, inside


def test_powers_make_places_among_racks_a_third_better(shared_data: Path) -> None:
    folder = shared_data / "locate" / "uwb_industrial"

    plain, _ = _racks(folder, powers=False, learned=False)
    powered, inside = _racks(folder, powers=True, learned=False)

    assert np.mean(powered) < 0.2
    assert np.mean(powered) < 0.75 * np.mean(plain)
    assert np.mean(inside) > 0.9


def test_errors_learned_at_other_places_make_the_worst_ones_better(shared_data: Path) -> None:
    folder = shared_data / "locate" / "uwb_industrial"

    plain, _ = _racks(folder, powers=True, learned=False)
    learned, inside = _racks(folder, powers=True, learned=True)

    assert np.quantile(learned, 0.9) < 0.9 * np.quantile(plain, 0.9)
    assert 0.88 < np.mean(inside) <= 0.99


@pytest.mark.parametrize("tag", ["0", "1", "2"])
def test_a_trolley_is_followed_without_any_calibration(shared_data: Path, tag: str) -> None:
    folder = shared_data / "locate" / "uwb_room"
    ranges = room.ranges_of(folder / "mid.ranges.csv", room.anchors_of(folder))[tag][:4000]
    way = np.array(
        [
            [float(row[c]) for c in ("t", "x", "y", "z")]
            for row in rows(folder / "mid.truth.csv")
            if row["tag"] == tag
        ]
    )
    registry = _registry(room.anchors_of(folder), float(np.median(way[:, 3])))

    found = _played(registry, ((*r, None, None) for r in ranges))

    at = np.array([p.at_s for p in found])
    true = np.stack([np.interp(at, way[:, 0], way[:, i]) for i in (1, 2)], axis=1)
    miss = np.hypot(*(true - [(p.x_m, p.y_m) for p in found]).T)
    assert np.quantile(miss, 0.9) < 0.3
    assert np.mean(miss < [1.73 * p.accuracy_m for p in found]) > 0.9
