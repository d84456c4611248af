"""What is simulated: sizes, radio, behaviour, faults; and the ready-made presets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal

from tagtrail.simulator.layout import Site, hall
from tagtrail_kernel.errors import RejectedError

DEFAULT_START: Final = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
"""A Monday morning; fixed, so that two runs without an explicit start are equal."""

Format = Literal["native", "espresense", "openmqttgateway", "ruuvi", "minew"]
FORMATS: Final[tuple[Format, ...]] = ("native", "espresense", "openmqttgateway", "ruuvi", "minew")


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioModel:
    """How signals fade. Defaults follow the public captures: 2.8 dB per still receiver.

    Attributes:
        rssi_1m_dbm: Power of a standard tag at 1 m, dBm.
        path_loss_exponent: Exponent of the log-distance model.
        tag_offset_sigma_db: Spread of transmit power over tags, dB.
        gateway_offset_sigma_db: Spread of sensitivity over gateways, dB.
        field_sigma_db: Shadowing frozen into each place (what a site survey learns), dB.
        field_length_m: Distance over which that shadowing decorrelates, metres.
        drift_sigma_db: Shadowing that moves with people and doors (AR(1) in time), dB.
        drift_time_s: Time constant of that drift, seconds.
        noise_sigma_db: Fading of each single packet, dB.
        block_share: Share of time that a body blocks a link.
        block_loss_db: What a body takes, dB.
        block_time_s: Mean length of one blocking, seconds.
        sensitivity_dbm: Power at which half of the packets are lost, dBm.
        loss_share: Packets lost to collisions at any power.
    """

    rssi_1m_dbm: float = -59.0
    path_loss_exponent: float = 2.4
    tag_offset_sigma_db: float = 2.0
    gateway_offset_sigma_db: float = 2.0
    field_sigma_db: float = 3.0
    field_length_m: float = 4.0
    drift_sigma_db: float = 1.5
    drift_time_s: float = 20.0
    noise_sigma_db: float = 2.0
    block_share: float = 0.10
    block_loss_db: float = 6.0
    block_time_s: float = 4.0
    sensitivity_dbm: float = -97.0
    loss_share: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often tags advertise.

    Attributes:
        transit_s: Interval while the tag moves and for `hold_s` after, seconds.
        storage_s: Interval at rest, seconds.
        hold_s: How long a tag stays in transit mode after it came to rest, seconds.
    """

    transit_s: float = 1.0
    storage_s: float = 1.0
    hold_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What happens per wave; a wave is one truck in, its put-away, and trucks out.

    Attributes:
        wave_s: Length of a wave, seconds.
        away_share: Share of the assets that start off-site and arrive later.
        inbound_share: Share that starts on the inbound dock, to be put away.
        parked_share: Share that stands on the docks and in packing all the time.
        arrivals: Assets that arrive per wave, if so many are away; as many as leave keeps a balance.
        relocations: Moves inside storage per wave.
        partial_picks: Crates from which some units are taken per wave.
        shipments: Trucks out per wave.
        pallets_per_shipment: Assets on each.
        without_pod: Shipments per wave for which no proof of delivery is ever recorded.
        late_pods: Shipments per wave whose proof comes `late_pod_s` after departure.
        pod_s: Shortest and longest time from departure to proof, seconds.
        late_pod_s: Delay of a late proof, seconds.
        wrong_loads: Shipments per wave on which a wrong asset replaces a planned one.
        thefts: Assets per wave that leave without any document.
        incident_every: Wrong loads and thefts happen in every n-th wave, from the first.
        speed_mps: Speed of a forklift, metres per second.
    """

    wave_s: float = 1800.0
    away_share: float = 0.08
    inbound_share: float = 0.10
    parked_share: float = 0.15
    arrivals: int = 9
    relocations: int = 8
    partial_picks: int = 4
    shipments: int = 3
    pallets_per_shipment: int = 3
    without_pod: int = 1
    late_pods: int = 1
    pod_s: tuple[float, float] = (20.0, 90.0)
    late_pod_s: float = 240.0
    wrong_loads: int = 1
    thefts: int = 1
    incident_every: int = 1
    speed_mps: float = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on the way of a sighting; counts are per site and run.

    Attributes:
        dead_batteries: Tags that fall silent for good.
        dead_gateways: Gateways without power for `outage_s`: receptions are lost.
        link_outages: Gateways without network for `outage_s`: receptions come late, in a burst.
        outage_s: Shortest and longest outage, seconds.
        skewed_gateways: Gateways whose clock is wrong.
        skew_s: Largest error of such a clock, seconds.
        duplicate_share: Sightings that are sent twice with the same identity.
        echo_share: Receptions reported twice within milliseconds as different readings.
        resend_share: Whole messages delivered twice.
        late_share: Messages held back by `late_s`.
        late_s: Shortest and longest hold, seconds.
    """

    dead_batteries: int = 3
    dead_gateways: int = 1
    link_outages: int = 1
    outage_s: tuple[float, float] = (60.0, 180.0)
    skewed_gateways: int = 1
    skew_s: float = 3.0
    duplicate_share: float = 0.03
    echo_share: float = 0.02
    resend_share: float = 0.005
    late_share: float = 0.01
    late_s: tuple[float, float] = (2.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uwb:
    """Two-way ranging for some tags on sites that have anchors.

    Attributes:
        tags: Tags per site that carry a UWB radio.
        interval_s: Time between rounds, seconds.
        sigma_m: Standard deviation of one range in line of sight, metres.
        reach_m: Longest range measured, metres.
        nlos_share: Share of time that a link has no line of sight.
        nlos_time_s: Mean length of such a time, seconds.
        nlos_bias_m: Mean of the exponential bias without line of sight, metres.
    """

    tags: int = 0
    interval_s: float = 1.0
    sigma_m: float = 0.1
    reach_m: float = 40.0
    nlos_share: float = 0.0
    nlos_time_s: float = 3.0
    nlos_bias_m: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that, with the seed, decides a run to the last byte.

    Attributes:
        name: For the truth's header.
        seed: Any non-negative number.
        start_at: Simulated start, aware.
        duration_s: Simulated time, seconds.
        sites: Ground plans.
        tags_per_site: Tags, each on an asset of its own.
        formats: What the gateways speak, dealt out in turn; anchors always speak `native`.
        id_prefix: Put before the ids of tags, assets and shipments, so that runs can share a log.
    """

    name: str
    sites: tuple[Site, ...]
    tags_per_site: int
    seed: int = 1
    start_at: datetime = DEFAULT_START
    duration_s: float = 3600.0
    formats: tuple[Format, ...] = ("native",)
    id_prefix: str = ""
    radio: RadioModel = field(default_factory=RadioModel)
    cadence: Cadence = field(default_factory=Cadence)
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: Faults = field(default_factory=Faults)
    uwb: Uwb = field(default_factory=Uwb)

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            RejectedError: the start has no time zone, or there is nothing to simulate.
        """
        if self.start_at.tzinfo is None:
            raise RejectedError("the simulated start needs a time zone, for example …T07:00:00Z")
        if self.duration_s <= 0 or self.tags_per_site < 1 or not self.sites or not self.formats:
            raise RejectedError("a simulation needs a duration > 0, a site, a tag and a format")


def f1() -> Scenario:
    """Return the standard noisy fixture: 4 gateways, 6 zones, 200 tags, one hour."""
    return Scenario(name="f1", sites=(_f1_hall(anchors=False),), tags_per_site=200)


def small() -> Scenario:
    """Return the demonstration: a gateway in each of 6 zones, 30 tags, 4 of them with UWB."""
    site = hall("demo", "Demo hall", width_m=30, depth_m=18, aisles=3, anchors=True)
    return Scenario(
        name="small", sites=(site,), tags_per_site=30, duration_s=1800.0,
        behaviour=Behaviour(
            wave_s=300.0, away_share=0.2, inbound_share=0.2, arrivals=4, relocations=3,
            partial_picks=1, shipments=2, pallets_per_shipment=2, late_pods=0, pod_s=(5.0, 20.0),
            incident_every=3,
        ),
        faults=Faults(dead_batteries=1, outage_s=(60.0, 90.0)),
        radio=RadioModel(field_sigma_db=2.0),
        uwb=Uwb(tags=4, nlos_share=0.1),
    )  # fmt: skip


def big() -> Scenario:
    """Return 2 sites, 24 gateways and 2000 tags that rest at one advert per 30 s."""
    sites = tuple(
        hall(key, name, width_m=90, depth_m=54, aisles=9)
        for key, name in (("north", "North hall"), ("south", "South hall"))
    )
    return Scenario(
        name="big", sites=sites, tags_per_site=1000, cadence=Cadence(storage_s=30.0),
        behaviour=Behaviour(arrivals=32, relocations=40, partial_picks=20, shipments=8,
                            pallets_per_shipment=4, without_pod=2, late_pods=2, wrong_loads=2,
                            thefts=2),
        faults=Faults(dead_batteries=10, dead_gateways=2, link_outages=2, skewed_gateways=2),
    )  # fmt: skip


def uwb() -> Scenario:
    """Return the fixture for positions: the F1 hall with six anchors and 20 UWB tags."""
    return replace(
        f1(), name="uwb", sites=(_f1_hall(anchors=True),), tags_per_site=40, uwb=Uwb(tags=20)
    )


def _f1_hall(*, anchors: bool) -> Site:
    places = (("inbound", 4, 12.5), ("north", 18, 22), ("south", 18, 3), ("east", 34, 16.5))
    return hall(
        "f1", "Fixture hall", width_m=40, depth_m=25, aisles=3, gateways=places, anchors=anchors
    )


PRESETS: Final[dict[str, Callable[[], Scenario]]] = {
    "small": small,
    "f1": f1,
    "big": big,
    "uwb": uwb,
}


def preset(name: str) -> Scenario:
    """Return a ready-made scenario.

    Raises:
        RejectedError: there is none of that name.
    """
    if name not in PRESETS:
        raise RejectedError(f"no preset is called {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()


def quiet(scenario: Scenario) -> Scenario:
    """Return the same scenario with nothing moving and nothing failing: for baselines."""
    still = Behaviour(
        away_share=0, inbound_share=0, arrivals=0, relocations=0, partial_picks=0, shipments=0,
        without_pod=0, late_pods=0, wrong_loads=0, thefts=0,
    )  # fmt: skip
    flawless = Faults(
        dead_batteries=0, dead_gateways=0, link_outages=0, skewed_gateways=0,
        duplicate_share=0, echo_share=0, resend_share=0, late_share=0,
    )  # fmt: skip
    return replace(scenario, behaviour=still, faults=flawless)
