"""Event time: how far the world described by the log has come.

Deadlines are points of event time, so that a replay, an accelerated simulation and a live log
decide alike. Two things move event time:

* Facts of the world (places, shipments, stock) carry it forward: the watermark is the greatest
  `occurred_at` so far, whichever gateway or person it came from. The rules' own `alert.fired`
  count as well, because they say that a deadline was found to have passed.
* When nothing more comes, event time goes on at the speed of the wall clock from the moment the
  log took the event that set the watermark. A live log thereby fires when the wall clock passes
  the deadline (plus the delay of its transport); history that was imported, or a simulation that
  ended, fires after the time that was left; a simulation in slow motion is not overtaken,
  because each of its events sets the watermark, and with it the starting point, anew.

Registrations, settings, acknowledgements do not count: people make them at their own time, in a
log whose events may be simulated or historic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from tagtrail_alerts.core.memory import KEPT, EventClock, Memory
from tagtrail_alerts.core.parameters import RULES
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.alerts import AlertFired
from tagtrail_kernel.events.registry import Event, Family

KEY: Final = "event"
_WORLD: Final = Family.PLACE | Family.SHIPMENT | Family.STOCK


def moves_time(data: Event) -> bool:
    """Return whether an event tells how far event time has come."""
    if isinstance(data, AlertFired):
        return data.rule_id in RULES
    return bool(data.FAMILY & _WORLD)


def advance(memory: Memory, event: Recorded) -> None:
    """Carry event time forward over an event; forget what is finished once per day of it."""
    at = event.envelope.occurred_at
    clock = memory.clock.get(KEY)
    if not moves_time(event.data) or (clock is not None and at <= clock.watermark):
        return
    memory.clock.put(KEY, EventClock(watermark=at, seen_at=event.recorded_at))
    if clock is not None and clock.watermark.date() != at.date():
        memory.forget_before(at - KEPT)


def event_time(clock: EventClock, wall: datetime) -> datetime:
    """Return the event time at a moment of the wall clock, if nothing was recorded in between.

    Args:
        clock: Watermark, and when the log took the event that set it.
        wall: A moment up to which everything recorded has been applied.
    """
    return clock.watermark + max(wall - clock.seen_at, type(wall - wall)(0))
