"""What is in what. `subject` of the envelope is the asset id of the parent."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Id, Text

Quantity = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A quantity of one SKU.

    Attributes:
        sku: The SKU.
        quantity: Whole units, >= 1, in the SKU's unit of measure.
        lot: Lot or batch.
    """

    sku: Id
    quantity: Quantity
    lot: Text | None = None


Lines = Annotated[tuple[Line, ...], Meta(min_length=1, max_length=500)]


@event("crate.packed", version=1, family=Family.STOCK)
class CratePacked(Event, frozen=True, kw_only=True):
    """SKUs were put into or onto an asset (EPCIS AggregationEvent ADD, packing).

    Attributes:
        asset_id: The parent that carries the tag.
        lines: What was added.
        document: Business document, for example an order number.
    """

    asset_id: Id
    lines: Lines
    document: Text | None = None


@event("crate.unpacked", version=1, family=Family.STOCK)
class CrateUnpacked(Event, frozen=True, kw_only=True):
    """SKUs were taken out of an asset (EPCIS AggregationEvent DELETE, unpacking).

    Attributes:
        asset_id: The parent.
        lines: What was taken; never more than it holds.
        document: Business document, for example a pick list.
    """

    asset_id: Id
    lines: Lines
    document: Text | None = None


@event("contents.moved", version=1, family=Family.STOCK)
class ContentsMoved(Event, frozen=True, kw_only=True):
    """SKUs went from one asset into another: split or merge, quantity is conserved.

    Attributes:
        asset_id: Where they were.
        to_asset_id: Where they are now.
        lines: What was moved.
    """

    asset_id: Id
    to_asset_id: Id
    lines: Lines


class CountedLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A counted quantity of one SKU, zero allowed.

    Attributes:
        sku: The SKU.
        quantity: Whole units found.
        lot: Lot or batch.
    """

    sku: Id
    quantity: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    lot: Text | None = None


@event("count.recorded", version=1, family=Family.STOCK)
class CountRecorded(Event, frozen=True, kw_only=True):
    """Somebody counted an asset's contents; from its time on the count is what is there.

    Attributes:
        asset_id: What was counted.
        lines: What was found; a SKU that is not named was not there.
        counted_by: Pseudonym of the counter.
        reason: Why there is a difference, where known.
    """

    asset_id: Id
    lines: Annotated[tuple[CountedLine, ...], Meta(max_length=500)]
    counted_by: Id | None = None
    reason: Text | None = None
