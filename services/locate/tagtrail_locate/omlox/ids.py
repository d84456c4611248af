"""Names on both sides: omlox wants UUIDs and addresses, we have ids of our own."""

from __future__ import annotations

import re
import uuid
from typing import Final, Literal

Kind = Literal["zone", "fence", "provider", "trackable"]

NAMESPACE: Final = uuid.UUID("5f2c6f0e-6b1c-5c55-9d58-0a6f1c2f8e11")
"""Names our ids in the space of UUIDs (RFC 9562, version 5); never change it."""

_ADDRESS: Final = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{8,64}")

SITE: Final = "site:"
READER: Final = "gateway:"
"""An omlox zone is a positioning system: a site's own frame, or a reader at a place."""


def uuid_of(kind: Kind, own_id: str) -> str:
    """Return the UUID of one of our things; an id that is a UUID stays what it is.

    Example:
        >>> uuid_of("fence", "9B59961E-2A6A-4712-86E7-ABA5A3E8BE1F")
        '9b59961e-2a6a-4712-86e7-aba5a3e8be1f'
    """
    bare = own_id.partition(":")[2] if kind == "zone" else own_id
    return as_uuid(bare) or str(uuid.uuid5(NAMESPACE, f"{kind}:{own_id}"))


def as_uuid(text: object) -> str | None:
    """Return a UUID in lower case, or None if the text is none."""
    if not isinstance(text, str) or len(text) != 36:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def normal(provider_id: str) -> str:
    """Return how two spellings of one provider id are compared: hexadecimal without separators.

    Example:
        >>> normal("AC:23:3F:AC:A3:87") == normal("ac233faca387")
        True
    """
    digits = provider_id.replace(":", "").replace("-", "")
    return digits.lower() if _HEX.fullmatch(digits) else provider_id


def identities_of(provider_id: str) -> tuple[str, ...]:
    """Return the identities that a tag registered as an omlox provider is heard by."""
    found = (f"omlox:{normal(provider_id)}",)
    if _ADDRESS.fullmatch(provider_id):
        return (*found, f"mac:{normal(provider_id)}")
    return found


def provider_id_of(identities: tuple[str, ...] | list[str], tag_id: str) -> str:
    """Return the provider id of a tag that was not registered through omlox.

    A radio address in upper case without separators, as omlox asks; else the first identity.

    Example:
        >>> provider_id_of(["mac:ac233faca387"], "tag-1")
        'AC233FACA387'
    """
    parts = [identity.partition(":") for identity in reversed(identities)]
    known = {kind: value for kind, _, value in parts}
    if "mac" in known:
        return known["mac"].upper()
    if "omlox" in known:
        return known["omlox"]
    return identities[0] if identities else tag_id
