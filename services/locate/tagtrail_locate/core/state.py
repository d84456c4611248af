"""The memory of locate: plain structs that are stored whole in a snapshot.

Everything here is a function of the log up to a position, so a snapshot plus the events after it
gives the same memory as reading the log from the start.
"""

from __future__ import annotations

import msgspec

from tagtrail_locate.core.hearing import Ear, Habits, ZoneHearing
from tagtrail_locate.core.registry import Registry


class Link(msgspec.Struct, array_like=True):
    """What one gateway heard of one tag lately.

    Attributes:
        times_s: Event times of the readings in the window, ascending.
        levels_db: Received power minus the power expected at 1 m, dB; same order.
        last_s: Event time of the newest reading ever.
        last_event: Id of that reading, 16 bytes, as all event ids here.
        reference: Where the power at 1 m came from: "message", "gateway" or "default"
            (both corrected by the tag's own power where it is registered), or "distance".
        count: Readings ever.
        mean_db: Tukey mean of the window, dB.
        spread_db: Standard deviation of its survivors, dB.
        kept: How many survived; 0 for an empty window.
        gap_s: Mean time between the readings in the window; 0 if there are fewer than two.
        rest_db: Level that the link has had for about a minute: what rest looks like.
    """

    times_s: list[float]
    levels_db: list[float]
    last_s: float
    last_event: bytes
    reference: str
    count: int = 0
    mean_db: float = 0.0
    spread_db: float = 0.0
    kept: int = 0
    gap_s: float = 0.0
    rest_db: float = 0.0


class Hold(msgspec.Struct, array_like=True):
    """A confirmed zone and the one that wants to replace it.

    Attributes:
        zone_id: Confirmed zone; None if none is, or if the tag left all zones.
        since_s: Event time of its confirmation.
        heard_s: Event time of the newest evidence of this source; None if it never spoke.
        candidate_id: Zone that leads by the margin now; None if none does.
        candidate_out: Whether the candidate is "outside all zones".
        candidate_since_s: When it began to lead without a break.
        candidate_count: Consecutive leads.
        led_since_s: When the confirmed zone had begun to lead.
        confidence: Probability of the confirmed zone as the method states it; None if it does not.
        reason: Why the last evaluation kept or changed the zone.
        entered: Whether it ever confirmed a zone.
    """

    zone_id: str | None = None
    since_s: float = 0.0
    heard_s: float | None = None
    candidate_id: str | None = None
    candidate_out: bool = False
    candidate_since_s: float = 0.0
    candidate_count: int = 0
    led_since_s: float = 0.0
    confidence: float | None = None
    reason: str = "never_heard"
    entered: bool = False


class Anchored(msgspec.Struct, array_like=True):
    """The newest range of one anchor: time, metres, standard deviation, event id."""

    at_s: float
    range_m: float
    sigma_m: float
    event: bytes


class Point(msgspec.Struct, array_like=True):
    """A position by one source.

    Attributes:
        at_s: Event time.
        site_id: Site whose frame holds it.
        x_m: East, metres.
        y_m: North, metres.
        accuracy_m: Radius of about 68 %, metres.
        event: Id of the newest event it rests on.
        gateway_id: Who said so; None if several anchors did.
    """

    at_s: float
    site_id: str
    x_m: float
    y_m: float
    accuracy_m: float
    event: bytes
    gateway_id: str | None = None


class Ranging(msgspec.Struct, array_like=True):
    """Ranges on their way to a fix.

    Attributes:
        ranges: Newest range per anchor.
        pending: Anchors that spoke since the last fix; the values mean nothing.
        rejected: Anchors whose range the last fix did not believe, with the residual in metres.
        trouble: Why the last round gave no fix; None if it did.
    """

    ranges: dict[str, Anchored] = {}
    pending: dict[str, int] = {}
    rejected: dict[str, float] = {}
    trouble: str | None = None


