"""What locate knows of sites, zones, gateways and tags: a fold of registrations.

The version of the configuration is the log position of the last event that changed it, so any
place can be recomputed from "the log up to N with configuration M".
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tagtrail_kernel.events.registrations import (
    ConfigChanged,
    GatewayRegistered,
    GatewayRetired,
    SiteRegistered,
    TagRegistered,
    TagRetired,
    ZoneRegistered,
    ZoneRetired,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_locate.core.calibration_config import SECTION, Calibration, calibration_of
from tagtrail_locate.core.geometry import Point, area_m2, contains
from tagtrail_locate.core.thresholds import Thresholds, thresholds_of

S = TypeVar("S", bound=msgspec.Struct)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A site's frame; see `SiteRegistered`."""

    site_id: str
    name: str
    outline_m: tuple[Point, ...] | None = None
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    bearing_deg: float = 0.0


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A zone; see `ZoneRegistered`."""

    zone_id: str
    site_id: str
    name: str
    kind: str = "storage"
    outline_m: tuple[Point, ...] | None = None
    floor: float = 0.0


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway; see `GatewayRegistered`."""

    gateway_id: str
    site_id: str
    zone_id: str | None = None
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    rssi_1m_dbm: float | None = None
    path_loss_exponent: float | None = None


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A tag; see `TagRegistered`."""

    tag_id: str
    mode: str = "storage"
    interval_s: float | None = None
    rssi_1m_dbm: float | None = None
    identities: tuple[str, ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        """Its NFC labels."""
        return frozenset(name for name in self.identities if name.startswith("nfc:"))


class Registry(msgspec.Struct, kw_only=True):
    """Everything registered, and what follows from it.

    Attributes:
        version: Log position of the last event that changed something; 0 at first.
        sites: By site id.
        zones: By zone id.
        gateways: By gateway id.
        tags: By tag id.
        thresholds: Section "locate" of the configuration.
        trouble: What was wrong with the last configuration; None if nothing.
        zone_of: Zone of each gateway that has one, own or by its place in an outline.
        calibrations: By site id.
        plans: Log position of the last event that changed what is expected to be heard where, by
            site id.
        powers_dbm: Power at 1 m of the gateways that state it, dBm.
    """

    version: int = 0
    sites: dict[str, Site] = {}
    zones: dict[str, Zone] = {}
    gateways: dict[str, Gateway] = {}
    tags: dict[str, Tag] = {}
    thresholds: Thresholds = msgspec.field(default_factory=Thresholds)
    trouble: str | None = None
    zone_of: dict[str, str] = {}
    calibrations: dict[str, Calibration] = {}
    plans: dict[str, int] = {}
    powers_dbm: dict[str, float] = {}

    def fold(self, position: int, data: Event) -> bool:
        """Take over one registration; returns whether it matters to locate.

        Args:
            position: Position of the event, >= 1.
            data: The event; other types are ignored.
        """
        if isinstance(data, ConfigChanged):
            matters = self._configure(position, data.section, data.values)
        elif isinstance(data, TagRegistered):
            self.tags[data.tag_id] = _part(data, Tag)
            matters = True
        elif isinstance(data, TagRetired):
            matters = self.tags.pop(data.tag_id, None) is not None
        else:
            matters = self._fold_plan(position, data)
        if matters:
            self.version = position
        return matters

    def _fold_plan(self, position: int, data: Event) -> bool:
        before: Site | Zone | Gateway | None = None
        if isinstance(data, SiteRegistered):
            self.sites[data.site_id] = _part(data, Site)
        elif isinstance(data, ZoneRegistered):
            before = self.zones.get(data.zone_id)
            self.zones[data.zone_id] = _part(data, Zone)
        elif isinstance(data, ZoneRetired):
            before = self.zones.pop(data.zone_id, None)
        elif isinstance(data, GatewayRegistered):
            before = self.gateways.get(data.gateway_id)
            self.gateways[data.gateway_id] = _part(data, Gateway)
        elif isinstance(data, GatewayRetired):
            before = self.gateways.pop(data.gateway_id, None)
        else:
            return False
        for thing in (data, before):
            site_id = getattr(thing, "site_id", None)
            if site_id is not None:
                self.plans[site_id] = position
        self._derive()
        return True

    def _configure(self, position: int, section: str, values: dict[str, Any]) -> bool:
        if section.startswith(SECTION):
            return self._calibrate(position, section.removeprefix(SECTION), values)
        if section != "locate":
            return False
        thresholds, self.trouble = thresholds_of(values)
        if self.trouble is None:
            self.thresholds = thresholds
            self.plans = dict.fromkeys(self.plans, position)
        return True

    def _calibrate(self, position: int, site_id: str, values: dict[str, Any]) -> bool:
        calibration, self.trouble = calibration_of(values)
        if self.trouble is None:
            self.plans[site_id] = position
            if calibration is None:
                self.calibrations.pop(site_id, None)
            else:
                self.calibrations[site_id] = calibration
        return True

    def _derive(self) -> None:
        self.powers_dbm = {
            g.gateway_id: g.rssi_1m_dbm for g in self.gateways.values() if g.rssi_1m_dbm is not None
        }
        self.zone_of = {}
        for gateway in self.gateways.values():
            zone_id = gateway.zone_id
            if zone_id is None and gateway.x_m is not None and gateway.y_m is not None:
                zone = self.zone_at(gateway.site_id, gateway.x_m, gateway.y_m)
                zone_id = zone.zone_id if zone is not None else None
            if zone_id is not None and zone_id in self.zones:
                self.zone_of[gateway.gateway_id] = zone_id

    def zone_at(self, site_id: str, x_m: float, y_m: float) -> Zone | None:
        """Return the zone whose outline holds a point: the smallest one where they overlap."""
        found = [
            zone
            for zone in self.zones.values()
            if zone.site_id == site_id
            and zone.outline_m is not None
            and contains(zone.outline_m, x_m, y_m)
        ]
        return min(found, key=size_of, default=None)

    def has_outlines(self, site_id: str) -> bool:
        """Return whether any zone of a site has an outline, so that a position can leave it."""
        return any(z.site_id == site_id and z.outline_m is not None for z in self.zones.values())

    def zone_named(self, text: str, site_id: str | None) -> Zone | None:
        """Return the zone that another system means, by id or by name regardless of case.

        Args:
            text: Id or name as the other system writes it.
            site_id: Zones of this site are preferred where names repeat; None: any.
        """
        zone = self.zones.get(text)
        if zone is not None:
            return zone
        wanted = _plain(text)
        found = [z for z in self.zones.values() if wanted in (_plain(z.name), _plain(z.zone_id))]
        here = [z for z in found if z.site_id == site_id]
        return min(here or found, key=lambda z: z.zone_id, default=None)


def _part(data: Event, cls: type[S]) -> S:
    return cls(**{name: getattr(data, name) for name in cls.__struct_fields__})


def _plain(text: str) -> str:
    return text.strip().casefold().replace("_", " ").replace("-", " ")


def size_of(zone: Zone) -> tuple[float, str]:
    """Return the key that sorts zones by area, the smallest first."""
    return (area_m2(zone.outline_m) if zone.outline_m is not None else 0.0, zone.zone_id)
