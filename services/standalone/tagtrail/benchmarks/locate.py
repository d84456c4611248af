"""How fast locate's core is on one core: sightings, and fixes from ranges.

The stream is that of a hall with four gateways, which all hear every tag once a second; every
twentieth tag moves. It is folded in batches, after a warm-up in which the tags come to rest, and with
the collector of cyclic garbage set as `tagtrail serve` sets it.
"""

from __future__ import annotations

import gc
import importlib
import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tagtrail.collecting import collect_rarely
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.registrations import GatewayRegistered, SiteRegistered, ZoneRegistered
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.facts import Sighting, read_sighting
from tagtrail_locate.core.range_solver import solve_many

Floats = npt.NDArray[np.float64]
Read = tuple[Recorded, float, Sighting]

START: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TAGS: Final = 2000
BATCH: Final = 4000
GATEWAYS: Final = ((4.0, 12.5), (18.0, 22.0), (18.0, 3.0), (34.0, 16.5))
ANCHORS: Final = ((1, 1), (20, 1), (39, 1), (1, 24), (20, 24), (39, 24))
WIDTH_M: Final = 40.0
DEPTH_M: Final = 25.0
A_SECOND: Final = TAGS * len(GATEWAYS)
"""Sightings in a second of the stream."""

YARDSTICK: Final = A_SECOND // 16
"""Sightings of a turn of the filters that locate is compared with."""

WARM_UP_S: Final = 18
"""Seconds of the stream before the clock starts: after that, tags at rest are known as such."""


def _recorded(position: int, at_s: float, data: Event) -> Recorded:
    at = START + timedelta(seconds=at_s)
    identity = uuid8(at, f"{position}".encode())
    fact = Envelope(id=identity, subject="x", source="bench", occurred_at=at, data=data)
    sealed = seal(fact)
    return Recorded(position, at, identity, "x", sealed.type, sealed.body)


