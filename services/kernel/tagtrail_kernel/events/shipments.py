"""Departures and proofs of delivery. `subject` of the envelope is the shipment id."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Id, Text

AssetIds = Annotated[tuple[Id, ...], Meta(max_length=5000)]


@event("shipment.planned", version=1, family=Family.SHIPMENT)
class ShipmentPlanned(Event, frozen=True, kw_only=True):
    """A shipment will carry these assets.

    Attributes:
        shipment_id: Id in the tenant.
        asset_ids: What it carries.
        document: Order or delivery note.
        ship_to: Who gets it.
    """

    shipment_id: Id
    asset_ids: AssetIds
    document: Text | None = None
    ship_to: Text | None = None


@event("shipment.departed", version=1, family=Family.SHIPMENT)
class ShipmentDeparted(Event, frozen=True, kw_only=True):
    """A shipment left (EPCIS departing).

    Attributes:
        shipment_id: The shipment.
        asset_ids: What was loaded; empty if as planned.
        zone_id: From which zone.
    """

    shipment_id: Id
    asset_ids: AssetIds = ()
    zone_id: Id | None = None


@event("pod.recorded", version=1, family=Family.SHIPMENT)
class PodRecorded(Event, frozen=True, kw_only=True):
    """Proof of delivery, or of handing over, for a shipment or for single assets.

    Attributes:
        shipment_id: The shipment, where it is known.
        asset_ids: The assets it covers; empty if all of the shipment.
        document: Number of the signed document.
        signed_by: Pseudonym of the signer.
    """

    shipment_id: Id | None = None
    asset_ids: AssetIds = ()
    document: Text | None = None
    signed_by: Id | None = None
