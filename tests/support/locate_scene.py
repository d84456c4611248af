"""A site for tests of locate: facts in, what the engine says out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.places import TagPresenceChanged, TagZoneChanged
from tagtrail_kernel.events.registrations import (
    GatewayRegistered,
    SiteRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.sightings import TagRanged, TagSighted
from tagtrail_locate.core.effects import PlaceRow
from tagtrail_locate.core.engine import Engine

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
CAPTURE = "gateway-samples/espresense-capture-2023-11-27.jsonl"


def envelope(at_s: float, data: Event, *, subject: str = "x", salt: str = "") -> Envelope:
    """Wrap a fact of `at_s` seconds after the start."""
    occurred_at = START + timedelta(seconds=at_s)
    return Envelope(
        id=uuid8(occurred_at, f"{at_s}/{salt}/{data}".encode()),
        subject=subject,
        source="test",
        occurred_at=occurred_at,
        data=data,
        time_quality="gateway_receive",
    )


def recorded(position: int, fact: Envelope, *, at: datetime | None = None) -> Recorded:
    """Give a fact its place in a log; it is recorded when it happens unless said otherwise."""
    sealed = seal(fact)
    return Recorded(
        position, at or fact.occurred_at, fact.id, fact.subject, sealed.type, sealed.body
    )


def sighting(
    at_s: float, gateway: str, rssi_dbm: float | None, *, tag: str = "tag-1", **fields: Any
) -> Envelope:
    """Wrap a sighting."""
    fact = TagSighted(tag_id=tag, gateway_id=gateway, rssi_dbm=rssi_dbm, **fields)
    return envelope(at_s, fact, subject=tag)


def ranged(at_s: float, anchor: str, range_m: float, *, tag: str = "tag-1") -> Envelope:
    """Wrap a range."""
    fact = TagRanged(tag_id=tag, gateway_id=anchor, range_m=range_m, technology="uwb")
    return envelope(at_s, fact, subject=tag)


def alive(at_s: float, gateway: str) -> Envelope:
    """Wrap a gateway's telemetry."""
    return envelope(at_s, GatewayReported(gateway_id=gateway, kind="telemetry"), subject=gateway)


def square(x_m: float, y_m: float, side_m: float = 10.0) -> tuple[tuple[float, float], ...]:
    """Return an outline whose south-west corner is given."""
    return (
        (x_m, y_m),
        (x_m + side_m, y_m),
        (x_m + side_m, y_m + side_m),
        (x_m, y_m + side_m),
    )


def two_zones() -> list[Envelope]:
    """Return the registrations of a site with zones a and b, side by side, a gateway in each."""
    facts: list[Event] = [SiteRegistered(site_id="hall", name="Hall")]
    for n, zone in enumerate("ab"):
        outline = square(10.0 * n, 0.0)
        facts.append(
            ZoneRegistered(zone_id=zone, site_id="hall", name=f"Zone {zone}", outline_m=outline)
        )
        facts.append(
            GatewayRegistered(
                gateway_id=f"gw-{zone}",
                site_id="hall",
                zone_id=zone,
                x_m=10.0 * n + 5,
                y_m=5.0,
                rssi_1m_dbm=-59,
            )
        )
    return [envelope(-60.0, fact, salt=str(n)) for n, fact in enumerate(facts)]


class Scene:
    """An engine that is given facts one after the other, and remembers what came out.

    Args:
        facts: What is known from the start.
    """

    def __init__(self, facts: Sequence[Envelope] = ()) -> None:
        self.engine = Engine()
        self.position = 0
        self.facts: list[Envelope] = []
        self.places: dict[str, PlaceRow | None] = {}
        self.give(facts)

    def give(self, facts: Iterable[Envelope], *, recorded_at: datetime | None = None) -> None:
        """Give facts in this order."""
        for fact in facts:
            self.position += 1
            self.engine.apply([recorded(self.position, fact, at=recorded_at)])
            effects = self.engine.taken()
            self.facts += effects.facts
            self.places |= effects.places

    @property
    def changes(self) -> list[tuple[float, str | None]]:
        """Confirmed zone changes: seconds after the start, zone."""
        return [
            ((f.occurred_at - START).total_seconds(), f.data.zone_id)
            for f in self.facts
            if isinstance(f.data, TagZoneChanged)
        ]

    @property
    def presence(self) -> list[tuple[float, str, str]]:
        """Changes of presence: seconds after the start, tag, state."""
        return [
            ((f.occurred_at - START).total_seconds(), f.data.tag_id, f.data.state)
            for f in self.facts
            if isinstance(f.data, TagPresenceChanged)
        ]

    def zone(self, tag: str = "tag-1") -> str | None:
        """Return a tag's confirmed zone."""
        return self.engine.state.tags[tag].zone_id

    def place(self, tag: str = "tag-1") -> PlaceRow:
        """Return a tag's latest row."""
        row = self.places[tag]
        assert row is not None
        return row

    def state_of(self, tag: str = "tag-1") -> str:
        """Return a tag's presence."""
        return self.engine.state.tags[tag].presence


def capture(shared_data: Path) -> list[tuple[float, TagSighted]]:
    """Return the real ESPresense capture as (seconds after its first message, sighting)."""
    found = []
    lines = (shared_data / CAPTURE).read_text(encoding="utf-8").splitlines()
    for line in lines:
        message = json.loads(line)
        at_s = datetime.fromisoformat(message["tst"]).timestamp()
        payload = message["payload"]
        fact = TagSighted(
            tag_id="watch",
            gateway_id=message["topic"].rpartition("/")[2],
            rssi_dbm=payload["rssi"],
            rssi_1m_dbm=payload["rssi@1m"],
            distance_m=payload["distance"],
        )
        found.append((at_s, fact))
    first = found[0][0]
    return [(round(at_s - first, 6), fact) for at_s, fact in found]


def rooms(names: Iterable[str]) -> list[Envelope]:
    """Return registrations: every receiver in a room of its own name."""
    facts: list[Event] = [SiteRegistered(site_id="house", name="House")]
    for name in sorted(names):
        facts.append(ZoneRegistered(zone_id=name, site_id="house", name=name))
        facts.append(GatewayRegistered(gateway_id=name, site_id="house", zone_id=name))
    return [envelope(-600.0, fact, salt=str(n)) for n, fact in enumerate(facts)]


def ids(facts: Iterable[Envelope]) -> list[UUID]:
    """Return the ids of facts."""
    return [fact.id for fact in facts]
