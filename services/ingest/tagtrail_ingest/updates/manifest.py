"""Reading and checking what is put out: a signed manifest and the wheel that it names."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tagtrail_kernel.errors import RejectedError

SIGNED: Final = b"tagtrail agent update v1\n"
"""Stands before what the release key signs, as the agent has it."""

_VERSION: Final = re.compile(r"\d{1,5}(\.\d{1,5}){1,3}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a release says about itself; the agent documents it.

    Attributes:
        version: Its version, numbers with dots.
        url: Name of the wheel.
        sha256: Of the wheel.
        canary_pct: Part of the gateways that take it where no server decides, percent.
        min_version: Oldest version that may be replaced by it.
    """

    version: str
    url: str
    sha256: str
    canary_pct: float = 100.0
    min_version: str = "0.0"


def manifest_of(signed: dict[str, str], wheel: bytes, release_key: str) -> Manifest:
    """Check a manifest and its wheel.

    Args:
        signed: `payload` and `signature`, base64.
        wheel: The wheel's bytes.
        release_key: Ed25519 key, base64, that must have signed; empty = not known here, the
            gateways look themselves.

    Raises:
        RejectedError: not readable, not signed by that key, or of another wheel.
    """
    payload, signature = (_octets(signed, name) for name in ("payload", "signature"))
    if release_key:
        _demand_signature(payload, signature, release_key)
    try:
        manifest = msgspec.json.decode(payload, type=Manifest)
    except msgspec.DecodeError as error:
        raise RejectedError(f"the manifest cannot be read: {error}") from error
    number_of(manifest.version)
    if hashlib.sha256(wheel).hexdigest() != manifest.sha256:
        raise RejectedError("the wheel is not the one that the manifest names (SHA-256)")
    return manifest


def number_of(version: str) -> tuple[int, ...]:
    """Return a version as it is ordered.

    Raises:
        RejectedError: it is not numbers with dots.
    """
    if not _VERSION.fullmatch(version):
        raise RejectedError(f"version {version[:40]!r} must be numbers with dots")
    numbers = tuple(int(part) for part in version.split("."))
    return numbers + (0,) * (4 - len(numbers))


def is_older(version: str, than: str) -> bool:
    """Return whether a version is older than another; one that is no number counts as older."""
    try:
        return number_of(version) < number_of(than)
    except RejectedError:
        return True


def _octets(signed: dict[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(signed[name], validate=True)
    except (KeyError, binascii.Error, ValueError) as error:
        raise RejectedError(f"the manifest needs {name}, base64") from error


def _demand_signature(payload: bytes, signature: bytes, release_key: str) -> None:
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(release_key, validate=True))
    except ValueError as error:
        raise RejectedError(
            "the server's setting TAGTRAIL_INGEST_RELEASE_KEY must be an Ed25519 key of 32 bytes, "
            "base64"
        ) from error
    try:
        key.verify(signature, SIGNED + payload)
    except InvalidSignature as error:
        raise RejectedError("the manifest is not signed by the release key") from error
