"""What the system must be told before the first sighting, as kernel events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from tagtrail.simulator.layout import Site
from tagtrail.simulator.plan import Asset
from tagtrail.simulator.roster import Gateway
from tagtrail.simulator.scenario import Scenario
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    GatewayRegistered,
    RetentionSet,
    SiteRegistered,
    SkuRegistered,
    TagBound,
    TagRegistered,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event

SOURCE = "simulator"
KEEP_RADIO_DAYS = 90
MODEL = "generic-ble"
"""Key of the tag model: a static-address beacon."""


def envelope_of(scenario: Scenario, at_s: float, subject: str, data: Event) -> Envelope:
    """Wrap a fact; the same fact at the same time always gets the same id.

    Args:
        scenario: Gives the simulated start.
        at_s: When it happened, seconds since the start; may be negative.
        subject: What it is about.
        data: The fact.
    """
    at = scenario.start_at + timedelta(seconds=at_s)
    content = b"\0".join((subject.encode(), data.TYPE.encode(), msgspec.json.encode(data)))
    return Envelope(
        id=uuid8(at, content), subject=subject, source=SOURCE, occurred_at=at, data=data
    )


def site_facts(site: Site) -> Iterator[tuple[str, Event]]:
    """Yield the site and its zones, each with its subject."""
    yield (
        site.site_id,
        SiteRegistered(site_id=site.site_id, name=site.name, outline_m=site.outline_m),
    )
    for zone in site.zones:
        yield zone.zone_id, ZoneRegistered(
            zone_id=zone.zone_id, site_id=site.site_id, name=zone.name, kind=zone.kind,
            outline_m=zone.outline_m,
        )  # fmt: skip


def gateway_facts(scenario: Scenario, gateways: list[Gateway]) -> Iterator[tuple[str, Event]]:
    """Yield the gateways and anchors as a careful installer registers them.

    Their power at 1 m includes the receiver's offset, as a calibration would find it.
    """
    for g in gateways:
        ble = g.station.kind == "ble"
        yield g.wire_id, GatewayRegistered(
            gateway_id=g.wire_id, site_id=g.site_id, zone_id=g.station.zone_id,
            name=g.station.key, x_m=g.station.x_m, y_m=g.station.y_m, z_m=g.station.z_m,
            rssi_1m_dbm=float(round(scenario.radio.rssi_1m_dbm + g.offset_db)) if ble else None,
            path_loss_exponent=scenario.radio.path_loss_exponent if ble else None,
        )  # fmt: skip


def tag_facts(scenario: Scenario, asset: Asset) -> Iterator[tuple[str, Event]]:
    """Yield an asset, its tag, and their binding."""
    yield (
        asset.asset_id,
        AssetRegistered(
            asset_id=asset.asset_id,
            kind=asset.kind,
            name=asset.asset_id.replace("-", " ").capitalize(),
        ),
    )
    yield asset.tag_id, TagRegistered(
        tag_id=asset.tag_id, identities=(f"mac:{asset.mac}",), model=MODEL, label=asset.tag_id,
        mode="storage", interval_s=scenario.cadence.storage_s,
    )  # fmt: skip
    yield asset.tag_id, TagBound(tag_id=asset.tag_id, asset_id=asset.asset_id)


def general_facts(skus: list[SkuRegistered]) -> Iterator[tuple[str, Event]]:
    """Yield the retention rule, without which no radio fact is accepted, and the articles."""
    yield (
        "retention",
        RetentionSet(
            event_class="radio", keep_days=KEEP_RADIO_DAYS, basis="simulated data about no person"
        ),
    )
    for sku in skus:
        yield sku.sku, sku