class TagState(msgspec.Struct, array_like=True):
    """All that is remembered of one tag.

    Attributes:
        tag_id: The tag.
        site_id: Site of the gateway that heard it last.
        now_s: Newest event time of anything about it.
        settle_s: When it (re)appeared by radio: corrections are quick for a while.
        window_s: Length of its averaging window, seconds.
        interval_s: Expected time between adverts, seconds.
        learned: Whether `interval_s` was learned.
        links: By gateway.
        gaps_s: Recent times between adverts at the gateway that heard it best.
        radio: Zone by signal strength.
        nearest_id: Gateway that decided it.
        ranging: Ranges and fixes; None for tags without.
        fix: Newest ranged position.
        ranged: Zone by ranged positions.
        point: Newest reported position.
        reported: Zone by reported positions.
        reported_method: "gps" or "reported".
        claimed: Zone by other systems' claims.
        read: Zone by taps, portals and phone scans.
        read_by: Event id, gateway and wording of the newest of those; None if there was none.
        zone_id: Confirmed zone over all sources.
        zone_since_s: Since when.
        method: Source that decided it; None at first.
        confidence: Of the winner.
        reason: Why the sources' contest ended as it did.
        presence: "present", "overdue", "missing" or "unobservable".
        presence_since_s: Since when.
        last_heard_s: Event time of the newest sighting of any kind, or None.
        active_s: The same for radios that speak by themselves; None for tags that only answer
            (RFID, NFC, printed codes), whose silence means nothing.
        heard: Newest event time per gateway that hears it speak by itself.
        check_s: When silence must be judged next, watermark time; None if never heard.
        written_s: When its place was written last, event time.
        written_x_m: Position that was written then.
        written_y_m: Position that was written then.
        late: Readings that came too late to count.
        position: Log position of the newest event about it.
        event: Id of that event.
        habits: How it is usually heard.
    """

    tag_id: str
    site_id: str | None = None
    now_s: float = 0.0
    settle_s: float = 0.0
    window_s: float = 15.0
    interval_s: float = 0.0
    learned: bool = False
    links: dict[str, Link] = {}
    gaps_s: list[float] = []
    radio: Hold = msgspec.field(default_factory=Hold)
    nearest_id: str | None = None
    ranging: Ranging | None = None
    fix: Point | None = None
    ranged: Hold = msgspec.field(default_factory=Hold)
    point: Point | None = None
    reported: Hold = msgspec.field(default_factory=Hold)
    reported_method: str = "reported"
    claimed: Hold = msgspec.field(default_factory=Hold)
    read: Hold = msgspec.field(default_factory=Hold)
    read_by: tuple[bytes, str, str] | None = None
    zone_id: str | None = None
    zone_since_s: float = 0.0
    method: str | None = None
    confidence: float | None = None
    reason: str = "never_heard"
    presence: str = "present"
    presence_since_s: float = 0.0
    last_heard_s: float | None = None
    active_s: float | None = None
    heard: dict[str, float] = {}
    check_s: float | None = None
    written_s: float | None = None
    written_x_m: float | None = None
    written_y_m: float | None = None
    late: int = 0
    position: int = 0
    event: bytes = b""
    habits: Habits = msgspec.field(default_factory=Habits)


class GatewayState(msgspec.Struct, array_like=True):
    """How one gateway is.

    Attributes:
        gateway_id: The gateway.
        site_id: Its site, by registration or by its own messages.
        last_s: Newest event time of anything it said; 0 if it never did.
        alive_since_s: Start of the present stretch without a gap of `gateway_timeout_s`.
        resumed_s: Start of the present stretch without a gap of `silence_grace_s`.
        sighted_s: Newest event time of a sighting by it; None if none.
        minute: Minute since 1970 that is being counted.
        tags: Tags heard in that minute, with the number of readings.
        last_tags: Tags heard in the minute before; 0 if it was silent then.
        usual_tags: Tags heard in the last minute before this one in which it heard any.
        last_count: Readings in the minute before.
        online: What its last status said.
        ahead_s: How far its clock was ahead of the recording, when it was not believed.
        written_s: When its row was written last, event time.
        count: Readings ever.
        position: Log position of the newest event by it.
    """

    gateway_id: str
    site_id: str | None = None
    last_s: float = 0.0
    alive_since_s: float = 0.0
    resumed_s: float = 0.0
    sighted_s: float | None = None
    minute: int = 0
    tags: dict[str, int] = {}
    last_tags: int = 0
    usual_tags: int = 0
    last_count: int = 0
    online: bool | None = None
    ahead_s: float | None = None
    written_s: float | None = None
    count: int = 0
    position: int = 0


class State(msgspec.Struct, kw_only=True):
    """The whole memory of one tenant.

    Attributes:
        position: Log position it stands at.
        registry: Configuration.
        tags: By tag id.
        gateways: By gateway id.
        watermarks_s: Newest event time heard from any gateway of a site, by site id.
        counters: What was not used, by reason.
        coverage: Who hears the tags of a zone, by zone id.
        ears: What gateways told of themselves, by gateway id.
    """

    position: int = 0
    registry: Registry = msgspec.field(default_factory=Registry)
    tags: dict[str, TagState] = {}
    gateways: dict[str, GatewayState] = {}
    watermarks_s: dict[str, float] = {}
    counters: dict[str, int] = {}
    coverage: dict[str, ZoneHearing] = {}
    ears: dict[str, Ear] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


_decode_tag = msgspec.msgpack.Decoder(TagState).decode


def copy_of(tag: TagState) -> TagState:
    """Return a deep copy of a tag's memory: looking at windows trims them."""
    return _decode_tag(_encode(tag))


def pack(state: State) -> bytes:
    """Return the memory as bytes; equal memories give equal bytes."""
    return _encode(state)


def unpack(data: bytes) -> State:
    """Return the memory that `pack` stored.

    Raises:
        msgspec.DecodeError: the bytes are of another version or damaged.
    """
    return _decode(data)
