"""What decides how eager or careful locate is: section "locate" of the tenant's configuration."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Positive = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds of one tenant; a `config.changed` of section "locate" replaces them all.

    Attributes:
        window_s: Readings of a link that are averaged, seconds; longer for slow tags, see
            `window_intervals`.
        window_intervals: The window holds at least this many learned advert intervals.
        default_rssi_1m_dbm: Power at 1 m where neither message nor gateway says it, dBm. -59 is
            the iBeacon convention; ESPresense's -65 would scale all distances alike.
        default_exponent: Path loss exponent of gateways without their own.
        settle_s: After a tag (re)appears, corrections are quick for this long, seconds.
        settle_evaluations: Consecutive leads that correct a zone while it settles.
        settle_lead_s: Time that a candidate must lead while it settles, seconds.
        exit_margin: Share of the holder's distance by which a candidate must be nearer.
        exit_sigmas: Standard errors by which its level must be better.
        exit_evaluations: Consecutive leads that a candidate needs.
        exit_lead_s: Time that it must lead without a break, seconds.
        resident_s: A tag that has been in its zone for this long is at rest there, seconds.
        resident_lead_s: Time that a candidate must lead against a zone of rest, seconds, unless
            the levels say that the tag moved.
        moved_db: A level that is this far from what it was for the last minute says so, dB.
        silence_grace_s: Silence of a link that is not yet held against it, seconds.
        silence_db_per_s: Level that a link loses per further second while its gateway is alive.
        gateway_timeout_s: A gateway that was not heard for this long is silent, seconds.
        gateway_hold_s: How long a zone outlives the silence of its only gateway, seconds.
        range_window_s: Age up to which ranges are combined into one fix, seconds.
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

    window_s: Positive = 15.0
    window_intervals: Positive = 4.0
    default_rssi_1m_dbm: Annotated[float, Meta(ge=-150, le=30)] = -59.0
    default_exponent: Annotated[float, Meta(ge=1, le=6)] = 2.7
    settle_s: Seconds = 15.0
    settle_evaluations: Annotated[int, Meta(ge=1, le=1000)] = 2
    settle_lead_s: Seconds = 1.0
    exit_margin: Share = 0.25
    exit_sigmas: Annotated[float, Meta(ge=0, le=10)] = 2.0
    exit_evaluations: Annotated[int, Meta(ge=1, le=1000)] = 3
    exit_lead_s: Seconds = 3.0
    resident_s: Seconds = 60.0
    resident_lead_s: Seconds = 45.0
    moved_db: Annotated[float, Meta(ge=0, le=100)] = 6.0
    silence_grace_s: Seconds = 5.0
    silence_db_per_s: Annotated[float, Meta(ge=0, le=100)] = 2.0
    gateway_timeout_s: Positive = 60.0
    gateway_hold_s: Seconds = 600.0
    range_window_s: Positive = 1.0
    range_sigma_m: Annotated[float, Meta(gt=0, le=100)] = 0.15
    tag_height_m: float = 1.0
    border_m: Annotated[float, Meta(ge=0, le=100)] = 0.3
    border_evaluations: Annotated[int, Meta(ge=1, le=1000)] = 2
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
