"""Static files under one address per content, so that browsers may keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent
PREFIX: Final = "/console/static"

MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served; a file of another kind in the folder is not."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        body: Its bytes.
        packed: The same, compressed by gzip.
        media_type: Value of `Content-Type`.
    """

    body: bytes
    packed: bytes
    media_type: str


class Assets:
    """The files of a folder, read once, at first use.

    The hash of all contents stands in the path before the file's name. A script that imports its
    neighbour by a relative name thus gets the neighbour of the same release.
    """

    def __init__(self, folder: Path = PACKAGE / "static") -> None:
        self._folder = folder

    @cached_property
    def files(self) -> Mapping[str, Asset]:
        """Return the files by their path inside the folder."""
        found: dict[str, Asset] = {}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.suffix in MEDIA_TYPES:
                body = path.read_bytes()
                name = path.relative_to(self._folder).as_posix()
                found[name] = Asset(body, gzip.compress(body, 9, mtime=0), MEDIA_TYPES[path.suffix])
        return found

    @cached_property
    def version(self) -> str:
        """Return the hash of all names and contents, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, asset in self.files.items():
            digest.update(f"{name}\0{len(asset.body)}\0".encode())
            digest.update(asset.body)
        return digest.hexdigest()[:16]

    def url(self, name: str) -> str:
        """Return the address of a file.

        Raises:
            KeyError: there is no such file.
        """
        if name not in self.files:
            raise KeyError(name)
        return f"{PREFIX}/{self.version}/{name}"
