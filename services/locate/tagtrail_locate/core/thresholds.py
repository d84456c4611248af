"""What decides how eager or careful locate is: section "locate" of the tenant's configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Positive = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Probability = Annotated[float, Meta(gt=0, lt=1)]
Metres = Annotated[float, Meta(ge=0, le=100)]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
Timeout = Annotated[int, Meta(ge=-1, le=2_592_000_000)]
Count = Annotated[int, Meta(ge=1, le=1000)]


class Fence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a zone is left, with the four parameters of an omlox fence and a candidate counter.

    What is None is taken from the level above: a zone's from its site's, that from the tenant's.

    Attributes:
        exit_tolerance_m: A tag that is outside by less than this may still be inside, metres.
        tolerance_timeout_ms: It counts as outside after this time within the tolerance,
            milliseconds.
        exit_delay_ms: A tag that is outside by more than the tolerance is confirmed elsewhere after
            this time without a break, milliseconds.
        timeout_ms: Without any evidence for this long the zone becomes unknown, milliseconds;
            -1 = never, the last answer stands and presence tells the silence.
        exit_evaluations: Consecutive evaluations that the same other zone must lead.
    """

    exit_tolerance_m: Metres | None = None
    tolerance_timeout_ms: Milliseconds | None = None
    exit_delay_ms: Milliseconds | None = None
    timeout_ms: Timeout | None = None
    exit_evaluations: Count | None = None


