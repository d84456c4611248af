"""Values that a tag reports: which change passes at once, and which the server knows already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tagtrail_agent.filtering.profile import Profile


class News:
    """What one tag's values are, and what was sent of them by one gateway."""

    __slots__ = ("_said", "_said_s", "_sequence", "_unsaid")

    def __init__(self) -> None:
        self._unsaid: dict[str, Any] = {}
        self._said: dict[str, Any] = {}
        self._said_s: dict[str, float] = {}
        self._sequence: Any = None

    def take(self, members: Mapping[str, Any], profile: Profile) -> bool:
        """Note the values of a reading; tells whether they must pass at once.

        Args:
            members: Of the reading.
            profile: Names the members, and how far they must change.
        """
        urgent = profile.pass_flags and self._flags(members)
        for name, step in profile.pass_on.items():
            if name in members:
                value = members[name]
                self._unsaid[name] = value
                urgent = urgent or self._is_step(name, value, step)
        for name in profile.omit_unchanged:
            if name in members:
                self._unsaid[name] = members[name]
        sequence = members.get("sequence")
        if any(name in members for name in profile.pass_always):
            urgent = urgent or sequence is None or sequence != self._sequence
        self._sequence = sequence
        return urgent

    def _flags(self, members: Mapping[str, Any]) -> bool:
        """Note the members that are true or false; tells whether one is not as it was sent."""
        changed = False
        for name, value in members.items():
            if value is True or value is False:
                self._unsaid[name] = value
                changed = changed or self._said.get(name) is not value
        return changed

    def _is_step(self, name: str, value: Any, step: float) -> bool:
        """Tell whether a value is further from the one that was sent than its step.

        One that was never sent is urgent only where any change is: a first battery level can wait.
        """
        if name not in self._said:
            return step == 0.0
        said = self._said[name]
        if step > 0.0 and _is_number(value) and _is_number(said):
            return bool(abs(value - said) > step)
        return bool(value != said)

    def tell(self, profile: Profile, at_s: float) -> dict[str, Any]:
        """Return the values that an item sent now must carry, and note them as sent.

        Args:
            profile: Says which are left out while they do not change, and for how long.
            at_s: Time of the item, seconds.
        """
        told: dict[str, Any] = {}
        for name, value in self._unsaid.items():
            known = name in self._said and self._said[name] == value
            fresh = at_s - self._said_s.get(name, at_s) < profile.refresh_s
            if name not in profile.omit_unchanged or not (known and fresh):
                told[name] = value
                self._said[name], self._said_s[name] = value, at_s
        self._unsaid.clear()
        return told


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
