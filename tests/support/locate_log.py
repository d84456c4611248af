"""The log of a small noisy hall with a survey, and a digest of everything that follows from it.

Run as a program it prints the digest: `python -m tests.support.locate_log`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace

from tagtrail.benchmarks import zones
from tagtrail.simulator.direct import DirectLog
from tagtrail.simulator.scenario import preset
from tagtrail.simulator.world import World
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.registrations import ConfigChanged
from tagtrail_locate.core.calibration_config import SECTION, values_of
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.state import pack


def noisy_log(*, seconds: float = 60.0, tags: int = 12, lag_s: int = 0) -> list[Recorded]:
    """Return the log: registrations, a survey as calibration, then signal strengths and ranges."""
    scenario = replace(preset("uwb"), duration_s=seconds, tags_per_site=tags)
    world = World(scenario)
    calibration = zones.surveyed(world, zones.Survey(6.0, 8))
    site_id = world.sites[0].site.site_id
    configured = [
        ConfigChanged(section=SECTION + site_id, values=values_of(calibration)),
        ConfigChanged(section="locate", values={"lag_s": lag_s}),
    ]
    log: list[Recorded] = []
    for event in DirectLog(world).events():
        if event.type == "tag.sighted" and configured:
            for n, data in enumerate(configured):
                fact = Envelope(
                    id=uuid8(scenario.start_at, b"%d" % n), subject="x", source="test",
                    occurred_at=scenario.start_at, data=data,
                )  # fmt: skip
                sealed = seal(fact)
                log.append(
                    Recorded(
                        len(log) + 1, event.recorded_at, fact.id, "x", sealed.type, sealed.body
                    )
                )
            configured = []
        log.append(
            Recorded(
                len(log) + 1, event.recorded_at, event.id, event.subject, event.type, event.body
            )
        )
    return log


def digest(log: Sequence[Recorded], *, batch: int = 1000) -> str:
    """Fold a log; returns one hash of all derived facts, rows and the memory at its end."""
    engine, found, changes = Engine(), hashlib.sha256(), hashlib.sha256()
    places: dict[str, object] = {}
    for start in range(0, len(log), batch):
        engine.apply(log[start : start + batch])
        effects = engine.taken()
        places |= effects.places
        for fact in effects.facts:
            found.update(seal(fact).body)
        for row in effects.history:
            changes.update(repr(row).encode())
    found.update(changes.digest())
    found.update(repr(sorted(places.items())).encode())
    found.update(pack(engine.state))
    return found.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(digest(noisy_log()))
