"""What an advert says, as far as it can be read without keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Sealed(NamedTuple):
    """The encrypted part of an advert.

    Attributes:
        key: Which key opens it: "mibeacon", "bthome" or "eddystone".
        data: The service data as a whole, because parts of it enter the nonce.
        start: Where the sealed part begins in it.
        address: Address that the frame itself names, 12 hex digits; None = the sender's.
    """

    key: str
    data: bytes
    start: int = 0
    address: str | None = None


@dataclass(slots=True)
class Decoded:
    """What an advert says.

    Attributes:
        frames: Kinds of frames found, in their order, such as "ibeacon" or "findmy".
        identities: Identities that it names itself by, best first, `kind:value`.
        members: Members of the native item, units in their names.
        details: Other facts, for people who look at one advert. They can hold what makes a tag
            recognisable, so they MUST NOT be stored, logged or sent.
        network: The finding network whose frame this is ("findmy", "fmdn", "smarttag", "dult");
            such a frame names nobody on purpose.
        ephemeral: Rotating identifier and the key that explains it: ("eddystone", 8 bytes) or
            ("fmdn", 20 bytes).
        sealed: Encrypted part, if there is one.
    """

    frames: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict, repr=False)
    network: str | None = None
    ephemeral: tuple[str, bytes] | None = field(default=None, repr=False)
    sealed: Sealed | None = field(default=None, repr=False)


def signed(octet: int) -> int:
    """Read an octet as a signed number."""
    return octet - 256 if octet > 127 else octet
