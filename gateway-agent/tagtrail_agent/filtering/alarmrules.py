"""Rules for alarms that a gateway raises itself while nobody else can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from tagtrail_agent.filtering import fields
from tagtrail_agent.filtering.errors import RulesDocumentError
from tagtrail_agent.filtering.matching import Match, match_of

Kind = Literal["silent", "heard"]

_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """One rule; it looks at each tag that it matches on its own.

    Attributes:
        alarm_id: Name within the document.
        kind: "silent": a tag that was heard is no longer; "heard": a tag is heard where and when
            it should not be.
        match: Which tags, at which gateways.
        only_offline: Whether it is raised only while the link to the server is down.
        after_s: Of "silent": silence that raises it, seconds.
        readings: Of "heard": readings within `within_s` that raise it; of "silent": readings
            within `within_s` that clear it.
        within_s: See `readings`, seconds.
        clear_after_s: Of "heard": silence that clears it, seconds.
        min_rssi_dbm: Of "heard": weaker readings do not count, dBm.
        between: Of "heard": local times of day, from (included) until (excluded); past midnight
            if the first is later; None = always.
        zone: Time zone of `between`.
    """

    alarm_id: str
    kind: Kind
    match: Match
    only_offline: bool = True
    after_s: float = 600.0
    readings: int = 3
    within_s: float = 60.0
    clear_after_s: float = 300.0
    min_rssi_dbm: float | None = None
    between: tuple[time, time] | None = None
    zone: ZoneInfo | None = None

    def holds_at(self, at: datetime) -> bool:
        """Tell whether a moment (aware) lies in the rule's hours."""
        if self.between is None:
            return True
        first, until = self.between
        clock = at.astimezone(self.zone).time() if self.zone is not None else at.time()
        if first <= until:
            return first <= clock < until
        return clock >= first or clock < until


def _clock(path: str, raw: Any) -> time:
    found = _CLOCK.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise RulesDocumentError(path, "must be a time of day such as 22:00")
    return time(int(found[1]), int(found[2]))


def _between(path: str, raw: Any) -> tuple[time, time]:
    times = fields.items(path, raw, _clock)
    if len(times) != 2 or times[0] == times[1]:
        raise RulesDocumentError(path, "must be two different times of day")
    return times[0], times[1]


def _zone(path: str, raw: Any) -> ZoneInfo:
    name = fields.word(path, raw)
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise RulesDocumentError(
            path, f"{name} is no time zone of this system, such as Europe/Berlin"
        ) from error


_seconds: Final = fields.number(1.0, 604_800.0)
_COMMON: Final[dict[str, fields.Reader]] = {
    "match": match_of,
    "only_offline": fields.flag,
    "readings": fields.whole(1, 1000),
    "within_s": _seconds,
}
_OWN: Final[dict[str, dict[str, fields.Reader]]] = {
    "silent": {"after_s": _seconds},
    "heard": {
        "clear_after_s": _seconds,
        "min_rssi_dbm": fields.number(-150.0, 30.0),
        "between": _between,
        "timezone": _zone,
    },
}


def alarm_rule(path: str, raw: Any) -> AlarmRule:
    """Read one rule.

    Raises:
        RulesDocumentError: names the member and what it must be.
    """
    every = {"id", "kind", "note", *_COMMON, *_OWN["silent"], *_OWN["heard"]}
    given = fields.table(path, raw, every)
    alarm_id = fields.word(fields.below(path, "id"), fields.required(path, given, "id"))
    kind_path = fields.below(path, "kind")
    kind: Kind = fields.one_of(*_OWN)(kind_path, fields.required(path, given, "kind"))
    fields.required(path, given, "match")
    readers = {**_COMMON, **_OWN[kind]}
    fields.table(path, {n: v for n, v in given.items() if n not in {"id", "kind", "note"}}, readers)
    found = {n: readers[n](fields.below(path, n), v) for n, v in given.items() if n in readers}
    if kind == "silent":
        fields.required(path, given, "after_s")
    if "between" in found and "timezone" not in found:
        raise RulesDocumentError(fields.below(path, "timezone"), "is missing: whose night is it?")
    return AlarmRule(
        alarm_id=alarm_id, kind=kind, zone=found.pop("timezone", None), **found
    )  # fmt: skip
