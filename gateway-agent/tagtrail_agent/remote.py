"""What the server pushes: tags, filter rules and settings, signed, with a revision that only grows."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tagtrail_agent.errors import RemoteConfigError
from tagtrail_agent.filtering import Rules, RulesError
from tagtrail_agent.filtering.rules import rules_of

log = logging.getLogger(__name__)

CONTEXT: Final = b"tagtrail gateway config v1\n"
"""Stands before what is signed, so that a signature over something else is never taken for one."""

_FILE: Final = "pushed.json"


@dataclass(frozen=True, slots=True)
class PushedUpdate:
    """A new version that the server offers; only what the release key has signed is taken.

    Attributes:
        update_id: What the server calls it: its wheel is there under this name.
        version: Its version, as the server has read it; what counts stands in the manifest.
        manifest: The signed manifest, as `updates.manifest_of` takes it.
    """

    update_id: str
    version: str
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Pushed:
    """A configuration that was checked.

    Attributes:
        revision: Grows with every change.
        tags: List of tags, as `Enrolment.parse` takes it.
        rules: Of the filter and of local alarms; None = those built in.
        settings: What may be set from afar: `heartbeat_s`, `ranges`.
        raw: As it came, to be kept.
        update: New version that this gateway may take now.
    """

    revision: int
    tags: list[Any]
    rules: Rules | None
    settings: Mapping[str, Any]
    raw: bytes = field(repr=False)
    update: PushedUpdate | None = None


def verified(raw: bytes, *, key: bytes, gateway_id: str, at_least: int = 0) -> Pushed:
    """Check and read what the server pushed.

    Args:
        raw: `{"payload": base64, "signature": base64}`; the payload is a JSON object with
            `gateway_id`, `revision`, `tags`, and perhaps `rules`, `settings` and `update`.
        key: Pinned Ed25519 key, 32 bytes.
        gateway_id: This gateway.
        at_least: Revision that is in force.

    Raises:
        RemoteConfigError: the signature is not of that key, it is for another gateway, older than
            what is in force, or cannot be read. What is in force stays.
    """
    payload = _signed_part(raw, key)
    try:
        members = json.loads(payload)
        revision, tags = members["revision"], members["tags"]
        for_whom, settings = members["gateway_id"], members.get("settings") or {}
        written, update = members.get("rules"), _update_of(members.get("update"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RemoteConfigError(f"well signed, but not readable: {error!r}") from error
    if for_whom != gateway_id:
        raise RemoteConfigError(f"it is for the gateway {for_whom!r}")
    if type(revision) is not int or revision < at_least:
        raise RemoteConfigError(f"its revision {revision} is older than {at_least}, in force now")
    if not isinstance(tags, list) or not isinstance(settings, dict):
        raise RemoteConfigError("tags must be a list and settings an object")
    try:
        rules = rules_of(written) if written is not None else None
    except RulesError as error:
        raise RemoteConfigError(f"its rules: {error}") from error
    return Pushed(revision, tags, rules, settings, raw, update)


def _update_of(members: Any) -> PushedUpdate | None:
    if members is None:
        return None
    manifest = json.dumps(members["manifest"]).encode()
    return PushedUpdate(str(members["id"]), str(members["version"]), manifest)


def _signed_part(raw: bytes, key: bytes) -> bytes:
    try:
        members = json.loads(raw)
        payload = base64.b64decode(members["payload"], validate=True)
        signature = base64.b64decode(members["signature"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteConfigError(f"not a signed configuration: {error!r}") from error
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, CONTEXT + payload)
    except (InvalidSignature, ValueError) as error:
        raise RemoteConfigError(
            "it is not signed by the key that was pinned at the enrolment; "
            "if the server was made anew, enrol this gateway again"
        ) from error
    return payload


def kept(state: Path, *, key: bytes, gateway_id: str) -> Pushed | None:
    """Return the last good configuration; None if there is none that still can be used."""
    try:
        return verified((state / _FILE).read_bytes(), key=key, gateway_id=gateway_id)
    except FileNotFoundError:
        return None
    except (OSError, RemoteConfigError) as error:
        log.warning("config.kept_one_unusable", extra={"cause": str(error)})
        return None


def keep(state: Path, pushed: Pushed) -> None:
    """Keep a configuration for the next start; a disk that takes nothing is logged."""
    try:
        write_private(state / _FILE, pushed.raw)
    except OSError as error:
        log.warning("config.not_kept", extra={"cause": str(error)})


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once, mode 600, forced to the disk.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
