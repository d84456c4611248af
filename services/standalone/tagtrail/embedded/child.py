"""One supervised server process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tagtrail.embedded.errors import EmbeddedError
from tagtrail.embedded.home import Home

_log = logging.getLogger(__name__)

_GUARD: Final = Path(__file__).with_name("guard.py")
_READY_WITHIN_S: Final = 60.0
"""PostgreSQL may have to replay its journal after a crash."""
_READY_POLL_S: Final = 0.05
_STOP_WITHIN_S: Final = 10.0
_STALE_POLL_S: Final = 0.02
_LOG_LINES: Final = 5
"""Lines of the server's own log that an error quotes."""


@dataclass(frozen=True, slots=True)
class Server:
    """How to run one server.

    Attributes:
        name: `postgres` or `nats`; names its log and run file too.
        command: Absolute program and its arguments.
        stop: Signal that asks it to end cleanly.
        probe: Returns when the server can be used; raises OSError while it cannot.
        before_start: Called before each start, in a thread.
    """

    name: str
    command: tuple[str, ...]
    stop: signal.Signals
    probe: Callable[[], Awaitable[None]]
    before_start: Callable[[], None]


class _Running(msgspec.Struct, frozen=True):
    pid: int
    identity: str


class Child:
    """A server process of a home: started, probed, stopped, counted.

    Attributes:
        server: How it is run.
        restarts: How often it was started again after it died.
    """

    def __init__(self, home: Home, server: Server) -> None:
        self.server = server
        self.restarts = 0
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process number while it runs, else None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    async def start(self) -> None:
        """Start the process and wait until it can be used.

        Raises:
            EmbeddedError: it ended, or was not ready in time; it is not running then.
        """
        await asyncio.to_thread(self.server.before_start)
        try:
            self._spawn()
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise

    def _spawn(self) -> None:
        # In the loop's own thread: the kernel ties the child's life to the thread that forks.
        account = self._home.account
        owner = (-1, -1) if account is None else (account.uid, account.gid)
        words = (os.getpid(), int(self.server.stop), *owner)
        name = self.server.name
        self._home.trim_log(name)
        with self._home.open_log(name) as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                [sys.executable, "-I", "-S", str(_GUARD), *map(str, words), *self.server.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        running = _Running(self._process.pid, identity(self._process.pid) or "")
        self._home.run_path(name).write_bytes(msgspec.json.encode(running))

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        reason = ""
        while self.pid is not None:
            try:
                return await self.server.probe()
            except OSError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {_READY_WITHIN_S:.0f} s ({reason})")
            await asyncio.sleep(_READY_POLL_S)
        raise self._failed("ended while starting")

    def _failed(self, how: str) -> EmbeddedError:
        log = self._home.log_path(self.server.name)
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return EmbeddedError(f"{self.server.name} {how}; see {log}: " + " | ".join(lines))

    async def exited(self) -> None:
        """Return when the process has ended."""
        process = self._process
        if process is None:
            return
        if not hasattr(os, "pidfd_open"):
            await _poll_until_ended(process)
            return
        while process.poll() is None:
            await _pidfd_readable(process.pid)

    async def stop(self) -> None:
        """End the process: ask, wait, then kill. Does nothing if it does not run."""
        process = self._process
        for number in (self.server.stop, signal.SIGQUIT, signal.SIGKILL):
            if process is None or process.poll() is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await self.exited()
        self._home.run_path(self.server.name).unlink(missing_ok=True)


async def _pidfd_readable(pid: int) -> None:
    """Wait for the end of a child process that was not reaped yet. Linux only."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _poll_until_ended(process: subprocess.Popen[bytes]) -> None:
    for _ in itertools.count():
        if process.poll() is not None:
            return
        await asyncio.sleep(_READY_POLL_S)


def end_stale(home: Home, name: str, stop: signal.Signals) -> None:
    """End a server that an earlier process on this home left running.

    Only the very process that was recorded is touched: same number, same start.
    """
    path = home.run_path(name)
    try:
        stale = msgspec.json.decode(path.read_bytes(), type=_Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    for number in (stop, signal.SIGQUIT, signal.SIGKILL):
        if not _still(stale):
            break
        _log.warning(
            "server.stale", extra={"server": name, "pid": stale.pid, "signal": int(number)}
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(stale.pid, number)
            os.kill(stale.pid, signal.SIGCONT)  # a stopped process acts on no other signal
        deadline = time.monotonic() + _STOP_WITHIN_S
        while _still(stale) and time.monotonic() < deadline:
            time.sleep(_STALE_POLL_S)
    path.unlink(missing_ok=True)


def _still(stale: _Running) -> bool:
    return stale.identity != "" and identity(stale.pid) == stale.identity


def identity(pid: int) -> str | None:
    """Return what tells a living process from a later one with its number; None if there is none."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(  # noqa: S603 - a number and fixed words
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return listed.stdout.strip() or None
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _environment() -> dict[str, str]:
    """Return the environment without what would steer the servers, or what they need not know."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "TAGTRAIL_", "NATS_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
