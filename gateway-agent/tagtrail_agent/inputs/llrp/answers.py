"""What a reader says: pure functions from any bytes to values; none of them raises."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tagtrail_agent.inputs.llrp.wire import read_parameters

CONNECTED: Final = 0
"""Status of a connection attempt that succeeded."""
CONNECTION_REFUSALS: Final = {
    1: "another reader-initiated connection exists",
    2: "another client is connected",
    3: "the reader refuses connections at present",
    4: "another connection was attempted",
}
"""Why a reader refuses a connection, by the status of its event."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a request ended.

    Attributes:
        code: 0 = success; the protocol's numbers otherwise.
        text: The reader's own words, at most 200 characters.
    """

    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What the reader tells about itself.

    Attributes:
        connection: Status of our connection attempt; None if the event is about something else.
        closing: Whether the reader closes the connection.
        exception: Text of an exception at the reader; None if there is none.
        utc_us: The reader's wall clock, microseconds since 1970; None if it tells the other.
        uptime_us: Time since its start, microseconds.
    """

    connection: int | None = None
    closing: bool = False
    exception: str | None = None
    utc_us: int | None = None
    uptime_us: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader can do.

    Attributes:
        antennas: Number of ports; 0 = it did not say.
        has_utc_clock: Whether its times are UTC and not since its start.
        firmware: Version, as the reader writes it.
        powers_dbm: Index and power of each level of its table, dBm.
        hop_tables: Ids of its hopping tables; empty for fixed frequencies.
    """

    antennas: int = 0
    has_utc_clock: bool = False
    firmware: str = ""
    powers_dbm: dict[int, float] = field(default_factory=dict)
    hop_tables: tuple[int, ...] = ()


@dataclass(slots=True)
class TagRead:
    """One tag report: one or more reads of one EPC by one antenna.

    Attributes:
        epc: Upper-case hexadecimal digits.
        antenna: Port, from 1; 0 = not told.
        peak_rssi_dbm: Strongest of the reads, dBm; None = not told.
        channel: Place in the frequency table.
        first_utc_us, last_utc_us: Times by the reader's wall clock, microseconds since 1970.
        first_uptime_us, last_uptime_us: Times since the reader's start, microseconds.
        seen: Number of reads, >= 1.
    """

    epc: str
    antenna: int = 0
    peak_rssi_dbm: int | None = None
    channel: int | None = None
    first_utc_us: int | None = None
    last_utc_us: int | None = None
    first_uptime_us: int | None = None
    last_uptime_us: int | None = None
    seen: int = 1


def read_status(body: bytes) -> Status | None:
    """Return the status in an answer or error message; None if it has none."""
    for kind, value in read_parameters(body).items:
        if kind == 287 and len(value) >= 4:
            code, length = struct.unpack_from(">HH", value)
            return Status(code, value[4 : 4 + length].decode("utf-8", "replace")[:200])
    return None


def read_event(body: bytes) -> Event:
    """Read a READER_EVENT_NOTIFICATION; what it tells of other things is left out."""
    connection, closing, exception = None, False, None
    times: dict[int, int] = {}
    for kind, value in _within(body, 246):
        if kind in (128, 129):
            times[kind] = int.from_bytes(value[:8], "big")
        elif kind == 256 and len(value) >= 2:
            connection = int.from_bytes(value[:2], "big")
        elif kind == 257:
            closing = True
        elif kind == 252:
            exception = value[2:].decode("utf-8", "replace")[:200]
    return Event(connection, closing, exception, times.get(128), times.get(129))


def read_capabilities(body: bytes) -> Capabilities:
    """Read a GET_READER_CAPABILITIES_RESPONSE; what is missing keeps its default."""
    antennas, has_clock, firmware = 0, False, ""
    powers: dict[int, float] = {}
    hop_tables: list[int] = []
    for kind, value in read_parameters(body).items:
        if kind == 137 and len(value) >= 14:
            antennas, flags = struct.unpack_from(">HH", value)
            has_clock = bool(flags & 0x4000)
            length = int.from_bytes(value[12:14], "big")
            firmware = value[14 : 14 + length].decode("utf-8", "replace")[:100]
        elif kind == 143:
            for band in (v for k, v in _parameters_after(value, 4) if k == 144):
                _read_band(band, powers, hop_tables)
    return Capabilities(antennas, has_clock, firmware, powers, tuple(hop_tables))


def _read_band(band: bytes, powers: dict[int, float], hop_tables: list[int]) -> None:
    for kind, value in read_parameters(band).items:
        if kind == 145 and len(value) >= 4:
            index, hundredths = struct.unpack_from(">Hh", value)
            powers[index] = hundredths / 100
        elif kind == 146:
            hop_tables.extend(v[0] for k, v in _parameters_after(value, 1) if k == 147 and v)


def read_report(body: bytes) -> tuple[list[TagRead], int]:
    """Read a RO_ACCESS_REPORT.

    Args:
        body: Of the message; any bytes.

    Returns:
        The tag reports, and how many of them were left out because they have no EPC or are cut.
    """
    reads: list[TagRead] = []
    outer = read_parameters(body)
    faults = 0 if outer.whole else 1
    for kind, value in outer.items:
        if kind != 240:
            continue
        read = _read_tag(value)
        if read is None:
            faults += 1
        else:
            reads.append(read)
    return reads, faults


def _set(name: str, *, signed: bool = False) -> Callable[[TagRead, bytes], None]:
    def put(read: TagRead, value: bytes) -> None:
        setattr(read, name, int.from_bytes(value, "big", signed=signed))

    return put


_MEMBERS: Final = {
    1: _set("antenna"),
    2: _set("first_utc_us"),
    3: _set("first_uptime_us"),
    4: _set("last_utc_us"),
    5: _set("last_uptime_us"),
    6: _set("peak_rssi_dbm", signed=True),
    7: _set("channel"),
    8: _set("seen"),
}
"""Members of a tag report that are numbers, by their parameter type."""


def _read_tag(value: bytes) -> TagRead | None:
    items, whole = read_parameters(value)
    epc = next((e for e in map(_epc, items) if e), None)
    if epc is None or not whole:
        return None
    read = TagRead(epc)
    for kind, member in items:
        put = _MEMBERS.get(kind)
        if put is not None:
            put(read, member)
    read.seen = max(read.seen, 1)
    return read


def _epc(item: tuple[int, bytes]) -> str | None:
    """Return the EPC of a parameter: 96 bits, or EPCData with its own number of bits."""
    kind, value = item
    if kind == 13:
        return value.hex().upper()
    if kind != 241 or len(value) < 2:
        return None
    size = (int.from_bytes(value[:2], "big") + 7) // 8
    return value[2 : 2 + size].hex().upper() if 0 < size <= len(value) - 2 else None


def _within(body: bytes, outer: int) -> Iterator[tuple[int, bytes]]:
    for kind, value in read_parameters(body).items:
        if kind == outer:
            yield from read_parameters(value).items


def _parameters_after(value: bytes, fixed_bytes: int) -> list[tuple[int, bytes]]:
    return read_parameters(value[fixed_bytes:]).items
