"""Builds histories of business events for tests of the rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.events.places import (
    LabelRead,
    TagPresenceChanged,
    TagReadContradicted,
    TagZoneChanged,
)
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    ConfigChanged,
    SiteRegistered,
    TagBound,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned

T0 = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ZONES = {
    "store": "storage",
    "stage": "staging",
    "out": "outbound",
    "out2": "outbound",
    "dock": "dock",
    "yard": "yard",
}


def minute(minutes: float) -> datetime:
    """Return a time so many minutes after the start of the histories."""
    return T0 + timedelta(minutes=minutes)


class History:
    """Events in the order in which the log learns of them; times in minutes after `T0`.

    Attributes:
        envelopes: The events so far.
    """

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def add(self, subject: str, at_min: float, data: Event) -> Envelope:
        """Append an event; its id comes from its number and content."""
        at = minute(at_min)
        content = f"{len(self.envelopes)}/{subject}/{data!r}".encode()
        envelope = Envelope(
            id=uuid8(at, content), subject=subject, source="test", occurred_at=at, data=data
        )
        self.envelopes.append(envelope)
        return envelope

    def warehouse(self, *pallets: str) -> History:
        """Register a site, a zone of each kind, and tagged pallets (tag `t-<pallet>`)."""
        self.add("s1", -60, SiteRegistered(site_id="s1", name="Hall North"))
        for zone_id, kind in ZONES.items():
            zone = ZoneRegistered(
                zone_id=zone_id,
                site_id="s1",
                name=zone_id.capitalize(),
                kind=kind,  # type: ignore[arg-type]
            )
            self.add(zone_id, -60, zone)
        for pallet in pallets or ("p1",):
            tag = f"t-{pallet}"
            self.add(tag, -60, TagRegistered(tag_id=tag, identities=(f"mac:{pallet}",)))
            self.add(pallet, -60, AssetRegistered(asset_id=pallet, kind="pallet"))
            self.add(tag, -60, TagBound(tag_id=tag, asset_id=pallet))
        return self

    def move(self, at_min: float, to: str | None, pallet: str = "p1") -> Envelope:
        """Confirm that a pallet's tag is in another zone."""
        tag = f"t-{pallet}"
        return self.add(tag, at_min, TagZoneChanged(tag_id=tag, zone_id=to))

    def presence(
        self,
        at_min: float,
        state: Literal["present", "overdue", "missing", "unobservable"],
        heard_min: float,
        pallet: str = "p1",
        **more: Any,
    ) -> Envelope:
        """Say what a pallet's tag's silence means; `more` are other members of the fact."""
        tag = f"t-{pallet}"
        data = TagPresenceChanged(
            tag_id=tag,
            state=state,
            last_heard_at=minute(heard_min),
            silent_s=max(0.0, (at_min - heard_min) * 60),
            expected_interval_s=60,
            gateway_ids=("gw-1",),
            **more,
        )
        return self.add(tag, at_min, data)

    def copied(
        self, at_min: float, before_min: float, zone: str | None, pallet: str = "p1", **more: Any
    ) -> Envelope:
        """Say that a pallet's label gave one number twice; `more` replaces members of the fact."""
        tag = f"t-{pallet}"
        earlier, later = (
            LabelRead(
                event_id=str(uuid8(minute(m), f"{tag}/{where}".encode())),
                at=minute(m),
                gateway_id=f"phone-{who}",
                zone_id=where,
                counter=41,
            )
            for m, where, who in ((before_min, "store", "anna"), (at_min, zone, "ben"))
        )
        members: dict[str, Any] = {
            "tag_id": tag, "sign": "counter_repeated", "earlier": earlier, "later": later
        }  # fmt: skip
        return self.add(tag, at_min, TagReadContradicted(**(members | more)))

    def pod(
        self, at_min: float, *assets: str, shipment: str | None = None, document: str = "POD-7"
    ) -> Envelope:
        """Record a proof of delivery."""
        data = PodRecorded(shipment_id=shipment, asset_ids=assets, document=document)
        return self.add(shipment or assets[0], at_min, data)

    def plan(self, at_min: float, shipment: str, *assets: str) -> Envelope:
        """Plan a shipment."""
        return self.add(shipment, at_min, ShipmentPlanned(shipment_id=shipment, asset_ids=assets))

    def depart(self, at_min: float, shipment: str, *assets: str) -> Envelope:
        """Let a shipment leave."""
        return self.add(shipment, at_min, ShipmentDeparted(shipment_id=shipment, asset_ids=assets))

    def tick(self, at_min: float) -> Envelope:
        """Carry event time forward by a bystander's move."""
        return self.add("t-other", at_min, TagZoneChanged(tag_id="t-other", zone_id="store"))

    def rule(self, at_min: float, rule_id: str, **values: object) -> Envelope:
        """Change a rule's parameters."""
        section = f"rule/{rule_id}"
        return self.add(section, at_min, ConfigChanged(section=section, values=values))

    def recorded(self, *, delay_s: float = 1.0) -> list[Recorded]:
        """Return the events as a log would: dense positions, recorded a little after they happened."""
        return list(recorded(self.envelopes, delay_s=delay_s))


def recorded(envelopes: list[Envelope], *, delay_s: float = 1.0) -> Iterator[Recorded]:
    """Number events and give them times of recording that never decrease."""
    latest = datetime.min.replace(tzinfo=UTC)
    for position, envelope in enumerate(envelopes, 1):
        latest = max(latest, envelope.occurred_at + timedelta(seconds=delay_s))
        sealed = seal(envelope)
        yield Recorded(position, latest, sealed.id, sealed.subject, sealed.type, sealed.body)


def pallets_left(*pallets: str) -> History:
    """Return a history in which pallets come to the outbound zone and leave it without POD."""
    history = History().warehouse(*pallets)
    for pallet in pallets:
        history.move(0, "out", pallet)
        history.move(10, None, pallet)
    history.tick(42)
    return history
