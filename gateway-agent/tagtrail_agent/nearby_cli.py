"""`tagtrail-agent nearby`: what is around, on the screen."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tagtrail_agent import config
from tagtrail_agent.assembly import KINDS, input_of
from tagtrail_agent.clock import Clock, SystemClock
from tagtrail_agent.config import Config, InputEntry
from tagtrail_agent.errors import ConfigError
from tagtrail_agent.identity import Enrolment
from tagtrail_agent.inputs.bluetooth import Bluetooth, BluetoothOptions
from tagtrail_agent.models import load_models
from tagtrail_agent.nearby import Nearby, figures_of, listen, table_of
from tagtrail_agent.readings import Input
from tagtrail_agent.tags import enrolment_of, kept_push

MORE: Final = """\
It only listens: a running agent misses nothing, nothing is sent and nothing is written. Without a
configuration it hears this machine's Bluetooth. Strangers' addresses are whole on a terminal only;
into a file or a pipe they go shortened, unless --full asks for them.
"""

_TAKING: Final = frozenset({"phones", "lines"})
"""Kinds of input that hand something over only once: the running agent would miss it."""

_CLEAR: Final = "\x1b[H\x1b[J"
_MOST_ROWS: Final = 40
"""Rows of a live picture; the list at the end is whole."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `nearby` can be asked for."""
    parser.add_argument(
        "--seconds", type=float, help="how long (default: until stopped; 10 without a terminal)"
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME",
        help="hear this [[input]] instead of all that can be shared; may be repeated. One with a "
        "reader or a serial port needs the agent to be stopped",
    )  # fmt: skip
    parser.add_argument(
        "--full", action="store_true", help="whole addresses of strangers, wherever they go"
    )


def run(given: argparse.Namespace) -> int:
    """Show what is around.

    Raises:
        AgentError: the configuration or an input cannot work.
    """
    terminal = sys.stdout.isatty()
    if given.seconds is not None and given.seconds <= 0:
        raise ConfigError("--seconds must be greater than 0")
    clock = SystemClock()
    inputs, ear = _prepared(given.config, given.input, clock)
    whole, live = terminal or given.full, terminal and not given.json
    seconds = given.seconds if given.seconds is not None or terminal else 10.0

    def show() -> None:
        if live:
            table = table_of(ear.rows(), whole=whole, most=_MOST_ROWS)
            sys.stdout.write(f"{_CLEAR}{table}\n\nCtrl-C to end\n")
            sys.stdout.flush()

    asyncio.run(_listen(inputs, ear, seconds, show))
    rows = ear.rows()
    if given.json:
        sys.stdout.write(json.dumps(figures_of(rows, clock.elapsed_s(), whole=whole)) + "\n")
    else:
        sys.stdout.write((_CLEAR if live else "") + table_of(rows, whole=whole) + "\n")
    return 0


async def _listen(
    inputs: Sequence[Input], ear: Nearby, seconds: float | None, show: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await listen(inputs, ear, stop, seconds=seconds, show=show)


def _prepared(path: Path, names: Sequence[str], clock: Clock) -> tuple[list[Input], Nearby]:
    """Return what is heard, and who hears it.

    Raises:
        AgentError: the configuration or an input cannot work.
    """
    if not path.exists() and path == config.DEFAULT_PATH:
        ear = Nearby(Enrolment((), ()), load_models().decoder().decode)
        return [Bluetooth(BluetoothOptions(), clock, "bluetooth")], ear
    loaded = config.load(path)
    credentials = config.credentials_in(loaded.credentials_path)
    catalogue = load_models(*map(loaded.beside, loaded.tags.models))
    enrolment = enrolment_of(loaded, kept_push(loaded, credentials))
    ear = Nearby(enrolment, catalogue.decoder().decode)
    entries = _chosen(loaded, names)
    return [input_of(loaded, e, clock, ear.knows, guest=True) for e in entries], ear


def _chosen(loaded: Config, names: Sequence[str]) -> list[InputEntry]:
    """Return the inputs that are heard.

    Raises:
        ConfigError: there is none, or one cannot be heard beside the agent.
    """
    by_name = {entry.name: entry for entry in loaded.inputs}
    for name in names:
        if name not in by_name:
            raise ConfigError(f"no [[input]] is named {name!r}; there are {', '.join(by_name)}")
        if by_name[name].kind in _TAKING:
            raise ConfigError(
                f"input {name} hands everything over once, and the agent needs it: look at what the "
                "server says about it instead"
            )
    if names:
        return [by_name[name] for name in names]
    found = [e for e in loaded.inputs if e.kind in KINDS and KINDS[e.kind].shared]
    if not found:
        raise ConfigError(
            "there is no [[input]] that can be heard beside the agent (bluetooth, mqtt, replay); "
            "stop the agent and name one with --input"
        )
    return found
