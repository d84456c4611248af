"""Who is there: tags on assets, and what each gateway calls itself on the wire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tagtrail.simulator.layout import Site, Station
from tagtrail.simulator.plan import Asset
from tagtrail.simulator.scenario import Format, Scenario


@dataclass(frozen=True, slots=True)
class Gateway:
    """A station with its voice.

    Attributes:
        station: Its place.
        site_id: Its site.
        format: What it speaks.
        wire_id: What it calls itself, normalised as docs/gateways.md says.
        offset_db: What this receiver adds to every reading, dB.
        skew_s: What its clock is ahead of true time, seconds.
    """

    station: Station
    site_id: str
    format: Format
    wire_id: str
    offset_db: float
    skew_s: float


def roster(scenario: Scenario, site_index: int, rng: np.random.Generator) -> list[Asset]:
    """Return a site's assets with their tags, not yet placed.

    Args:
        scenario: What is simulated.
        site_index: Which of its sites; numbers run on from site to site.
        rng: Decides the radio addresses (static random ones, as beacons use them).
    """
    assets = []
    macs = rng.choice(1 << 30, size=scenario.tags_per_site, replace=False)
    for n in range(scenario.tags_per_site):
        number = site_index * scenario.tags_per_site + n + 1
        kind = "pallet" if n % 3 == 0 else "crate"
        name = f"{scenario.id_prefix}{kind}-{number:04d}"
        tag_id = f"{scenario.id_prefix}tag-{number:04d}"
        mac = (0xC0 + site_index << 40) | (int(macs[n]) << 8) | (n & 0xFF)
        height_m = (0.4, 1.0, 1.6)[n % 3]
        assets.append(Asset(n, name, kind, tag_id, f"{mac:012x}", height_m))
    return assets


def gateways(scenario: Scenario, site: Site, rng: np.random.Generator) -> list[Gateway]:
    """Return a site's gateways, then its anchors, each with its format, offset and clock."""
    stations = [*site.gateways, *site.anchors]
    sigma_db = scenario.radio.gateway_offset_sigma_db
    offsets = rng.normal(0.0, sigma_db, size=len(stations))
    skewed = rng.permutation(len(site.gateways))[: scenario.faults.skewed_gateways]
    skews = rng.uniform(0.5, 1.0, size=len(stations)) * scenario.faults.skew_s
    signs = rng.choice((-1.0, 1.0), size=len(stations))
    found = []
    for n, station in enumerate(stations):
        heard = station.kind == "ble"
        form = scenario.formats[n % len(scenario.formats)] if heard else "native"
        wire_id = _wire_id(form, site.site_id, station.key, rng)
        skew_s = round(float(skews[n] * signs[n]), 3) if n in skewed and heard else 0.0
        offset_db = round(float(offsets[n]), 2) if heard else 0.0
        found.append(Gateway(station, site.site_id, form, wire_id, offset_db, skew_s))
    return found


def _wire_id(form: Format, site_id: str, key: str, rng: np.random.Generator) -> str:
    number = int(rng.integers(1 << 24))
    if form == "ruuvi":
        return f"c8252d{number:06x}"
    if form == "minew":
        return f"ac233f{number:06x}"
    if form == "espresense":
        return f"{site_id}_{key}".replace("-", "_")
    return f"{site_id}-{key}"
