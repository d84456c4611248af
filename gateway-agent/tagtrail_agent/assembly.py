"""From [[input]] entries to inputs; each kind is loaded only where it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tagtrail_agent.binding import bind
from tagtrail_agent.clock import Clock
from tagtrail_agent.config import Config, InputEntry
from tagtrail_agent.courier import Courier
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
        passes: Whether it hands messages over that only the server reads.
        shared: Whether it may be heard beside a running agent, without taking anything from it.
    """

    module: str
    options: str
    make: str
    words: str
    asks: bool = False
    passes: bool = False
    shared: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "simulated": Kind(
        "tagtrail_agent.simulation",
        "SimulationOptions",
        "Simulation",
        "tags that do not exist",
        shared=True,
    ),
    "bluetooth": Kind(
        "tagtrail_agent.inputs.bluetooth",
        "BluetoothOptions",
        "Bluetooth",
        "this machine's radio; needs the extra: pip install 'tagtrail-agent[bluetooth]'",
        shared=True,
    ),
    "mqtt": Kind(
        "tagtrail_agent.inputs.mqtt",
        "MqttOptions",
        "MqttGateways",
        "other gateways, by a local broker",
        asks=True,
        passes=True,
        shared=True,
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
        "tagtrail_agent.inputs.replay",
        "ReplayOptions",
        "Replay",
        "a recording in a file",
        shared=True,
    ),
    "lines": Kind(
        "tagtrail_agent.piping", "LinesOptions", "Lines", "another program, by standard input"
    ),
}


def input_of(
    config: Config,
    entry: InputEntry,
    clock: Clock,
    enrolled: Callable[[str], bool],
    courier: Courier | None = None,
    *,
    guest: bool = False,
) -> Input:
    """Make an input.

    Args:
        config: Where it is described.
        entry: Its description.
        clock: Both clocks.
        enrolled: Says whether an identity may leave the gateway.
        courier: Takes messages that only the server reads; without one they are counted.
        guest: Whether it only listens beside a running agent.

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
    more: dict[str, Any] = {"enrolled": enrolled} if kind.asks else {}
    if kind.passes:
        _refuse_the_servers_broker(config, entry, options)
        more |= {"courier": courier, "guest": guest}
    return make(options, clock, entry.name, **more)


def _refuse_the_servers_broker(config: Config, entry: InputEntry, options: Any) -> None:
    """Refuse an input on the broker that the agent delivers to: it would hear itself for ever.

    Raises:
        ConfigError: it is the same address.
    """
    server = urlsplit(config.server.mqtt or "")
    port = server.port or (8883 if server.scheme == "mqtts" else 1883)
    if config.server.way == "mqtt" and (server.hostname, port) == (options.host, options.port):
        raise config.document.fault(
            entry.place,
            "is the server's own broker: the server hears the gateways there by itself; "
            "remove this input",
        )


def simulation(options: SimulationOptions, clock: Clock) -> Input:
    """Make the input of `tagtrail-agent simulate`."""
    return Simulation(options, clock)
