"""The rules document: which profile holds for which tag, and which alarms the gateway raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tagtrail_agent.filtering import fields, profile
from tagtrail_agent.filtering.alarmrules import AlarmRule, alarm_rule
from tagtrail_agent.filtering.errors import RulesDocumentError
from tagtrail_agent.filtering.matching import Match, Traits, match_of
from tagtrail_agent.filtering.profile import Profile

KIND: Final = "tagtrail.edge-rules"
"""Stands in every document, so that a signature over something else is never taken for one."""
VERSION: Final = 1
"""Version of the schema that this code reads."""
MOST_BYTES: Final = 262_144
"""Longest document: some thousand rules; more would be a mistake or an attack."""


class Override(NamedTuple):
    """Members of the profile that are replaced for some tags.

    Attributes:
        match: For which.
        values: Members of `Profile`.
        path: Where it stands in the document, for errors.
    """

    match: Match
    values: Mapping[str, Any]
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Everything that decides what the filter does.

    Attributes:
        revision: Counts up with every change; 0 = those built in.
        base: Profile of tags that no override matches.
        overrides: In order; a later one wins, member by member.
        alarms: Local alarms.
    """

    revision: int = 0
    base: Profile = field(default_factory=Profile)
    overrides: tuple[Override, ...] = ()
    alarms: tuple[AlarmRule, ...] = ()

    def profile_for(self, tag: str, gateway_id: str | None, traits: Traits) -> Profile:
        """Return the profile of a tag at a gateway."""
        found = self.base
        for override in self.overrides:
            if override.match.takes(tag, gateway_id, traits):
                found = profile.changed(found, override.values, override.path)
        return found


STORAGE: Final[Mapping[str, Any]] = {
    "heartbeat_s": 900.0, "first_spacing_s": 60.0, "lively_s": 0.0, "level_change_db": 14.0,
    "outlier_db": 14.0, "change_readings": 6, "silence_s": 120.0, "lost_s": 900.0,
    "refresh_s": 21_600.0,
}  # fmt: skip
"""Tags in storage: four heartbeats an hour; only a step that no body in the way makes is a change."""


def default_rules() -> Rules:
    """Return the rules of a gateway that was given none."""
    storage = Override(Match(mode=("storage",)), STORAGE, "built in")
    return Rules(overrides=(storage,))


_MEMBERS: Final = ("kind", "version", "revision", "issued_at", "note", "base", "profiles", "alarms")


def rules_of(document: Any) -> Rules:
    """Read a parsed document; members that are left out take the built-in values.

    Raises:
        RulesDocumentError: names the member and what it must be.
    """
    if isinstance(document, dict) and document.get("kind") == KIND:
        _check_version(document.get("version"))
    raw = fields.table("", document, _MEMBERS)
    if fields.required("", raw, "kind") != KIND:
        raise RulesDocumentError("kind", f'must be "{KIND}"')
    _check_version(fields.required("", raw, "version"))
    for name in ("issued_at", "note"):
        if name in raw:
            fields.word(name, raw[name])
    revision = fields.whole(1, 2**53)("revision", fields.required("", raw, "revision"))
    base = profile.changed(Profile(), profile.changes("base", raw.get("base", {})), "base")
    overrides = fields.items("profiles", raw["profiles"], _override) if "profiles" in raw else None
    if overrides is None:
        overrides = default_rules().overrides
    for override in overrides:
        profile.changed(base, override.values, override.path)
    alarms = fields.items("alarms", raw.get("alarms", []), alarm_rule)
    _check_names(alarms)
    return Rules(revision=revision, base=base, overrides=overrides, alarms=alarms)


def parse_rules(document: bytes) -> Rules:
    """Read a document.

    Raises:
        RulesDocumentError: it is no JSON, too long, or breaks the schema.
    """
    if len(document) > MOST_BYTES:
        raise RulesDocumentError("", f"longer than {MOST_BYTES} bytes")
    try:
        parsed = json.loads(document, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RulesDocumentError):
            raise
        raise RulesDocumentError("", f"not JSON: {error}") from error
    return rules_of(parsed)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RulesDocumentError(twice, "stands twice in one object")
    return found


def _check_version(version: Any) -> None:
    if isinstance(version, bool) or version != VERSION:
        raise RulesDocumentError(
            "version", f"{version!r} is not known; this agent reads {VERSION}: update the agent"
        )


def _override(path: str, raw: Any) -> Override:
    given = fields.table(path, raw, ("match", "set", "note"))
    match = match_of(fields.below(path, "match"), fields.required(path, given, "match"))
    where = fields.below(path, "set")
    return Override(match, profile.changes(where, fields.required(path, given, "set")), where)


def _check_names(alarms: tuple[AlarmRule, ...]) -> None:
    seen: set[str] = set()
    for n, alarm in enumerate(alarms):
        if alarm.alarm_id in seen:
            raise RulesDocumentError(f"alarms[{n}].id", f"{alarm.alarm_id} is used twice")
        seen.add(alarm.alarm_id)


__all__ = [
    "KIND", "VERSION", "Override", "Rules", "default_rules", "parse_rules", "rules_of",
]  # fmt: skip
