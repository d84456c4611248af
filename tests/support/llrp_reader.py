"""Readers to test against: the shared simulator, made to restart, and one that follows a script."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

CONNECTED = bytes.fromhex("043f000000200000000100f600160080000c000660f728e023a2010000060000")
"""A reader's first message, from the shared vectors."""
REFUSED = CONNECTED[:-2] + b"\x00\x02"
"""The same, but another client is connected."""
OK = bytes.fromhex("011f000800000000")

Answer = Callable[[int, int], bytes]


def message(kind: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack(">HII", 0x0400 | kind, 10 + len(body), number) + body


def tag_report(epc: str, antenna: int, rssi_dbm: int, utc_us: int) -> bytes:
    """Return one TagReportData: EPC-96, antenna, power, time of the last read."""
    body = b"\x8d" + bytes.fromhex(epc) + b"\x81" + struct.pack(">H", antenna)
    body += b"\x86" + struct.pack(">b", rssi_dbm) + b"\x84" + struct.pack(">Q", utc_us)
    return struct.pack(">HH", 240, 4 + len(body)) + body


class SimulatedReader:
    """The shared `llrp_sim.py` on a port that stays the same over restarts.

    Args:
        shared_data: Folder of the shared data; the simulator lies beside it.
        epcs: Tags in the field.
        reads_per_s: How often one is read.
    """

    def __init__(self, shared_data: Path, epcs: Sequence[str], reads_per_s: int = 2000) -> None:
        path = shared_data.parent / "tools" / "llrp_sim.py"
        spec = importlib.util.spec_from_file_location("llrp_sim", path)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.sim = module.Sim([bytes.fromhex(e) for e in epcs], reads_per_s)
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await self.sim.client(reader, writer)

    async def stop(self) -> None:
        """Go away at once, as when the power fails."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[SimulatedReader]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()


class ScriptedReader:
    """A reader that begins with given bytes and answers each request as told.

    Args:
        first: What it sends to a new client.
        answers: By message type of the request; None and others get a plain success.
        ticks: Bytes that it sends every 20 ms once a ROSpec is enabled.
        reports: Bytes that it sends once, then.
    """

    def __init__(
        self,
        first: bytes = CONNECTED,
        answers: dict[int, bytes] | None = None,
        ticks: bytes = b"",
        reports: bytes = b"",
    ) -> None:
        self.first, self.answers, self.ticks = first, answers or {}, ticks
        self.reports = reports
        self.asked: list[int] = []
        self.connections = 0
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ScriptedReader]:
        tasks: set[asyncio.Task[None]] = set()
        writers: list[asyncio.StreamWriter] = []

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            writers.append(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._serve(reader, writer, tasks)

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self.connections += 1
        writer.write(self.first)
        while True:
            head = await reader.readexactly(10)
            kind, length, number = struct.unpack(">HII", head)
            await reader.readexactly(length - 10)
            self.asked.append(kind & 0x3FF)
            if kind & 0x3FF not in (72, 14):
                body = self.answers.get(kind & 0x3FF, OK)
                writer.write(message((kind & 0x3FF) + 10, number, body))
            if kind & 0x3FF == 24:
                writer.write(self.reports)
            if kind & 0x3FF == 24 and self.ticks:
                tasks.add(asyncio.create_task(self._tick(writer)))

    async def _tick(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(self.ticks)
                await writer.drain()
                await asyncio.sleep(0.02)
