"""What each gateway hears of a tag in each cell of a grid: learned from a plan, a walk or a survey.

A `RadioMap` holds, per gateway and cell, the mean level and its standard deviation, and the shape
that the deviations have. Ways to one, from little to much knowledge:

* `map_of_plan`: gateway positions only; the level falls with the logarithm of the distance.
* `map_of_survey`: levels at known places. A Gaussian process per gateway around its own path loss;
  with few places (a walk of five minutes) it leans on the path loss by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core import gaussian_process as gp
from tagtrail_locate.core.errors import TooFewRangesError
from tagtrail_locate.core.grid import Grid

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

PLAN_SD_DB: Final = 6.0
"""Deviation of one reading from an uncalibrated log-distance law: shadowing 3 to 4, small-scale
fading 4 to 5 and the gateway's own offset 2 dB."""

PLAN_SHARED_SHARE: Final = 0.5
"""Share of that variance which consecutive readings have in common."""

POINT_SHARED: Final = 0.5
"""Share of a point's own fading that neighbouring readings have in common: the fading of each
channel changes within centimetres, what stands around the point does not."""

MAST_M: Final = 0.3
"""Antennas nearer together than this see the same furniture."""

SHAPE_STEP: Final = 0.1
SHAPE_HALF: Final = 60
"""The shape is tabulated at -6 to 6 standard deviations in steps of 0.1."""

NORMAL_SHARE: Final = 0.1
"""Share of the standard normal that is mixed into a measured shape, against empty bins."""

