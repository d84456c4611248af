"""A hall in which tags fall silent for different reasons, as logs that the engine can fold."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.locate_scene import Scene, alive, envelope, recorded, sighting, square

from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import (
    GatewayRegistered,
    SiteRegistered,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event

HOUR = 3600.0
ZONES = {"a": "storage", "b": "storage", "far": "storage", "out": "outbound"}
"""Zones in a row, by kind. `far` has no gateway of its own."""

GATEWAYS = {"gw-a": "a", "gw-b": "b", "gw-out": "out"}

RECEPTION = {
    "a": {"gw-a": 0.93, "gw-b": 0.5},
    "b": {"gw-b": 0.93, "gw-a": 0.5, "gw-out": 0.2},
    "far": {"gw-b": 0.12},
    "out": {"gw-out": 0.93, "gw-b": 0.2},
}
"""Share of the adverts from a zone that each gateway hears."""

LEVELS_DBM = {0.93: -55.0, 0.5: -70.0, 0.2: -80.0, 0.12: -92.0}

Span = tuple[float, float]
"""From and to, seconds after the start."""


def _nothing(at_s: float) -> bool:
    del at_s
    return False


@dataclass(frozen=True, kw_only=True)
class Traveller:
    """A tag and what becomes of it.

    Attributes:
        tag_id: Its id.
        route: Zone by the time from which it is there, in order; None = nowhere near.
        interval_s: Time between its adverts, seconds.
        registered: Interval that it is registered with; None = none.
        mode: Cadence mode.
        hidden: Whether something stands between it and all gateways, by time.
        battery_pct: Charge by time, percent; it is silent at 0. None = not told.
    """

    tag_id: str = "tag-1"
    route: tuple[tuple[float, str | None], ...] = ((0.0, "a"),)
    interval_s: float = 10.0
    registered: float | None = 10.0
    mode: Literal["transit", "storage"] = "transit"
    hidden: Callable[[float], bool] = _nothing
    battery_pct: Callable[[float], float] | None = None

    def zone_at(self, at_s: float) -> str | None:
        """Return where it is."""
        found: str | None = None
        for from_s, zone in self.route:
            if from_s <= at_s:
                found = zone
        return found


@dataclass(frozen=True, kw_only=True)
class World:
    """Tags, and gateways with their outages.

    Attributes:
        tags: All of them; `company` makes some that stay.
        until_s: End, seconds after the start.
        dark: Spans in which a gateway is without power, by gateway.
        cut: Spans in which a gateway hears but cannot send; it sends all afterwards.
        deaf: Spans in which a gateway lives and hears nothing.
        beat_s: Time between the gateways' signs of life, seconds.
        seed: Of the radio.
    """

    tags: tuple[Traveller, ...]
    until_s: float
    dark: dict[str, tuple[Span, ...]] = field(default_factory=dict)
    cut: dict[str, tuple[Span, ...]] = field(default_factory=dict)
    deaf: dict[str, tuple[Span, ...]] = field(default_factory=dict)
    beat_s: float = 15.0
    seed: int = 1

    def registrations(self) -> list[Envelope]:
        """Return what is known at the start."""
        facts: list[Event] = [SiteRegistered(site_id="hall", name="Hall")]
        for n, (zone, kind) in enumerate(ZONES.items()):
            outline = square(10.0 * n, 0.0)
            facts.append(_zone(zone, kind, outline))
        for gateway, zone in GATEWAYS.items():
            x_m = 10.0 * list(ZONES).index(zone) + 5.0
            facts.append(
                GatewayRegistered(
                    gateway_id=gateway, site_id="hall", zone_id=zone, x_m=x_m, y_m=5.0,
                    rssi_1m_dbm=-59,
                )
            )  # fmt: skip
        facts += [
            TagRegistered(
                tag_id=tag.tag_id, identities=(f"mac:{n}",), mode=tag.mode,
                interval_s=tag.registered,
            )
            for n, tag in enumerate(self.tags)
        ]  # fmt: skip
        return [envelope(-60.0, fact, salt=str(n)) for n, fact in enumerate(facts)]

    def log(self) -> list[Envelope]:
        """Return everything in the order in which it reaches the log."""
        events: list[tuple[float, int, Envelope]] = []
        for tag in self.tags:
            events += self._adverts(tag)
        for gateway in GATEWAYS:
            events += self._beats(gateway)
        ordered = sorted(events, key=lambda item: item[:2])
        return [*self.registrations(), *(fact for _, _, fact in ordered)]

    def _adverts(self, tag: Traveller) -> Iterable[tuple[float, int, Envelope]]:
        radio = random.Random(f"{self.seed}/{tag.tag_id}")
        at_s = radio.random() * min(tag.interval_s, 60.0)
        while at_s < self.until_s:
            zone = tag.zone_at(at_s)
            charge = None if tag.battery_pct is None else tag.battery_pct(at_s)
            for gateway, share in RECEPTION.get(zone or "", {}).items():
                heard = radio.random() < share
                if heard and not tag.hidden(at_s) and charge != 0.0:
                    yield from self._reading(tag, at_s, gateway, LEVELS_DBM[share], charge)
            at_s += tag.interval_s * (0.98 + 0.04 * radio.random())

    def _reading(
        self, tag: Traveller, at_s: float, gateway: str, rssi_dbm: float, charge: float | None
    ) -> Iterable[tuple[float, int, Envelope]]:
        if _within(self.dark.get(gateway, ()), at_s) or _within(self.deaf.get(gateway, ()), at_s):
            return
        told: dict[str, Any] = {} if charge is None else {"battery_pct": round(charge)}
        outage = _within(self.cut.get(gateway, ()), at_s)
        fact = sighting(round(at_s, 3), gateway, rssi_dbm, tag=tag.tag_id, **told)
        yield (at_s, 0, fact) if outage is None else (outage[1] + 0.5, 1, fact)

    def _beats(self, gateway: str) -> Iterable[tuple[float, int, Envelope]]:
        count = int(self.until_s / self.beat_s)
        for n in range(1, count + 1):
            at_s = n * self.beat_s + 0.001
            spans = (*self.dark.get(gateway, ()), *self.cut.get(gateway, ()))
            if _within(spans, at_s) is None:
                yield at_s, 0, alive(at_s, gateway)


def played(world: World, *, batch: int = 500) -> Scene:
    """Return a scene that was given the whole log of a world, in batches."""
    scene = Scene()
    events = [recorded(n, fact) for n, fact in enumerate(world.log(), start=1)]
    for start in range(0, len(events), batch):
        scene.engine.apply(events[start : start + batch])
        effects = scene.engine.taken()
        scene.facts += effects.facts
        scene.places |= effects.places
    scene.position = len(events)
    return scene


def _zone(zone: str, kind: Any, outline: tuple[tuple[float, float], ...]) -> ZoneRegistered:
    return ZoneRegistered(
        zone_id=zone, site_id="hall", name=f"Zone {zone}", kind=kind, outline_m=outline
    )


def _within(spans: Iterable[Span], at_s: float) -> Span | None:
    return next((span for span in spans if span[0] <= at_s < span[1]), None)


def company(*zones: str, interval_s: float = 30.0) -> tuple[Traveller, ...]:
    """Return three tags in each of some zones, that stay where they are."""
    return tuple(
        Traveller(
            tag_id=f"{zone}-{n}", route=((0.0, zone),), interval_s=interval_s, registered=interval_s
        )
        for zone in zones
        for n in range(3)
    )
