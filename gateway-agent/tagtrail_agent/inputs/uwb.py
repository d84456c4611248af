"""UWB ranges by lines, from a serial port or as UDP packets.

One line is one range: a JSON object with `tag`, `anchor`, `range_m` and perhaps other members of the
wire format, or `tag,anchor,range_m[,sigma_m[,rssi_dbm,first_path_dbm]]`. Bad lines are counted by
reason; none ends the input.
"""

from __future__ import annotations

import asyncio
import logging
import os
import termios
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.common import Backoff, heard_at
from tagtrail_agent.inputs.formats import values
from tagtrail_agent.inputs.formats.values import UnreadableError
from tagtrail_agent.readings import Ear, Reading

MOST_LINE_BYTES: Final = 2_048
"""A longer line is noise: a serial line at the wrong speed sends no line ends."""
MOST_RANGE_M: Final = 1_000.0
"""No UWB radio ranges farther; larger values are failed measurements."""
_MANY_LINES: Final = 4_096
_SPEEDS: Final = (9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600)
_COLUMNS: Final = ("tag", "anchor", "range_m", "sigma_m", "rssi_dbm", "first_path_dbm")
_LIMITS: Final = {
    "sigma_m": (1e-6, 1_000.0),
    "rssi_dbm": (-150.0, 30.0),
    "first_path_dbm": (-150.0, 30.0),
}
"""Limits of the wire format, both allowed: outside them a member is left out, and the range stays."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UwbOptions:
    """kind = "uwb": ranges by lines. Give either `device` or `udp_port`.

    Attributes:
        device: Serial port, such as /dev/ttyACM0.
        baud: Speed of the serial port: 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600.
        udp_host: Address on which packets are taken.
        udp_port: Port on which packets are taken; 0 = any free one.
        retry_most_s: Longest wait before the device is opened again, seconds.
    """

    device: Path | None = None
    baud: int = 115_200
    udp_host: str = "127.0.0.1"
    udp_port: Annotated[int, Range(0, 65_535)] | None = None
    retry_most_s: Annotated[float, Range(0.05, 3_600)] = 30.0


class UwbLines:
    """Hears ranges; see `Input`.

    Attributes:
        name: Name for figures.
        counts: `ranges`, and lines left out by reason.
        port: UDP port, once it is open.

    Args:
        options: Where the lines come from.
        clock: Both clocks.
        name: Name for figures.

    Raises:
        AgentError: neither or both sources are given, or the speed is none of a serial port.
    """

    def __init__(self, options: UwbOptions, clock: Clock, name: str = "uwb") -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.port = 0
        self._options, self._clock = options, clock
        if (options.device is None) == (options.udp_port is None):
            raise AgentError(f"input {name}: give either `device` or `udp_port`")
        if options.baud not in _SPEEDS:
            raise AgentError(f"input {name}: baud must be one of {', '.join(map(str, _SPEEDS))}")

    async def run(self, ear: Ear) -> None:
        """Hear until cancelled.

        Raises:
            AgentError: the UDP port cannot be used.
        """
        if self._options.device is not None:
            await self._read_device(self._options.device, ear)
        else:
            await self._read_packets(ear)

    async def _read_packets(self, ear: Ear) -> None:
        loop, options = asyncio.get_running_loop(), self._options
        place = (options.udp_host, options.udp_port or 0)
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Packets(lambda data: self._packet(data, ear)), local_addr=place
            )
        except OSError as error:
            raise AgentError(
                f"input {self.name}: UDP {place[0]}:{place[1]} cannot be used ({error}); choose "
                "another udp_port, or end the program that holds it"
            ) from error
        self.port = transport.get_extra_info("sockname")[1]
        try:
            await loop.create_future()
        finally:
            transport.close()

    def _packet(self, data: bytes, ear: Ear) -> None:
        self._hear(data.splitlines(), ear)

    async def _read_device(self, device: Path, ear: Ear) -> None:
        backoff = Backoff(min(0.5, self._options.retry_most_s), self._options.retry_most_s)
        while True:
            try:
                descriptor = _opened(device, self._options.baud)
            except (OSError, termios.error) as error:
                self.counts["device_lost"] += 1
                log.warning("uwb.no_device", extra={"input": self.name, "reason": str(error)})
            else:
                backoff.reset()
                log.info("uwb.opened", extra={"input": self.name})
                await self._read_lines(descriptor, ear)
                self.counts["device_lost"] += 1
            await asyncio.sleep(backoff.next_s())

    async def _read_lines(self, descriptor: int, ear: Ear) -> None:
        """Read until the device goes away; closes it."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        lines = Lines()

        def readable() -> None:
            try:
                data = os.read(descriptor, 65_536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._hear(lines.add(data), ear)
            if lines.overlong:
                self.counts["overlong"] += lines.take_overlong()
            if not data and not gone.done():
                gone.set_result(None)

        loop.add_reader(descriptor, readable)
        try:
            await gone
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _hear(self, lines: list[bytes], ear: Ear) -> None:
        if len(lines) > _MANY_LINES:
            self.counts["flooded"] += len(lines) - _MANY_LINES
        readings = [r for line in lines[:_MANY_LINES] if (r := self._reading(line)) is not None]
        if readings:
            self.counts["ranges"] += len(readings)
            ear.hear(readings)

    def _reading(self, line: bytes) -> Reading | None:
        if not line.strip():
            return None
        try:
            members, own = read_line(line)
        except UnreadableError as error:
            self.counts[error.reason] += 1
            return None
        at, elapsed_s = heard_at(own, self._clock)
        tag, anchor = members.pop("tag"), members.pop("anchor")
        return Reading(tag, at, elapsed_s, {**members, "technology": "uwb"}, anchor)


def read_line(line: bytes) -> tuple[dict[str, Any], datetime | None]:
    """Read one line.

    Args:
        line: Any bytes, without the line end.

    Returns:
        The members `tag`, `anchor`, `range_m` and others, and the time in the line if it has one.

    Raises:
        UnreadableError: it holds no range; the reason is one of `overlong`, `no_text`, `no_json`,
            `no_object`, `columns`, `no_identity`, `no_gateway`, `no_range`, `range_outside`.

    Example:
        >>> read_line(b"58:b1:29:44:94:d3, anchor-1, 3.52, 0.1")[0]["tag"]
        'mac:58b1294494d3'
        >>> read_line(b"T7,a1,2.5")[0]
        {'tag': 'uwb:T7', 'anchor': 'a1', 'range_m': 2.5}
    """
    if len(line) > MOST_LINE_BYTES:
        raise UnreadableError("overlong")
    line = line.strip()
    raw = values.parse_object(line) if line[:1] == b"{" else _columns(line)
    tag, anchor = _identity(raw.get("tag")), values.receiver(raw.get("anchor"))
    if tag is None:
        raise UnreadableError("no_identity")
    if anchor is None:
        raise UnreadableError("no_gateway")
    range_m = values.number(raw, "range_m")
    if range_m is None:
        raise UnreadableError("no_range")
    if not 0 <= range_m <= MOST_RANGE_M:
        raise UnreadableError("range_outside")
    members: dict[str, Any] = {"tag": tag, "anchor": anchor, "range_m": range_m}
    for name, (least, most) in _LIMITS.items():
        value = values.number(raw, name)
        if value is not None and least <= value <= most:
            members[name] = value
    sequence = values.integer(raw, "sequence")
    if sequence is not None:
        members["sequence"] = sequence
    return members, values.moment(raw, "at")


def _columns(line: bytes) -> dict[str, Any]:
    try:
        columns = [column.strip() for column in line.decode("ascii").split(",")]
    except UnicodeDecodeError as error:
        raise UnreadableError("no_text") from error
    if len(columns) not in (3, 4, 6):
        raise UnreadableError("columns")
    return dict(zip(_COLUMNS, columns, strict=False))


def _identity(value: object) -> str | None:
    """Return the tag's identity: as given, a radio address, or a UWB radio's own number."""
    address = values.mac(value)
    if address is not None:
        return f"mac:{address}"
    name = values.text(value)
    return name if name is None or ":" in name else f"uwb:{name}"


class Lines:
    """Cuts a stream into lines of bounded length.

    Attributes:
        overlong: Number of lines thrown away because they were too long.
    """

    def __init__(self) -> None:
        self.overlong = 0
        self._begun = b""
        self._skipping = False

    def add(self, data: bytes) -> list[bytes]:
        """Take bytes and return the lines that they complete."""
        return list(self._complete(data))

    def take_overlong(self) -> int:
        """Return the number of lines thrown away since the last call."""
        count, self.overlong = self.overlong, 0
        return count

    def _complete(self, data: bytes) -> Iterator[bytes]:
        *whole, rest = (self._begun + data).split(b"\n")
        for line in whole:
            if not self._skipping:
                yield line
            self._skipping = False
        if len(rest) > MOST_LINE_BYTES:
            self.overlong += not self._skipping
            self._skipping, rest = True, b""
        self._begun = rest


class _Packets(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data)


def _opened(device: Path, baud: int) -> int:
    """Open a serial port in raw mode: 8 bits, no parity, no echo, nothing translated.

    Raises:
        OSError: there is no such device, or it may not be opened.
        termios.error: it is no serial port.
    """
    descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        speed = getattr(termios, f"B{baud}")
        flags = termios.CS8 | termios.CREAD | termios.CLOCAL
        control = termios.tcgetattr(descriptor)[6]
        termios.tcsetattr(descriptor, termios.TCSANOW, [0, 0, flags, 0, speed, speed, control])
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
