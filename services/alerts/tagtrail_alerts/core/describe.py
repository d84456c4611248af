"""Words for people: things, places, durations. Names where known, else ids."""

from __future__ import annotations

from datetime import datetime

from tagtrail_alerts.core.memory import Memory
from tagtrail_kernel.events.places import TagPresenceChanged


def thing(memory: Memory, asset_id: str | None, tag_id: str | None) -> str:
    """Return what an alert is about, for example "Pallet P-17 (EUR pallet 17)"."""
    if asset_id is None:
        tag = memory.tags.get(tag_id)
        label = tag.label if tag is not None else None
        return f"Tag {label or tag_id}"
    asset = memory.assets.get(asset_id)
    if asset is None:
        return f"Asset {asset_id}"
    name = f" ({asset.name})" if asset.name else ""
    return f"{asset.kind.capitalize()} {asset_id}{name}"


def place(memory: Memory, zone_id: str | None) -> str | None:
    """Return a zone with its site, for example "Dock 3, Hall North"."""
    if zone_id is None:
        return None
    zone = memory.zones.get(zone_id)
    if zone is None:
        return zone_id
    site = memory.sites.get(zone.site_id)
    return f"{zone.name}, {site.name if site is not None else zone.site_id}"


def site_of(memory: Memory, zone_id: str | None) -> str | None:
    """Return the site of a zone, where known."""
    zone = memory.zones.get(zone_id)
    return zone.site_id if zone is not None else None


def kind_of(memory: Memory, zone_id: str | None) -> str | None:
    """Return the kind of a zone, where known."""
    zone = memory.zones.get(zone_id)
    return zone.kind if zone is not None else None


def has_left(data: TagPresenceChanged) -> bool:
    """Tell whether locate says that a tag went out: it is silent, and was last on its way to."""
    return data.state == "unobservable" and data.cause == "left_through_dock"


def battery_is_empty(data: TagPresenceChanged) -> bool:
    """Tell whether locate says that a tag is silent because its battery came to its end."""
    return data.state == "unobservable" and data.cause == "battery_expected_empty"


def moment(at: datetime) -> str:
    """Return a time for people, UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> duration(1800), duration(95), duration(9000)
        ('30 min', '1 min 35 s', '2 h 30 min')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (left, "s")) if n] or [
        "0 s"
    ]
    return " ".join(parts[:2])
