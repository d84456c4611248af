"""A whole simulated business: registrations, stream and truth of one seed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from tagtrail.simulator.goods import catalogue
from tagtrail.simulator.plan import Fact
from tagtrail.simulator.registrations import (
    envelope_of,
    gateway_facts,
    general_facts,
    site_facts,
    tag_facts,
)
from tagtrail.simulator.scenario import Scenario
from tagtrail.simulator.siterun import SiteRun
from tagtrail.simulator.transmission import Transmission
from tagtrail.simulator.truth import Truth
from tagtrail_kernel.envelope import Envelope, seal
from tagtrail_kernel.events.registry import Event

TOLD_AFTER_S: Final = 1.0
"""People tell the system about a fact this long after it happened."""
SETUP_S: Final = -60.0
"""Registrations are dated a minute before the start."""


class World:
    """One run, decided to the last byte by its scenario.

    Args:
        scenario: What is simulated. The plan is made at once; the radio runs with `stream`.

    Raises:
        RejectedError: the hall is too small for its tags.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._skus = catalogue(scenario.id_prefix)
        names = [sku.sku for sku in self._skus]
        self.sites = [SiteRun(scenario, n, names) for n in range(len(scenario.sites))]
        self.truth = Truth(scenario, self.sites)

    def registrations(self) -> list[Envelope]:
        """Return what must be known before the start: places, things, bindings, first contents."""
        found = list(general_facts(self._skus))
        for run in self.sites:
            found += site_facts(run.site)
            found += gateway_facts(self.scenario, run.gateways)
        for run in self.sites:
            for asset in run.plan.assets:
                found += tag_facts(self.scenario, asset)
        setup = [self._envelope(SETUP_S, subject, data) for subject, data in found]
        return setup + [
            self._envelope(f.at_s, f.subject, f.data) for f in self._facts() if not f.at_s
        ]

    def facts(self) -> list[Envelope]:
        """Return the business facts after the start, in order of time."""
        return [self._envelope(f.at_s, f.subject, f.data) for f in self._facts() if f.at_s]

    def stream(self) -> Iterator[Transmission]:
        """Yield everything that is sent, in order of arrival; may be read once.

        Business facts come as transmissions of kind "fact" whose payload is one sealed event.
        """
        return heapq.merge(*(run.stream() for run in self.sites), self._told())

    def _facts(self) -> list[Fact]:
        found = [f for run in self.sites for f in run.plan.facts]
        return sorted(found, key=lambda f: f.at_s)

    def _told(self) -> Iterator[Transmission]:
        for n, envelope in enumerate(self.facts()):
            at_s = (envelope.occurred_at - self.scenario.start_at).total_seconds()
            yield Transmission(
                round(at_s + TOLD_AFTER_S, 4), n, "fact", "events", "", "", "", seal(envelope).body
            )

    def _envelope(self, at_s: float, subject: str, data: Event) -> Envelope:
        return envelope_of(self.scenario, at_s, subject, data)
