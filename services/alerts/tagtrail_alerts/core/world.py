"""Folds facts about the world into memory: what exists, what is where, what was shipped.

Bindings, names and kinds hold from their position in the log on: the rules know at every position
what the log knew there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from tagtrail_alerts.core.memory import (
    MAX_PROOFS,
    Asset,
    Deliveries,
    Memory,
    Place,
    Proof,
    RuleSetting,
    Shipment,
    Site,
    Tag,
    Zone,
)
from tagtrail_alerts.core.parameters import RULES, SECTION, parameters_of
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.errors import DomainError
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    AssetRetired,
    ConfigChanged,
    SiteRegistered,
    TagBound,
    TagRegistered,
    TagRetired,
    TagUnbound,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned


@dataclass(frozen=True, slots=True)
class Move:
    """A tag changed its zone.

    Attributes:
        tag_id: The tag.
        before: Where it was; None at first.
        after: Where it is.
    """

    tag_id: str
    before: Place | None
    after: Place


@dataclass(frozen=True, slots=True)
class Proved:
    """A POD came to cover assets.

    Attributes:
        proof: The POD.
        asset_ids: Assets that it covers and did not cover before.
    """

    proof: Proof
    asset_ids: tuple[str, ...]


Fact = Move | Proved


def fold(memory: Memory, event: Recorded) -> list[Fact]:
    """Take an event into memory.

    Returns:
        What the rules look at beyond the event itself: a tag's move, assets covered by a POD.
    """
    handle = _HANDLERS.get(type(event.data))
    return handle(memory, event, event.data) if handle is not None else []


def _site(memory: Memory, _: Recorded, data: SiteRegistered) -> list[Fact]:
    memory.sites.put(data.site_id, Site(name=data.name))
    return []


def _zone(memory: Memory, _: Recorded, data: ZoneRegistered) -> list[Fact]:
    memory.zones.put(data.zone_id, Zone(name=data.name, kind=data.kind, site_id=data.site_id))
    return []


def _asset(memory: Memory, _: Recorded, data: AssetRegistered) -> list[Fact]:
    memory.assets.put(data.asset_id, Asset(kind=data.kind, name=data.name))
    return []


def _asset_retired(memory: Memory, _: Recorded, data: AssetRetired) -> list[Fact]:
    memory.assets.drop(data.asset_id)
    memory.deliveries.drop(data.asset_id)
    return []


def _tag(memory: Memory, _: Recorded, data: TagRegistered) -> list[Fact]:
    known = memory.tags.get(data.tag_id)
    memory.tags.put(
        data.tag_id, Tag(label=data.label, asset_id=known.asset_id if known is not None else None)
    )
    return []


def _bound(memory: Memory, _: Recorded, data: TagBound) -> list[Fact]:
    known = memory.tags.get(data.tag_id) or Tag()
    memory.tags.put(data.tag_id, msgspec.structs.replace(known, asset_id=data.asset_id))
    return []


def _unbound(memory: Memory, _: Recorded, data: TagUnbound) -> list[Fact]:
    known = memory.tags.get(data.tag_id)
    if known is not None and known.asset_id == data.asset_id:
        memory.tags.put(data.tag_id, msgspec.structs.replace(known, asset_id=None))
    return []


def _tag_retired(memory: Memory, _: Recorded, data: TagRetired) -> list[Fact]:
    memory.tags.drop(data.tag_id)
    memory.places.drop(data.tag_id)
    return []


def _rule(memory: Memory, event: Recorded, data: ConfigChanged) -> list[Fact]:
    rule_id = data.section.removeprefix(SECTION)
    if not data.section.startswith(SECTION) or rule_id not in RULES:
        return []
    known = memory.rules.get(rule_id) or RuleSetting()
    try:
        parameters_of(rule_id, data.values)
    except DomainError as error:
        setting = msgspec.structs.replace(
            known, version=known.version + 1, position=event.position, error=error.detail[:500]
        )
    else:
        setting = RuleSetting(
            version=known.version + 1, values=data.values, position=event.position
        )
    memory.rules.put(rule_id, setting)
    return []


def _moved(memory: Memory, event: Recorded, data: TagZoneChanged) -> list[Fact]:
    at = event.envelope.occurred_at
    before = memory.places.get(data.tag_id)
    if before is None and data.from_zone_id is not None:
        before = Place(zone_id=data.from_zone_id, since_at=at, last_zone_id=data.from_zone_id)
    stays = before is not None and _kind(memory, before.zone_id) == _kind(memory, data.zone_id)
    after = Place(
        zone_id=data.zone_id,
        since_at=at,
        last_zone_id=data.zone_id or (before.last_zone_id if before is not None else None),
        stay_at=before.stay_at if stays and before is not None else at,
    )
    memory.places.put(data.tag_id, after)
    return [Move(data.tag_id, before, after)]


def _kind(memory: Memory, zone_id: str | None) -> str | None:
    zone = memory.zones.get(zone_id)
    return zone.kind if zone is not None else None


def _planned(memory: Memory, event: Recorded, data: ShipmentPlanned) -> list[Fact]:
    at = event.envelope.occurred_at
    known = memory.shipments.get(data.shipment_id) or Shipment(at=at)
    shipment = msgspec.structs.replace(known, at=max(known.at, at), planned=data.asset_ids)
    memory.shipments.put(data.shipment_id, shipment)
    return _proved_by_shipment(memory, shipment)


def _departed(memory: Memory, event: Recorded, data: ShipmentDeparted) -> list[Fact]:
    at = event.envelope.occurred_at
    known = memory.shipments.get(data.shipment_id) or Shipment(at=at)
    shipment = msgspec.structs.replace(
        known, at=max(known.at, at), loaded=data.asset_ids or known.loaded
    )
    memory.shipments.put(data.shipment_id, shipment)
    for asset_id in shipment.asset_ids:
        _note_departure(memory, asset_id, at)
    return _proved_by_shipment(memory, shipment)


def _note_departure(memory: Memory, asset_id: str, at: datetime) -> None:
    known = memory.deliveries.get(asset_id) or Deliveries()
    departed_at = at if known.departed_at is None else max(known.departed_at, at)
    memory.deliveries.put(asset_id, msgspec.structs.replace(known, departed_at=departed_at))


def _pod(memory: Memory, event: Recorded, data: PodRecorded) -> list[Fact]:
    at = event.envelope.occurred_at
    proof = Proof(event_id=str(event.id), at=at, document=data.document)
    if data.asset_ids:
        return _prove(memory, proof, data.asset_ids)
    if data.shipment_id is None:
        return []
    known = memory.shipments.get(data.shipment_id) or Shipment(at=at)
    shipment = msgspec.structs.replace(
        known, at=max(known.at, at), proofs=(*known.proofs, proof)[-MAX_PROOFS:]
    )
    memory.shipments.put(data.shipment_id, shipment)
    return _prove(memory, proof, shipment.asset_ids)


def _proved_by_shipment(memory: Memory, shipment: Shipment) -> list[Fact]:
    """Cover a shipment's assets by PODs that the log had learned of before it knew the assets."""
    return [fact for p in shipment.proofs for fact in _prove(memory, p, shipment.asset_ids)]


def _prove(memory: Memory, proof: Proof, asset_ids: tuple[str, ...]) -> list[Fact]:
    fresh = []
    for asset_id in asset_ids:
        known = memory.deliveries.get(asset_id) or Deliveries()
        if any(p.event_id == proof.event_id for p in known.proofs):
            continue
        proofs = (*known.proofs, proof)[-MAX_PROOFS:]
        memory.deliveries.put(asset_id, msgspec.structs.replace(known, proofs=proofs))
        fresh.append(asset_id)
    return [Proved(proof, tuple(fresh))] if fresh else []


_HANDLERS: Final[dict[type[Event], Callable[[Memory, Recorded, Any], list[Fact]]]] = {
    SiteRegistered: _site,
    ZoneRegistered: _zone,
    AssetRegistered: _asset,
    AssetRetired: _asset_retired,
    TagRegistered: _tag,
    TagBound: _bound,
    TagUnbound: _unbound,
    TagRetired: _tag_retired,
    ConfigChanged: _rule,
    TagZoneChanged: _moved,
    ShipmentPlanned: _planned,
    ShipmentDeparted: _departed,
    PodRecorded: _pod,
}