def _plan() -> list[Event]:
    facts: list[Event] = [SiteRegistered(site_id="hall", name="Hall")]
    for n in range(6):
        west, south = (n % 3) * WIDTH_M / 3, (n // 3) * DEPTH_M / 2
        east, north = west + WIDTH_M / 3, south + DEPTH_M / 2
        outline = ((west, south), (east, south), (east, north), (west, north))
        facts.append(
            ZoneRegistered(zone_id=f"z{n}", site_id="hall", name=f"Z{n}", outline_m=outline)
        )
    facts += [
        GatewayRegistered(
            gateway_id=f"g{n}", site_id="hall", x_m=x, y_m=y, z_m=3.0, rssi_1m_dbm=-59,
            path_loss_exponent=2.4,
        )
        for n, (x, y) in enumerate(GATEWAYS)
    ]  # fmt: skip
    return facts


def log(seconds: int) -> tuple[list[Recorded], list[Recorded]]:
    """Return the registrations and the sightings of some seconds, as a log holds them."""
    chance = random.Random(1)  # noqa: S311 - a seeded simulation
    plan = [_recorded(n, -1.0, fact) for n, fact in enumerate(_plan(), start=1)]
    places = [(chance.uniform(0, WIDTH_M), chance.uniform(0, DEPTH_M)) for _ in range(TAGS)]
    found, position = [], len(plan)
    for second in range(seconds):
        for tag, (x, y) in enumerate(places):
            east = (x + second) % WIDTH_M if tag % 20 == 0 else x
            for n, (gateway_x, gateway_y) in enumerate(GATEWAYS):
                away_m = math.sqrt((east - gateway_x) ** 2 + (y - gateway_y) ** 2 + 4.0)
                level = round(-59 - 24 * math.log10(away_m) + chance.gauss(0, 3.5))
                fact = TagSighted(tag_id=f"tag-{tag}", gateway_id=f"g{n}", rssi_dbm=level)
                position += 1
                found.append(_recorded(position, second + tag / TAGS + 0.0003 * n, fact))
    return plan, found


def warmed(plan: list[Recorded], events: list[Recorded]) -> Engine:
    """Return an engine that has folded the registrations and the warm-up.

    Args:
        plan: Registrations.
        events: Sightings, warm-up included.
    """
    engine = Engine()
    engine.apply(plan)
    for start in range(0, WARM_UP_S * A_SECOND, BATCH):
        engine.apply(events[start : start + BATCH])
        engine.taken()
    return engine


def fold_s(engine: Engine, fold: Callable[[Any], None], events: Sequence[Any]) -> float:
    """Return the processor time that folding some events takes, seconds.

    Args:
        engine: What has folded everything before them.
        fold: Its `apply` for events as stored, or `apply_read` for decoded ones.
        events: In position order.
    """
    began = time.process_time()
    for start in range(0, len(events), BATCH):
        fold(events[start : start + BATCH])
        engine.taken()
    return time.process_time() - began


class PerTagFilter:
    """An extended Kalman filter of position and speed for one tag, as one writes it with filterpy.

    Args:
        kalman: The module `filterpy.kalman`.
    """

    def __init__(self, kalman: Any) -> None:
        self._own = kalman.ExtendedKalmanFilter(4, 1)
        self._own.x = np.array([[WIDTH_M / 2], [0.0], [DEPTH_M / 2], [0.0]])
        self._own.P = np.diag([100.0, 1.0, 100.0, 1.0])
        self._own.R = np.array([[9.0]])
        self._at_s: float | None = None

    def take(
        self, at_s: float, gateway: tuple[float, float], range_m: float
    ) -> tuple[float, float]:
        """Predict to a time, take in one distance, and return the position, metres."""
        own, place = self._own, (gateway,)
        dt = 0.0 if self._at_s is None else max(at_s - self._at_s, 0.0)
        self._at_s = at_s
        own.F, own.Q = _motion(dt), _noise(dt)
        own.predict()
        own.update(np.array([[range_m]]), _jacobian, _expected, args=place, hx_args=place)
        return own.x[0, 0], own.x[2, 0]


def _motion(dt: float) -> Floats:
    return np.array([[1, dt, 0, 0], [0, 1, 0, 0], [0, 0, 1, dt], [0, 0, 0, 1]], dtype=np.float64)


def _noise(dt: float) -> Floats:
    noise = np.zeros((4, 4))
    block = np.array([[0.25 * dt**4, 0.5 * dt**3], [0.5 * dt**3, dt**2]]) * 0.5
    noise[:2, :2] = noise[2:, 2:] = block
    return noise


def _jacobian(x: Floats, gateway: tuple[float, float]) -> Floats:
    east, north = x[0, 0] - gateway[0], x[2, 0] - gateway[1]
    away = math.sqrt(east * east + north * north + 4.0)
    return np.array([[east / away, 0.0, north / away, 0.0]])


def _expected(x: Floats, gateway: tuple[float, float]) -> Floats:
    east, north = x[0, 0] - gateway[0], x[2, 0] - gateway[1]
    return np.array([[math.sqrt(east * east + north * north + 4.0)]])


class PerTag:
    """One filter of filterpy per tag. Like locate's it smooths the position and names its zone."""

    def __init__(self, kalman: Any) -> None:
        self._kalman = kalman
        self._filters: dict[str, PerTagFilter] = {}
        self._zones: dict[str, int] = {}

    def take_s(self, read: Sequence[Read]) -> float:
        """Return the processor time that some sightings take, seconds."""
        filters, zones = self._filters, self._zones
        began = time.process_time()
        for _, at_s, fact in read:
            own = filters.get(fact.tag_id)
            if own is None:
                own = filters[fact.tag_id] = PerTagFilter(self._kalman)
            range_m = 10 ** ((-59.0 - (fact.rssi_dbm or -90.0)) / 24.0)
            x_m, y_m = own.take(at_s, GATEWAYS[int(fact.gateway_id[1:])], range_m)
            column = min(max(int(x_m * 3 / WIDTH_M), 0), 2)
            zones[fact.tag_id] = column + 3 * int(y_m > DEPTH_M / 2)
        return time.process_time() - began


def per_tag() -> PerTag | None:
    """Return the yardstick; None where filterpy, which only the tests' environment has, is missing."""
    try:
        return PerTag(importlib.import_module("filterpy.kalman"))
    except ModuleNotFoundError:
        return None


def fixes_per_s(count: int = 40_000) -> float:
    """Return how many fixes of six ranges are solved per second of one core."""
    chance = np.random.default_rng(1)
    anchors = np.array(ANCHORS, dtype=np.float64)
    places = chance.uniform((1, 1), (39, 24), (count, 2))
    away = np.linalg.norm(anchors[None] - places[:, None], axis=2)
    ranges = away + chance.normal(0, 0.1, away.shape)
    sigma, used = np.full(away.shape, 0.1), np.ones(away.shape, dtype=np.bool_)
    began = time.process_time()
    for start in range(0, count, 4000):
        part = slice(start, start + 4000)
        solve_many(anchors, ranges[part], sigma[part], used[part])
    return count / (time.process_time() - began)


def measure(*, seconds: int = 20) -> dict[str, Any]:
    """Measure the core on this machine.

    `sightings_per_s` folds decoded sightings: booking, filter, zone decision and rows.
    `events_per_s` includes decoding of the stored bodies. `ratio_vs_filterpy` compares the former
    with one Kalman filter of filterpy per tag and a zone of its position; None without filterpy.
    The three take turns, a second of the stream each (the filters of filterpy: the sightings of a
    sixteenth of the tags, which take as long), and of all turns the quarter mark counts: so load
    by others hits all alike.

    Args:
        seconds: Length of the measured stream.
    """
    threshold = gc.get_threshold()
    folds, decodes, filters = _turns(seconds)
    gc.unfreeze()
    gc.set_threshold(*threshold)
    fold = quarter(folds) / A_SECOND
    return {
        "sightings_per_s": round(1.0 / fold),
        "events_per_s": round(A_SECOND / quarter(decodes)),
        "ratio_vs_filterpy": round(quarter(filters) / YARDSTICK / fold, 2) if filters else None,
        "fixes_per_s": round(max(fixes_per_s() for _ in range(2))),
        "tags": TAGS,
        "gateways": len(GATEWAYS),
        "sightings": seconds * A_SECOND,
    }


def _turns(seconds: int) -> tuple[list[float], list[float], list[float]]:
    """Return the times of each turn: decoded, as stored, and the filters of filterpy, if any."""
    plan, events = log(WARM_UP_S + seconds)
    told, stored, alone = warmed(plan, events), warmed(plan, events), per_tag()
    read = [(e, *read_sighting(e)) for e in events[(WARM_UP_S - 1) * A_SECOND :]]
    if alone is not None:
        alone.take_s(read[:YARDSTICK])
    folds: list[float] = []
    decodes: list[float] = []
    filters: list[float] = []
    collect_rarely()
    for second in range(1, seconds + 1):
        part = read[second * A_SECOND : (second + 1) * A_SECOND]
        start = (WARM_UP_S + second - 1) * A_SECOND
        folds.append(fold_s(told, told.apply_read, part))
        decodes.append(fold_s(stored, stored.apply, events[start : start + A_SECOND]))
        if alone is not None:
            filters.append(alone.take_s(part[:YARDSTICK]))
    return folds, decodes, filters


def quarter(times_s: list[float]) -> float:
    """Return the time that a quarter of the turns stayed below, seconds."""
    return sorted(times_s)[len(times_s) // 4]
