"""Alarms that the gateway raises by itself, from everything that it hears, before the filter.

Silence is told from deafness: a gateway that hears nothing at all knows nothing about its tags,
and a silence counts only from when it could hear again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from tagtrail_agent.filtering.alarmrules import AlarmRule
from tagtrail_agent.filtering.matching import TraitsOf, no_traits
from tagtrail_agent.readings import Reading

DEAF_S: Final = 60.0
"""A gateway that heard no tag at all for this long may be deaf."""

MOST_WATCHED: Final = 10_000
"""Tags watched per rule: a few megabytes."""


class Alarm(NamedTuple):
    """An alarm was raised or cleared.

    Attributes:
        alarm_id: Name of its rule.
        kind: "silent" or "heard".
        tag: Identity of the tag.
        state: What happened.
        at: When, UTC, by the gateway's clock.
        elapsed_s: The same by the monotonic clock, seconds.
        gateway_id: Who heard it last; None = the agent's own gateway.
        online: Whether the server could be reached.
        text: A sentence for people.
    """

    alarm_id: str
    kind: str
    tag: str
    state: Literal["raised", "cleared"]
    at: datetime
    elapsed_s: float
    gateway_id: str | None
    online: bool
    text: str

    def figures(self) -> dict[str, Any]:
        """Return what is sent to the server later: a member of a batch or of a status."""
        found: dict[str, Any] = {
            "alarm": self.alarm_id, "kind": self.kind, "tag": self.tag, "state": self.state,
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "online": self.online, "text": self.text,
        }  # fmt: skip
        if self.gateway_id is not None:
            found["gateway_id"] = self.gateway_id
        return found


class AlarmSink(Protocol):
    """Takes alarms: writes them down, keeps them for the server, switches a light."""

    def alarm(self, alarm: Alarm) -> None:
        """Take one; MUST NOT block and MUST NOT raise."""
        ...


@dataclass(slots=True)
class _Watch:
    """What one rule knows of one tag; `recent_s` are the times of its last readings, seconds."""

    last_s: float
    gateway_id: str | None = None
    raised: bool = False
    recent_s: list[float] = field(default_factory=list)

    def note(self, rule: AlarmRule, at_s: float) -> bool:
        """Note a reading; tells whether there are enough within the rule's time."""
        self.last_s = max(self.last_s, at_s)
        self.recent_s = [t for t in self.recent_s if at_s - t <= rule.within_s][-1000:]
        self.recent_s.append(at_s)
        return len(self.recent_s) >= rule.readings


