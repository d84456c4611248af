"""Signed new versions, tried by a few gateways first, taken back when they do not work.

versions/<version>/     an unpacked wheel; packages that it needs come with the installed agent
versions/current        link to the one that runs; none = the installed agent
versions/update.json    what is being tried, and what failed

The launcher (`tagtrail-agent launch`) belongs to the installed agent and is never replaced: it
counts the starts of a version on trial and takes the one before after too many.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tagtrail_agent.errors import UpdateError
from tagtrail_agent.remote import write_private

log = logging.getLogger(__name__)

CONTEXT: Final = b"tagtrail agent update v1\n"
"""Stands before what is signed, so that a signature over something else is never taken for one."""

MOST_STARTS: Final = 3
"""So often a version on trial may be started before it is taken back: it may have met a power cut."""

MOST_UNPACKED_BYTES: Final = 33_554_432
"""The agent has well under one megabyte."""

LAUNCHED: Final = "TAGTRAIL_AGENT_LAUNCHED"
"""Set by the launcher: whoever runs the agent by hand would not see it come back after an update."""

FAILED_BEFORE: Final = "it failed here before"
"""Why a version is not tried a second time."""

_VERSION: Final = re.compile(r"\d{1,5}(\.\d{1,5}){1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a release says about itself.

    Attributes:
        version: Its version, numbers with dots.
        url: Where its wheel is; relative to the manifest's address.
        sha256: Of the wheel, 64 hexadecimal digits.
        canary_pct: Part of the gateways that take it, percent; raised when it has proved good.
        min_version: Oldest version that may be replaced by it.
    """

    version: str
    url: str
    sha256: str
    canary_pct: float = 100.0
    min_version: str = "0.0"


def manifest_of(raw: bytes, key: bytes) -> Manifest:
    """Check and read a manifest: `{"payload": base64, "signature": base64}`.

    Raises:
        UpdateError: it is not signed by the release key, or cannot be read.
    """
    try:
        members = json.loads(raw)
        payload = base64.b64decode(members["payload"], validate=True)
        signature = base64.b64decode(members["signature"], validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, CONTEXT + payload)
    except InvalidSignature as error:
        raise UpdateError("the manifest is not signed by the release key of updates.key") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UpdateError(f"not a signed manifest: {error!r}") from error
    try:
        manifest = Manifest(**json.loads(payload))
        _ = number_of(manifest.version), number_of(manifest.min_version)
        if not re.fullmatch(r"[0-9a-f]{64}", manifest.sha256):
            raise ValueError("sha256 must have 64 hexadecimal digits")
        if not 0 <= manifest.canary_pct <= 100:
            raise ValueError("canary_pct is 0 to 100")
    except (ValueError, TypeError) as error:
        raise UpdateError(f"well signed, but not readable: {error}") from error
    return manifest


def number_of(version: str) -> tuple[int, ...]:
    """Return a version as it is ordered.

    Raises:
        ValueError: it is not numbers with dots.
    """
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version {version!r} must be numbers with dots")
    numbers = tuple(int(part) for part in version.split("."))
    return numbers + (0,) * (4 - len(numbers))


