"""What the edge filter saves, and what it costs in zones and dwell, on fixture F1.

`python -m bench.edge_filter --json` plays F1 twice through locate: as heard, and with a filter in
each of the four gateways. Items that the filter lets out arrive with the delay of the readings
that they stand for, and of batching. `--survey map` gives the hall the radio map of
`tagtrail bench zones`; `--yardstick` says how much dwell moves when nothing but chance differs:
every second advert is lost, and nothing is filtered.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from bench.edge_dwell import Located, accuracy, dwell_figures, false_doubts, located
from tagtrail.benchmarks.zones import SURVEYS, surveyed
from tagtrail.simulator.direct import DirectLog
from tagtrail.simulator.scenario import Scenario, f1, quiet
from tagtrail.simulator.world import World
from tagtrail_agent.filtering import EdgeFilter, Rules, Traits, default_rules
from tagtrail_agent.readings import Reading
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.registrations import ConfigChanged, TagRegistered
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_locate.core.calibration_config import SECTION, values_of

BATCH_S: Final = {"transit": 5.0, "storage": 60.0}
"""Time that items wait to be sent together, seconds; where nothing moves nobody is in a hurry."""
LINK_S: Final = 0.2
"""From the gateway to the log, seconds."""
STEADY_S: Final = {"transit": 200.0, "storage": 1000.0}
"""What is sent is counted from here on, seconds: an agent starts once, and not every few minutes."""
DAY_S: Final = 86_400.0
STORAGE_INTERVAL_S: Final = 900.0
"""What a tag in storage mode is registered with, so that the server expects what the filter sends."""

BUDGETS: Final = {"transit": 750_000, "storage": 25_000}
"""Bytes per tag and day that may leave a site, batched and packed; see docs/edge-filter.md."""

Figures = dict[str, Any]
"""What was measured, by name."""


@dataclass(slots=True)
class Sent:
    """What left the gateways, from the steady state on.

    Attributes:
        heard: Readings that went into the filters.
        items: Items that came out.
        batches: Messages.
        raw_bytes: Their JSON.
        gzip_bytes: The same, each batch compressed by itself.
        cpu_s: Processor time of the filters.
        counts: Sums over the gateways from the start, by what became of a reading.
        balanced: Whether every reading is accounted for in every gateway.
    """

    heard: int = 0
    items: int = 0
    batches: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    cpu_s: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    balanced: bool = True


@dataclass(frozen=True, slots=True)
class Played:
    """A world and the log of what was heard in it."""

    world: World
    log: list[Recorded]

    def tag_days(self, mode: str) -> float:
        """Tags times simulated days, from the steady state on."""
        steady_s = self.world.scenario.duration_s - STEADY_S[mode]
        return len(self.world.truth.tag_ids) * steady_s / DAY_S

    @property
    def macs(self) -> dict[str, str]:
        """Radio addresses by tag."""
        assets = [a for run in self.world.sites for a in run.plan.assets]
        return {a.tag_id: a.mac for a in assets}


def played(scenario: Scenario, survey: str = "plan") -> Played:
    """Play a scenario.

    Args:
        scenario: What is played.
        survey: One of `SURVEYS`: what is known of the hall before the first sighting.
    """
    world = World(scenario)
    how, log = SURVEYS[survey], list(DirectLog(world).events())
    if how is None:
        return Played(world, log)
    first = next(n for n, event in enumerate(log) if event.type == "tag.sighted")
    calibration = values_of(surveyed(World(scenario), how))
    site_id, start = world.sites[0].site.site_id, scenario.start_at
    fact = Envelope(
        id=uuid8(start, b"survey"), subject="survey", source="bench", occurred_at=start,
        data=ConfigChanged(section=SECTION + site_id, values=calibration),
    )  # fmt: skip
    mapped = recorded(first + 1, log[first].recorded_at, fact)
    return Played(world, numbered([*log[:first], mapped, *log[first:]]))


def numbered(log: Sequence[Recorded]) -> list[Recorded]:
    """Return a log whose positions are dense again."""
    return [
        Recorded(n, e.recorded_at, e.id, e.subject, e.type, e.body) for n, e in enumerate(log, 1)
    ]


def halved(log: Sequence[Recorded]) -> list[Recorded]:
    """Return a log in which every second advert was lost, by chance, at all gateways alike."""

    def is_lost(event: Recorded) -> bool:
        moment = f"{event.subject}/{event.envelope.occurred_at:%H:%M:%S}"
        return event.type == "tag.sighted" and zlib.crc32(moment.encode()) % 2 == 1

    return numbered([event for event in log if not is_lost(event)])


# -- the gateways


def filtered(
    run: Played, traits: Traits, rules: Rules | None = None
) -> tuple[list[Recorded], Sent]:
    """Return the log that comes about with a filter in every gateway, and what was sent."""
    tags = {f"mac:{mac}": tag_id for tag_id, mac in run.macs.items()}
    names = {tag_id: tag for tag, tag_id in tags.items()}
    heard: dict[str, list[tuple[float, float, Reading]]] = defaultdict(list)
    arrived: list[tuple[float, Envelope]] = []
    start = run.world.scenario.start_at
    for event in run.log:
        recorded_s = (event.recorded_at - start).total_seconds()
        if event.type != "tag.sighted":
            arrived.append((recorded_s, expecting(event.envelope, traits)))
            continue
        fact = event.envelope
        at_s = (fact.occurred_at - start).total_seconds()
        assert isinstance(fact.data, TagSighted)
        heard[fact.data.gateway_id].append((at_s, recorded_s, reading_of(fact, names, at_s)))
    sent, mode = Sent(), traits.mode or "storage"
    for gateway_id, readings in heard.items():
        readings.sort(key=lambda r: r[0])
        edge = EdgeFilter(rules or default_rules(), lambda _: traits, gateway_id)
        items = list(let_out(edge, readings, BATCH_S[mode], sent))
        sent.heard += sum(at_s >= STEADY_S[mode] for at_s, _, _ in readings)
        steady = [(at_s, item) for at_s, item in items if item.elapsed_s >= STEADY_S[mode]]
        count(sent, edge, steady, gateway_id, start)
        for arrives_s, item in items:
            arrived.append((arrives_s, envelope_of(item, tags[item.tag], gateway_id)))
    arrived.sort(key=lambda a: a[0])
    return [
        recorded(n, start + timedelta(seconds=at_s), fact)
        for n, (at_s, fact) in enumerate(arrived, start=1)
    ], sent


def expecting(fact: Envelope, traits: Traits) -> Envelope:
    """Register tags with the mode and interval that the gateways were told."""
    if isinstance(fact.data, TagRegistered):
        mode = "transit" if traits.mode == "transit" else "storage"
        interval_s = traits.interval_s or STORAGE_INTERVAL_S
        data = msgspec.structs.replace(fact.data, mode=mode, interval_s=interval_s)
        return msgspec.structs.replace(fact, data=data)
    return fact


MEMBERS: Final = ("rssi_dbm", "interval_ms", "battery_pct", "sequence", "channel")


def reading_of(fact: Envelope, names: Mapping[str, str], at_s: float) -> Reading:
    """Return a sighting as the gateway's filter is given it."""
    data = fact.data
    assert isinstance(data, TagSighted)
    members = {n: v for n in MEMBERS if (v := getattr(data, n)) is not None}
    return Reading(names[data.tag_id], fact.occurred_at, at_s, members)


