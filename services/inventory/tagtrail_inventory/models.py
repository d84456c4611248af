"""Bodies and answers of the HTTP interface."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from tagtrail_kernel.events.registrations import ZoneKind

Id = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=512)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Outline = Annotated[list[Point], Field(min_length=3, max_length=1000)]
Rssi = Annotated[float, Field(ge=-150, le=30)]


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the year lies outside 1 to 9999") from error


Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_utc)]


class Body(BaseModel):
    """A request's body: nothing is guessed, unknown members are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SiteBody(Body):
    """A site: one building or yard with its own frame (x east, y north, metres)."""

    site_id: Id
    name: Text
    outline_m: Outline | None = None
    time_zone: Text = "UTC"
    latitude_deg: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude_deg: Annotated[float, Field(ge=-180, le=180)] | None = None
    bearing_deg: float = 0.0


class ZoneBody(Body):
    """A zone of a site."""

    zone_id: Id
    site_id: Id
    name: Text
    kind: ZoneKind = "storage"
    outline_m: Outline | None = None
    floor: float = 0.0


class GatewayBody(Body):
    """A gateway, anchor or reader at its place."""

    gateway_id: Id
    site_id: Id
    zone_id: Id | None = None
    name: Text | None = None
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    rssi_1m_dbm: Rssi | None = None
    path_loss_exponent: Annotated[float, Field(ge=1, le=6)] | None = None


class TagBody(Body):
    """A tag to enrol; without `tag_id` it gets a random one."""

    tag_id: Id | None = None
    identities: Annotated[list[Id], Field(min_length=1, max_length=16)]
    model: Text | None = None
    label: Text | None = None
    mode: Literal["transit", "storage"] = "storage"
    interval_s: Annotated[float, Field(gt=0, le=31_536_000)] | None = None
    rssi_1m_dbm: Rssi | None = None


class AssetBody(Body):
    """A thing that is followed for itself; without `asset_id` it gets a random one."""

    asset_id: Id | None = None
    kind: Annotated[str, Field(min_length=1, max_length=64)] = "crate"
    name: Text | None = None
    external_ids: dict[str, str] | None = None


class SkuBody(Body):
    """A kind of item."""

    sku: Id
    name: Text | None = None
    gtin: Annotated[str, Field(pattern=r"^\d{8,14}$")] | None = None
    unit: Annotated[str, Field(min_length=1, max_length=8)] = "EA"


class RetentionBody(Body):
    """How long a class of events is kept."""

    event_class: Literal["radio", "business"]
    keep_days: Annotated[int, Field(ge=1, le=36_500)]
    basis: Text
    effective_at: Moment | None = None


class ConfigBody(Body):
    """The whole new content of one section of settings."""

    values: dict[str, Any]


class BindBody(Body):
    """Put a tag on an asset."""

    asset_id: Id
    at: Moment | None = None
    move: bool = Field(
        False,
        description="Take the tag off the asset that it is on. On the same asset: confirm it.",
    )


class UnbindBody(Body):
    """Take a tag off its asset."""

    asset_id: Id | None = Field(None, description="The asset it is on; checked if given.")
    at: Moment | None = None


class RetireBody(Body):
    """End the use of something."""

    reason: Text | None = None
    at: Moment | None = None


class LineBody(Body):
    """A quantity of one SKU."""

    sku: Id
    quantity: Annotated[int, Field(ge=1, le=1_000_000_000)]
    lot: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class CountedLineBody(Body):
    """A counted quantity of one SKU, zero allowed."""

    sku: Id
    quantity: Annotated[int, Field(ge=0, le=1_000_000_000)]
    lot: Annotated[str, Field(min_length=1, max_length=512)] | None = None


Lines = Annotated[list[LineBody], Field(min_length=1, max_length=500)]


class PackBody(Body):
    """Put SKUs into an asset, or take them out."""

    lines: Lines
    document: Text | None = None
    at: Moment | None = None


class MoveBody(Body):
    """Move SKUs into another asset."""

    to_asset_id: Id
    lines: Lines
    at: Moment | None = None


class CountBody(Body):
    """What was found; a SKU that is not named was not there."""

    lines: Annotated[list[CountedLineBody], Field(max_length=500)]
    counted_by: Id | None = None
    reason: Text | None = None
    at: Moment | None = None


class ShipmentBody(Body):
    """A planned shipment; without `shipment_id` it gets a random one."""

    shipment_id: Id | None = None
    asset_ids: Annotated[list[Id], Field(max_length=5000)]
    document: Text | None = None
    ship_to: Text | None = None
    at: Moment | None = None


class DepartBody(Body):
    """A departure."""

    asset_ids: Annotated[list[Id], Field(max_length=5000)] = []
    zone_id: Id | None = None
    at: Moment | None = None


class PodBody(Body):
    """A proof of delivery."""

    shipment_id: Id | None = None
    asset_ids: Annotated[list[Id], Field(max_length=5000)] = []
    document: Text | None = None
    signed_by: Id | None = None
    at: Moment | None = None


class Receipt(BaseModel):
    """Answer of a command.

    Attributes:
        id: What it was about.
        status: `created`, `updated`, `unchanged` or `recorded`.
        event_id: The fact that was written last.
        event_ids: All facts that were written.
        position: Position of the last of them: ask with `position` to read what it led to.
        applied: Whether a following read sees it; else it will within moments.
        warnings: What was accepted and is probably not meant so, a sentence each.
    """

    id: str
    status: str
    event_id: str
    event_ids: list[str]
    position: int
    applied: bool
    warnings: list[str] = []


class AsOfModel(BaseModel):
    """The clocks of an answer.

    Attributes:
        position: What was known: the log up to here.
        at: Effective time.
    """

    position: int
    at: datetime
