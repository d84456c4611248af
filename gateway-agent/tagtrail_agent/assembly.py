"""From [[input]] entries to inputs; each kind is loaded only where it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tagtrail_agent.binding import bind
from tagtrail_agent.clock import Clock
from tagtrail_agent.config import Config, InputEntry
from tagtrail_agent.readings import Input
from tagtrail_agent.simulation import Simulation, SimulationOptions


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of input.

    Attributes:
        module: Where it is.
        options: Name of its options' dataclass.
        make: Name of what makes it: (options, clock, name) -> Input.
        words: What it is, for people.
        asks: Whether it asks which identities are enrolled.
    """

    module: str
    options: str
    make: str
    words: str
    asks: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "simulated": Kind(
        "tagtrail_agent.simulation", "SimulationOptions", "Simulation", "tags that do not exist"
    ),
    "bluetooth": Kind(
        "tagtrail_agent.inputs.bluetooth",
        "BluetoothOptions",
        "Bluetooth",
        "this machine's radio; needs the extra: pip install 'tagtrail-agent[bluetooth]'",
    ),
    "mqtt": Kind(
        "tagtrail_agent.inputs.mqtt",
        "MqttOptions",
        "MqttGateways",
        "other gateways, by a local broker",
        asks=True,
    ),
    "rfid": Kind("tagtrail_agent.inputs.llrp.client", "LlrpOptions", "LlrpReader", "RFID readers"),
    "uwb": Kind(
        "tagtrail_agent.inputs.uwb", "UwbOptions", "UwbLines", "ranges, by serial port or UDP"
    ),
    "phones": Kind(
        "tagtrail_agent.inputs.phone",
        "PhonesOptions",
        "Phones",
        "phones: taps, codes, scans",
        asks=True,
    ),
    "replay": Kind(
        "tagtrail_agent.inputs.replay", "ReplayOptions", "Replay", "a recording in a file"
    ),
    "lines": Kind(
        "tagtrail_agent.piping", "LinesOptions", "Lines", "another program, by standard input"
    ),
}


def input_of(
    config: Config, entry: InputEntry, clock: Clock, enrolled: Callable[[str], bool]
) -> Input:
    """Make an input.

    Args:
        config: Where it is described.
        entry: Its description.
        clock: Both clocks.
        enrolled: Says whether an identity may leave the gateway.

    Raises:
        ConfigError: the kind is unknown, or an option does not fit; names the line.
        AgentError: the input cannot work here, for example because a package is missing.
    """
    kind = KINDS.get(entry.kind)
    if kind is None:
        raise config.document.fault(
            (*entry.place, "kind"), f"is {entry.kind!r}; there are {', '.join(sorted(KINDS))}"
        )
    module = importlib.import_module(kind.module)
    options: Any = bind(getattr(module, kind.options), config.document, entry.options, entry.place)
    make: Callable[..., Input] = getattr(module, kind.make)
    if kind.asks:
        return make(options, clock, entry.name, enrolled=enrolled)
    return make(options, clock, entry.name)


def simulation(options: SimulationOptions, clock: Clock) -> Input:
    """Make the input of `tagtrail-agent simulate`."""
    return Simulation(options, clock)