class AlarmWatch:
    """Holds what is heard against the alarm rules.

    Args:
        rules: Of the document in force.
        sink: Is told of every alarm, once when it is raised and once when it is cleared.
        traits_of: What the enrolment says about tags.
        gateway_id: Name of the agent's own gateway, for rules that name gateways.
        most_watched: Tags watched per rule; beyond that the longest silent one without an alarm
            is forgotten.
    """

    def __init__(
        self,
        rules: Sequence[AlarmRule],
        sink: AlarmSink,
        traits_of: TraitsOf = no_traits,
        gateway_id: str | None = None,
        most_watched: int = MOST_WATCHED,
    ) -> None:
        self._most_watched = most_watched
        self._rules, self._sink = tuple(rules), sink
        self._traits_of, self._gateway_id = traits_of, gateway_id
        self._watches: list[dict[str, _Watch]] = [{} for _ in self._rules]
        self._heard_s: float | None = None
        self._hearing_since_s = 0.0
        self._raised = 0

    def take(self, readings: Sequence[Reading], now_s: float, *, online: bool) -> None:
        """Take what was heard, unfiltered.

        Args:
            readings: In any order.
            now_s: Monotonic clock, seconds.
            online: Whether the server can be reached.
        """
        for reading in readings:
            self._start(now_s)
            if self._heard_s is None or now_s - self._heard_s > DEAF_S:
                self._hearing_since_s = now_s
            self._heard_s = now_s
            for rule, watches in zip(self._rules, self._watches, strict=True):
                self._hear(rule, watches, reading, online=online)

    def due(self, now_s: float, at: datetime, *, online: bool) -> None:
        """Raise and clear what time alone decides; call it about once a second.

        Args:
            now_s: Monotonic clock, seconds.
            at: The same moment by the wall clock, UTC.
            online: Whether the server can be reached.
        """
        self._start(now_s)
        deaf = self._heard_s is None or now_s - self._heard_s > DEAF_S
        for rule, watches in zip(self._rules, self._watches, strict=True):
            for tag, watch in watches.items():
                if rule.kind == "heard":
                    self._let_go(rule, tag, watch, now_s, at, online=online)
                elif not deaf:
                    self._miss(rule, tag, watch, now_s, at, online=online)

    @property
    def open(self) -> list[tuple[str, str]]:
        """Alarms that are raised and not cleared: (alarm id, tag), sorted."""
        return sorted(
            (rule.alarm_id, tag)
            for rule, watches in zip(self._rules, self._watches, strict=True)
            for tag, watch in watches.items()
            if watch.raised
        )

    def figures(self) -> dict[str, Any]:
        """Return what the gateway's status says about alarms."""
        return {
            "alarms_open": [{"alarm": name, "tag": tag} for name, tag in self.open],
            "alarms_raised": self._raised,
        }

    def _start(self, now_s: float) -> None:
        """Begin to watch the tags that rules name outright, from the first call on."""
        if self._heard_s is not None or any(self._watches):
            return
        for rule, watches in zip(self._rules, self._watches, strict=True):
            if rule.kind == "silent":
                for tag in rule.match.tag:
                    if "*" not in tag and "?" not in tag:
                        watches[tag] = _Watch(now_s)

    def _hear(
        self, rule: AlarmRule, watches: dict[str, _Watch], reading: Reading, *, online: bool
    ) -> None:
        gateway_id = reading.gateway_id or self._gateway_id
        if not rule.match.takes(reading.tag, gateway_id, self._traits_of(reading.tag)):
            return
        if rule.kind == "heard" and not _counts(rule, reading):
            return
        watch = watches.get(reading.tag)
        if watch is None:
            _make_room(watches, self._most_watched)
            watch = watches[reading.tag] = _Watch(reading.elapsed_s)
        watch.gateway_id = reading.gateway_id
        enough = watch.note(rule, reading.elapsed_s)
        if rule.kind == "silent":
            if watch.raised and enough:
                self._tell(rule, reading.tag, watch, reading, online=online)
        elif not watch.raised and enough and (not online or not rule.only_offline):
            self._tell(rule, reading.tag, watch, reading, online=online)

    def _miss(
        self, rule: AlarmRule, tag: str, watch: _Watch, now_s: float, at: datetime, *, online: bool
    ) -> None:
        if watch.raised or (online and rule.only_offline):
            return
        if now_s - max(watch.last_s, self._hearing_since_s) < rule.after_s:
            return
        watch.recent_s.clear()
        self._tell(rule, tag, watch, Reading(tag, at, now_s), online=online)

    def _let_go(
        self, rule: AlarmRule, tag: str, watch: _Watch, now_s: float, at: datetime, *, online: bool
    ) -> None:
        if watch.raised and now_s - watch.last_s >= rule.clear_after_s:
            watch.recent_s.clear()
            self._tell(rule, tag, watch, Reading(tag, at, now_s), online=online)

    def _tell(
        self, rule: AlarmRule, tag: str, watch: _Watch, moment: Reading, *, online: bool
    ) -> None:
        watch.raised = not watch.raised
        self._raised += watch.raised
        silent = (rule.kind == "silent") == watch.raised
        said = "was not heard" if silent else "was heard"
        since = f" for {rule.after_s if rule.kind == 'silent' else rule.clear_after_s:g} s"
        text = f"{tag} {said}{since if silent else ''} ({rule.alarm_id})"
        alarm = Alarm(
            rule.alarm_id, rule.kind, tag, "raised" if watch.raised else "cleared",
            moment.at, moment.elapsed_s, watch.gateway_id, online, text,
        )  # fmt: skip
        self._sink.alarm(alarm)


def _counts(rule: AlarmRule, reading: Reading) -> bool:
    level = reading.members.get("rssi_dbm")
    if rule.min_rssi_dbm is not None and (level is None or level < rule.min_rssi_dbm):
        return False
    return rule.holds_at(reading.at)


def _make_room(watches: dict[str, _Watch], most: int) -> None:
    if len(watches) >= most:
        calm = [tag for tag, watch in watches.items() if not watch.raised] or list(watches)
        del watches[min(calm, key=lambda tag: watches[tag].last_s)]
