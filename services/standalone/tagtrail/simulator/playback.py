"""Plays a stream into a sink: in real time, accelerated, or as fast as the sink takes it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tagtrail.simulator.sinks import Sink
from tagtrail.simulator.transmission import Transmission

FASTEST = math.inf


@dataclass(frozen=True, slots=True)
class Played:
    """What a playback did.

    Attributes:
        transmissions: Messages and facts handed over.
        simulated_s: Time of arrival of the last one, seconds since the simulated start.
        wall_s: How long it took, seconds.
        behind_s: Most that a transmission left later than it should, seconds.
        stopped: Whether it was stopped before the end.
    """

    transmissions: int
    simulated_s: float
    wall_s: float
    behind_s: float
    stopped: bool


def start_for(now: datetime, duration_s: float, speed: float) -> datetime:
    """Return the simulated start at which a playback never runs ahead of the wall clock.

    In real time that is now; accelerated, it lies so far back that the simulated end meets the
    wall clock when the playback ends.

    Args:
        now: Wall clock when the playback starts, aware.
        duration_s: Simulated time, seconds.
        speed: Simulated seconds per second, >= 1 to have an effect; `FASTEST` = no waiting.
    """
    ahead_s = duration_s * (1 - 1 / max(speed, 1.0))
    start = now - timedelta(seconds=ahead_s)
    return start.replace(microsecond=start.microsecond // 1000 * 1000)


def play(
    stream: Iterable[Transmission],
    sink: Sink,
    *,
    speed: float = 1.0,
    stop: threading.Event | None = None,
    late_s: float = 0.0,
    monotonic: Callable[[], float] = time.monotonic,
) -> Played:
    """Hand over a stream, each transmission at its time; does not close the sink.

    Args:
        stream: Transmissions in order of arrival.
        sink: Takes them.
        speed: Simulated seconds per second, > 0; `FASTEST` = no waiting.
        stop: Ends the playback early when set.
        late_s: Seconds since the simulated start should have been played; they are caught up, so
            that in real time the simulated clock and the wall clock agree.
        monotonic: Clock that paces it, seconds.

    Raises:
        ValueError: speed is not positive.
        UnavailableError: the sink's other side stayed away.
        RejectedError: the sink's other side refuses something.
    """
    if not speed > 0:
        raise ValueError("speed must be positive")
    stop = stop or threading.Event()
    began_s = monotonic() - late_s
    count, last_s, behind_s = 0, 0.0, 0.0
    for transmission in stream:
        due_s = began_s + transmission.deliver_s / speed if speed != FASTEST else began_s
        wait_s = due_s - monotonic()
        if (wait_s > 0 and stop.wait(wait_s)) or stop.is_set():
            return Played(count, last_s, monotonic() - began_s, behind_s, stopped=True)
        if speed != FASTEST:
            behind_s = max(behind_s, -wait_s)
        sink.send(transmission)
        count, last_s = count + 1, transmission.deliver_s
    return Played(count, last_s, monotonic() - began_s, behind_s, stopped=False)
