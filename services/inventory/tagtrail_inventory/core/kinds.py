"""The kinds of things that are registered, and how each registration is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    AssetRetired,
    ConfigChanged,
    GatewayRegistered,
    GatewayRetired,
    RetentionSet,
    SiteRegistered,
    SiteRetired,
    SkuRegistered,
    SkuRetired,
    TagRegistered,
    TagRetired,
    ZoneRegistered,
    ZoneRetired,
)
from tagtrail_kernel.events.registry import Event


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing.

    Attributes:
        name: Its name in tables, singular.
        plural: Its name in paths.
        id_field: Field of its registration that is its id.
        registered: Event that registers it.
        retired: Event that ends it; None where a new value replaces the old one.
    """

    name: str
    plural: str
    id_field: str
    registered: type[Event]
    retired: type[Event] | None


KINDS: Final = {
    k.name: k
    for k in (
        Kind("site", "sites", "site_id", SiteRegistered, SiteRetired),
        Kind("zone", "zones", "zone_id", ZoneRegistered, ZoneRetired),
        Kind("gateway", "gateways", "gateway_id", GatewayRegistered, GatewayRetired),
        Kind("tag", "tags", "tag_id", TagRegistered, TagRetired),
        Kind("asset", "assets", "asset_id", AssetRegistered, AssetRetired),
        Kind("sku", "skus", "sku", SkuRegistered, SkuRetired),
        Kind("config", "config", "section", ConfigChanged, None),
        Kind("retention", "retention", "event_class", RetentionSet, None),
    )
}
"""All kinds by name."""

PLURALS: Final = {k.plural: k for k in KINDS.values()}
"""All kinds by the name in paths."""

_BY_REGISTERED: Final = {k.registered: k for k in KINDS.values()}
_BY_RETIRED: Final = {k.retired: k for k in KINDS.values() if k.retired is not None}


def kind_of(fact: Event) -> tuple[Kind, bool] | None:
    """Return the kind that a fact registers (False) or retires (True); None for other facts."""
    cls = type(fact)
    if cls in _BY_REGISTERED:
        return _BY_REGISTERED[cls], False
    if cls in _BY_RETIRED:
        return _BY_RETIRED[cls], True
    return None


def id_of(kind: Kind, fact: Event) -> str:
    """Return the id of the thing that a registration or retirement names."""
    return str(getattr(fact, kind.id_field))
