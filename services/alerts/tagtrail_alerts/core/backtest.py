"""Runs a rule with other parameters over history: what would have fired, without firing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tagtrail_alerts.core.engine import Engine
from tagtrail_alerts.core.memory import Expectation, Memory
from tagtrail_alerts.core.parameters import RuleParameters
from tagtrail_kernel.envelope import Recorded


@dataclass(frozen=True, slots=True)
class WouldFire:
    """An alert that a rule would have raised.

    Attributes:
        expectation: It, in its last state.
        position: Position of the log at which it would have fired.
        fired_at: Event time of that.
    """

    expectation: Expectation
    position: int
    fired_at: datetime

    @property
    def retracted(self) -> bool:
        """Whether later events showed that it was never true."""
        return self.expectation.state == "retracted"


class Backtest:
    """A rule over history. Feed it the log from its beginning, in position order.

    The rules know of places, bindings and shipments from the beginning; only what fires inside
    the window of positions is reported. On the same events and parameters it reports exactly the
    alerts that the live rule raised: it is the same code, and the live alerts in the log tell
    it what the wall clock decided.

    Args:
        rule_id: The rule.
        parameters: Parameters that hold for the whole run.
        from_position: First position whose alerts are reported.
    """

    def __init__(self, rule_id: str, parameters: RuleParameters, *, from_position: int = 1) -> None:
        self._engine = Engine(Memory(), fixed={rule_id: parameters})
        self._from = from_position
        self._fired: dict[str, WouldFire] = {}

    def feed(self, events: Iterable[Recorded]) -> None:
        """Fold more events."""
        for event in events:
            for transition in self._engine.apply(event):
                expectation = transition.expectation
                alert_id = expectation.alert_id
                position = expectation.fired_position
                if position is not None and position >= self._from:
                    self._fired[alert_id] = WouldFire(expectation, position, expectation.decide_at)

    def fired(self) -> list[WouldFire]:
        """Return what would have fired so far, in order of position."""
        return sorted(self._fired.values(), key=lambda w: (w.position, w.expectation.alert_id))

    def pending(self) -> list[Expectation]:
        """Return what waits for its deadline at the end of the events."""
        return [e for _, e in self._engine.memory.expectations.items() if e.state == "waiting"]