LENGTHS_M: Final = (0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
SHADOWS_DB: Final = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
POINTS_DB: Final = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
PATTERNS_DB: Final = (0.0, 1.5, 3.0, 4.5)
"""Candidates of the hyperparameters, searched for the greatest posterior probability."""

USUAL: Final = gp.Shadowing(2.0, 3.0, 2.0, 2.5)
FACTORS: Final = (2.0, 1.6, 1.6)
PATTERN_SD_DB: Final = 1.0
"""What sites indoors are like: medians of the hyperparameters, the factors by which length, shadow
and point usually differ from them, and the deviation of the pattern. Two measured sites had lengths
of 0.75 and 2 m, shadows of 4 and 2 dB, points of 1.5 and 3 dB, patterns of 4.5 and 3 dB. It decides
only while there are few places."""

LEAST_SPACINGS: Final = 0.75
"""Shadows shorter than this many distances between neighbouring places cannot be told from fading."""


@dataclass(frozen=True, slots=True, eq=False)
class RadioMap:
    """Levels per gateway and cell.

    Attributes:
        gateways: Names, G of them; readings refer to them by index.
        mean_db: Expected level, shape (G, C), dBm.
        sd_db: Deviation of one reading from it, shape (G, C), dB; map error, fading and noise.
        shape: Density of (level - mean) / sd, shape (2 * SHAPE_HALF + 1,), per standard deviation.
        shared_share: Share of the variance that readings of one gateway have in common while the
            tag moves less than the shadow's correlation length, 0 to 1: the map's own error and
            the fading that belongs to a point.
        mast: Index of the place where the gateway hangs, shape (G,); antennas that hang together
            share their errors.
        still_share: `shared_share` of a tag that lies still: all of the point's fading is shared.
    """

    gateways: tuple[str, ...]
    mean_db: Floats
    sd_db: Floats
    shape: Floats
    shared_share: float
    mast: Indices
    still_share: float = PLAN_SHARED_SHARE


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Levels heard at known places; the four columns have one row per place, gateway and level.

    Attributes:
        places_m: Where the tag was, shape (n, 3), metres.
        place: Index of the place, shape (p,).
        gateway: Index of the gateway, shape (p,).
        level_db: Level heard, shape (p,), dBm.
        count: How often, shape (p,), > 0.
    """

    places_m: Floats
    place: Indices
    gateway: Indices
    level_db: Floats
    count: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """The survey of one gateway, averaged per place.

    Attributes:
        place: Places where it heard the tag, shape (m,).
        level_db: Mean level, shape (m,), dBm.
        noise_db2: Variance of that mean, shape (m,), dB².
        within_db2: Variance of the levels within a place, the average over places, dB².
    """

    place: Indices
    level_db: Floats
    noise_db2: Floats
    within_db2: float


def normal_shape() -> Floats:
    """Return the standard normal density at the tabulated deviations."""
    at = np.arange(-SHAPE_HALF, SHAPE_HALF + 1) * SHAPE_STEP
    shape: Floats = np.exp(-0.5 * at * at) / np.sqrt(2.0 * np.pi)
    return shape


def map_of_plan(
    grid: Grid,
    gateways: tuple[str, ...],
    positions_m: Floats,
    *,
    tag_height_m: float = 1.0,
    level_at_1m_db: float = gp.OFFSET_MEAN_DB,
    exponent: float = 2.5,
) -> RadioMap:
    """Expect levels by the log-distance law alone.

    Args:
        grid: Cells.
        gateways: Names, G of them.
        positions_m: Shape (G, 3), metres.
        tag_height_m: Usual height of a tag above the floor, metres.
        level_at_1m_db: Level at 1 m, dBm; an error of it is a power offset of the tag.
        exponent: Path loss exponent.
    """
    places = places_of(grid, tag_height_m)
    mean = np.stack(
        [level_at_1m_db + exponent * gp.decades(position, places) for position in positions_m]
    )
    sd = np.full(mean.shape, PLAN_SD_DB)
    return RadioMap(gateways, mean, sd, normal_shape(), PLAN_SHARED_SHARE, masts_of(positions_m))


def map_of_survey(
    grid: Grid,
    gateways: tuple[str, ...],
    positions_m: Floats,
    survey: Survey,
    *,
    tag_height_m: float = 1.0,
    shadowing: gp.Shadowing | None = None,
) -> RadioMap:
    """Learn the levels of every gateway from a survey.

    Args:
        grid: Cells.
        gateways: Names, G of them.
        positions_m: Shape (G, 3), metres.
        survey: At least one place per gateway; from a handful on the path loss is its own, from
            some dozens on the shadows are.
        tag_height_m: Height for which the map is asked, metres.
        shadowing: What the site is like; None = what the survey makes most probable.

    Raises:
        TooFewRangesError: a gateway heard the tag at no place of the survey.
    """
    means = [means_of(survey, index, gateways[index]) for index in range(len(gateways))]
    shadowing = shadowing or shadowing_of(positions_m, survey.places_m, means)
    models = [
        model_of(positions_m[g], survey, means[g], shadowing)[0] for g in range(len(gateways))
    ]
    places = places_of(grid, tag_height_m)
    predicted = [model.predict(places) for model in models]
    map_variance = np.stack([variance for _mean, variance in predicted])
    within = np.array([one.within_db2 for one in means])
    fast = within + shadowing.point_db**2
    variance = map_variance + fast[:, None]
    shape = _shape(survey, means, models)
    inside = grid.inside
    known, whole = float(np.mean(map_variance[:, inside])), float(np.mean(variance[:, inside]))
    moving, still = ((known + part * shadowing.point_db**2) / whole for part in (POINT_SHARED, 1.0))
    mean = np.stack([mean for mean, _variance in predicted])
    masts = masts_of(positions_m)
    return RadioMap(gateways, mean, np.sqrt(variance), shape, moving, masts, still)


def masts_of(positions_m: Floats) -> Indices:
    """Return the index of the first gateway that hangs within `MAST_M` of each, shape (G,)."""
    away = np.sqrt(np.sum((positions_m[:, None] - positions_m[None]) ** 2, axis=2))
    masts: Indices = np.argmax(away <= MAST_M, axis=1).astype(np.intp)
    return masts


def means_of(survey: Survey, gateway: int, name: str) -> Means:
    """Average the survey of one gateway per place.

    Raises:
        TooFewRangesError: it heard nothing.
    """
    own = survey.gateway == gateway
    if not np.any(own):
        raise TooFewRangesError(f"gateway {name} heard nothing in the survey", gateway=name)
    places, row = np.unique(survey.place[own], return_inverse=True)
    count, level = survey.count[own], survey.level_db[own]
    total = np.bincount(row, weights=count)
    mean = np.bincount(row, weights=count * level) / total
    square = np.bincount(row, weights=count * (level - mean[row]) ** 2)
    within = float(square.sum() / max(total.sum() - len(places), 1.0))
    return Means(places, mean, max(within, 1.0) / total, max(within, 1.0))


def shadowing_of(positions_m: Floats, places_m: Floats, means: list[Means]) -> gp.Shadowing:
    """Choose the most probable hyperparameters for a survey, over all gateways."""
    scores: dict[gp.Shadowing, float] = {}

    def score(candidate: gp.Shadowing) -> float:
        if candidate not in scores:
            scores[candidate] = usual(candidate) + sum(
                gp.fit(position, places_m[one.place], one.level_db, one.noise_db2, candidate)[1]
                for position, one in zip(positions_m, means, strict=True)
            )
        return scores[candidate]

    def best_of_length(start: gp.Shadowing) -> gp.Shadowing:
        best = start
        while True:
            before = best
            best = max((best._replace(shadow_db=value) for value in SHADOWS_DB), key=score)
            best = max((best._replace(point_db=value) for value in POINTS_DB), key=score)
            best = max((best._replace(pattern_db=value) for value in PATTERNS_DB), key=score)
            if best == before:
                return best

    shortest_m = min(LEAST_SPACINGS * spacing_m(places_m), LENGTHS_M[-1])
    found, last = [], gp.Shadowing(LENGTHS_M[0], 3.0, 2.0, 3.0)
    for length_m in LENGTHS_M:
        if length_m >= shortest_m:
            last = best_of_length(last._replace(length_m=length_m))
            found.append(last)
    return max(found, key=score)


def usual(shadowing: gp.Shadowing) -> float:
    """Return the logarithm of the prior density, up to a constant."""
    z = np.log(np.array(shadowing[:3]) / np.array(USUAL[:3])) / np.log(np.array(FACTORS))
    pattern = (shadowing.pattern_db - USUAL.pattern_db) / PATTERN_SD_DB
    return -0.5 * float(z @ z + pattern * pattern)


def spacing_m(places_m: Floats) -> float:
    """Return the usual distance of a place of a survey, shape (n, 3), to the next one, metres."""
    if len(places_m) < 2:
        return 0.0
    away = np.sqrt(np.sum((places_m[:, None, :2] - places_m[None, :, :2]) ** 2, axis=2))
    np.fill_diagonal(away, np.inf)
    return float(np.median(away.min(axis=1)))


def model_of(
    position_m: Floats, survey: Survey, means: Means, shadowing: gp.Shadowing
) -> tuple[gp.LevelModel, float]:
    """Fit what one gateway hears to its means; see `gaussian_process.fit`."""
    points = survey.places_m[means.place]
    return gp.fit(position_m, points, means.level_db, means.noise_db2, shadowing)


def _shape(survey: Survey, means: list[Means], models: list[gp.LevelModel]) -> Floats:
    """Return the density of standardised deviations, as seen at places left out of the map.

    Every place and gateway has the same say, however often it was heard there.
    """
    size = 2 * SHAPE_HALF + 1
    histogram = np.zeros(size)
    for index, (one, model) in enumerate(zip(means, models, strict=True)):
        residual, variance = model.left_out()
        own = survey.gateway == index
        row = np.searchsorted(one.place, survey.place[own])
        total = np.bincount(row, weights=survey.count[own])
        expected = one.level_db - residual
        spread = np.sqrt(variance - one.noise_db2 + one.within_db2)
        deviation = (survey.level_db[own] - expected[row]) / spread[row]
        at = np.clip(np.rint(deviation / SHAPE_STEP), -SHAPE_HALF, SHAPE_HALF) + SHAPE_HALF
        weight = survey.count[own] / total[row]
        histogram += np.bincount(at.astype(np.intp), weights=weight, minlength=size)
    smooth = np.convolve(histogram, _kernel(0.3), mode="same")
    smooth /= smooth.sum() * SHAPE_STEP
    return (1.0 - NORMAL_SHARE) * smooth + NORMAL_SHARE * normal_shape()


def _kernel(width: float) -> Floats:
    at = np.arange(-10, 11) * SHAPE_STEP
    kernel: Floats = np.exp(-0.5 * (at / width) ** 2)
    return kernel


def places_of(grid: Grid, height_m: float) -> Floats:
    """Return the middles of the cells at a height, shape (C, 3), metres."""
    return np.stack([grid.x_m, grid.y_m, np.full(grid.cells, height_m)], axis=1)
