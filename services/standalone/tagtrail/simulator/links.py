"""The way from a gateway to the broker: latency, outages, late and repeated messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tagtrail.simulator.roster import Gateway
from tagtrail.simulator.scenario import Faults, Format

BUFFERING: Final[frozenset[Format]] = frozenset({"native", "minew"})
"""Formats whose gateways keep readings while the network is gone; the others drop them."""
LATENCY_S: Final = (0.02, 0.03)
"""Shortest latency, and mean of what comes on top of it."""
DRAIN_S: Final = 0.02
"""Time between two messages when a buffer is emptied."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A gateway was out of action.

    Attributes:
        gateway_id: Which, as it names itself.
        kind: "dead" = no power, nothing heard; "link" = no network.
        start_s: From, seconds.
        end_s: Until, seconds.
    """

    gateway_id: str
    kind: Literal["dead", "link"]
    start_s: float
    end_s: float


def plan_outages(
    gateways: list[Gateway], faults: Faults, duration_s: float, rng: np.random.Generator
) -> list[Outage]:
    """Choose which gateways fail and when; no gateway fails twice.

    Outages lie in the middle of the run and take at most 30 % of it.
    """
    heard = [g for g in gateways if g.station.kind == "ble"]
    order = rng.permutation(len(heard))
    kinds: list[Literal["dead", "link"]] = []
    for _ in range(faults.dead_gateways):
        kinds.append("dead")  # noqa: PERF401 - the checkers disagree on a comprehension's type
    for _ in range(faults.link_outages):
        kinds.append("link")  # noqa: PERF401
    found = []
    for n, kind in zip(order, kinds, strict=False):
        start_s = float(rng.uniform(0.2, 0.55)) * duration_s
        length_s = min(float(rng.uniform(*faults.outage_s)), 0.3 * duration_s)
        found.append(
            Outage(heard[int(n)].wire_id, kind, round(start_s, 3), round(start_s + length_s, 3))
        )
    return sorted(found, key=lambda o: (o.start_s, o.gateway_id))


class Link:
    """One gateway's network.

    Args:
        gateway: Whose.
        outages: Outages of this gateway.
        faults: How often messages are late or repeated.
        rng: Source of chance of this link alone.
    """

    def __init__(
        self, gateway: Gateway, outages: list[Outage], faults: Faults, rng: np.random.Generator
    ) -> None:
        self._faults, self._rng = faults, rng
        self._buffers = gateway.format in BUFFERING
        self._down = [o for o in outages if o.kind == "link"]
        self._last_s = 0.0
        self._drained: dict[float, float] = {}

    def deliver(self, ready_s: float) -> tuple[list[float], bool]:
        """Say when a message that is ready at a time arrives.

        Returns:
            Times of its arrivals (none if it is lost, two if it is repeated), and whether it
            was held back.
        """
        for outage in self._down:
            if outage.start_s <= ready_s < outage.end_s:
                return self._after(outage)
        shortest_s, mean_s = LATENCY_S
        fresh = self._rng.random(3).tolist()
        arrives_s = ready_s + shortest_s - mean_s * float(np.log1p(-fresh[0]))
        if fresh[1] < self._faults.late_share:
            held_s = float(self._rng.uniform(*self._faults.late_s))
            return self._repeat(arrives_s + held_s, fresh[2]), True
        arrives_s = self._last_s = max(arrives_s, self._last_s)
        return self._repeat(arrives_s, fresh[2]), False

    def _after(self, outage: Outage) -> tuple[list[float], bool]:
        if not self._buffers:
            return [], False
        arrives_s = self._drained.get(outage.end_s, outage.end_s + 0.5) + DRAIN_S
        self._drained[outage.end_s] = arrives_s
        return self._repeat(arrives_s, float(self._rng.random())), True

    def _repeat(self, arrives_s: float, chance: float) -> list[float]:
        if chance >= self._faults.resend_share:
            return [arrives_s]
        return [arrives_s, arrives_s + float(self._rng.uniform(0.05, 5.0))]
