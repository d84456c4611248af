"""The memory of locate: plain structs that are stored whole in a snapshot.

Everything here is a function of the log up to a position, so a snapshot plus the events after it
gives the same memory as reading the log from the start.
"""

from __future__ import annotations

import math
from typing import Final
from uuid import UUID

import msgspec

from tagtrail_locate.core.calm import Calm
from tagtrail_locate.core.hearing import Ear, Habits, ZoneHearing
from tagtrail_locate.core.ranging_state import Ranging
from tagtrail_locate.core.readings import NO_EVENT, Reading
from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.touches import Touch

TELLING_TAGS: Final = 3
"""From so many tags on, the silence of a gateway about all of them says that it is down."""


class Past(msgspec.Struct, array_like=True):
    """What the filter said at one evaluation.

    Attributes:
        at_s: Event time, seconds.
        moved_s: When the tag was last moved before; 0 = never.
        best: Index of the most probable zone.
        zones: Probability of each zone and, last, of none: float32.
        x_m: East of the mean, metres.
        y_m: North of the mean, metres.
        radius_95_m: Radius of 95 %, metres.
    """

    at_s: float
    moved_s: float
    best: int
    zones: bytes
    x_m: float | None
    y_m: float | None
    radius_95_m: float | None


class Track(msgspec.Struct, array_like=True):
    """What the filter remembers of one tag at one site.

    Three memories are kept: the newest, the one from which a late reading is computed anew, and
    one between them that takes the latter's place in time.

    Attributes:
        site_id: The site.
        form: Number of the cells and gateways that the memories are about.
        head_s: Event time of the newest memory, seconds.
        head: That memory, see `memory_bytes`.
        anchor_s: Event time of the oldest memory.
        anchor: That memory.
        mid_s: Event time of the memory between them; None if there is none yet.
        mid: That memory.
        recent: Readings since the oldest memory, in order of time.
        zones: Probability of each zone of the plan and, last, of none: float32.
        x_m: East of the mean, metres; None where the site has no plan.
        y_m: North of the mean, metres.
        radius_95_m: Radius around it that holds the tag with 95 % probability, metres.
        unheard: Gateways whose silence was held against places at the newest evaluation.
        skipped: Looks since the zones were computed; see `jobs.CALM_LOOKS`.
        past: Answers of the lag, in order of time; empty without one.
        gathered: Times after which and up to which readings since the oldest memory were gathered
            into one look.
    """

    site_id: str
    form: int
    head_s: float
    head: bytes
    anchor_s: float
    anchor: bytes
    mid_s: float | None = None
    mid: bytes = b""
    recent: list[Reading] = []
    zones: bytes = b""
    x_m: float | None = None
    y_m: float | None = None
    radius_95_m: float | None = None
    unheard: tuple[str, ...] = ()
    skipped: int = 0
    past: list[Past] = []
    gathered: list[tuple[float, float]] = []


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
        outside_since_s: Since when the tag has been outside by more than the tolerance; None if
            it is not.
        led_since_s: When the confirmed zone had begun to lead.
        confidence: Probability of the confirmed zone as the method states it; None if it does not.
        reason: Why the last evaluation kept or changed the zone.
        entered: Whether it ever confirmed a zone.
        foreign: Class of the source of the newest evidence if that is not one's own.
    """

    zone_id: str | None = None
    since_s: float = 0.0
    heard_s: float | None = None
    candidate_id: str | None = None
    candidate_out: bool = False
    candidate_since_s: float = 0.0
    candidate_count: int = 0
    outside_since_s: float | None = None
    led_since_s: float = 0.0
    confidence: float | None = None
    reason: str = "never_heard"
    entered: bool = False
    foreign: str | None = None


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
        radius_95_m: Radius of 95 %, metres, where the method states it.
    """

    at_s: float
    site_id: str
    x_m: float
    y_m: float
    accuracy_m: float
    event: bytes
    gateway_id: str | None = None
    radius_95_m: float | None = None


