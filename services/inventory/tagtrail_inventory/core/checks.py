"""What must hold before a registration is written."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from tagtrail_kernel.events.registrations import (
    GatewayRegistered,
    TagBound,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event

FaultCode = Literal[
    "unknown_column",
    "missing_column",
    "missing_value",
    "bad_value",
    "too_long",
    "duplicate",
    "unknown_reference",
    "identity_taken",
    "wrong_site",
    "already_bound",
    "bad_row",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        code: Stable code.
        column: Field.
        detail: One sentence that says what to do.
    """

    code: FaultCode
    column: str
    detail: str


@dataclass(slots=True)
class Known:
    """What is registered and in use, as far as a check needs it.

    Attributes:
        sites: Site ids.
        zones: Site by zone.
        tags: Tag ids.
        assets: Asset ids.
        skus: SKUs.
        owners: Tag by identity.
        bound: Asset by tag.
    """

    sites: AbstractSet[str] = field(default_factory=set)
    zones: Mapping[str, str] = field(default_factory=dict)
    tags: AbstractSet[str] = field(default_factory=set)
    assets: AbstractSet[str] = field(default_factory=set)
    skus: AbstractSet[str] = field(default_factory=set)
    owners: Mapping[str, str] = field(default_factory=dict)
    bound: Mapping[str, str] = field(default_factory=dict)


def unknown(kind: str, id_: str, column: str, path: str) -> Fault:
    """Return the fault of a reference to something that is not registered."""
    detail = f"no {kind} {id_!r} is registered; register it with POST /v1/{path} first"
    return Fault("unknown_reference", column, detail)


def check(fact: Event, known: Known) -> list[Fault]:
    """Return what is wrong with a registration.

    Args:
        fact: The registration.
        known: What it may refer to.
    """
    match fact:
        case ZoneRegistered(site_id=site):
            return [] if site in known.sites else [unknown("site", site, "site_id", "sites")]
        case GatewayRegistered():
            return _check_gateway(fact, known)
        case TagRegistered():
            return _check_tag(fact, known)
        case TagBound():
            return _check_binding(fact, known)
        case _:
            return []


def _check_gateway(fact: GatewayRegistered, known: Known) -> list[Fault]:
    faults: list[Fault] = []
    if fact.site_id not in known.sites:
        faults.append(unknown("site", fact.site_id, "site_id", "sites"))
    if fact.zone_id is None:
        return faults
    site = known.zones.get(fact.zone_id)
    if site is None:
        faults.append(unknown("zone", fact.zone_id, "zone_id", "zones"))
    elif site != fact.site_id:
        detail = f"zone {fact.zone_id!r} is on site {site!r}; name that site or another zone"
        faults.append(Fault("wrong_site", "zone_id", detail))
    return faults


def _check_tag(fact: TagRegistered, known: Known) -> list[Fault]:
    faults: list[Fault] = []
    for identity in fact.identities:
        owner = known.owners.get(identity)
        if owner is not None and owner != fact.tag_id:
            kind = identity.partition(":")[0]
            detail = (
                f"this {kind} identity belongs to tag {owner!r}; retire that tag or "
                "register its identities anew without it"
            )
            faults.append(Fault("identity_taken", "identities", detail))
    return faults


def _check_binding(fact: TagBound, known: Known) -> list[Fault]:
    faults: list[Fault] = []
    if fact.tag_id not in known.tags:
        faults.append(unknown("tag", fact.tag_id, "tag_id", "tags"))
    if fact.asset_id not in known.assets:
        faults.append(unknown("asset", fact.asset_id, "asset_id", "assets"))
    return faults
