"""One connection to NATS that may be absent: nobody waits for it and nothing fails with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError

log = logging.getLogger(__name__)

RETRY_S: Final = 0.25
"""Pause between attempts to connect: the fan-out is back soon after the server."""

_FAILURES: Final = (NatsError, OSError, TimeoutError)


class NatsLink:
    """Keeps a connection while it is open, and connects again after every loss.

    Args:
        url: nats://user:password@host:port; empty means that there is no server.
        name: Shown in the server's list of connections.
        on_connect: Runs on every new connection, before it counts as connected.
    """

    def __init__(self, url: str, *, name: str, on_connect: Callable[[Client], Awaitable[None]]):
        self._url = url
        self._name = name
        self._on_connect = on_connect
        self._task: asyncio.Task[None] | None = None
        self.client: Client | None = None
        """The live connection, else None."""

    async def open(self) -> None:
        """Begin to connect; returns at once."""
        if self._url and self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"nats-{self._name}")

    async def close(self) -> None:
        """Disconnect and stop trying."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep(self) -> None:
        down = False
        while True:
            try:
                await self._connect_once()
            except _FAILURES as error:
                if not down:
                    log.warning("nats.unreachable", extra={"cause": type(error).__name__})
                down = True
            else:
                down = False
                log.warning("nats.disconnected")
            await asyncio.sleep(RETRY_S)

    async def _connect_once(self) -> None:
        """Connect, and return when the connection is lost."""
        lost = asyncio.Event()

        async def closed() -> None:
            lost.set()

        client = Client()
        try:
            await client.connect(
                self._url,
                name=self._name,
                allow_reconnect=False,
                connect_timeout=2,
                ping_interval=10,
                error_cb=_ignore,
                closed_cb=closed,
                disconnected_cb=closed,
            )
            await self._on_connect(client)
            self.client = client
            log.info("nats.connected")
            await lost.wait()
        finally:
            self.client = None
            with contextlib.suppress(*_FAILURES):
                await client.close()


async def _ignore(error: Exception) -> None:
    """Take the client's reports; a lost connection shows by itself."""
    log.debug("nats.error", extra={"cause": type(error).__name__})