class TagState(msgspec.Struct, array_like=True):
    """All that is remembered of one tag.

    Attributes:
        tag_id: The tag.
        site_id: Site of the gateway that heard it last.
        now_s: Newest event time of anything about it.
        settle_s: When it (re)appeared by radio: corrections are quick for a while.
        interval_s: Expected time between adverts, seconds.
        learned: Whether `interval_s` was learned.
        power_db: What it sends above the standard by its registration, dB.
        overdue_s: Silence after which it is overdue, seconds.
        span_s: Longest time that items of several readings lately spanned, seconds; 0 = none.
        waits: Readings that wait until every gateway has told up to their time.
        waits_s: Event time of the first of them; None if there are none.
        waits_at: Site whose time they wait for.
        waits_position: Log position of the newest of them by arrival.
        waits_event: Id of that event.
        choir: Gateways that heard it lately: their readings of one advert are complete.
        sought_s: Newest event time of anything that was or is being evaluated.
        gaps_s: Recent times between adverts at the gateway that hears it best.
        pacer_id: That gateway.
        pacer_db: Usual level of its readings, normalised, dBm.
        paced_s: Event time of its newest reading.
        gaps_ever: Times between adverts ever learned.
        radio: Zone by signal strength.
        track: What the filter believes; None before the first reading that counts.
        nearest_id: Gateway that heard it strongest at the newest evaluation.
        ranging: Ranges and fixes; None for tags without.
        fix: Newest ranged position.
        ranged: Zone by ranged positions.
        point: Newest reported position.
        reported: Zone by reported positions.
        reported_method: "gps" or "reported".
        claimed: Zone by other systems' claims.
        claimed_by: Id of the newest of those.
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
        habits: How it is usually heard.
        touches: Newest reads of its NFC label, in order of time.
        labelled_s: When it got that label, if it had another one before: reads of earlier times
            are of the earlier label.
        calm: How steady its levels are.
    """

    tag_id: str
    site_id: str | None = None
    now_s: float = 0.0
    settle_s: float = 0.0
    interval_s: float = 0.0
    learned: bool = False
    power_db: float = 0.0
    overdue_s: float = 0.0
    span_s: float = 0.0
    waits: list[Reading] = []
    waits_s: float | None = None
    waits_at: str = ""
    waits_position: int = 0
    waits_event: UUID = NO_EVENT
    choir: int = 0
    sought_s: float = 0.0
    gaps_s: list[float] = []
    pacer_id: str | None = None
    pacer_db: float = 0.0
    paced_s: float = 0.0
    gaps_ever: int = 0
    radio: Hold = msgspec.field(default_factory=Hold)
    track: Track | None = None
    nearest_id: str | None = None
    ranging: Ranging | None = None
    fix: Point | None = None
    ranged: Hold = msgspec.field(default_factory=Hold)
    point: Point | None = None
    reported: Hold = msgspec.field(default_factory=Hold)
    reported_method: str = "reported"
    claimed: Hold = msgspec.field(default_factory=Hold)
    claimed_by: bytes = b""
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
    habits: Habits = msgspec.field(default_factory=Habits)
    touches: list[Touch] = []
    labelled_s: float = 0.0
    calm: Calm = msgspec.field(default_factory=Calm)


class GatewayState(msgspec.Struct, array_like=True):
    """How one gateway is.

    Attributes:
        gateway_id: The gateway.
        site_id: Its site, by registration or by its own messages.
        last_s: Newest event time of anything it said; 0 if it never did.
        alive_since_s: Start of the present stretch without a gap of `gateway_timeout_s`.
        resumed_s: Start of the present stretch without a gap of `silence_grace_s`.
        sighted_s: Newest event time of a sighting by it; None if none.
        hears: Whether it ever heard a tag that speaks by itself.
        skew_s: What its clock is believed to be ahead of the site's, and corrected by, seconds.
        off_low_s: Least distance of its times from the common time in the present window.
        off_high_s: Greatest distance.
        lonely: Whether it heard so few tags lately that its silence is theirs.
        minute_end_s: When the minute that is being counted ends, seconds since 1970.
        tags: Tags heard in that minute, with the number of readings.
        minute_count: Readings in that minute.
        last_tags: Tags heard in the minute before; 0 if it was silent then.
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
    hears: bool = False
    skew_s: float = 0.0
    off_low_s: float = math.inf
    off_high_s: float = -math.inf
    lonely: bool = True
    minute_end_s: float = 0.0
    tags: dict[str, int] = {}
    minute_count: int = 0
    last_tags: int = 0
    last_count: int = 0
    online: bool | None = None
    ahead_s: float | None = None
    written_s: float | None = None
    count: int = 0
    position: int = 0

    def turn_minute(self, at_s: float) -> None:
        """Begin to count another minute."""
        previous = at_s < self.minute_end_s + 60.0
        self.last_tags = len(self.tags) if previous else 0
        self.last_count = self.minute_count if previous else 0
        self.lonely = len(self.tags) < TELLING_TAGS
        self.minute_end_s = (at_s // 60.0 + 1.0) * 60.0
        self.tags, self.minute_count = {}, 0


LEAST_GATHER_S: Final = 0.2
"""Shortest time for which the readings of one advert wait for each other, seconds."""


class SiteTimes(msgspec.Struct, array_like=True):
    """How the clocks of a site's gateways go together.

    Attributes:
        gather_s: How long readings wait for each other, seconds.
        base_s: Common time of the gateways by their own clocks, seconds.
        window_s: When the present window of learning their distances from it began.
    """

    gather_s: float = LEAST_GATHER_S
    base_s: float = 0.0
    window_s: float = 0.0


class State(msgspec.Struct, kw_only=True):
    """The whole memory of one tenant.

    Attributes:
        position: Log position it stands at.
        registry: Configuration.
        tags: By tag id.
        gateways: By gateway id.
        watermarks_s: Newest event time heard from any gateway of a site, by site id.
        times: How the clocks of its gateways are, by site id.
        counters: What was not used, by reason.
        coverage: Who hears the tags of a zone, by zone id.
        ears: What gateways told of themselves, by gateway id.
    """

    position: int = 0
    registry: Registry = msgspec.field(default_factory=Registry)
    tags: dict[str, TagState] = {}
    gateways: dict[str, GatewayState] = {}
    watermarks_s: dict[str, float] = {}
    times: dict[str, SiteTimes] = {}
    counters: dict[str, int] = {}
    coverage: dict[str, ZoneHearing] = {}
    ears: dict[str, Ear] = {}


_encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decode = msgspec.msgpack.Decoder(State).decode


def pack(state: State) -> bytes:
    """Return the memory as bytes; equal memories give equal bytes."""
    return _encode(state)


def unpack(data: bytes) -> State:
    """Return the memory that `pack` stored.

    Raises:
        msgspec.DecodeError: the bytes are of another version or damaged.
    """
    return _decode(data)
