"""The live filter of one site: its plan, its tags' memories as bytes, and what they say."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tagtrail_locate.core import memory_bytes
from tagtrail_locate.core.geometry import contains_many, depth_m
from tagtrail_locate.core.plan import Plan, plan_of
from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.rest_filter import RestFilter
from tagtrail_locate.core.rests import EVER, LAST, LINKS, MEAN, MOVED, PACE, Heard

if TYPE_CHECKING:
    from tagtrail_locate.core.jobs import Course, Look

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

SPREAD_95: Final = 1.96
"""Radius of 95 % around the mean, in standard deviations of the distance to it: exact for a narrow
ridge, and on the safe side (1.73 would do) for a round heap."""

ROWS: Final = 512
"""Tags looked at at once."""

OVERSAMPLED: Final = 4
"""Points per edge of a cell by which its share of a zone is counted."""


class Answers(msgspec.Struct, frozen=True, gc=False):
    """What the filter says about one tag, as plain values.

    Attributes:
        best: Index of the most probable zone; the number of zones = none.
        zones: Probabilities, that of no zone last.
        data: The same as bytes of float32.
        x_m: East of the mean, metres; None without coordinates.
        y_m: North of the mean, metres.
        radius_95_m: Radius around it that holds the tag with 95 % probability, metres.
        belief: Probability per cell; None for an answer of the past.
        nearest_id: Gateway that heard it strongest; None if none did.
        moved_s: When it was last moved; 0 = never.
    """

    best: int
    zones: list[float]
    data: bytes
    x_m: float | None
    y_m: float | None
    radius_95_m: float | None
    belief: Singles | None
    nearest_id: str | None
    moved_s: float


class Links(NamedTuple):
    """What is remembered of one tag's links, for explanations; arrays have shape (g,).

    Attributes:
        newest_s: Event time of the newest reading; below 0 = none, or said to be gone.
        mean_dbm: Mean level of the rest.
        readings: Readings ever.
        expected_dbm: Level that the belief lets expect.
        interval_s: Usual time between adverts, seconds.
    """

    newest_s: Floats
    mean_dbm: Floats
    readings: Floats
    expected_dbm: Floats
    interval_s: float


class SiteModel:
    """The live filter of one site.

    Attributes:
        form: Number that stands for the form of the memories: the cells and the gateways.
        placed: Whether it has coordinates.
        gateways: Ids, in the order of the map.
        index: Column of each gateway.
        zone_ids: Zones, in the order of the answers.
        zone_index: Column of each zone.
        prior: Memory of a tag of which nothing was heard.
    """

    def __init__(self, plan: Plan, registry: Registry) -> None:
        """Build the tables.

        Args:
            plan: Of the site.
            registry: Outlines of the zones.
        """
        self.placed, self.gateways = plan.placed, plan.gateways
        self._grid, self._floors = plan.cells, plan.cells.floor
        self.filter = RestFilter(
            plan.cells, plan.mean_dbm, plan.sd_db, anywhere=plan.anywhere,
            unheard_share=plan.unheard_share, borders_db=plan.borders_db,
        )  # fmt: skip
        self.size, self._cells = len(self.gateways), len(plan.cells.x_m)
        self.index = {name: n for n, name in enumerate(self.gateways)}
        self.zone_ids = tuple(name for name in plan.cells.zone_names if name)
        self.zone_index = {name: n for n, name in enumerate(self.zone_ids)}
        self.form = self._form()
        fresh = memory_bytes.stored(self.filter.start(1))
        self.prior = memory_bytes.parts_of(fresh)[0]
        self._x, self._y = plan.cells.x_m.astype(np.float32), plan.cells.y_m.astype(np.float32)
        self._order, self._shares, self._starts = self._zones(registry)
        self._near: dict[tuple[str, float], Singles] = {}
        self._orders: dict[tuple[str, ...], Indices] = {}

    def _form(self) -> int:
        grid = self._grid
        form = (
            grid.cell_m, grid.west_m, grid.south_m, grid.rows, grid.columns, self.gateways, LINKS
        )  # fmt: skip
        return zlib.crc32(grid.presence.tobytes(), zlib.crc32(repr(form).encode()))

    def _zones(self, registry: Registry) -> tuple[Indices, Singles, Indices]:
        """Return for each zone and, last, for none the cells it has a share in, and the shares."""
        grid, shares = self._grid, np.zeros((len(self.zone_ids) + 1, self._cells))
        if self.placed:
            within = (np.arange(OVERSAMPLED) + 0.5) / OVERSAMPLED - 0.5
            for dx in within * grid.cell_m:
                for dy in within * grid.cell_m:
                    self._count(registry, shares, np.stack([grid.x_m + dx, grid.y_m + dy], axis=1))
            shares /= OVERSAMPLED**2
        else:
            shares[grid.zone, np.arange(self._cells)] = 1.0
        order: list[Indices] = []
        weights: list[Floats] = []
        starts: list[int] = []
        for own in shares:
            cells = np.flatnonzero(own)
            cells = cells if cells.size else np.array([0], dtype=np.intp)
            starts.append(sum(len(part) for part in order))
            order.append(cells)
            weights.append(own[cells])
        return (
            np.concatenate(order).astype(np.intp),
            np.concatenate(weights).astype(np.float32),
            np.array(starts, dtype=np.intp),
        )

    def _count(self, registry: Registry, shares: Floats, points: Floats) -> None:
        """Add one to the zone that holds each point; zones stand in the grid smallest first.

        A point outside the outline of the site counts for nothing: no tag is there, though it may
        belong to a cell at the edge.
        """
        free = np.ones(self._cells, dtype=np.bool_)
        for n, zone_id in enumerate(self.zone_ids):
            zone = registry.zones[zone_id]
            inside = contains_many(zone.outline_m or (), points) & (self._floors == zone.floor)
            shares[n] += inside & free
            free &= ~inside
        site = registry.sites.get(registry.zones[self.zone_ids[0]].site_id)
        if site is not None and site.outline_m is not None:
            shares[-1] += free & contains_many(site.outline_m, points)

    def step(
        self, courses: Sequence[Course], looks: Sequence[Look], grace_s: float
    ) -> list[tuple[bytes, tuple[str, ...], Answers | None]]:
        """Take one look at each of many tags.

        Args:
            courses: Where they are.
            looks: What is looked at; a course without further looks gets answers.
            grace_s: See `Heard`.

        Returns:
            For each: what is remembered, whose silence was held against places, and the answers.
        """
        found: list[tuple[bytes, tuple[str, ...], Answers | None]] = []
        for at in range(0, len(courses), ROWS):
            found += self._step(courses[at : at + ROWS], looks[at : at + ROWS], grace_s)
        return found

    def _step(
        self, courses: Sequence[Course], looks: Sequence[Look], grace_s: float
    ) -> list[tuple[bytes, tuple[str, ...], Answers | None]]:
        rows = memory_bytes.rows_of([course.memory for course in courses])
        heard = self._heard(courses, looks, grace_s)
        step = self.filter.step(memory_bytes.tags_of(rows, self.size), heard)
        parts = memory_bytes.parts_of(memory_bytes.stored(step.tags))
        answers: list[Answers | None] = [None] * len(parts)
        if step.rows.size:
            asked = step.rows.tolist()
            nearest = self._nearest(heard, step.rows)
            moved = step.tags.head[step.rows, MOVED].tolist()
            told = self._answers(step.belief, nearest, moved)
            for n, one in zip(asked, told, strict=True):
                answers[n] = one
        return list(zip(parts, self._names(step.silent), answers, strict=True))

    def _heard(self, courses: Sequence[Course], looks: Sequence[Look], grace_s: float) -> Heard:
        """Lay readings out in columns."""
        sums, counts, spans = _weighed(looks, self.index)
        times = np.array([look.at_s for look in looks])
        before = np.array([c.at_s if c.at_s is not None else 0.0 for c in courses])
        since = np.where(before > 0.0, np.maximum(times - before, 0.0), 0.0)
        order = self.order_of(courses[0].job.ears.names)
        lasts = np.array([c.job.ears.lasts for c in courses])[:, order]
        resumed = np.array([c.job.ears.resumed for c in courses])[:, order]
        begun = np.array([c.job.settle_s for c in courses])[:, None]
        lonely = np.array([c.job.ears.lonely for c in courses])[:, order]
        witness = (lonely | (lasts >= times[:, None])) & (lasts > 0.0) & (order >= 0)
        listening = np.maximum(resumed, begun)
        levels = sums / np.maximum(counts, 1.0)
        wanted = np.array([not c.looks for c in courses])
        eager = np.array([c.eager for c in courses])
        gathered = np.array([look.gathered for look in looks])
        adverts = np.where(gathered, np.maximum(np.maximum.reduce(counts, axis=1), 1.0), 1.0)
        return Heard(
            times, since, levels, counts, spans, witness, listening, wanted, eager, adverts, grace_s
        )  # fmt: skip

    def order_of(self, names: Sequence[str]) -> Indices:
        """Return for each gateway of the plan its place in a clock's list; -1 = not there."""
        key = tuple(names)
        found = self._orders.get(key)
        if found is None:
            places = {name: n for n, name in enumerate(names)}
            found = np.array([places.get(g, -1) for g in self.gateways], dtype=np.intp)
            self._orders[key] = found
        return found

    def _names(self, marked: Booleans) -> list[tuple[str, ...]]:
        """Return the gateways that are marked in each row, shape (b, g)."""
        found: list[tuple[str, ...]] = [()] * len(marked)
        for row in np.flatnonzero(np.logical_or.reduce(marked, axis=1)).tolist():
            found[row] = tuple(self.gateways[n] for n in np.flatnonzero(marked[row]))
        return found

    def _nearest(self, heard: Heard, rows: Indices) -> list[str | None]:
        """Return who heard each of some tags strongest."""
        counts = heard.counts[rows]
        levels = np.where(counts > 0.0, heard.levels_dbm[rows], -np.inf)
        best = levels.argmax(axis=1)
        told = counts[np.arange(len(best)), best] > 0.0
        return [
            self.gateways[n] if known else None
            for n, known in zip(best.tolist(), told.tolist(), strict=True)
        ]

    def _answers(
        self, belief: Singles, nearest: list[str | None], moved: list[float]
    ) -> list[Answers]:
        """Return what beliefs of shape (b, c) say."""
        zones = np.add.reduceat(belief[:, self._order] * self._shares, self._starts, axis=1)
        zones /= np.add.reduce(zones, axis=1)[:, None]
        best, width = zones.argmax(axis=1).tolist(), 4 * zones.shape[1]
        data, rows = zones.tobytes(), zones.tolist()
        parts = [data[at : at + width] for at in range(0, len(data), width)]
        if not self.placed:
            none = [None] * len(rows)
            return [
                Answers(*one)
                for one in zip(
                    best, rows, parts, none, none, none, belief, nearest, moved, strict=True
                )
            ]
        x = np.add.reduce(belief * self._x, axis=1)
        y = np.add.reduce(belief * self._y, axis=1)
        east, north = self._x - x[:, None], self._y - y[:, None]
        east *= east
        north *= north
        square = np.add.reduce(belief * (east + north), axis=1).astype(np.float64)
        radius = SPREAD_95 * np.sqrt(square + self._grid.cell_m**2 / 6.0)
        places = (_millimetres(x), _millimetres(y), _millimetres(radius))
        told = zip(best, rows, parts, *places, belief, nearest, moved, strict=True)
        return [Answers(*one) for one in told]

    def near(self, belief: Singles, registry: Registry, zone_id: str, tolerance_m: float) -> float:
        """Return the probability of being in a zone or within a tolerance of it.

        Args:
            belief: Probability per cell.
            registry: Outlines.
            zone_id: One of this plan's zones.
            tolerance_m: Metres.
        """
        mask = self._near.get((zone_id, tolerance_m))
        if mask is None:
            mask = self._near[zone_id, tolerance_m] = self._grown(registry, zone_id, tolerance_m)
        return float(np.add.reduce(belief * mask))

    def _grown(self, registry: Registry, zone_id: str, tolerance_m: float) -> Singles:
        """Return which cells lie in a zone or within a tolerance of it."""
        zone, grid = registry.zones[zone_id], self._grid
        if not self.placed or zone.outline_m is None:
            own: Singles = (grid.zone == self.zone_index[zone_id]).astype(np.float32)
            return own
        outline = zone.outline_m
        places = zip(grid.x_m.tolist(), grid.y_m.tolist(), strict=True)
        depth = np.array([depth_m(outline, x, y) for x, y in places])
        near = (depth >= -tolerance_m) & (self._floors == zone.floor)
        found: Singles = near.astype(np.float32)
        return found

    def links(self, memory: bytes) -> Links:
        """Return what is remembered of a tag's links."""
        tags = memory_bytes.tags_of(memory_bytes.rows_of([memory]), self.size)
        own = tags.links[0]
        expected = self.filter.expected_dbm(tags)[0]
        return Links(own[LAST], own[MEAN], own[EVER], expected, float(tags.head[0, PACE]))

    def unheard(self, memory: bytes, gateway_id: str) -> bytes:
        """Return a memory of which a gateway said that it no longer hears the tag."""
        column = self.index.get(gateway_id)
        if column is None:
            return memory
        rows = memory_bytes.rows_of([memory])
        tags = memory_bytes.tags_of(rows, self.size)
        links = tags.links.copy()
        links[0, LAST, column] = -1.0
        return memory_bytes.parts_of(memory_bytes.stored(tags._replace(links=links)))[0]


