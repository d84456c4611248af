"""What locate says of a log, and how long that lets tags dwell in zones.

Dwell is counted as a report has it: from the confirmed change of zone to the next one, and not while
the tag is missing or out of sight; such a stay ends when the tag was last heard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tagtrail.benchmarks.zones import zone_at
from tagtrail.simulator.world import World
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.places import TagPresenceChanged, TagZoneChanged
from tagtrail_locate.core.engine import Engine

SAMPLE_S: Final = 5
"""Zones are compared with the truth this often, seconds."""
SETTLED_S: Final = 30
"""... from this time on, seconds."""
DOUBTS: Final = ("overdue", "missing")
GONE: Final = ("missing", "unobservable")

Zones = dict[str, list[tuple[float, str | None]]]
"""Per tag, since when (seconds after the start) it is said to be in which zone."""

Stays = dict[tuple[str, str], float]
"""Dwell by tag and zone, seconds."""


@dataclass(slots=True)
class Located:
    """What locate said; times in seconds after the start.

    Attributes:
        zones: Confirmed zones.
        doubts: (time, tag) of every "overdue" and "missing".
        gone: Per tag, when it was last heard before it was missing or out of sight, and when it was
            there again.
    """

    zones: Zones
    doubts: list[tuple[float, str]] = field(default_factory=list)
    gone: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, told: TagPresenceChanged, at_s: float, last_heard_s: float) -> None:
        """Note a change of presence."""
        gone = self.gone[told.tag_id]
        is_gone = bool(gone) and gone[-1][1] == float("inf")
        if told.state in DOUBTS:
            self.doubts.append((at_s, told.tag_id))
        if told.state in GONE and not is_gone:
            gone.append((last_heard_s, float("inf")))
        elif told.state == "present" and is_gone:
            gone[-1] = (gone[-1][0], last_heard_s)


def located(log: Sequence[Recorded], start: datetime) -> Located:
    """Fold a log with locate."""
    engine, zones = Engine(), defaultdict[str, list[tuple[float, str | None]]](list)
    found = Located(zones)
    for n in range(0, len(log), 500):
        engine.apply(log[n : n + 500])
        for fact in engine.taken().facts:
            at_s, data = (fact.occurred_at - start).total_seconds(), fact.data
            if isinstance(data, TagZoneChanged):
                zones[data.tag_id].append((at_s, data.zone_id))
            elif isinstance(data, TagPresenceChanged):
                found.note(data, at_s, (data.last_heard_at - start).total_seconds())
    for changes in zones.values():
        changes.sort(key=lambda c: c[0])
    found.zones = dict(zones)
    return found


def false_doubts(world: World, said: Located) -> int:
    """Return how often a tag that is on site with a living battery was called overdue or missing."""
    end_s, dead = world.scenario.duration_s, world.truth.dead_tags
    return sum(
        world.truth.zone_at(tag, at_s) is not None and at_s <= dead.get(tag, end_s)
        for at_s, tag in said.doubts
    )


def accuracy(world: World, zones: Zones) -> float:
    """Return the share of (tag, moment) at which the zone is the true one.

    For tags that are on site with a living battery.
    """
    right = total = 0
    for tag, second, true in moments(world):
        total += 1
        right += zone_at(zones.get(tag, []), second) == true
    return right / total


def moments(world: World) -> Iterator[tuple[str, float, str]]:
    """Yield (tag, second, zone) while tags are on site with a living battery."""
    end_s, dead = int(world.scenario.duration_s), world.truth.dead_tags
    for tag in world.truth.tag_ids:
        for second in range(SETTLED_S, end_s, SAMPLE_S):
            true = world.truth.zone_at(tag, second)
            if true is not None and second <= dead.get(tag, end_s):
                yield tag, float(second), true


def dwell(said: Located, end_s: float) -> Stays:
    """Return how long each tag is said to have been in each zone, seconds."""
    found: Stays = defaultdict(float)
    for tag, changes in said.zones.items():
        ends = [at_s for at_s, _ in changes[1:]] + [end_s]
        for (from_s, zone), until_s in zip(changes, ends, strict=True):
            if zone is not None:
                span = (max(from_s, 0.0), until_s)
                away_s = sum(_overlap_s(span, gone) for gone in said.gone.get(tag, ()))
                found[tag, zone] += max(span[1] - span[0] - away_s, 0.0)
    return dict(found)


def _overlap_s(a: tuple[float, float], b: tuple[float, float]) -> float:
    return max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)


def true_dwell(world: World) -> Stays:
    """Return how long each tag really was in each zone with a living battery, seconds."""
    end_s, truth = world.scenario.duration_s, world.truth
    stays: Zones = {t: [(s.from_s, s.zone_id) for s in truth.stays(t)] for t in truth.tag_ids}
    ended = {tag: [(at_s, float("inf"))] for tag, at_s in truth.dead_tags.items()}
    return dwell(Located(stays, gone=ended), end_s)


def by_zone(stays: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Return dwell summed over tags, by zone, seconds: the line of a report."""
    found: dict[str, float] = defaultdict(float)
    for (_, zone), seconds in stays.items():
        found[zone] += seconds
    return dict(found)


def change_pct(before: Mapping[Any, float], after: Mapping[Any, float]) -> float:
    """Return the time that moved from one cell to another, in percent of all time."""
    moved = sum(abs(after.get(k, 0.0) - before.get(k, 0.0)) for k in {*before, *after})
    return 100.0 * moved / 2 / max(sum(before.values()), 1e-9)


def on_site(world: World, said: Located) -> Stays:
    """Return dwell while tags are really on site with a living battery, seconds.

    Where a tag stays that left is a question of presence; this leaves it out.
    """
    found: Stays = defaultdict(float)
    for tag, second, _ in moments(world):
        zone = zone_at(said.zones.get(tag, []), second)
        if zone is not None:
            found[tag, zone] += SAMPLE_S
    return dict(found)


def dwell_figures(world: World, plain: Located, edge: Located) -> dict[str, float]:
    """Compare dwell as heard, filtered, and as it really was, in percent of all of it."""
    end_s = world.scenario.duration_s
    before, after, true = dwell(plain, end_s), dwell(edge, end_s), true_dwell(world)
    here, there = on_site(world, plain), on_site(world, edge)
    figures = {
        "dwell_change_by_zone_pct": change_pct(by_zone(before), by_zone(after)),
        "dwell_change_by_tag_pct": change_pct(before, after),
        "dwell_change_on_site_by_zone_pct": change_pct(by_zone(here), by_zone(there)),
        "dwell_change_on_site_by_tag_pct": change_pct(here, there),
        "dwell_error_by_zone_plain_pct": change_pct(by_zone(true), by_zone(before)),
        "dwell_error_by_zone_filtered_pct": change_pct(by_zone(true), by_zone(after)),
        "dwell_error_plain_pct": change_pct(true, before),
        "dwell_error_filtered_pct": change_pct(true, after),
    }
    return {name: round(value, 3) for name, value in figures.items()}
