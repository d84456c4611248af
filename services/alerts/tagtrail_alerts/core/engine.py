"""Runs the rules over events in position order: memory in, transitions out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from tagtrail_alerts.core import clock, clone_suspected, left_outbound, missing_tag, world
from tagtrail_alerts.core.memory import Expectation, Memory, RuleSetting
from tagtrail_alerts.core.parameters import (
    RULES,
    CloneSuspectedParameters,
    LeftOutboundParameters,
    MissingTagParameters,
    RuleParameters,
    parameters_of,
)
from tagtrail_alerts.core.transitions import Fire, Resolve, Transition, end
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.alerts import AlertFired, AlertResolved
from tagtrail_kernel.events.registrations import ConfigChanged

DISABLED: Final = "the rule was switched off"


class Engine:
    """The rules of one tenant.

    What it returns for an event depends on the events so far only, never on how they were cut
    into batches, nor on when the service ran.

    Args:
        memory: What is known so far; changed by `apply`.
        fixed: Parameters that hold whatever the events say; rules without are left out. For
            back-tests; None follows the events, all rules enabled by default.
    """

    def __init__(self, memory: Memory, fixed: Mapping[str, RuleParameters] | None = None) -> None:
        self.memory = memory
        self._fixed = fixed
        self._read: dict[str, tuple[RuleSetting, RuleParameters]] = {}
        self._deadlines = [
            (e.decide_at, alert_id)
            for alert_id, e in memory.expectations.items()
            if e.state == "waiting"
        ]
        heapq.heapify(self._deadlines)

    def apply(self, event: Recorded) -> list[Transition]:
        """Fold one event; returns what the rules decide at it, in order."""
        facts = world.fold(self.memory, event)
        transitions: list[Transition] = []
        for rule_id in self._rules():
            version, parameters = self.parameters(rule_id)
            if not parameters.enabled:
                if isinstance(event.data, ConfigChanged):
                    self._cancel_waiting(rule_id)
                continue
            transitions += _react(self.memory, parameters, version, event, facts)
        self._note_deadlines()
        transitions += self._on_alert(event)
        clock.advance(self.memory, event)
        return transitions + self._fire_due(event.position)

    def parameters(self, rule_id: str) -> tuple[int, RuleParameters]:
        """Return version and parameters in force of a rule."""
        if self._fixed is not None:
            return 0, self._fixed[rule_id]
        setting = self.memory.rules.get(rule_id) or RuleSetting()
        known = self._read.get(rule_id)
        if known is None or known[0] is not setting:
            known = (setting, parameters_of(rule_id, setting.values))
            self._read[rule_id] = known
        return setting.version, known[1]

    def is_void(self, fired: AlertFired) -> bool:
        """Return whether the rules, at this position, do not hold an alert to have fired."""
        expectation = self.memory.expectations.get(fired.alert_id)
        return expectation is not None and expectation.state in ("waiting", "met", "cancelled")

    def _rules(self) -> Iterable[str]:
        return RULES if self._fixed is None else self._fixed

    def _cancel_waiting(self, rule_id: str) -> None:
        for alert_id in [a for _, a in self._deadlines]:
            expectation = self.memory.expectations.get(alert_id)
            if (
                expectation is not None
                and expectation.state == "waiting"
                and expectation.rule_id == rule_id
            ):
                end(self.memory, expectation, "cancelled", DISABLED)

    def _note_deadlines(self) -> None:
        for expectation in self.memory.take_fresh():
            heapq.heappush(self._deadlines, (expectation.decide_at, expectation.alert_id))

    def _fire_due(self, position: int) -> list[Transition]:
        known = self.memory.clock.get(clock.KEY)
        transitions: list[Transition] = []
        while known is not None and self._deadlines and self._deadlines[0][0] <= known.watermark:
            _, alert_id = heapq.heappop(self._deadlines)
            expectation = self.memory.expectations.get(alert_id)
            if expectation is not None and expectation.state == "waiting":
                transitions.append(self._fire(expectation, position))
        return transitions

    def _fire(self, expectation: Expectation, position: int) -> Fire:
        fired = msgspec.structs.replace(expectation, state="fired", fired_position=position)
        self.memory.expect(fired)
        return Fire(fired)

    def _on_alert(self, event: Recorded) -> list[Transition]:
        data = event.data
        if isinstance(data, AlertFired):
            return self._on_fired(event, data)
        if isinstance(data, AlertResolved):
            return self._on_resolved(data)
        return []

    def _on_fired(self, event: Recorded, data: AlertFired) -> list[Transition]:
        """Take back an alert whose expectation had ended before the log took the alert.

        The alert itself carries event time to its deadline (see `clock.py`): that is what fires
        an expectation which the ticker found to be due.
        """
        expectation = self.memory.expectations.get(data.alert_id)
        if self._fixed is not None or expectation is None:
            return []
        if expectation.state not in ("met", "cancelled"):
            return []
        cause = f"retracted: {expectation.cause}"
        return [Resolve(expectation, cause, expectation.decide_at, str(event.id))]

    def _on_resolved(self, data: AlertResolved) -> list[Transition]:
        expectation = self.memory.expectations.get(data.alert_id)
        by_rule = data.by is None and self._fixed is not None
        if expectation is not None and expectation.state == "fired" and not by_rule:
            end(self.memory, expectation, "closed", data.cause)
        return []


def _react(
    memory: Memory,
    parameters: RuleParameters,
    version: int,
    event: Recorded,
    facts: list[world.Fact],
) -> list[Transition]:
    if isinstance(parameters, MissingTagParameters):
        return missing_tag.react(memory, parameters, version, event)
    if isinstance(parameters, LeftOutboundParameters):
        return left_outbound.react(memory, parameters, version, event, facts)
    if isinstance(parameters, CloneSuspectedParameters):
        return clone_suspected.react(memory, parameters, version, event)
    raise TypeError(f"no rule has parameters of type {type(parameters).__name__}")