def let_out(
    edge: EdgeFilter, readings: list[tuple[float, float, Reading]], batch_s: float, sent: Sent
) -> Iterator[tuple[float, Reading]]:
    """Run a gateway's filter, a second at a time; yields (time of arrival, item)."""
    delays = {(r.tag, r.elapsed_s): recorded_s - at_s for at_s, recorded_s, r in readings}
    seconds: dict[int, list[Reading]] = defaultdict(list)
    for at_s, _, reading in readings:
        seconds[math.floor(at_s)].append(reading)
    last_s = max(seconds)
    for second in range(min(seconds), last_s + 2):
        began = time.process_time()
        items = edge.take(seconds.get(second, ()), second + 1.0)
        items += edge.due(second + 1.0) if second <= last_s else edge.flush()
        sent.cpu_s += time.process_time() - began
        for item in items:
            late_s = max(delays[item.tag, item.elapsed_s] - 1.0, 0.0)
            yield math.ceil((second + 1.0 + late_s) / batch_s) * batch_s + LINK_S, item


def count(
    sent: Sent,
    edge: EdgeFilter,
    items: list[tuple[float, Reading]],
    gateway_id: str,
    start: datetime,
) -> None:
    """Add what one gateway sent."""
    counts = edge.counts
    sent.items += len(items)
    sent.balanced = sent.balanced and counts.balanced and not counts.held
    became = {"in": counts.taken, "out": counts.sent, "folded": counts.folded, **counts.dropped}
    for name, value in became.items():
        sent.counts[name] += value
    batches: dict[float, list[Reading]] = defaultdict(list)
    for arrives_s, item in items:
        batches[arrives_s].append(item)
    for n, (arrives_s, batch) in enumerate(sorted(batches.items())):
        body = batch_bytes(f"{gateway_id}/{n:06d}", start + timedelta(seconds=arrives_s), batch)
        sent.batches += 1
        sent.raw_bytes += len(body)
        sent.gzip_bytes += len(gzip.compress(body, 6, mtime=0))


def batch_bytes(batch_id: str, sent_at: datetime, items: Sequence[Reading]) -> bytes:
    """Return a batch in the native format."""
    sightings = [{"tag": i.tag, "at": spelled(i.at), **i.members} for i in items]
    batch = {"batch_id": batch_id, "sent_at": spelled(sent_at), "sightings": sightings}
    return json.dumps(batch, separators=(",", ":")).encode()


