"""Adverts of tags that do not exist, at a steady rate: for load tests and for trying things out."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Annotated, Any, Final

from tagtrail_agent.binding import Range
from tagtrail_agent.clock import Clock
from tagtrail_agent.readings import Advert, Ear

_TURN_S: Final = 0.1
"""Adverts are handed over ten times a second, as a radio's stack does."""

_PREFIX: Final = "02c0ffee"
"""Beginning of the addresses: locally administered, so nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOptions:
    """kind = "simulated".

    Attributes:
        tags: How many tags, 1 to 65,536.
        adverts_per_s: Adverts of all together, each second.
        strangers_pct: Part of the adverts that come from tags that nobody enrolled, percent.
        seconds: How long; None = for ever.
        seed: Decides what is heard.
    """

    tags: Annotated[int, Range(1, 65_536)] = 20
    adverts_per_s: Annotated[float, Range(0.1, 100_000)] = 20.0
    strangers_pct: Annotated[float, Range(0, 100)] = 0.0
    seconds: float | None = None
    seed: int = 1


def simulated_tags(count: int) -> list[dict[str, Any]]:
    """Return the list of the simulated tags, as for `tags.file` or the server's API."""
    return [
        {"tag_id": f"simulated-{n}", "identities": [f"mac:{_PREFIX}{n:04x}"], "mode": "transit"}
        for n in range(count)
    ]


class Simulation:
    """An input that hears simulated tags.

    Args:
        options: What is heard.
        clock: Both clocks.
        name: Name for figures.
    """

    def __init__(self, options: SimulationOptions, clock: Clock, name: str = "simulated") -> None:
        self.name = name
        self._options, self._clock = options, clock
        self._chance = random.Random(options.seed)  # noqa: S311 - no secret
        self._levels = [self._chance.uniform(-85, -50) for _ in range(options.tags)]

    async def run(self, ear: Ear) -> None:
        """Hear until the time is over, or cancelled."""
        options, clock = self._options, self._clock
        began_s = clock.elapsed_s()
        given = 0
        while options.seconds is None or clock.elapsed_s() - began_s < options.seconds:
            due = int((clock.elapsed_s() - began_s) * options.adverts_per_s)
            ear.hear([self._advert() for _ in range(due - given)])
            given = due
            await asyncio.sleep(_TURN_S)

    def _advert(self) -> Advert:
        chance = self._chance
        stranger = chance.random() * 100 < self._options.strangers_pct
        number = chance.randrange(self._options.tags)
        start = "02dead00" if stranger else _PREFIX
        self._levels[number] += chance.gauss(0, 0.05)
        level_dbm = min(max(self._levels[number] + chance.gauss(0, 3), -110), -30)
        counter = chance.randrange(1 << 16)
        address = f"{start}{number:04x}"
        # BTHome v2, unencrypted: packet id, battery 90 %
        ad = bytes.fromhex("020106") + bytes(
            [8, 0x16, 0xD2, 0xFC, 0x40, 0x00, counter & 255, 1, 90]
        )
        return Advert(
            address, ad, round(level_dbm), self._clock.now(), self._clock.elapsed_s(), False
        )
