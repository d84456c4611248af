"""Starts the embedded servers in order, keeps them running, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tagtrail.embedded.child import Child, Server, end_stale
from tagtrail.embedded.errors import EmbeddedError
from tagtrail.embedded.home import Home, open_home
from tagtrail.embedded.memory import occupied_bytes
from tagtrail.embedded.nats import GATEWAY_USER, SERVICE_USER, nats_server
from tagtrail.embedded.postgres import ADMIN, database_url, postgres_server

_log = logging.getLogger(__name__)

_FIRST_BACKOFF_S: Final = 0.2
_LAST_BACKOFF_S: Final = 5.0
_HEALTHY_AFTER_S: Final = 10.0
"""A server that lived this long starts again with the first back-off."""
_FIRST_ATTEMPTS: Final = 4
"""Tries of the first start: server processes that outlived a killed postmaster need a moment."""
_TRIM_EVERY_S: Final = 60.0


class Embedded:
    """PostgreSQL and NATS of one home, for as long as the `async with` block lasts.

    The servers die with this process, and start again when they die alone. Ports of 0 are chosen
    once and kept in the home.

    Args:
        home: The folder that keeps everything; made if missing. See `default_home`.
        postgres_port: 0 for any.
        nats_port: 0 for any.
        mqtt_port: 0 for any.
        sync_interval: How often NATS forces its files to disk, such as "2m", or "always".
        max_store: Most that NATS keeps on disk, for example "1GB".

    Raises:
        HomeInUseError: on entering, another process runs on this home.
        EmbeddedError: on entering, a server could not be set up or started.
    """

    def __init__(
        self,
        home: Path,
        *,
        postgres_port: int = 0,
        nats_port: int = 0,
        mqtt_port: int = 0,
        sync_interval: str = "2m",
        max_store: str = "1GB",
    ) -> None:
        self._path = home
        self._wanted = {"postgres": postgres_port, "nats": nats_port, "mqtt": mqtt_port}
        self._sync_interval = sync_interval
        self._max_store = max_store
        self._stack = contextlib.AsyncExitStack()
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._home: Home | None = None
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            home = self._home = stack.enter_context(open_home(self._path))
            await asyncio.to_thread(_end_stale, home)
            self._ports = home.ports(self._wanted)
            servers = await asyncio.to_thread(self._prepare, home)
            self._children = [Child(home, server) for server in servers]
            stack.push_async_callback(self._stop)
            for child in self._children:
                await _start_first(child)
            self._keepers = [asyncio.create_task(_keep(child)) for child in self._children]
            self._keepers.append(asyncio.create_task(_trim_logs(home)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def home(self) -> Path:
        """The folder that keeps everything."""
        return self._opened.path

    @property
    def database_url(self) -> str:
        """Address of the services' database; the role owns it and is not a superuser."""
        return database_url(self._opened, self._ports["postgres"])

    @property
    def admin_database_url(self) -> str:
        """Address for the superuser, database `postgres`; for maintenance and tests."""
        return database_url(self._opened, self._ports["postgres"], role=ADMIN, database="postgres")

    @property
    def nats_url(self) -> str:
        """Address of NATS for the services."""
        return f"nats://{SERVICE_USER}:{self._opened.secrets.nats}@127.0.0.1:{self._ports['nats']}"

    @property
    def mqtt_url(self) -> str:
        """Address of the MQTT listener for the services."""
        return self._mqtt(SERVICE_USER, self._opened.secrets.nats)

    @property
    def gateway_mqtt_url(self) -> str:
        """Address of the MQTT listener for gateways."""
        return self._mqtt(GATEWAY_USER, self._opened.secrets.gateway)

    def pids(self) -> dict[str, int]:
        """Return the process number of each server that runs now."""
        return {c.server.name: c.pid for c in self._children if c.pid is not None}

    def restart_counts(self) -> dict[str, int]:
        """Return how often each server was started again since the block was entered."""
        return {c.server.name: c.restarts for c in self._children}

    def memory_bytes(self) -> dict[str, int]:
        """Return what each server's processes occupy together, shared pages counted once."""
        return {name: occupied_bytes(pid) for name, pid in self.pids().items()}

    @property
    def _opened(self) -> Home:
        if self._home is None:
            raise EmbeddedError("enter `async with Embedded(...)` first")
        return self._home

    def _mqtt(self, user: str, password: str) -> str:
        return f"mqtt://{user}:{password}@127.0.0.1:{self._ports['mqtt']}"

    def _prepare(self, home: Home) -> list[Server]:
        return [
            postgres_server(home, self._ports["postgres"]),
            nats_server(
                home,
                self._ports["nats"],
                self._ports["mqtt"],
                sync_interval=self._sync_interval,
                max_store=self._max_store,
            ),
        ]

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in self._children:
            await child.stop()


def _end_stale(home: Home) -> None:
    end_stale(home, "postgres", signal.SIGINT)
    end_stale(home, "nats", signal.SIGTERM)


async def _start_first(child: Child) -> None:
    """Start a server, with a few tries. Raises EmbeddedError if none succeeds."""
    for wait_s in _backoff(_FIRST_ATTEMPTS - 1):
        try:
            return await child.start()
        except EmbeddedError as error:
            _log.warning(
                "server.retried",
                extra={"server": child.server.name, "wait_s": wait_s, "reason": str(error)},
            )
            await asyncio.sleep(wait_s)
    return await child.start()


async def _keep(child: Child) -> None:
    """Start a server again whenever it ends, for ever."""
    loop = asyncio.get_running_loop()
    wait_s = _FIRST_BACKOFF_S
    while True:
        since = loop.time()
        await child.exited()
        if loop.time() - since > _HEALTHY_AFTER_S:
            wait_s = _FIRST_BACKOFF_S
        name = child.server.name
        _log.warning("server.died", extra={"server": name, "wait_s": wait_s})
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _LAST_BACKOFF_S)
        child.restarts += 1
        try:
            await child.start()
        except (EmbeddedError, OSError) as error:
            _log.warning("server.retried", extra={"server": name, "reason": str(error)})
        else:
            _log.info("server.recovered", extra={"server": name, "pid": child.pid})


def _backoff(times: int) -> Iterator[float]:
    wait_s = _FIRST_BACKOFF_S
    for _ in range(times):
        yield wait_s
        wait_s = min(2 * wait_s, _LAST_BACKOFF_S)


async def _trim_logs(home: Home) -> None:
    while True:
        await asyncio.sleep(_TRIM_EVERY_S)
        for name in ("postgres", "nats"):
            await asyncio.to_thread(home.trim_log, name)


@contextlib.contextmanager
def running(
    home: Path, *, postgres_port: int = 0, nats_port: int = 0, mqtt_port: int = 0
) -> Iterator[Embedded]:
    """Run the embedded servers on a thread of their own, for code without an event loop.

    Raises:
        HomeInUseError: another process runs on this home.
        EmbeddedError: a server could not be set up or started.
    """
    infra = Embedded(home, postgres_port=postgres_port, nats_port=nats_port, mqtt_port=mqtt_port)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        async with infra:
            leave = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), leave))
            await leave.wait()

    def work() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting caller
            _hand_over(started, error)

    thread = threading.Thread(target=work, name="embedded", daemon=True)
    thread.start()
    loop, leave = started.result()
    try:
        yield infra
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join()


def _hand_over(
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]], error: BaseException
) -> None:
    if started.done():
        _log.error("embedded.failed", exc_info=error)
    else:
        started.set_exception(error)
