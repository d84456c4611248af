"""The folder that holds everything an embedded installation keeps (`TAGTRAIL_HOME`).

lock            held while a process runs on this home; names its pid
secrets.json    passwords, mode 600
ports.json      ports used last, so that a restart keeps them
run/            which process runs which server
log/            the servers' own logs
bin/            copy of the servers' programs, only where the wheel's cannot be reached
postgres/ nats/ data, mode 700, owned by whom the servers run as
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from tagtrail.embedded.accounts import Account, choose_account, may_pass
from tagtrail.embedded.errors import EmbeddedError, HomeInUseError

_FIRST_PORT: Final = 20_000
_LAST_PORT: Final = 32_000
"""Chosen ports lie below the usual range of outgoing connections (from 32768): there, a client
that retries while the server is down can end up connected to itself."""

_LOG_LIMIT_BYTES: Final = 10 * 1024 * 1024
"""A server's log is put aside (one old one is kept) when it passes this size."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Passwords made once per home.

    Attributes:
        postgres_admin: Of the PostgreSQL superuser `postgres`.
        postgres: Of the PostgreSQL role `tagtrail`, which the services use.
        nats: Of the NATS user `tagtrail`, which the services use.
        gateway: Of the MQTT user `gateway`, which gateways use.
    """

    postgres_admin: str
    postgres: str
    nats: str
    gateway: str


def default_home() -> Path:
    """Return the home used when `TAGTRAIL_HOME` is not set.

    `/var/lib/tagtrail` for root, because root's own folder is closed to the account that the
    servers run as; `~/.tagtrail` for everybody else.
    """
    return Path("/var/lib/tagtrail") if os.geteuid() == 0 else Path.home() / ".tagtrail"


class Home:
    """An opened home; made by `open_home`.

    Attributes:
        path: The folder, absolute.
        account: Whom the servers run as; None for the present user.
        secrets: Its passwords.
    """

    def __init__(self, path: Path, account: Account | None, secrets: Secrets) -> None:
        self.path = path
        self.account = account
        self.secrets = secrets

    def private(self, *names: str) -> Path:
        """Return a folder that only the servers' account can enter, made if missing."""
        folder = self.path.joinpath(*names)
        if not folder.exists():
            folder.mkdir(mode=0o700)
            self.give(folder)
        return folder

    def give(self, path: Path) -> None:
        """Make the servers' account the owner of a file or folder below the home."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def write_private(self, path: Path, content: str) -> None:
        """Write a file, mode 600, that the servers' account owns; replaces it at once."""
        fresh = path.with_name(path.name + ".new")
        _write_600(fresh, content)
        self.give(fresh)
        fresh.replace(path)

    def log_path(self, name: str) -> Path:
        """Return the file that a server's output is appended to."""
        return self.path / "log" / f"{name}.log"

    def open_log(self, name: str) -> IO[bytes]:
        """Open a server's log for appending, mode 600: it can quote what was sent."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return os.fdopen(os.open(self.log_path(name), flags, 0o600), "ab")

    def trim_log(self, name: str) -> None:
        """Put a server's log aside if it has grown too large; safe while it is written."""
        log = self.log_path(name)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            shutil.copy(log, log.with_suffix(".log.1"))  # with its mode
            os.truncate(log, 0)

    def run_path(self, name: str) -> Path:
        """Return the file that says which process runs a server."""
        return self.path / "run" / f"{name}.json"

    def ports(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Settle the ports: 0 becomes the one used last if it is free, else any free one.

        Raises:
            EmbeddedError: a port other than 0 is taken by somebody else.
        """
        remembered = self._remembered_ports()
        settled: dict[str, int] = {}
        for name, port in wanted.items():
            if port != 0 and not _is_free(port):
                raise EmbeddedError(
                    f"port {port} for {name} is taken on 127.0.0.1; choose another, or 0 for any"
                )
            last = remembered.get(name, 0)
            settled[name] = port or (last if last and _is_free(last) else _free_port(settled))
        (self.path / "ports.json").write_text(json.dumps(settled))
        return settled

    def _remembered_ports(self) -> dict[str, int]:
        try:
            return msgspec.json.decode((self.path / "ports.json").read_bytes(), type=dict[str, int])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}  # the file is a convenience: without it other ports are chosen


@contextmanager
def open_home(path: Path) -> Iterator[Home]:
    """Open a home, making it if missing, and hold it against other processes.

    Raises:
        HomeInUseError: another process holds it.
        EmbeddedError: the servers' account cannot reach it.
    """
    path = path.absolute()
    account = choose_account(path / "postgres")
    if not path.exists():
        _make(path, 0o700 if account is None else 0o711)
    path = path.resolve()
    _demand_access(path, account)
    with _locked(path / "lock"):
        for name in ("run", "log", "bin"):
            (path / name).mkdir(exist_ok=True, mode=0o755)
        yield Home(path, account, _secrets(path / "secrets.json"))


def _make(path: Path, mode: int) -> None:
    try:
        path.mkdir(parents=True, mode=mode)
        path.chmod(mode)  # whatever the umask
    except OSError as error:
        raise EmbeddedError(
            f"cannot make {path} ({error.strerror}); set TAGTRAIL_HOME to another folder"
        ) from error


def _demand_access(path: Path, account: Account | None) -> None:
    if account is None:
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise EmbeddedError(
                f"{path} is not yours to write; set TAGTRAIL_HOME to another folder"
            )
        return
    if not may_pass(path, account):
        raise EmbeddedError(
            f"the servers run as {account.name}, not as root, and {account.name} cannot enter {path}; "
            "set TAGTRAIL_HOME to a folder outside closed ones, for example /var/lib/tagtrail"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise HomeInUseError(
                f"{path.parent} is in use by process {holder}; stop that one, "
                "or set TAGTRAIL_HOME to another folder"
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _secrets(path: Path) -> Secrets:
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Secrets)
        except msgspec.DecodeError as error:
            raise EmbeddedError(f"{path} is damaged ({error}); restore it from a backup") from error
    if (path.parent / "postgres" / "data").exists():
        raise EmbeddedError(f"{path} is missing, so the data beside it is locked; restore it")
    made = Secrets(
        postgres_admin=secrets.token_urlsafe(24),
        postgres=secrets.token_urlsafe(24),
        nats=secrets.token_urlsafe(24),
        gateway=secrets.token_urlsafe(24),
    )
    fresh = path.with_name("secrets.json.new")
    _write_600(fresh, msgspec.json.encode(made).decode())
    fresh.replace(path)
    return made


def _write_600(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(settled: Mapping[str, int]) -> int:
    for _ in range(200):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port not in settled.values() and _is_free(port):
            return port
    raise EmbeddedError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on 127.0.0.1")
