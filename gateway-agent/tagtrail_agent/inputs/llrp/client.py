"""A RAIN RFID reader over LLRP: connect, configure, inventory, watch, connect again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs.common import Backoff
from tagtrail_agent.inputs.llrp import answers, requests
from tagtrail_agent.inputs.llrp.clock import ReaderClock
from tagtrail_agent.inputs.llrp.wire import (
    ANSWER_OF,
    HEAD_BYTES,
    Kind,
    Message,
    read_head,
)
from tagtrail_agent.inputs.portal import FoldingOptions, PortalOptions, Read, ReadFolder
from tagtrail_agent.readings import Ear

PLAIN_PORT: Final = 5084
"""The protocol's registered port; with TLS it is 5085."""
_ALL_ANTENNAS: Final = 0
"""Instead of a port, where the reader does not tell how many it has."""
_KEEPALIVES_MISSED: Final = 3
"""Silence of so many keepalives means that the reader is gone."""
_EARLY_MESSAGES: Final = 1_000
"""Messages kept while an answer is awaited: what a reader sends in five seconds at most."""
_GOODBYE_S: Final = 1.0
"""How long the last bytes may take to a reader that may be gone, seconds."""

log = logging.getLogger(__name__)


class ReaderFaultError(Exception):
    """The reader refuses, closes or speaks nonsense; connecting again may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlrpOptions:
    """kind = "rfid": one reader.

    Attributes:
        gateway_id: Receiver that its readings name; None = the agent's own gateway.
        host: Name or address.
        port: TCP port.
        tls_ca_file: PEM file of the authority that signed the reader's certificate; None = no TLS.
        antennas: Ports to use, from 1, in the order of their turns; empty = all.
        power_dbm: Power of each antenna, dBm: the highest of the reader's table not above it, or its
            lowest; None = as the reader is set.
        session: Gen2 session, 0 to 3; 0 reads a tag again and again, which direction needs.
        tag_population: Tags expected at once, 1 to 65,535.
        report_every_n: Reads after which the reader reports, 1 to 65,535.
        report_timeout_ms: Time after which it reports what it has, milliseconds, >= 1.
        keepalive_s: Time between the reader's keepalives, seconds, > 0; three missed ones end the
            connection.
        answer_timeout_s: How long connecting and each answer may take, seconds, > 0.
        retry_least_s, retry_most_s: Waits before connecting again, seconds, > 0.
        portals: Pairs of antenna groups that tell a direction; other antennas tell bursts.
        folding: When reads belong together.
    """

    host: str
    gateway_id: str | None = None
    port: Annotated[int, Range(1, 65_535)] = PLAIN_PORT
    tls_ca_file: Path | None = None
    antennas: tuple[int, ...] = ()
    power_dbm: float | None = None
    session: Annotated[int, Range(0, 3)] = 0
    tag_population: Annotated[int, Range(1, 65_535)] = 32
    report_every_n: Annotated[int, Range(1, 65_535)] = 100
    report_timeout_ms: Annotated[int, Range(1, 60_000)] = 200
    keepalive_s: Annotated[float, Range(0.01, 3_600)] = 10.0
    answer_timeout_s: Annotated[float, Range(0.1, 600)] = 5.0
    retry_least_s: Annotated[float, Range(0.01, 600)] = 1.0
    retry_most_s: Annotated[float, Range(0.1, 3_600)] = 60.0
    portals: tuple[PortalOptions, ...] = ()
    folding: FoldingOptions = field(default_factory=FoldingOptions)


class LlrpReader:
    """Inventories one reader for ever; see `Input`.

    Attributes:
        name: Name for figures and messages.
        counts: `connections`, `reads`, `readings`, and faults by reason.
        connected: Whether the reader inventories at present.

    Args:
        options: Which reader, and how.
        clock: Both clocks.
        name: Name for figures and messages.

    Raises:
        AgentError: the options contradict themselves.
    """

    def __init__(self, options: LlrpOptions, clock: Clock, name: str = "rfid") -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.connected = False
        self._options, self._clock = options, clock
        try:
            self._folder = ReadFolder(options.gateway_id, options.portals, options.folding)
        except ValueError as error:
            raise AgentError(f"reader {name}: {error}") from error

    async def run(self, ear: Ear) -> None:
        """Hear until cancelled.

        Raises:
            AgentError: the reader has not the antennas asked for, or the CA file cannot be read.
        """
        telling = asyncio.create_task(self._tell(ear))
        try:
            await self._keep_connected()
        finally:
            telling.cancel()
            self._hand_on(ear, last=True)

    async def _tell(self, ear: Ear) -> None:
        """Hand on what has ended, four times per quiet time."""
        while True:
            await asyncio.sleep(self._options.folding.quiet_s / 4)
            self._hand_on(ear)

    def _hand_on(self, ear: Ear, *, last: bool = False) -> None:
        end = self._folder.flush if last else self._folder.due
        readings = end(self._clock.now(), self._clock.elapsed_s())
        if readings:
            self.counts["readings"] += len(readings)
            ear.hear(readings)

    async def _keep_connected(self) -> None:
        backoff = Backoff(self._options.retry_least_s, self._options.retry_most_s)
        while True:
            try:
                async with self._connection() as connection:
                    await self._inventory(connection, backoff)
            except (OSError, EOFError, ReaderFaultError) as error:
                self._note(error)
            finally:
                self.connected = False
            await asyncio.sleep(backoff.next_s())

    def _note(self, error: Exception) -> None:
        reason = "refused" if isinstance(error, ReaderFaultError) else "connection_lost"
        self.counts[reason] += 1
        log.warning("llrp.lost", extra={"input": self.name, "reason": str(error)[:200]})

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        options = self._options
        async with asyncio.timeout(options.answer_timeout_s):
            reader, writer = await asyncio.open_connection(
                options.host, options.port, ssl=self._tls()
            )
        connection = _Connection(reader, writer, options.answer_timeout_s)
        try:
            yield connection
        finally:
            await connection.leave()

    def _tls(self) -> ssl.SSLContext | None:
        if self._options.tls_ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=self._options.tls_ca_file)
        except OSError as error:
            raise AgentError(
                f"reader {self.name}: the CA file {self._options.tls_ca_file} cannot "
                f"be read ({error}); give a PEM file"
            ) from error

    async def _inventory(self, connection: _Connection, backoff: Backoff) -> None:
        await self._configure(connection)
        self.counts["connections"] += 1
        self.connected = True
        backoff.reset()
        log.info("llrp.inventorying", extra={"input": self.name})
        clock, silence_s = connection.clock, self._options.keepalive_s * _KEEPALIVES_MISSED
        for message in connection.early:
            self._take(message, clock)
        connection.early.clear()
        while True:
            self._take(await connection.receive(silence_s), clock)

    async def _configure(self, connection: _Connection) -> None:
        await connection.welcome(self._clock)
        answer = await connection.ask(requests.get_capabilities)
        can = answers.read_capabilities(answer.body)
        inventory = self._plan(can)
        await connection.ask(lambda n: requests.numbered(Kind.DELETE_ROSPEC, n))
        keepalive_ms = max(int(self._options.keepalive_s * 1000), 1)
        await connection.ask(lambda n: requests.set_config(n, keepalive_ms=keepalive_ms))
        await connection.ask(lambda n: requests.add_rospec(n, inventory))
        await connection.ask(
            lambda n: requests.numbered(Kind.ENABLE_ROSPEC, n, inventory.rospec_id)
        )

    def _plan(self, can: answers.Capabilities) -> requests.Inventory:
        """Fit the options to the reader.

        Raises:
            AgentError: it has fewer antennas, or a portal has one that is not in use.
        """
        options = self._options
        of_portals = {a for p in options.portals for a in (*p.outer, *p.inner)}
        told = tuple(range(1, can.antennas + 1)) or tuple(sorted(of_portals))
        antennas = options.antennas or told or (_ALL_ANTENNAS,)
        wanted = {*antennas, *of_portals}
        if can.antennas and max(wanted) > can.antennas:
            raise AgentError(
                f"reader {self.name} has {can.antennas} antenna ports, but antenna "
                f"{max(wanted)} is configured; correct `antennas` and the portals"
            )
        if unused := wanted - set(antennas):
            raise AgentError(
                f"reader {self.name}: a portal has antenna {min(unused)}, which is not in "
                "use; add it to `antennas`"
            )
        power = None if options.power_dbm is None else _power_index(can, options.power_dbm)
        hop_table = can.hop_tables[0] if can.hop_tables else 0
        return requests.Inventory(
            [requests.Transmitter(a, power, hop_table) for a in antennas],
            session=options.session,
            population=options.tag_population,
            report_every_n=options.report_every_n,
            report_timeout_ms=options.report_timeout_ms,
        )

    def _take(self, message: Message, clock: _ReaderClocks) -> None:
        if message.kind == Kind.RO_ACCESS_REPORT:
            reads, faults = answers.read_report(message.body)
            self.counts["reads"] += sum(read.seen for read in reads)
            if faults:
                self.counts["unreadable_report"] += faults
            arrived_s = self._clock.elapsed_s()
            for read in reads:
                self._folder.add(_reads(read, clock, arrived_s))
        elif message.kind == Kind.READER_EVENT_NOTIFICATION:
            event = answers.read_event(message.body)
            if event.exception is not None:
                self.counts["reader_exception"] += 1
            if event.closing:
                raise ReaderFaultError("the reader closes the connection")
        elif message.kind == Kind.ERROR_MESSAGE:
            self.counts["reader_error"] += 1


def _power_index(can: answers.Capabilities, power_dbm: float) -> int | None:
    if not can.powers_dbm:
        return None
    fitting = {i: p for i, p in can.powers_dbm.items() if p <= power_dbm} or {
        min(can.powers_dbm, key=lambda i: can.powers_dbm[i]): 0.0
    }
    return max(fitting, key=lambda i: fitting[i])


def _reads(read: answers.TagRead, clock: _ReaderClocks, arrived_s: float) -> list[Read]:
    """Turn a report into reads: several are taken to be half at its first, half at its last time."""
    first_us, last_us, reader = read.first_utc_us, read.last_utc_us, clock.utc
    if first_us is None and last_us is None:
        first_us, last_us, reader = read.first_uptime_us, read.last_uptime_us, clock.uptime
    last_us = first_us if last_us is None else last_us
    if last_us is None:
        last_s = first_s = arrived_s
    else:
        last_s = reader.elapsed_s(last_us / 1e6, arrived_s)
        first_s = last_s - max(last_us - (last_us if first_us is None else first_us), 0) / 1e6
    early = read.seen // 2
    parts = [(early, first_s), (read.seen - early, last_s)]
    return [Read(read.epc, read.antenna, read.peak_rssi_dbm, s, n) for n, s in parts if n]


@dataclass(frozen=True, slots=True)
class _ReaderClocks:
    """The two clocks that a reader may report by."""

    utc: ReaderClock = field(default_factory=ReaderClock)
    uptime: ReaderClock = field(default_factory=ReaderClock)

    def start(self, event: answers.Event, arrived_s: float) -> None:
        """Learn the difference to our clock from the reader's first words."""
        if event.utc_us is not None:
            self.utc.elapsed_s(event.utc_us / 1e6, arrived_s)
        if event.uptime_us is not None:
            self.uptime.elapsed_s(event.uptime_us / 1e6, arrived_s)