def _weighed(looks: Sequence[Look], index: Mapping[str, int]) -> tuple[Floats, Floats, Floats]:
    """Add up what was heard, per tag and gateway.

    Args:
        looks: One per tag.
        index: Columns of the gateways; readings of others do not count.

    Returns:
        Sums of levels, readings, and the time that items of several span in seconds; each of
        shape (b, g).
    """
    shape = (len(looks), len(index))
    readings = [reading for look in looks for reading in look.readings]
    _, names, heard, _, numbers, lengths = zip(*readings, strict=True)
    columns = np.array([index.get(name, -1) for name in names], dtype=np.int64)
    at = np.repeat(np.arange(len(looks)) * len(index), [len(look.readings) for look in looks])
    at += columns
    levels = np.array(heard)
    samples = np.array(numbers, dtype=np.float64)
    spans = np.array(lengths)
    if columns.min(initial=0) < 0:
        known = columns >= 0
        at, levels, samples, spans = at[known], levels[known], samples[known], spans[known]

    def summed(values: Floats) -> Floats:
        found = np.bincount(at, weights=values, minlength=shape[0] * shape[1])
        return found.astype(np.float64).reshape(shape)

    if spans.max(initial=0.0) <= 0.0:
        return summed(levels), summed(samples), np.zeros(shape)
    return summed(samples * levels), summed(samples), summed(spans)


def model_of(registry: Registry, site_id: str) -> SiteModel | None:
    """Build the filter of a site; None if nothing of it could tell a zone."""
    plan = plan_of(registry, site_id)
    return None if plan is None else SiteModel(plan, registry)


def _millimetres(values: npt.NDArray[np.floating]) -> list[float]:
    """Return lengths rounded to millimetres."""
    rounded: list[float] = (np.rint(values.astype(np.float64) * 1000.0) / 1000.0).tolist()
    return rounded
