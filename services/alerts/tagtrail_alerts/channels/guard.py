"""Where messages may go: public https addresses only, so that nobody reads our own network.

The host is resolved once, every address is judged, and the connection goes to the judged address
itself, with the host's name in the request and in TLS. A name that resolves differently a moment
later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from tagtrail_kernel.errors import RejectedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
MAX_URL: Final = 3000


class AddressRefusedError(RejectedError):
    """A channel's address is not one that messages may go to."""

    code, title = "address-refused", "Address refused"


class UnresolvedError(Exception):
    """The host's name has no address at the moment."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address that was judged.

    Attributes:
        url: Address with the judged IP instead of the name.
        host: Value of the Host header.
        name: Name for TLS.
    """

    url: str
    host: str
    name: str


async def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host.

    Raises:
        UnresolvedError: there are none.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnresolvedError(str(error)) from error
    return [str(address[4][0]) for address in found]


def check_form(url: str, *, allow_loopback: bool) -> SplitResult:
    """Judge an address by its form.

    Raises:
        AddressRefusedError: it is not https to a named or public host. Messages never repeat it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefusedError("the address is not a URL") from error
    if len(url) > MAX_URL or not parts.hostname or any(c.isspace() for c in url):
        raise AddressRefusedError(
            f"give a URL with a host, at most {MAX_URL} characters, no spaces"
        )
    if parts.username is not None or parts.fragment:
        raise AddressRefusedError("the address must have no user name and no fragment")
    if port == 0:
        raise AddressRefusedError("port 0 is not an address")
    literal = _literal(parts.hostname)
    if literal is not None:
        _judge(literal, allow_loopback=allow_loopback)
    local = allow_loopback and (
        parts.hostname == "localhost" or (literal is not None and literal.is_loopback)
    )
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise AddressRefusedError(
            "channels must be https; plain http is for this machine only and needs "
            "TAGTRAIL_ALERTS_ALLOW_LOOPBACK=true"
        )
    return parts


async def target_of(url: str, *, allow_loopback: bool, resolve: Resolve = resolve) -> Target:
    """Judge an address and everything it resolves to.

    Raises:
        AddressRefusedError: the address, or one that its name resolves to, is refused.
        UnresolvedError: the name has no address at the moment.
    """
    parts = check_form(url, allow_loopback=allow_loopback)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    literal = _literal(host)
    addresses = [literal] if literal is not None else await _resolved(resolve, host, port)
    for address in addresses:
        _judge(address, allow_loopback=allow_loopback)
        if parts.scheme == "http" and not address.is_loopback:
            raise AddressRefusedError("plain http is for this machine only")
    chosen = addresses[0]
    numeric = f"[{chosen}]" if chosen.version == 6 else str(chosen)
    pinned = parts._replace(netloc=f"{numeric}:{port}").geturl()
    shown = f"[{host}]" if ":" in host else host
    return Target(pinned, shown if parts.port is None else f"{shown}:{port}", host)


async def _resolved(resolve: Resolve, host: str, port: int) -> list[Address]:
    texts = await resolve(host, port)
    if not texts:
        raise UnresolvedError("no address")
    return [ipaddress.ip_address(text.partition("%")[0]) for text in texts]


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _judge(address: Address, *, allow_loopback: bool) -> None:
    inner = _embedded(address)
    if inner is not None:
        _judge(inner, allow_loopback=False)
        return
    if address.is_loopback and allow_loopback:
        return
    if not address.is_global or address.is_multicast:
        raise AddressRefusedError(
            "the address leads into a private or local network; channels must be public"
        )


def _embedded(address: Address) -> Address | None:
    """Return the IPv4 address that an IPv6 address carries, if it does."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
