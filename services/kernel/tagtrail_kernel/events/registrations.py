"""What exists: sites, zones, gateways, tags, assets, SKUs, bindings, configuration.

Registering again replaces the earlier description from that moment on; nothing is edited. Ids are
chosen by the caller or made by the service; `subject` of the envelope is the id of the thing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Aware, Id, Rssi, Text

Point = tuple[float, float]
Polygon = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=1000)]
ZoneKind = Literal["storage", "inbound", "outbound", "staging", "dock", "yard", "other"]


@event("site.registered", version=1, family=Family.REGISTRY)
class SiteRegistered(Event, frozen=True, kw_only=True):
    """A site exists: one building or yard with its own frame (x east, y north, metres).

    Attributes:
        site_id: Short id, used in topics.
        name: What people call it.
        outline_m: Outline of the ground plan in the site frame, metres.
        time_zone: IANA name.
        latitude_deg: WGS84 latitude of the frame's origin.
        longitude_deg: WGS84 longitude of the frame's origin.
        bearing_deg: Clockwise angle from true north to the frame's y axis, degrees.
    """

    site_id: Id
    name: Text
    outline_m: Polygon | None = None
    time_zone: Text = "UTC"
    latitude_deg: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude_deg: Annotated[float, Meta(ge=-180, le=180)] | None = None
    bearing_deg: float = 0.0


@event("site.retired", version=1, family=Family.REGISTRY)
class SiteRetired(Event, frozen=True, kw_only=True):
    """A site is no longer used.

    Attributes:
        site_id: The site.
    """

    site_id: Id


@event("zone.registered", version=1, family=Family.REGISTRY)
class ZoneRegistered(Event, frozen=True, kw_only=True):
    """A zone exists on a site: the level at which BLE answers.

    Attributes:
        zone_id: Id, unique in the tenant.
        site_id: Its site.
        name: What people call it.
        kind: Its part in the flow of goods; `outbound` is what the POD rule watches.
        outline_m: Polygon in the site frame, metres; None if only its gateways are known.
        floor: Floor number.
    """

    zone_id: Id
    site_id: Id
    name: Text
    kind: ZoneKind = "storage"
    outline_m: Polygon | None = None
    floor: float = 0.0


@event("zone.retired", version=1, family=Family.REGISTRY)
class ZoneRetired(Event, frozen=True, kw_only=True):
    """A zone is no longer used.

    Attributes:
        zone_id: The zone.
    """

    zone_id: Id


@event("gateway.registered", version=1, family=Family.REGISTRY)
class GatewayRegistered(Event, frozen=True, kw_only=True):
    """A gateway (or UWB anchor, or reader) stands at a place.

    Attributes:
        gateway_id: As it names itself on the wire, normalised (docs/gateways.md).
        site_id: Its site.
        zone_id: The zone that a tag close to it is in.
        name: What people call it.
        x_m: East in the site frame, metres.
        y_m: North, metres.
        z_m: Height, metres.
        rssi_1m_dbm: Power at 1 m that this receiver reports for a standard tag, dBm; used where
            the message has no own reference.
        path_loss_exponent: Exponent of the log-distance model near it.
    """

    gateway_id: Id
    site_id: Id
    zone_id: Id | None = None
    name: Text | None = None
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    rssi_1m_dbm: Rssi | None = None
    path_loss_exponent: Annotated[float, Meta(ge=1, le=6)] | None = None


@event("gateway.retired", version=1, family=Family.REGISTRY)
class GatewayRetired(Event, frozen=True, kw_only=True):
    """A gateway was taken down.

    Attributes:
        gateway_id: The gateway, as it names itself on the wire, normalised.
    """

    gateway_id: Id


@event("tag.registered", version=1, family=Family.REGISTRY)
class TagRegistered(Event, frozen=True, kw_only=True):
    """A tag was enrolled: from now on its sightings are accepted.

    Attributes:
        tag_id: Random id; the subject of its events.
        identities: Normalised identities it is heard by, `kind:value`, for example
            "mac:58b1294494d3" (docs/gateways.md, section Identities).
        model: Key of the tag model catalogue, for example "xiaomi-tag".
        label: Printed label.
        mode: Cadence mode.
        interval_s: Expected time between adverts in this mode, seconds.
        rssi_1m_dbm: Power at 1 m of this tag, dBm, where it differs from its model.
    """

    tag_id: Id
    identities: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=16)]
    model: Text | None = None
    label: Text | None = None
    mode: Literal["transit", "storage"] = "storage"
    interval_s: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    rssi_1m_dbm: Rssi | None = None


@event("tag.retired", version=1, family=Family.REGISTRY)
class TagRetired(Event, frozen=True, kw_only=True):
    """A tag left service; its sightings are no longer accepted.

    Attributes:
        tag_id: The tag.
        reason: Why, for people.
    """

    tag_id: Id
    reason: Text | None = None


@event("asset.registered", version=1, family=Family.REGISTRY)
class AssetRegistered(Event, frozen=True, kw_only=True):
    """A thing that is followed for itself: pallet, crate, rack, tool.

    Attributes:
        asset_id: Id in the tenant.
        kind: What it is.
        name: What people call it.
        external_ids: Its names elsewhere, by scheme, for example {"grai": "…", "erp": "…"}.
    """

    asset_id: Id
    kind: Annotated[str, Meta(min_length=1, max_length=64)] = "crate"
    name: Text | None = None
    external_ids: dict[str, str] | None = None


@event("asset.retired", version=1, family=Family.REGISTRY)
class AssetRetired(Event, frozen=True, kw_only=True):
    """An asset left service. It is never deleted.

    Attributes:
        asset_id: The asset.
        reason: Why, for people.
    """

    asset_id: Id
    reason: Text | None = None


@event("sku.registered", version=1, family=Family.REGISTRY)
class SkuRegistered(Event, frozen=True, kw_only=True):
    """A kind of item.

    Attributes:
        sku: The seller's stock keeping unit.
        name: Description.
        gtin: GS1 item number, 8 to 14 digits.
        unit: Unit of measure of its quantities, UN/ECE Rec 20 code ("EA" = each).
    """

    sku: Id
    name: Text | None = None
    gtin: Annotated[str, Meta(pattern=r"^\d{8,14}$")] | None = None
    unit: Annotated[str, Meta(min_length=1, max_length=8)] = "EA"


@event("sku.retired", version=1, family=Family.REGISTRY)
class SkuRetired(Event, frozen=True, kw_only=True):
    """A kind of item is no longer kept.

    Attributes:
        sku: The SKU.
    """

    sku: Id


@event("tag.bound", version=1, family=Family.REGISTRY)
class TagBound(Event, frozen=True, kw_only=True):
    """A tag is on an asset from the event's time on (EPCIS AssociationEvent, installing).

    Attributes:
        tag_id: The tag.
        asset_id: The asset that carries it.
    """

    tag_id: Id
    asset_id: Id


@event("tag.unbound", version=1, family=Family.REGISTRY)
class TagUnbound(Event, frozen=True, kw_only=True):
    """A tag was taken off its asset (EPCIS AssociationEvent, removing).

    Attributes:
        tag_id: The tag.
        asset_id: The asset that carried it.
    """

    tag_id: Id
    asset_id: Id


@event("config.changed", version=1, family=Family.REGISTRY)
class ConfigChanged(Event, frozen=True, kw_only=True):
    """A setting of the tenant changed, so that a replay knows what held when.

    Attributes:
        section: What it concerns, for example "enrolment", "retention", "locate", "rule".
        values: The whole new content of that section.
    """

    section: Id
    values: dict[str, Any]


@event("retention.set", version=1, family=Family.REGISTRY)
class RetentionSet(Event, frozen=True, kw_only=True):
    """How long a class of events is kept. Radio facts are refused until their class has a rule.

    Attributes:
        event_class: Retention class: "radio" for raw radio facts, "business" for the rest.
        keep_days: Days after recording.
        basis: Why it is kept (purpose and lawful basis), for the record of processing.
        effective_at: From when.
    """

    event_class: Literal["radio", "business"]
    keep_days: Annotated[int, Meta(ge=1, le=36_500)]
    basis: Text
    effective_at: Aware | None = None
