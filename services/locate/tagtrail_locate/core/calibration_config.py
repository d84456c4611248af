"""Calibrations as configuration: `config.changed`, section `locate.calibration.<site_id>`.

A calibration holds what was measured, not what was computed of it: levels at known places, and a
path loss per gateway. The radio map is made of it where it is used, so a better method improves
old calibrations, and a replay knows which one held when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from tagtrail_locate.core.radio_map import Survey

SECTION: Final = "locate.calibration."
"""Before the site's id in the section's name; empty values take the calibration away."""

MOST_POINTS: Final = 300
"""A body of the log has at most 65,535 bytes: some 300 points of 6 gateways, 150 of 12."""

Level = tuple[
    Annotated[float, Meta(ge=-150, le=30)],
    Annotated[float, Meta(ge=0, le=40)],
    Annotated[int, Meta(ge=1)],
]
"""Mean level (dBm), standard deviation (dB), readings."""


class GatewayFit(msgspec.Struct, frozen=True, kw_only=True):
    """Path loss of one gateway.

    Attributes:
        offset_db: Level at 1 m, dBm.
        exponent: Path loss exponent.
        sigma_db: Standard deviation of a place's mean level from this law, dB.
    """

    offset_db: Annotated[float, Meta(ge=-150, le=30)]
    exponent: Annotated[float, Meta(ge=0.5, le=8)]
    sigma_db: Annotated[float, Meta(gt=0, le=40)]


class Point(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Levels of a tag at one known place.

    Attributes:
        x_m: East, metres, site frame.
        y_m: North, metres.
        z_m: Height above the floor, metres; None = the usual height of tags.
        floor: Floor number.
        zone_id: The zone that the person named; None if none was.
        levels: By gateway.
    """

    x_m: float
    y_m: float
    z_m: float | None = None
    floor: float = 0.0
    zone_id: str | None = None
    levels: dict[str, Level]


class AnchorFit(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranges of one anchor have too much.

    Attributes:
        offset_m: Metres.
    """

    offset_m: Annotated[float, Meta(ge=-10, le=10)]


Kinds = tuple[float, float, float]
Scale = Annotated[float, Meta(gt=0, le=100)]


class RangeErrors(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of ranges after the anchors' offsets, by received power; see `RangeErrorModel`.

    Attributes:
        gates: Level of each kind (in sight, delayed, blocked) by feature.
        means_m: Middle of each kind, metres.
        scales_m: Scale of each kind, metres, > 0.
    """

    gates: tuple[Kinds, Kinds, Kinds, Kinds]
    means_m: Kinds
    scales_m: tuple[Scale, Scale, Scale]


class Calibration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a site's radio.

    Attributes:
        source: Where the levels came from; None without them.
        points: Levels at known places; none where only path losses were fitted.
        gateways: Path loss by gateway.
        error_m: Median error of a place left out of the map, metres, as measured when it was made.
        tag_rssi_1m_dbm: Power at 1 m of the tag that made it; None if it is not known. Other tags
            are compared with it.
        anchors: What ranges have too much, by anchor; of anchors not named nothing is known.
        range_errors: What errors to expect besides; None = those of no survey.
        range_source: Where the last two came from; None without them.
        range_error_m: Error of ranges left out of the fit, metres, as measured when it was made.
    """

    source: Literal["survey", "reference_tags", "gateways"] | None = None
    points: Annotated[tuple[Point, ...], Meta(max_length=MOST_POINTS)] = ()
    gateways: dict[str, GatewayFit] = {}
    error_m: float | None = None
    tag_rssi_1m_dbm: float | None = None
    anchors: dict[str, AnchorFit] = {}
    range_errors: RangeErrors | None = None
    range_source: Literal["reference_tags", "anchors"] | None = None
    range_error_m: float | None = None


def calibration_of(values: Mapping[str, Any]) -> tuple[Calibration | None, str | None]:
    """Return the calibration of a section, and what is wrong with it.

    A wrong calibration is not used at all, and an empty section means none.
    """
    if not values:
        return None, None
    try:
        return msgspec.convert(dict(values), Calibration), None
    except msgspec.ValidationError as error:
        return None, f"config.changed section {SECTION}… was refused: {error}"


def values_of(calibration: Calibration) -> dict[str, Any]:
    """Return the content of the section, levels rounded to a tenth of a dB."""
    built: dict[str, Any] = msgspec.to_builtins(calibration)
    for point in built.get("points", ()):
        point["levels"] = {
            name: [round(mean, 1), round(spread, 1), count]
            for name, (mean, spread, count) in sorted(point["levels"].items())
        }
    return built


def survey_of(points: Sequence[Point], gateways: Sequence[str], *, tag_height_m: float) -> Survey:
    """Return points as the columns that a radio map is learned from.

    Each mean and deviation stands for three levels with the moments of a normal (Gauss-Hermite).

    Args:
        points: At least one.
        gateways: Names in the order of the map; levels of others are left out.
        tag_height_m: Height where a point has none, metres.
    """
    index = {name: n for n, name in enumerate(gateways)}
    rows: list[tuple[int, int, float, float]] = []
    for place, point in enumerate(points):
        for name, (mean, spread, count) in sorted(point.levels.items()):
            if name not in index:
                continue
            reach = math.sqrt(3.0) * spread
            shares = (
                ((0.0, 1.0),) if spread <= 0.0 else ((-reach, 1 / 6), (0.0, 4 / 6), (reach, 1 / 6))
            )
            rows += [(place, index[name], mean + away, count * share) for away, share in shares]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    places = [(p.x_m, p.y_m, tag_height_m if p.z_m is None else p.z_m) for p in points]
    return Survey(
        places_m=np.array(places, dtype=np.float64),
        place=table[:, 0].astype(np.intp),
        gateway=table[:, 1].astype(np.intp),
        level_db=table[:, 2],
        count=table[:, 3],
    )