class _Connection:
    """One TCP connection to a reader.

    Attributes:
        clock: The reader's clocks against ours.
        early: Messages that came while an answer was awaited.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_timeout_s: float
    ) -> None:
        self._reader, self._writer, self._timeout_s = reader, writer, answer_timeout_s
        self._number, self._welcome = 0, False
        self.early: list[Message] = []
        self.clock = _ReaderClocks()

    async def receive(self, within_s: float) -> Message:
        """Return the next message; keepalives are answered and not returned.

        Raises:
            TimeoutError: nothing at all came in time (an OSError).
            EOFError: the reader closed the connection.
            ReaderFaultError: the stream is not LLRP.
        """
        while True:
            async with asyncio.timeout(within_s):
                head = read_head(await self._reader.readexactly(HEAD_BYTES))
                if head is None:
                    raise ReaderFaultError("what answers there does not speak LLRP 1.0.1 or 1.1")
                message = Message(
                    head.kind, head.id, await self._reader.readexactly(head.body_bytes)
                )
            if message.kind != Kind.KEEPALIVE:
                return message
            self._writer.write(Message(Kind.KEEPALIVE_ACK, message.id).encode())

    async def welcome(self, clock: Clock) -> None:
        """Await the reader's word that it takes the connection.

        Args:
            clock: Ours.

        Raises:
            ReaderFaultError: it refuses, for example because another client is connected.
        """
        message = await self.receive(self._timeout_s)
        event = answers.read_event(message.body)
        status = event.connection
        if message.kind != Kind.READER_EVENT_NOTIFICATION or status is None:
            raise ReaderFaultError("the reader did not begin with its connection event")
        if status != answers.CONNECTED:
            why = answers.CONNECTION_REFUSALS.get(status, f"status {status}")
            raise ReaderFaultError(f"the reader refuses the connection: {why}")
        self._welcome = True
        self.clock.start(event, clock.elapsed_s())

    async def ask(self, request: requests.Numbered) -> Message:
        """Send a request and return its answer, which reports success.

        Raises:
            ReaderFaultError: the reader refuses.
        """
        self._number += 1
        message = request(self._number)
        self._writer.write(message.encode())
        answer_kind = ANSWER_OF[Kind(message.kind)]
        async with asyncio.timeout(self._timeout_s):
            await self._writer.drain()
            while True:
                got = await self.receive(self._timeout_s)
                if got.id == message.id and got.kind in (answer_kind, Kind.ERROR_MESSAGE):
                    break
                self.early.append(got)
                if len(self.early) > _EARLY_MESSAGES:
                    raise ReaderFaultError("the reader reports but does not answer")
        status = answers.read_status(got.body)
        if status is None or status.code:
            text = status or "no status"
            raise ReaderFaultError(f"the reader refuses {Kind(message.kind).name}: {text}")
        return got

    async def leave(self) -> None:
        """Ask a reader that took the connection to stop; close, without awaiting its answers."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._welcome:
                stop = requests.numbered(Kind.DELETE_ROSPEC, self._number + 1)
                close = Message(Kind.CLOSE_CONNECTION, self._number + 2)
                self._writer.write(stop.encode() + close.encode())
            self._writer.close()
            async with asyncio.timeout(_GOODBYE_S):
                await self._writer.wait_closed()
