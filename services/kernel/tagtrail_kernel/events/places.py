"""Where things are: confirmed zone changes. `subject` of the envelope is the tag id."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Aware, Id, Metres, Text

Method = Literal["ble_zone", "uwb", "reported", "gps", "read_point", "claimed"]
Probability = Annotated[float, Meta(ge=0, le=1)]
SilenceCause = Literal[
    "storage_cadence",
    "adverts_lost",
    "link_weak",
    "shadowed",
    "gateways_down",
    "gateways_deaf",
    "battery_expected_empty",
    "left_through_dock",
    "out_of_coverage",
    "silent_while_heard",
]
CopySign = Literal["counter_repeated", "counter_went_back", "impossible_travel"]


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


@event("tag.presence_changed", version=1, family=Family.PLACE)
class TagPresenceChanged(Event, frozen=True, kw_only=True):
    """Whether a tag is heard as often as it should be. Silence is not absence.

    Computed in event time: silence counts only while gateways that usually hear the tag are
    themselves heard, so a dead gateway gives `unobservable`, never `missing`.

    Attributes:
        tag_id: The tag.
        state: `present`; `overdue` (silent for longer than its mode explains); `missing` (silent for
            much longer, although it should have been heard); `unobservable` (nobody could have heard it).
        last_heard_at: Time of the last sighting.
        silent_s: Silence when this was decided, seconds.
        expected_interval_s: Expected time between sightings, seconds.
        zone_id: Last confirmed zone.
        site_id: Its site.
        gateway_ids: Gateways that usually hear it.
        cause: Most probable reason of the silence, of those in docs/locating.md, section Presence;
            None while the tag is present.
        gone_probability: Probability that the tag is gone from its place, rather than that adverts
            were lost, it is hidden, or its battery ended; None while it is present.
        lost: Of `missing`: it has been for so long that nobody need wait for it any longer.
        look_first: Zones in the order in which to look for it, at most 5.
    """

    tag_id: Id
    state: Literal["present", "overdue", "missing", "unobservable"]
    last_heard_at: Aware
    silent_s: Annotated[float, Meta(ge=0)]
    expected_interval_s: Annotated[float, Meta(gt=0)]
    zone_id: Id | None = None
    site_id: Id | None = None
    gateway_ids: tuple[Id, ...] = ()
    cause: SilenceCause | None = None
    gone_probability: Probability | None = None
    lost: bool = False
    look_first: tuple[Id, ...] = ()


class LabelRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One read of a label.

    Attributes:
        event_id: The sighting.
        at: When it was, by the site's clock.
        gateway_id: Phone or reader that read it.
        zone_id: Zone that stood for then; None if for none.
        site_id: Its site; None for a phone, which is carried about, unless its zone has one.
        counter: What the label had counted to.
    """

    event_id: Id
    at: Aware
    gateway_id: Id
    zone_id: Id | None = None
    site_id: Id | None = None
    counter: int | None = None


@event("tag.read_contradicted", version=1, family=Family.PLACE)
class TagReadContradicted(Event, frozen=True, kw_only=True):
    """Two reads of a tag cannot both be of one label: somebody has probably copied it.

    Told once for each read that contradicts an earlier one, whichever of the two the log learned of
    first; `occurred_at` is the time of the later one.

    Attributes:
        tag_id: The tag.
        sign: What is wrong: `counter_repeated` (the label counts its reads, and said one number twice);
            `counter_went_back` (the later read has the lower number); `impossible_travel` (read at two
            sites within a time in which nobody gets from one to the other).
        earlier: The earlier read.
        later: The later read.
        distance_m: Between the two sites, metres, of `impossible_travel`.
    """

    tag_id: Id
    sign: CopySign
    earlier: LabelRead
    later: LabelRead
    distance_m: Annotated[float, Meta(ge=0)] | None = None
