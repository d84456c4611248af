"""Facts from the air interface: raw, many, short-lived. `subject` of the envelope is the tag id."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event

Rssi = Annotated[float, Meta(ge=-150, le=30)]
Metres = Annotated[float, Meta(ge=0, le=100_000)]
Technology = Literal["ble", "uwb", "rfid", "nfc", "wifi", "gps", "optical", "unknown"]
SourceClass = Literal["own_gateway", "own_phone", "reader", "partner_network", "crowd_shared"]
Text = Annotated[str, Meta(max_length=512)]
Id = Annotated[str, Meta(min_length=1, max_length=200)]
Aware = Annotated[datetime, Meta(tz=True)]


class Radio(Event, frozen=True, kw_only=True):
    """What all raw radio facts share.

    The four times of one observation are all kept; the envelope's `occurred_at` is one of them
    and its `time_quality` names which. Times that the message did not carry are None.

    Attributes:
        tag_id: Our identity of the tag, never its radio address.
        gateway_id: The receiver, as it names itself (a slug, or its address without separators).
        site_id: Site by topic or route, when the message names one.
        technology: Radio or label technology.
        source_class: Who heard it.
        adapter: Name of the wire format that was read, see docs/gateways.md.
        tag_time_at: The tag's own clock.
        gateway_received_at: When the gateway heard it.
        gateway_sent_at: When the gateway sent it on.
        received_at: When ingest took the message from the wire.
        sequence: Counter of the tag or gateway, for de-duplication.
        extra: Members of the message that we do not name, kept as sent (never radio addresses).
    """

    tag_id: Id
    gateway_id: Id
    site_id: Id | None = None
    technology: Technology = "ble"
    source_class: SourceClass = "own_gateway"
    adapter: Text | None = None
    tag_time_at: Aware | None = None
    gateway_received_at: Aware | None = None
    gateway_sent_at: Aware | None = None
    received_at: Aware | None = None
    sequence: int | None = None
    extra: dict[str, Any] | None = None


@event("tag.sighted", version=1, family=Family.RADIO)
class TagSighted(Radio, frozen=True, kw_only=True):
    """A receiver heard a tag.

    Attributes:
        rssi_dbm: Received power as the gateway reports it, dBm; None where the format has none.
        rssi_1m_dbm: Power expected at 1 m for this link, dBm, as the gateway says.
        tx_power_dbm: Power announced in the advert, dBm.
        rssi_variance_db2: Variance of the gateway's own averaging, dB².
        rssi_adjustment_db: Receiver correction that the gateway has already subtracted, dB.
        distance_m: The gateway's own estimate, metres; a hint, never preferred to `rssi_dbm`.
        interval_ms: Time between adverts as the gateway observed it, milliseconds.
        samples: Number of receptions folded into this one, >= 1.
        channel: BLE advertising channel, or RFID frequency channel.
        antenna: Antenna port of a reader.
        motion: Whether the tag says that it moves.
        battery_pct: Charge, percent.
        battery_mv: Cell voltage, millivolts.
        temperature_c: Temperature at the tag, degrees Celsius.
        humidity_pct: Relative humidity at the tag, percent.
        counter: Rolling counter of a signed label (NFC), for clone detection.
        actor_id: Pseudonym of the person who tapped or scanned, or who enters the sighting.
        shared_from: Where a sighting by strangers is from: the link that was shared, or words.
    """

    rssi_dbm: Rssi | None = None
    rssi_1m_dbm: Rssi | None = None
    tx_power_dbm: Rssi | None = None
    rssi_variance_db2: Annotated[float, Meta(ge=0)] | None = None
    rssi_adjustment_db: float | None = None
    distance_m: Metres | None = None
    interval_ms: Annotated[int, Meta(ge=0)] | None = None
    samples: Annotated[int, Meta(ge=1)] | None = None
    channel: int | None = None
    antenna: int | None = None
    motion: bool | None = None
    battery_pct: Annotated[float, Meta(ge=0, le=100)] | None = None
    battery_mv: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    temperature_c: Annotated[float, Meta(ge=-273.15, le=1000)] | None = None
    humidity_pct: float | None = None
    counter: int | None = None
    actor_id: Id | None = None
    shared_from: Text | None = None


@event("tag.ranged", version=1, family=Family.RADIO)
class TagRanged(Radio, frozen=True, kw_only=True):
    """An anchor measured its distance to a tag (UWB two-way ranging).

    Attributes:
        range_m: Measured distance, metres.
        sigma_m: Standard deviation stated by the anchor, metres.
        rssi_dbm: Received power, dBm.
        first_path_dbm: Power of the first path, dBm; far below `rssi_dbm` hints at no line of sight.
    """

    range_m: Metres
    sigma_m: Annotated[float, Meta(gt=0, le=1000)] | None = None
    rssi_dbm: Rssi | None = None
    first_path_dbm: Rssi | None = None


@event("tag.position_reported", version=1, family=Family.RADIO)
class TagPositionReported(Radio, frozen=True, kw_only=True):
    """Another system computed where a tag is (vendor coordinates, GPS).

    Either (`x_m`, `y_m`) in the site frame of that system, or (`latitude_deg`, `longitude_deg`).

    Attributes:
        x_m: East in the frame of the reporting system, metres.
        y_m: North in that frame, metres.
        z_m: Height, metres.
        floor: Floor number, may be fractional.
        latitude_deg: WGS84 latitude, degrees.
        longitude_deg: WGS84 longitude, degrees.
        altitude_m: Height above the ellipsoid or sea as reported, metres.
        accuracy_m: Radius stated by the source, metres.
        speed_mps: Speed, metres per second.
        frame_id: Frame, zone or network that the coordinates belong to, as the source names it.
        battery_pct: Charge of the device, percent.
        actor_id: Pseudonym of the person who enters the position.
        shared_from: Where a position by strangers is from: the link that was shared, or words.
    """

    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    floor: float | None = None
    latitude_deg: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude_deg: Annotated[float, Meta(ge=-180, le=180)] | None = None
    altitude_m: float | None = None
    accuracy_m: Metres | None = None
    speed_mps: float | None = None
    frame_id: Text | None = None
    battery_pct: Annotated[float, Meta(ge=0, le=100)] | None = None
    actor_id: Id | None = None
    shared_from: Text | None = None


@event("tag.zone_reported", version=1, family=Family.RADIO)
class TagZoneReported(Radio, frozen=True, kw_only=True):
    """Another system claims that a tag is in, entered or left a zone of its own.

    Attributes:
        zone: The zone's name or id in that system.
        claim: What is claimed.
        confidence_pct: Confidence stated by the source, percent.
        actor_id: Pseudonym of the person who enters the claim.
        shared_from: Where a claim by strangers is from: the link that was shared, or words.
    """

    zone: Text
    claim: Literal["in", "entered", "left"] = "in"
    confidence_pct: Annotated[float, Meta(ge=0, le=100)] | None = None
    actor_id: Id | None = None
    shared_from: Text | None = None


@event("tag.absence_reported", version=1, family=Family.RADIO)
class TagAbsenceReported(Radio, frozen=True, kw_only=True):
    """One gateway says that it no longer hears a tag. A fact about that gateway only.

    Attributes:
        reason: Why it says so, as sent, for example a time-out.
    """

    reason: Text | None = None


@event("tag.sensed", version=1, family=Family.RADIO)
class TagSensed(Radio, frozen=True, kw_only=True):
    """A tag or its gateway reported sensor values without signal strength: not a sighting.

    Attributes:
        readings: Values by name with unit, for example {"temperature_c": 21.5}.
    """

    readings: dict[str, float | str | bool | None]
