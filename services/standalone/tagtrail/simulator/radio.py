"""When tags advertise and which receiver hears them how strongly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail.simulator.layout import Floats, Ints, Site, loss_through_walls_db
from tagtrail.simulator.plan import Asset
from tagtrail.simulator.roster import Gateway
from tagtrail.simulator.scenario import Cadence, RadioModel
from tagtrail.simulator.tracks import AWAY

WAVES: Final = 24
"""Plane waves per receiver that make up the frozen shadowing; 24 look Gaussian."""
JITTER_S: Final = 0.010
"""The Bluetooth core adds up to 10 ms to every advertising interval."""
SLOPE_DB: Final = 1.5
"""Steepness of the step from hearing all packets to hearing none."""
STEP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Receptions of one step, in order of time; all arrays have shape (n,).

    Attributes:
        at_s: True time of reception, seconds since the start.
        tag: Index of the tag.
        receiver: Index of the gateway.
        rssi_dbm: Power, not rounded, dBm.
        advert: Running number of the tag's advert.
        interval_s: The tag's advertising interval, seconds.
    """

    at_s: Floats
    tag: Ints
    receiver: Ints
    rssi_dbm: Floats
    advert: Ints
    interval_s: Floats


class Motion:
    """Present positions of all assets of a site, from their tracks.

    Attributes:
        moving: Who is on its way in the present step, shape (tags,).
        set_off: Who began to move with this step, shape (tags,).
    """

    def __init__(self, assets: list[Asset]) -> None:
        count = len(assets)
        self._start_s, self._end_s = np.zeros(count), np.zeros(count)
        self._from = np.array([a.track.points_m[0] for a in assets], dtype=np.float64)
        self._to = self._from.copy()
        self._changes = sorted(
            (at_s, a.index, n) for a in assets for n, at_s in enumerate(a.track.times_s)
        )
        self._tracks = [a.track for a in assets]
        self._next = 0
        self.moving: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self.set_off: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)

    def step(self, at_s: float) -> npt.NDArray[np.bool_]:
        """Go on to the step that starts at a time; returns who is elsewhere than before."""
        before = self.moving
        changed = before.copy()
        while self._next < len(self._changes) and self._changes[self._next][0] <= at_s:
            _, index, knot = self._changes[self._next]
            self._next += 1
            self._take(index, knot)
            changed[index] = True
        here = ~np.isnan(self._from[:, 0])
        self.moving = here & (self._end_s > at_s) & np.any(self._from != self._to, axis=1)
        self.set_off = self.moving & ~before
        return changed | self.moving

    def _take(self, index: int, knot: int) -> None:
        track = self._tracks[index]
        here = track.points_m[knot]
        last = knot + 1 >= len(track.times_s)
        there = here if last else track.points_m[knot + 1]
        if here is AWAY or there is AWAY:
            there = here
        self._from[index], self._to[index] = here, there
        self._start_s[index] = track.times_s[knot]
        self._end_s[index] = track.times_s[knot] if last else track.times_s[knot + 1]

    def at(self, tag: Ints, at_s: Floats) -> tuple[Floats, Floats]:
        """Return east and north of some tags at some times of this step, metres."""
        span = np.maximum(self._end_s[tag] - self._start_s[tag], 1e-9)
        share = np.clip((at_s - self._start_s[tag]) / span, 0.0, 1.0)[:, None]
        found = self._from[tag] + (self._to[tag] - self._from[tag]) * share
        return found[:, 0], found[:, 1]


class Shadow:
    """Shadowing frozen into the place: a smooth Gaussian field per receiver."""

    def __init__(self, model: RadioModel, receivers: int, rng: np.random.Generator) -> None:
        self._waves = rng.normal(0.0, 1.0 / model.field_length_m, size=(receivers, WAVES, 2))
        self._phases = rng.uniform(0.0, 2 * math.pi, size=(receivers, WAVES))
        self._scale_db = model.field_sigma_db * math.sqrt(2.0 / WAVES)

    def at_db(self, x_m: Floats, y_m: Floats) -> Floats:
        """Return the shadowing at n points, shape (n, receivers), dB."""
        angle = x_m[:, None, None] * self._waves[..., 0] + y_m[:, None, None] * self._waves[..., 1]
        summed: Floats = np.cos(angle + self._phases).sum(axis=2)
        return summed * self._scale_db


