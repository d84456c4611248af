"""How fast locate's core folds sightings and solves fixes, on one core.

`python -m bench.locate_first --json` prints `sightings_per_s` (decoding, smoothing, zone decision
and rows included; 500 tags, 4 gateways) and `fixes_per_s` (batches of 6 ranges).
"""

from __future__ import annotations

import argparse
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import orjson

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.registrations import GatewayRegistered, ZoneRegistered
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.multilateration import solve_many

START: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TAGS: Final = 500
SECONDS: Final = 30


def _recorded(position: int, at_s: float, data: Event) -> Recorded:
    at = START + timedelta(seconds=at_s)
    identity = uuid8(at, f"{position}".encode())
    fact = Envelope(id=identity, subject="x", source="bench", occurred_at=at, data=data)
    sealed = seal(fact)
    return Recorded(position, at, identity, "x", sealed.type, sealed.body)


def log() -> list[Recorded]:
    """Return a log of four gateways that hear every tag once a second."""
    chance = random.Random(1)
    facts: list[tuple[float, Event]] = []
    for n in range(4):
        facts.append((-1.0, ZoneRegistered(zone_id=f"z{n}", site_id="hall", name=f"Z{n}")))
        place = GatewayRegistered(
            gateway_id=f"g{n}", site_id="hall", zone_id=f"z{n}", x_m=10.0 * n, y_m=5.0
        )
        facts.append((-1.0, place))
    for second in range(SECONDS):
        for tag in range(TAGS):
            for n in range(4):
                level = -60.0 - 8.0 * abs(tag % 4 - n) + chance.gauss(0, 3)
                fact = TagSighted(tag_id=f"tag-{tag}", gateway_id=f"g{n}", rssi_dbm=level)
                facts.append((second + tag / TAGS + 0.0003 * n, fact))
    return [_recorded(n, at_s, data) for n, (at_s, data) in enumerate(facts, start=1)]


def sightings_per_s() -> float:
    """Return how many sightings the engine folds per second of one core."""
    events, engine = log(), Engine()
    began = time.process_time()
    for start in range(0, len(events), 500):
        engine.apply(events[start : start + 500])
        engine.taken()
    return len(events) / (time.process_time() - began)


def fixes_per_s(count: int = 20_000) -> float:
    """Return how many fixes of six ranges are solved per second of one core."""
    chance = np.random.default_rng(1)
    anchors = np.array([(1, 1), (20, 1), (39, 1), (1, 24), (20, 24), (39, 24)], dtype=np.float64)
    places = chance.uniform((1, 1), (39, 24), (count, 2))
    away = np.linalg.norm(anchors[None] - places[:, None], axis=2)
    ranges = away + chance.normal(0, 0.1, away.shape)
    sigma, used = np.full(away.shape, 0.1), np.ones(away.shape, dtype=np.bool_)
    began = time.process_time()
    for start in range(0, count, 1000):
        part = slice(start, start + 1000)
        solve_many(anchors, ranges[part], sigma[part], used[part])
    return count / (time.process_time() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = {"sightings_per_s": round(sightings_per_s()), "fixes_per_s": round(fixes_per_s())}
    if arguments.json:
        print(orjson.dumps(figures).decode())
    else:
        print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