def is_canary(version: str, gateway_id: str, canary_pct: float) -> bool:
    """Return whether a gateway is among those that take a version at this percentage.

    Raising the percentage keeps those that have it; each version has other first gateways.
    """
    digest = hashlib.sha256(f"{version}\x00{gateway_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 100 < canary_pct


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What update.json says.

    Attributes:
        state: `none`, `trying`, `good` or `rolled_back`.
        version: Which version.
        previous: What ran before; None = the installed agent.
        starts: How often it was started on trial.
        failed: Versions that were taken back; they are not tried again.
    """

    state: Literal["none", "trying", "good", "rolled_back"] = "none"
    version: str | None = None
    previous: str | None = None
    starts: int = 0
    failed: tuple[str, ...] = field(default=())


class Versions:
    """The folder of versions.

    Args:
        root: The folder; made when something is staged.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def trial(self) -> Trial:
        """What is being tried; nothing if the file is missing or damaged."""
        try:
            members = json.loads((self._root / "update.json").read_bytes())
            return Trial(**{**members, "failed": tuple(members.get("failed", ()))})
        except (OSError, ValueError, TypeError, AttributeError):
            return Trial()

    def _note(self, trial: Trial) -> None:
        write_private(self._root / "update.json", json.dumps(asdict(trial)).encode())

    @property
    def current(self) -> Path | None:
        """Folder of the version that runs; None = the installed agent."""
        link = self._root / "current"
        return link.resolve() if link.is_dir() else None

    def wanted(self, manifest: Manifest, *, running: str, gateway_id: str) -> str | None:
        """Return None if this gateway should take a release, else why not."""
        new, now = number_of(manifest.version), number_of(running)
        if new <= now:
            return "not newer than what runs"
        if now < number_of(manifest.min_version):
            return f"needs {manifest.min_version} at least; install that first"
        if manifest.version in self.trial.failed:
            return FAILED_BEFORE
        if not is_canary(manifest.version, gateway_id, manifest.canary_pct):
            return "this gateway's turn has not come"
        return None

    def stage(self, manifest: Manifest, wheel: bytes) -> None:
        """Unpack a release beside what runs, and look whether it starts at all.

        Raises:
            UpdateError: its hash is another, it is no wheel of the agent, or it does not start.
        """
        if hashlib.sha256(wheel).hexdigest() != manifest.sha256:
            raise UpdateError("the artefact is not the one that the manifest names (SHA-256)")
        folder = self._root / manifest.version
        fresh = folder.with_name(folder.name + ".new")
        try:
            for old in (fresh, folder):
                if old.exists():
                    shutil.rmtree(old)
            fresh.mkdir(parents=True)
            _unpack(wheel, fresh)
            _demand_start(fresh, manifest.version)
            fresh.rename(folder)
        except OSError as error:
            raise UpdateError(f"cannot write into {self._root}: {error}") from error
        finally:
            if fresh.exists():
                shutil.rmtree(fresh, ignore_errors=True)

    def switch(self, version: str) -> None:
        """Let the next start take a staged version, on trial.

        Raises:
            OSError: the folder cannot be written.
        """
        current, before = self.current, self.trial
        self._note(
            Trial(
                state="trying", version=version, failed=before.failed,
                previous=current.name if current is not None else None,
            )
        )  # fmt: skip
        self._link(version)

    def _link(self, version: str | None) -> None:
        link, fresh = self._root / "current", self._root / "current.new"
        if version is None:
            link.unlink(missing_ok=True)
            return
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version)
        fresh.replace(link)

    def before_start(self) -> Path | None:
        """Count a start of a version on trial, take it back if there were too many.

        Returns:
            Folder of the version to start; None = the installed agent.

        Raises:
            OSError: the folder cannot be written.
        """
        trial = self.trial
        if trial.state == "trying":
            if trial.starts >= MOST_STARTS or self.current is None:
                self.roll_back("it was started too often without success")
            else:
                self._note(replace(trial, starts=trial.starts + 1))
        return self.current

    def roll_back(self, why: str) -> None:
        """Take the version before again; the failed one is not tried a second time.

        Raises:
            OSError: the folder cannot be written.
        """
        trial = self.trial
        if trial.state != "trying" or trial.version is None:
            return
        log.error("update.rolled_back", extra={"version": trial.version, "cause": why})
        self._link(trial.previous)
        failed = tuple(dict.fromkeys((*trial.failed, trial.version)))[-20:]
        self._note(replace(trial, state="rolled_back", failed=failed))

    def keep(self) -> None:
        """End the trial: the version works. Older ones are removed.

        Raises:
            OSError: the folder cannot be written.
        """
        trial = self.trial
        if trial.state != "trying":
            return
        self._note(replace(trial, state="good"))
        kept = {trial.version, trial.previous}
        for folder in self._root.iterdir():
            if folder.is_dir() and not folder.is_symlink() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def figures(self) -> Mapping[str, Any]:
        """Return what the gateway's status says about updates."""
        trial = self.trial
        if trial.state == "none":
            return {}
        return {"update_state": trial.state, "update_version": trial.version}


def _unpack(wheel: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            if sum(i.file_size for i in archive.infolist()) > MOST_UNPACKED_BYTES:
                raise UpdateError(f"unpacked it has more than {MOST_UNPACKED_BYTES} bytes")
            for info in archive.infolist():
                parts = PurePosixPath(info.filename).parts
                if not parts or parts[0] == "/" or ".." in parts:
                    raise UpdateError(f"it holds a file outside its folder: {info.filename!r}")
            archive.extractall(folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UpdateError(f"it is no wheel: {error}") from error


def _demand_start(folder: Path, version: str) -> None:
    """Have a process of its own say its version."""
    command = [sys.executable, "-P", "-m", "tagtrail_agent", "--version"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=environment(folder), capture_output=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UpdateError("the new version does not answer to --version") from error
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0 or said != version:
        last = done.stderr.decode(errors="replace").strip()[-300:]
        raise UpdateError(f"the new version does not start: it says {said!r} {last}")


def environment(folder: Path | None) -> dict[str, str]:
    """Return the environment in which a version runs before the installed agent."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    kept[LAUNCHED] = "1"
    if folder is None:
        return kept
    return {**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