class Radio:
    """All BLE links of one site, advanced step by step.

    Args:
        site: Ground plan.
        assets: Tagged assets with their tracks.
        receivers: Gateways, without anchors.
        model: How signals fade.
        cadence: How often tags advertise.
        rng: The only source of chance.
    """

    def __init__(
        self,
        site: Site,
        assets: list[Asset],
        receivers: list[Gateway],
        model: RadioModel,
        cadence: Cadence,
        rng: np.random.Generator,
    ) -> None:
        tags, count = len(assets), len(receivers)
        self._site, self._model, self._cadence, self._rng = site, model, cadence, rng
        self._x = np.array([[r.station.x_m for r in receivers]])
        self._y = np.array([[r.station.y_m for r in receivers]])
        drop = np.array([[r.station.z_m for r in receivers]])
        self._drop2 = (drop - np.array([[a.height_m] for a in assets])) ** 2
        self._gain = np.array([[r.offset_db for r in receivers]])
        self.tag_offset_db: Floats = np.round(rng.normal(0, model.tag_offset_sigma_db, tags), 2)
        self._shadow = Shadow(model, count, rng)
        self._motion = Motion(assets)
        self._mean = np.full((tags, count), -np.inf)
        self._drift = rng.normal(0.0, model.drift_sigma_db, (tags, count))
        self._blocked = rng.random((tags, count)) < model.block_share
        self._interval = np.full(tags, cadence.storage_s)
        self._next = rng.uniform(0.0, self._interval)
        self._moved_s = np.full(tags, -math.inf)
        self._dies_s = np.array([math.inf if a.dies_at_s is None else a.dies_at_s for a in assets])
        self._advert = np.zeros(tags, dtype=np.int64)
        self._all = np.arange(tags)

    @property
    def blocked(self) -> npt.NDArray[np.bool_]:
        """Which links a body blocks now, shape (tags, receivers)."""
        return self._blocked

    def mean_dbm(self, tag: Ints, at_s: Floats) -> Floats:
        """Return the power of some tags without drift, noise and bodies.

        Args:
            tag: Indexes, shape (n,).
            at_s: Times within the present step, shape (n,).

        Returns:
            dBm, shape (n, receivers); NaN for tags that are away.
        """
        x, y = self._motion.at(tag, at_s)
        flat2 = (x[:, None] - self._x) ** 2 + (y[:, None] - self._y) ** 2
        distance_m = np.maximum(np.sqrt(flat2 + self._drop2[tag]), 0.3)
        walls = loss_through_walls_db(self._site.walls, x[:, None], y[:, None], self._x, self._y)
        model = self._model
        loss = 10 * model.path_loss_exponent * np.log10(distance_m) + walls
        found: Floats = model.rssi_1m_dbm + self.tag_offset_db[tag, None] + self._gain - loss
        return found + self._shadow.at_db(x, y)

    def step(self, at_s: float) -> Heard:
        """Simulate one second from a time on; steps MUST follow one another from 0."""
        elsewhere = self._motion.step(at_s)
        self._fade()
        self._set_cadence(at_s)
        changed = np.flatnonzero(elsewhere)
        if at_s == 0:
            changed = self._all
        if changed.size:
            middle = np.full(changed.size, at_s + STEP_S / 2)
            self._mean[changed] = self.mean_dbm(changed, middle)
        parts = []
        while True:
            due = np.flatnonzero(self._next < at_s + STEP_S)
            if not due.size:
                break
            parts.append(self._hear(due))
        return _joined(parts)

    def _fade(self) -> None:
        model, rng = self._model, self._rng
        keep = math.exp(-STEP_S / model.drift_time_s)
        fresh = rng.standard_normal(self._drift.shape)
        self._drift *= keep
        self._drift += fresh * (model.drift_sigma_db * math.sqrt(1 - keep**2))
        leave = STEP_S / max(model.block_time_s, STEP_S)
        enter = leave * model.block_share / max(1 - model.block_share, 1e-9)
        chance = rng.random(self._blocked.shape)
        self._blocked = np.where(self._blocked, chance >= leave, chance < enter)

    def _set_cadence(self, at_s: float) -> None:
        """Tags wake up when they are moved and calm down some time after."""
        motion, cadence = self._motion, self._cadence
        self._moved_s[motion.moving] = at_s
        awake = at_s - self._moved_s <= cadence.hold_s
        self._interval = np.where(awake, cadence.transit_s, cadence.storage_s)
        woken = np.flatnonzero(motion.set_off)
        if woken.size:
            soon = at_s + self._rng.uniform(0.0, cadence.transit_s, woken.size)
            self._next[woken] = np.minimum(self._next[woken], soon)

    def _hear(self, due: Ints) -> Heard:
        """Send one advert of each due tag and decide who hears it."""
        model, rng = self._model, self._rng
        sent_s = self._next[due]
        self._next[due] = sent_s + self._interval[due] + rng.uniform(0.0, JITTER_S, due.size)
        self._advert[due] += 1
        shape = (due.size, self._mean.shape[1])
        power = self._mean[due] + self._drift[due] - model.block_loss_db * self._blocked[due]
        power += rng.normal(0.0, model.noise_sigma_db, shape)
        chance = rng.random(shape)
        with np.errstate(over="ignore"):
            caught = 1 / (1 + np.exp((model.sensitivity_dbm - power) / SLOPE_DB))
        heard = chance < (1 - model.loss_share) * np.nan_to_num(caught)
        heard &= (sent_s < self._dies_s[due])[:, None]
        row, receiver = np.nonzero(heard)
        tag = due[row]
        return Heard(
            sent_s[row], tag, receiver, power[row, receiver], self._advert[tag], self._interval[tag]
        )  # fmt: skip


def _joined(parts: list[Heard]) -> Heard:
    """Put the receptions of one step into order of time."""
    if not parts:
        none, zero = np.zeros(0), np.zeros(0, dtype=np.int64)
        return Heard(none, zero, zero, none, zero, none)
    if len(parts) == 1:
        whole = parts[0]
    else:
        whole = Heard(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in Heard.__slots__)
        )
    order = np.lexsort((whole.receiver, whole.tag, whole.at_s))
    return Heard(*(getattr(whole, name)[order] for name in Heard.__slots__))
