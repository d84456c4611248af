"""`tagtrail simulate`: the simulator on the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import typer

from tagtrail.simulator import options as o
from tagtrail.simulator.playback import FASTEST, Played, play
from tagtrail.simulator.scenario import Scenario, preset, quiet
from tagtrail.simulator.sinks import FileSink, HttpSink, ManySinks, MqttSink, Sink
from tagtrail.simulator.world import World
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.envelope import seal
from tagtrail_kernel.errors import DomainError, RejectedError

app = typer.Typer(help="Simulated warehouse for tests and demonstrations.", add_completion=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where a run goes.

    Attributes:
        mqtt_url: Broker for the gateways' messages.
        api_url: Address of the API, for facts, registrations, and sightings without a broker.
        api_key: Key for it.
        out: File for everything that is sent.
        register: Whether to register the world through the API first.
    """

    mqtt_url: str | None = None
    api_url: str | None = None
    api_key: str | None = None
    out: Path | None = None
    register: bool = True


def open_sink(world: World, targets: Targets) -> Sink:
    """Open what a run goes to, and register the world if that is wanted.

    Raises:
        RejectedError: no key for the API, or the API refuses the registrations.
        UnavailableError: a target cannot be reached.
    """
    sinks: list[Sink] = []
    if targets.api_url:
        if not targets.api_key:
            raise RejectedError("set TAGTRAIL_API_KEY to a key that may write sightings and events")
        api = HttpSink(targets.api_url, targets.api_key, facts_only=targets.mqtt_url is not None)
        if targets.register:
            api.register(world.registrations())
        sinks.append(api)
    if targets.mqtt_url:
        sinks.append(MqttSink(targets.mqtt_url))
    if targets.out:
        sinks.append(FileSink(targets.out, world.scenario.start_at))
    return ManySinks(sinks)


def summary(world: World, played: Played) -> dict[str, Any]:
    """Return what a run sent and what happened in it, ready for JSON."""
    truth, scenario = world.truth, world.scenario
    return {
        "scenario": scenario.name, "seed": scenario.seed,
        "start_at": scenario.start_at.isoformat(), "duration_s": scenario.duration_s,
        "stopped": played.stopped, "transmissions": played.transmissions,
        "simulated_s": round(played.simulated_s, 3), "wall_s": round(played.wall_s, 3),
        "behind_s": round(played.behind_s, 3), "tags": len(truth.tag_ids),
        "sightings": {form: counts.as_dict() for form, counts in truth.counts().items()},
        "shipments": len(truth.shipments),
        "without_pod": [s.shipment_id for s in truth.shipments if s.pod == "none"],
        "wrong_loads": [s.shipment_id for s in truth.shipments if s.wrong],
        "thefts": [asset.asset_id for asset, _ in truth.thefts],
        "dead_batteries": sorted(truth.dead_tags),
        "outages": [asdict(outage) for run in world.sites for outage in run.outages],
    }  # fmt: skip


def write_truth(world: World, path: Path, every_s: float | None = None) -> None:
    """Write the ground truth as JSON lines; its counts are complete once the stream was read."""
    with path.open("wb") as file:
        for line in world.truth.lines(every_s=every_s):
            file.write(orjson.dumps(line) + b"\n")


def write_registrations(world: World, path: Path) -> None:
    """Write the registrations as JSON lines, each an event as `POST /v1/events` takes it."""
    with path.open("wb") as file:
        for fact in world.registrations():
            file.write(seal(fact).body + b"\n")


def run(
    world: World, targets: Targets, *, speed: float, stop: threading.Event | None = None
) -> Played:
    """Play a world to its targets and wait until everything has arrived.

    Raises:
        RejectedError: see `open_sink`; or a target refuses a message.
        UnavailableError: a target stayed away too long.
    """
    sink = open_sink(world, targets)
    ago_s = (SystemClock().now() - world.scenario.start_at).total_seconds()
    late_s = ago_s if speed == 1.0 and 0 < ago_s < 120 else 0.0
    with contextlib.closing(sink):
        return play(world.stream(), sink, speed=speed, stop=stop, late_s=late_s)


@app.command()
def simulate(
    world: o.WorldName = "small",
    seed: o.Seed = 1,
    duration: o.Duration = None,
    speed: o.Speed = "1",
    start: o.Start = "auto",
    form: o.Formats = "native",
    tags: o.Tags = None,
    prefix: o.Prefix = "",
    calm: o.Calm = False,
    nlos: o.Nlos = None,
    mqtt_url: o.MqttUrl = None,
    api_url: o.ApiUrl = None,
    out: o.Out = None,
    truth: o.TruthPath = None,
    positions: o.Positions = None,
    registrations: o.Registrations = None,
    register: o.Register = True,
    as_json: o.AsJson = False,
) -> None:
    """Play a simulated warehouse into a server, a broker or a file, and write the truth beside it.

    Without any target it runs as fast as it can and prints what it would have sent.
    """
    key = os.environ.get("TAGTRAIL_API_KEY")
    targets = Targets(mqtt_url=mqtt_url, api_url=api_url, api_key=key, out=out, register=register)
    live = mqtt_url is not None or api_url is not None
    with _explained(), _stoppable() as stop:
        factor = o.speed_of(speed) if live else FASTEST
        scenario = _scenario(world, seed, duration, form, tags, prefix, nlos)
        begins = o.start_of(start, scenario.duration_s, factor, SystemClock().now())
        scenario = replace(quiet(scenario) if calm else scenario, start_at=begins)
        built = World(scenario)
        if registrations:
            write_registrations(built, registrations)
        played = run(built, targets, speed=factor, stop=stop)
        if truth:
            write_truth(built, truth, positions)
        _report(summary(built, played), as_json=as_json)


def _scenario(
    world: str, seed: int, duration: str | None, form: str, tags: int | None, prefix: str,
    nlos: float | None,
) -> Scenario:  # fmt: skip
    """Return a preset with the options of the command line."""
    made = replace(preset(world), seed=seed, formats=o.formats_of(form), id_prefix=prefix)
    if duration is not None:
        made = replace(made, duration_s=o.seconds(duration))
    if tags is not None:
        made = replace(made, tags_per_site=tags)
    return made if nlos is None else replace(made, uwb=replace(made.uwb, nlos_share=nlos))


def _report(said: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"{said['scenario']} seed {said['seed']}: {said['transmissions']} transmissions, "
        f"{said['simulated_s']} s simulated in {said['wall_s']} s"
        + (" (stopped early)" if said["stopped"] else "")
    )
    for form, counts in said["sightings"].items():
        typer.echo(f"  {form}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    typer.echo(
        f"  {said['shipments']} shipments, without POD: {len(said['without_pod'])}, wrong loads: "
        f"{len(said['wrong_loads'])}, thefts: {len(said['thefts'])}, dead batteries: "
        f"{len(said['dead_batteries'])}, outages: {len(said['outages'])}"
    )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn expected failures into one line and an exit code: 2 = wrong input, 1 = try again."""
    try:
        yield
    except DomainError as error:
        typer.echo(f"tagtrail simulate: {error.detail}", err=True)
        raise typer.Exit(1 if error.status >= 500 else 2) from error
    except OSError as error:
        typer.echo(f"tagtrail simulate: {error}", err=True)
        raise typer.Exit(2) from error


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: stop.set()) for kind in kinds]
    try:
        yield stop
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