def spelled(at: datetime) -> str:
    """Return a time as the wire format has it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def envelope_of(item: Reading, tag_id: str, gateway_id: str) -> Envelope:
    """Return the fact that ingest makes of an item."""
    known = set(TagSighted.__struct_fields__)
    named = {n: v for n, v in item.members.items() if n in known}
    data = TagSighted(tag_id=tag_id, gateway_id=gateway_id, gateway_received_at=item.at, **named)
    identity = uuid8(item.at, f"{gateway_id}/{tag_id}/{item.elapsed_s}".encode())
    return Envelope(
        id=identity, subject=tag_id, source="ingest/native", occurred_at=item.at, data=data,
        time_quality="gateway_receive",
    )  # fmt: skip


def recorded(position: int, at: datetime, fact: Envelope) -> Recorded:
    """Give a fact its place in the log."""
    sealed = seal(fact)
    return Recorded(position, at, fact.id, fact.subject, sealed.type, sealed.body)


# -- figures


def compare(
    run: Played, traits: Traits, rules: Rules | None = None, *, chance: bool = False
) -> Figures:
    """Compare a run as heard with the same run through filters.

    Args:
        run: What was heard.
        traits: What the gateways know of the tags.
        rules: Of the filters; None = those built in.
        chance: Whether to compare it with the loss of every second advert too.
    """
    world, start = run.world, run.world.scenario.start_at
    thinned, sent = filtered(run, traits, rules)
    plain, edge = located(run.log, start), located(thinned, start)
    tag_days = run.tag_days(traits.mode or "storage")
    return {
        "adverts_heard": sent.heard,
        "items_sent": sent.items,
        "fewer_items_pct": round(100.0 * (1 - sent.items / sent.heard), 2),
        "messages_sent": sent.batches,
        "fewer_messages_pct": round(100.0 * (1 - sent.batches / sent.heard), 2),
        "balanced": sent.balanced,
        "counts": dict(sent.counts),
        "bytes_per_tag_day": round(sent.raw_bytes / tag_days),
        "gzip_bytes_per_tag_day": round(sent.gzip_bytes / tag_days),
        "gzip_bytes_per_item": round(sent.gzip_bytes / sent.items, 1),
        "zone_accuracy_plain": round(accuracy(world, plain.zones), 4),
        "zone_accuracy_filtered": round(accuracy(world, edge.zones), 4),
        **dwell_figures(world, plain, edge),
        **(by_chance(run, plain) if chance else {}),
        "zone_changes_plain": sum(len(c) for c in plain.zones.values()),
        "zone_changes_filtered": sum(len(c) for c in edge.zones.values()),
        "false_doubts_plain": false_doubts(world, plain),
        "false_doubts_filtered": false_doubts(world, edge),
        "filter_us_per_advert": round(1e6 * sent.cpu_s / sent.counts["in"], 1),
    }  # fmt: skip


def by_chance(run: Played, plain: Located) -> Figures:
    """Return what changes when every second advert is lost and nothing is filtered."""
    thinned = located(halved(run.log), run.world.scenario.start_at)
    figures = dwell_figures(run.world, plain, thinned)
    return {
        "chance_zone_accuracy": round(accuracy(run.world, thinned.zones), 4),
        **{f"chance_{name}": value for name, value in figures.items() if "change" in name},
    }


TRANSIT: Final = Traits("simulated", "transit", 1.0)
STORAGE: Final = Traits("simulated", "storage", None)


def shortened(duration_s: float, tags: int = 200) -> Scenario:
    """Return a part of F1: the same hall, radio and faults, with its waves in a shorter time."""
    whole = f1()
    share = duration_s / whole.duration_s
    faults = replace(whole.faults, outage_s=(30.0, 60.0))
    behaviour = replace(whole.behaviour, wave_s=max(whole.behaviour.wave_s * share, 300.0))
    return replace(
        whole, duration_s=duration_s, tags_per_site=tags, behaviour=behaviour, faults=faults
    )


def at_rest(duration_s: float = 3600.0) -> Scenario:
    """Return F1 in which nothing moves and tags advertise every 10 s: storage."""
    still = quiet(f1())
    return replace(still, duration_s=duration_s, cadence=replace(still.cadence, storage_s=10.0))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=3600.0, help="simulated time")
    parser.add_argument("--mode", choices=("transit", "storage"), action="append")
    parser.add_argument("--survey", choices=tuple(SURVEYS), default="plan")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--yardstick", action="store_true", help="also lose every second advert")
    arguments = parser.parse_args()
    whole = arguments.seconds == 3600.0
    scenarios = {
        "transit": (f1() if whole else shortened(arguments.seconds), TRANSIT),
        "storage": (at_rest(max(arguments.seconds, 2400.0)), STORAGE),
    }
    found = {}
    for mode in arguments.mode or list(scenarios):
        scenario, traits = scenarios[mode]
        run = played(replace(scenario, seed=arguments.seed), arguments.survey)
        found[mode] = compare(run, traits, chance=arguments.yardstick)
    if arguments.json:
        print(json.dumps({"at": spelled(datetime.now(UTC)), **found}))
        return
    for mode, values in found.items():
        print(mode)
        print("\n".join(f"  {name}: {value}" for name, value in values.items()))


if __name__ == "__main__":
    main()