class FullFence(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that hold for one zone; see `Fence`."""

    exit_tolerance_m: float
    tolerance_timeout_s: float
    exit_delay_s: float
    timeout_s: float | None
    exit_evaluations: int


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds of one tenant; a `config.changed` of section "locate" replaces them all.

    Attributes:
        lag_s: Fixed lag of the smoothing, seconds: the place told now is where the tag was this
            long ago, in the light of what was heard since.
        late_tolerance_s: Readings that come later than this (or than the lag, if that is more) are
            counted as late and not used for zones, seconds.
        default_rssi_1m_dbm: Power at 1 m where neither message nor gateway says it, dBm. -59 is
            the iBeacon convention; ESPresense's -65 would scale all distances alike.
        default_exponent: Path loss exponent of gateways without their own.
        border_loss_db: What a signal usually loses where it passes a border of zones, dB: walls,
            partitions, racks. 0 for a site whose zones are marks on an open floor.
        enter_probability: A zone is named as the first one from this probability on.
        exit_probability: A tag may be elsewhere once its zone is less probable than this.
        lead_probability: A zone replaces another one only from this probability on.
        rest_s: A zone that was confirmed for so long, without a sign of a move since, is replaced
            only from `rest_probability` on, seconds: levels drift though nothing moves.
        rest_probability: ... and once it is itself less probable than one minus this.
        exit_tolerance_m: See `Fence`, metres.
        tolerance_timeout_ms: See `Fence`, milliseconds.
        exit_delay_ms: See `Fence`, milliseconds.
        timeout_ms: See `Fence`, milliseconds.
        exit_evaluations: See `Fence`.
        site_fences: Other fence parameters for single sites, by site id.
        zone_fences: Other fence parameters for single zones, by zone id.
        settle_s: After a tag (re)appears, corrections are quick for this long, seconds.
        settle_evaluations: Consecutive leads that correct a zone while it settles.
        settle_lead_s: Time that a candidate must lead while it settles, seconds; a tenth of the time
            that the zone was held, if that is more.
        lapse_s: A tag that was not heard for this long (or ten intervals) reappears, seconds.
        silence_grace_s: Silence of a gateway that is not yet held against a place, seconds; longer
            for slow tags.
        gateway_timeout_s: A gateway that was not heard for this long is silent, seconds.
        range_window_s: Longest time that a round of ranges takes, seconds; a pause of half of it
            ends one.
        range_sigma_m: Standard deviation of a range whose anchor states none, metres.
        tag_height_m: Height at which tags are assumed where anchors have heights, metres.
        border_m: How far outside its zone a position must be before the zone can change, metres.
        border_evaluations: Consecutive positions outside that change the zone.
        read_point_s: How long a tap, portal read or phone scan outranks everything, seconds.
        uwb_s: How long a ranged position counts as fresh, seconds.
        reported_s: How long a reported position counts as fresh, seconds.
        claimed_s: How long another system's zone claim counts as fresh, seconds.
        phone_reach_m: A phone's radio contact counts as a scan up to this estimated distance.
        overdue_factor: Silence, in expected intervals, after which a tag is overdue.
        overdue_s: But never before this, seconds.
        missing_factor: Observed silence, in expected intervals, after which a tag is missing.
        missing_s: But never before this, seconds.
        missing_probability: ... nor before lost adverts and shadows are excluded with this
            probability; 0 decides by time alone.
        lost_s: Observed silence after which a missing tag is called lost, seconds.
        storage_interval_s: Expected interval of storage tags that state none, until learned.
        transit_interval_s: The same for tags in transit, seconds.
        clock_ahead_s: A gateway whose clock is further ahead than this is not believed, seconds.
    """

    lag_s: Literal[0, 1, 3, 10] = 0
    late_tolerance_s: Annotated[float, Meta(ge=1, le=60)] = 4.0
    default_rssi_1m_dbm: Annotated[float, Meta(ge=-150, le=30)] = -59.0
    default_exponent: Annotated[float, Meta(ge=1, le=6)] = 2.7
    border_loss_db: Annotated[float, Meta(ge=0, le=40)] = 4.0
    enter_probability: Probability = 0.3
    exit_probability: Probability = 0.35
    lead_probability: Probability = 0.65
    rest_s: Seconds = 180.0
    rest_probability: Probability = 0.8
    exit_tolerance_m: Metres = 1.5
    tolerance_timeout_ms: Milliseconds = 45_000
    exit_delay_ms: Milliseconds = 3000
    timeout_ms: Timeout = -1
    exit_evaluations: Count = 3
    site_fences: dict[str, Fence] = {}
    zone_fences: dict[str, Fence] = {}
    settle_s: Seconds = 60.0
    settle_evaluations: Count = 2
    settle_lead_s: Seconds = 1.0
    lapse_s: Positive = 60.0
    silence_grace_s: Seconds = 5.0
    gateway_timeout_s: Positive = 60.0
    range_window_s: Positive = 1.0
    range_sigma_m: Annotated[float, Meta(gt=0, le=100)] = 0.15
    tag_height_m: float = 1.0
    border_m: Metres = 0.3
    border_evaluations: Count = 2
    read_point_s: Seconds = 180.0
    uwb_s: Seconds = 10.0
    reported_s: Seconds = 120.0
    claimed_s: Seconds = 120.0
    phone_reach_m: Annotated[float, Meta(gt=0, le=1000)] = 5.0
    overdue_factor: Annotated[float, Meta(ge=1, le=1000)] = 3.0
    overdue_s: Seconds = 30.0
    missing_factor: Annotated[float, Meta(ge=1, le=1000)] = 10.0
    missing_s: Seconds = 120.0
    missing_probability: Share = 0.9
    lost_s: Seconds = 86_400.0
    storage_interval_s: Positive = 3600.0
    transit_interval_s: Positive = 60.0
    clock_ahead_s: Positive = 120.0

    @property
    def keep_s(self) -> float:
        """How far back a tag can be recomputed at least, seconds."""
        return max(float(self.lag_s), self.late_tolerance_s)

    @property
    def least_timeout_s(self) -> float | None:
        """The shortest time after which any zone is given up, seconds; None if none is."""
        fences = (*self.site_fences.values(), *self.zone_fences.values())
        found = (self.timeout_ms, *(fence.timeout_ms for fence in fences))
        return min((ms / 1000.0 for ms in found if ms is not None and ms >= 0), default=None)

    def fence_of(self, site_id: str | None, zone_id: str | None) -> FullFence:
        """Return the fence parameters of a zone: its own, else its site's, else the tenant's."""
        levels = (self.zone_fences.get(zone_id or ""), self.site_fences.get(site_id or ""), self)

        def first(name: str) -> Any:
            found = (getattr(level, name) for level in levels if level is not None)
            return next(value for value in found if value is not None)

        timeout_ms = first("timeout_ms")
        return FullFence(
            exit_tolerance_m=first("exit_tolerance_m"),
            tolerance_timeout_s=first("tolerance_timeout_ms") / 1000.0,
            exit_delay_s=first("exit_delay_ms") / 1000.0,
            timeout_s=None if timeout_ms < 0 else timeout_ms / 1000.0,
            exit_evaluations=first("exit_evaluations"),
        )


def thresholds_of(values: dict[str, Any]) -> tuple[Thresholds, str | None]:
    """Return the thresholds of a configuration, and what is wrong with it.

    A wrong configuration is not applied at all: half of it would be nobody's wish.

    Args:
        values: Content of the section; members left out take their defaults.

    Returns:
        The thresholds (the defaults if the content is wrong), and a sentence or None.
    """
    try:
        return msgspec.convert(values, Thresholds), None
    except msgspec.ValidationError as error:
        return Thresholds(), f"config.changed section locate was refused: {error}"
