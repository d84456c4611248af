"""Where things are: confirmed zone changes. `subject` of the envelope is the tag id."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Aware, Id, Metres, Text

Method = Literal["ble_zone", "uwb", "reported", "gps", "read_point", "claimed"]
Probability = Annotated[float, Meta(ge=0, le=1)]


@event("tag.zone_changed", version=1, family=Family.PLACE)
class TagZoneChanged(Event, frozen=True, kw_only=True):
    """A tag is confirmed to be in another zone than before.

    Attributes:
        tag_id: The tag.
        zone_id: Where it is now; None if it left all zones.
        from_zone_id: Where it was; None at first.
        site_id: Site of `zone_id`, or of `from_zone_id` when it left.
        method: How it was decided.
        confidence: Probability that this is right, as the method states it.
        x_m: East at that moment, metres, where known.
        y_m: North, metres.
        accuracy_m: Radius, metres.
        evidence: Event ids of the sightings that decided it, newest first, at most 16.
        candidate_since_at: When the new zone first led: the wait since then is hysteresis.
        configuration: Version of the configuration it was computed with.
    """

    tag_id: Id
    zone_id: Id | None
    from_zone_id: Id | None = None
    site_id: Id | None = None
    method: Method = "ble_zone"
    confidence: Probability | None = None
    x_m: float | None = None
    y_m: float | None = None
    accuracy_m: Metres | None = None
    evidence: tuple[Id, ...] = ()
    candidate_since_at: Aware | None = None
    configuration: Text | None = None


@event("tag.positioned", version=1, family=Family.PLACE)
class TagPositioned(Event, frozen=True, kw_only=True):
    """Periodic snapshot of a tag's position, written for the books and not for following.

    Attributes:
        tag_id: The tag.
        site_id: Site whose frame holds the coordinates.
        x_m: East, metres.
        y_m: North, metres.
        accuracy_m: Radius, metres.
        method: How it was computed.
    """

    tag_id: Id
    site_id: Id
    x_m: float
    y_m: float
    accuracy_m: Metres | None = None
    method: Method = "uwb"
