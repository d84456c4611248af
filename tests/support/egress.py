"""Cuts this process off from everything beyond its own machine."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class _Wall:
    """Where attempts to leave end while it stands.

    Attributes:
        stands: Whether it stands.
        built: Whether the interpreter asks it; that cannot be undone, so it is done once.
        attempts: Where to, while it stood.
    """

    stands: bool = False
    built: bool = False
    attempts: list[str] = field(default_factory=list)

    def meet(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Refuse a connection or a look-up of a name that leaves the machine."""
        if not self.stands or event not in (
            "socket.connect",
            "socket.getaddrinfo",
            "socket.sendto",
        ):
            return
        target = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = target[0] if isinstance(target, tuple) else target
        if not _is_near(host):
            self.attempts.append(f"{event} {host}")
            raise OSError(f"egress is blocked: {host}")


def _is_near(host: object) -> bool:
    if not isinstance(host, str) or host.startswith("/") or host in ("", "localhost"):
        return True  # a socket in the file system, or this machine by name
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_wall = _Wall()


@contextlib.contextmanager
def blocked() -> Iterator[list[str]]:
    """Refuse everything that leaves the machine; gives the attempts."""
    if not _wall.built:
        sys.addaudithook(_wall.meet)
        _wall.built = True
    _wall.attempts.clear()
    _wall.stands = True
    try:
        yield _wall.attempts
    finally:
        _wall.stands = False
