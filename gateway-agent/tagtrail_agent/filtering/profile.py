"""What decides how much of one tag at one gateway is sent: a profile, its bounds and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tagtrail_agent.filtering import fields
from tagtrail_agent.filtering.errors import RulesDocumentError

SERVER_PATIENCE_S: Final = 30.0
"""Locate calls no tag overdue before 30 s of silence (docs/locating.md, Presence)."""
SERVER_INTERVALS: Final = 3.0
"""... nor before three expected intervals."""
RESERVE: Final = 0.7
"""Share of that patience which a heartbeat may use up; the rest is for batching and the link."""

MOST_CHANGE_READINGS: Final = 20
"""Readings that may be held back until a change of level is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How readings of one tag at one gateway are filtered. Levels are `rssi_dbm`.

    Attributes:
        heartbeat_s: A tag that is heard and does not change is sent this often, seconds.
        first_spacing_s: After a change of level the next items follow after this time ...
        lively_s: ... for so long; then the time doubles with every item up to the heartbeat,
            seconds.
        duplicate_s: Equal content at the same gateway within this time is one advert, seconds: the
            three advertising channels take up to 10 ms each.
        read_duplicate_s: The same for reads by RFID, NFC, camera and phone, seconds.
        gate_dbm: A weaker tag is not let in, dBm.
        gate_hysteresis_db: One that is in may become this much weaker, dB.
        outlier_db: A level this far from the median of the last seven is doubted, dB ...
        outlier_sigmas: ... if that is also so many robust standard deviations.
        change_readings: Readings after which a doubted level, or a step of `level_change_db`, is
            believed: 1 to 20.
        level_change_db: Lasting step of level that passes, dB ...
        change_sigmas: ... but not less than so many standard deviations of this link's noise.
        silence_s: A tag that falls silent for this long (or five of its intervals, if that is
            more) has its last readings sent, seconds.
        lost_s: One that comes back after this long passes at once, seconds.
        freeze_readings: So many readings in a row of exactly one level are suspect ...
        freeze_s: ... if they also took this long, seconds.
        refresh_s: Members that are left out while they do not change are sent this often, seconds.
        pass_flags: Whether every member that is true or false passes at once when it changes: motion,
            tamper, door, smoke, water.
        pass_on: Members whose change by more than this step passes at once; 0 = any change.
        pass_always: Members whose presence passes at once, unless the sequence is the last one.
        omit_unchanged: Members left out while they equal what was sent last.
        raw_every: Every so many readings one is sent as heard, marked `raw`; None = none.
    """

    heartbeat_s: float = 45.0
    first_spacing_s: float = 2.0
    lively_s: float = 6.0
    duplicate_s: float = 0.03
    read_duplicate_s: float = 1.0
    gate_dbm: float = -98.0
    gate_hysteresis_db: float = 4.0
    outlier_db: float = 9.0
    outlier_sigmas: float = 3.0
    change_readings: int = 3
    level_change_db: float = 8.0
    change_sigmas: float = 2.5
    silence_s: float = 10.0
    lost_s: float = 60.0
    freeze_readings: int = 60
    freeze_s: float = 60.0
    refresh_s: float = 3600.0
    pass_flags: bool = True
    pass_on: Mapping[str, float] = field(
        default_factory=lambda: {
            "battery_pct": 2.0, "battery_mv": 100.0, "temperature_c": 1.0, "humidity_pct": 5.0,
            "movement_counter": 3.0,
        }
    )  # fmt: skip
    pass_always: tuple[str, ...] = ("button", "button_event", "event")
    omit_unchanged: tuple[str, ...] = (
        "battery_pct", "battery_mv", "temperature_c", "humidity_pct",
    )  # fmt: skip
    raw_every: int | None = None

    def heartbeat_for(self, interval_s: float | None) -> float:
        """Return the heartbeat of a tag, never rarer than the server's patience allows, seconds.

        Args:
            interval_s: Time between adverts that the tag is registered with; None = none.
        """
        if interval_s is None:
            return self.heartbeat_s
        patience_s = max(SERVER_INTERVALS * interval_s, SERVER_PATIENCE_S)
        return min(self.heartbeat_s, RESERVE * patience_s)


_seconds: Final = fields.number(0.0, 86_400.0)
_db: Final = fields.number(0.0, 100.0)
READERS: Final[dict[str, fields.Reader]] = {
    "heartbeat_s": fields.number(1.0, 86_400.0),
    "first_spacing_s": fields.number(0.1, 3600.0),
    "lively_s": fields.number(0.0, 3600.0),
    "duplicate_s": fields.number(0.0, 10.0),
    "read_duplicate_s": fields.number(0.0, 600.0),
    "gate_dbm": fields.number(-150.0, 30.0),
    "gate_hysteresis_db": _db,
    "outlier_db": fields.number(1.0, 100.0),
    "outlier_sigmas": fields.number(0.0, 20.0),
    "change_readings": fields.whole(1, MOST_CHANGE_READINGS),
    "level_change_db": fields.number(1.0, 100.0),
    "change_sigmas": fields.number(0.0, 20.0),
    "silence_s": fields.number(0.5, 86_400.0),
    "lost_s": fields.number(1.0, 86_400.0),
    "freeze_readings": fields.whole(2, 100_000),
    "freeze_s": _seconds,
    "refresh_s": fields.number(1.0, 604_800.0),
    "pass_flags": fields.flag,
    "pass_on": fields.steps,
    "pass_always": fields.words,
    "omit_unchanged": fields.words,
    "raw_every": fields.optional(fields.whole(1, 1_000_000)),
}


def changes(path: str, raw: Any) -> dict[str, Any]:
    """Read members of a profile, as far as they are given.

    Raises:
        RulesDocumentError: a member is unknown or out of bounds.
    """
    given = fields.table(path, raw, READERS)
    return {name: READERS[name](fields.below(path, name), value) for name, value in given.items()}


def changed(profile: Profile, by: Mapping[str, Any], path: str) -> Profile:
    """Return a profile with some members replaced.

    Raises:
        RulesDocumentError: the members contradict each other.
    """
    found = replace(profile, **by)
    if found.first_spacing_s > found.heartbeat_s:
        raise RulesDocumentError(
            fields.below(path, "first_spacing_s"), "must not be more than heartbeat_s"
        )
    if found.lost_s <= found.silence_s:
        raise RulesDocumentError(fields.below(path, "lost_s"), "must be more than silence_s")
    return found
