"""What the client asks of a reader: pure functions from settings to messages."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from tagtrail_agent.inputs.llrp.wire import Kind, Message, tlv

Numbered = Callable[[int], Message]
"""A request that waits for the number of its message."""

ALL: Final = 0
"""Instead of the number of a specification: every one."""

_EVENT_KINDS: Final = 9
"""Event types 0 to 8 of the protocol, from a change of the hop channel to an antenna's state."""


class Content(IntFlag):
    """Members that a reader puts into each tag report."""

    ROSPEC_ID = 1 << 15
    SPEC_INDEX = 1 << 14
    INVENTORY_PARAMETER_SPEC_ID = 1 << 13
    ANTENNA = 1 << 12
    CHANNEL = 1 << 11
    PEAK_RSSI = 1 << 10
    FIRST_SEEN = 1 << 9
    LAST_SEEN = 1 << 8
    SEEN_COUNT = 1 << 7
    ACCESS_SPEC_ID = 1 << 6


CONTENT: Final = (
    Content.ANTENNA
    | Content.CHANNEL
    | Content.PEAK_RSSI
    | Content.FIRST_SEEN
    | Content.LAST_SEEN
    | Content.SEEN_COUNT
)
"""All that folding and direction use."""


@dataclass(frozen=True, slots=True)
class Transmitter:
    """How one antenna sends.

    Attributes:
        antenna: Port, from 1.
        power_index: Place in the reader's table of powers; None = as the reader is set.
        hop_table: Id of the hopping table; 0 where the reader has none.
        channel: Place in the list of fixed frequencies, from 1; readers that hop ignore it.
    """

    antenna: int
    power_index: int | None = None
    hop_table: int = 1
    channel: int = 1


@dataclass(frozen=True, slots=True)
class Inventory:
    """One reader operation that inventories for ever.

    Attributes:
        transmitters: Antennas, in the order of their turns.
        session: Gen2 session, 0 to 3: 0 lets a tag answer in every round, 2 once in a while.
        population: Tags expected at once.
        report_every_n: Tags after which the reader reports.
        report_timeout_ms: Time after which it reports what it has, milliseconds; 0 = none.
        content: Members of each report.
        rospec_id: Its number, > 0.
    """

    transmitters: Sequence[Transmitter]
    session: int = 0
    population: int = 32
    report_every_n: int = 100
    report_timeout_ms: int = 200
    content: Content = CONTENT
    rospec_id: int = 1


def get_capabilities(number: int) -> Message:
    """Ask for all capabilities."""
    return Message(Kind.GET_READER_CAPABILITIES, number, b"\x00")


def get_config(number: int) -> Message:
    """Ask for the whole configuration, of all antennas and ports."""
    return Message(Kind.GET_READER_CONFIG, number, struct.pack(">HBHH", 0, 0, 0, 0))


def set_config(number: int, *, keepalive_ms: int) -> Message:
    """Switch the optional events off and keepalives on.

    Args:
        number: Of the message.
        keepalive_ms: Time between keepalives, milliseconds, > 0.
    """
    events = (tlv(245, struct.pack(">HB", kind, 0)) for kind in range(_EVENT_KINDS))
    keepalive = tlv(220, struct.pack(">BI", 1, keepalive_ms))
    return Message(Kind.SET_READER_CONFIG, number, b"\x00" + tlv(244, *events) + keepalive)


def add_rospec(number: int, inventory: Inventory) -> Message:
    """Describe the inventory; it starts when it is enabled."""
    start = tlv(179, b"\x01")
    stop = tlv(182, struct.pack(">BI", 0, 0))
    spec = tlv(
        177,
        struct.pack(">IBB", inventory.rospec_id, 0, 0),
        tlv(178, start, stop),
        _antenna_inventory(inventory),
        _report_spec(inventory.content),
    )
    return Message(Kind.ADD_ROSPEC, number, spec)


def _antenna_inventory(inventory: Inventory) -> bytes:
    antennas = [t.antenna for t in inventory.transmitters]
    observation = struct.pack(
        ">BBHHHI", 0, 0, inventory.report_every_n, 0, 0, inventory.report_timeout_ms
    )
    return tlv(
        183,
        struct.pack(f">H{len(antennas)}H", len(antennas), *antennas),
        tlv(184, struct.pack(">BI", 3, 0), tlv(185, observation)),
        tlv(
            186, struct.pack(">HB", 1, 1), *(_antenna(t, inventory) for t in inventory.transmitters)
        ),
    )


def _antenna(transmitter: Transmitter, inventory: Inventory) -> bytes:
    power = b""
    if transmitter.power_index is not None:
        power = tlv(
            224,
            struct.pack(
                ">HHH", transmitter.hop_table, transmitter.channel, transmitter.power_index
            ),
        )
    singulation = tlv(336, struct.pack(">BHI", inventory.session << 6, inventory.population, 0))
    return tlv(222, struct.pack(">H", transmitter.antenna), power, tlv(330, b"\x00", singulation))


def _report_spec(content: Content) -> bytes:
    """Report at the end of each antenna inventory, which `report_every_n` and the timeout end."""
    memory = tlv(348, b"\x00")
    return tlv(237, struct.pack(">BH", 1, 0), tlv(238, struct.pack(">H", content), memory))


def numbered(kind: Kind, number: int, spec_id: int = ALL) -> Message:
    """Ask something about a specification: enable, start, stop, delete it.

    Args:
        kind: ENABLE_, START_, STOP_, DELETE_ROSPEC or DELETE_ACCESSSPEC.
        number: Of the message.
        spec_id: Which; `ALL` for every one.
    """
    return Message(kind, number, struct.pack(">I", spec_id))
