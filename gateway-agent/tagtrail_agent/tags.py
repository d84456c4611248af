"""The tags that this gateway knows: what the server pushed, else a file of its own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from tagtrail_agent import remote
from tagtrail_agent.config import Config, Credentials
from tagtrail_agent.identity import Enrolment
from tagtrail_agent.identity.enrolment import TagListError


def kept_push(config: Config, credentials: Credentials) -> remote.Pushed | None:
    """Return what the server pushed last; None if there is nothing that can be used."""
    key = credentials.config_key
    if key is None:
        return None
    return remote.kept(config.state, key=key, gateway_id=config.gateway.id)


def enrolment_of(config: Config, pushed: remote.Pushed | None) -> Enrolment:
    """Return the tags that may leave: the server's, else those of the file.

    Raises:
        ConfigError: a file cannot be read.
    """
    tags = config.tags
    ranges = [*tags.ranges, *((pushed.settings.get("ranges") or ()) if pushed else ())]
    listed: Any = pushed.tags if pushed is not None else []
    try:
        if pushed is None and tags.file is not None:
            listed = json.loads(config.beside(tags.file).read_text(encoding="utf-8"))
            listed = listed.get("tags", []) if isinstance(listed, dict) else listed
        return Enrolment.parse({"tags": listed, "ranges": ranges}, _tag_keys(config))
    except (OSError, ValueError) as error:
        place = ("tags", "keys" if isinstance(error, TagListError) else "file")
        raise config.document.fault(place, f"cannot be used: {error}") from error


def _tag_keys(config: Config) -> Mapping[str, Any]:
    path = config.tags.keys
    if path is None:
        return {}
    path = config.beside(path)
    if path.stat().st_mode & 0o077:
        raise config.document.fault(("tags", "keys"), f"is open to others; run: chmod 600 {path}")
    return tomllib.loads(path.read_text(encoding="utf-8"))
