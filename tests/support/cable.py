"""A TCP connection that a test can cut and mend."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Cable:
    """Forwards a port of the loopback to another one."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._ends: set[asyncio.StreamWriter] = set()
        self._whole = True
        self.server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port to connect to."""
        assert self.server is not None
        return int(self.server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._whole = False
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    async def plug(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        if not self._whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.write_eof()


@contextlib.asynccontextmanager
async def cable_to(url: str) -> AsyncIterator[tuple[Cable, str]]:
    """Lend a cable to a server; gives it and the address through it."""
    parts = urlsplit(url)
    cable = Cable(parts.hostname or "127.0.0.1", parts.port or 5432)
    cable.server = await asyncio.start_server(cable.plug, "127.0.0.1", 0)
    try:
        yield cable, url.replace(f":{parts.port}/", f":{cable.port}/")
    finally:
        cable.cut()
        cable.server.close()
        await cable.server.wait_closed()
