"""What a silence may come from, and how probable each cause is.

Each cause has a weight: how often it begins, times how probable it then is to have heard nothing
until now. The frequencies are what a small warehouse sees; they matter little where the evidence
is strong, and they say which cause wins where it is not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from tagtrail_locate.core import batteries, coverage, folds
from tagtrail_locate.core.geometry import depth_m

if TYPE_CHECKING:
    from tagtrail_locate.core.registry import Zone
    from tagtrail_locate.core.state import State, TagState


HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0

SHADOWS_PER_S: Final = 3.0 / DAY_S
"""A tag is hidden from all gateways at once three times a day: a forklift parks before it, a metal
rack is rolled in front of it, somebody carries it against the body."""

SHADOW_S: Final = 120.0
"""Mean length of such a shadow, seconds."""

LASTING_SHADOWS: Final = 0.001
"""Share of shadows that last for hours. So silence alone never proves that a tag is gone."""

LEAVES_PER_S: Final = {"transit": 1.0 / DAY_S, "storage": 0.1 / DAY_S}
"""Unforeseen departures, losses and thefts, by cadence mode."""

MOVES_PER_S: Final = {"transit": 10.0 / DAY_S, "storage": 1.0 / DAY_S}
"""Moves to a neighbouring zone, by cadence mode."""

EXITS_PER_S: Final = {"outbound": 0.5 / HOUR_S, "dock": 0.5 / HOUR_S, "yard": 0.125 / HOUR_S}
"""Departures from zones through which things leave, by kind."""

LEAST_EXIT_SHARE: Final = 0.2
"""A tag that was in such a zone with less than this probability did not leave through it."""

SIGMAS_95: Final = 2.448
"""Radius of 95 % of a round normal distribution, in its standard deviations."""

NEXT_M: Final = 5.0
"""Zones whose outlines come this close are neighbours, metres ..."""

MOST_PAIRS: Final = 20_000
"""Pairs of zones whose distance is kept: plans change seldom, and silences are judged often."""

REACH_MPS: Final = 2.4
"""... and those as far away as things are carried in two intervals, for one advert may be lost on
the way: pedestrians and slow forklifts make 1.2 m/s."""

NEIGHBOUR_SHARE: Final = 0.8
"""Share of adverts that a gateway is taken to hear in its own zone, before it is measured."""

WEAK_SHARE: Final = 0.5
"""A tag that its gateways together hear less often than this has a weak link."""


class Witness(NamedTuple):
    """A gateway that would have heard the tag.

    Attributes:
        gateway_id: The gateway.
        listened_s: How long it surely listened during the silence, seconds.
        missed: Adverts that it should have heard in that time.
        share: Share of the tag's adverts that it hears.
        log_chance: Logarithm of the probability that it misses so many by chance.
    """

    gateway_id: str
    listened_s: float
    missed: int
    share: float
    log_chance: float


class Judgement(NamedTuple):
    """What a silence most probably comes from.

    Attributes:
        silent_s: Silence, seconds.
        observed_s: Part of it during which a usual gateway listened, seconds.
        witnesses: Usual gateways, the newest first.
        chance: Probability that all of them miss so many adverts of a tag that is still there.
        probabilities: By cause, in [0, 1], summing to 1.
        real_probability: That the tag no longer sends where it was: it is not only adverts that
            were lost or shadowed.
        gone_probability: That it is gone from its place: moved out, left, or lost.
        blind_zones: Neighbouring zones in which it could be unheard, with their probability.
    """

    silent_s: float
    observed_s: float
    witnesses: tuple[Witness, ...]
    chance: float
    probabilities: dict[str, float]
    real_probability: float
    gone_probability: float
    blind_zones: tuple[tuple[str, float], ...]


CHANCE: Final = "adverts_lost"
SHADOW: Final = "shadowed"
BATTERY: Final = "battery_expected_empty"
LEFT: Final = "left_through_dock"
BLIND: Final = "out_of_coverage"
GONE: Final = "silent_while_heard"

ELSEWHERE: Final = (LEFT, BLIND, GONE)
REAL: Final = (BATTERY, *ELSEWHERE)


def weigh(state: State, tag: TagState, usual: list[str], watermark_s: float) -> Judgement:
    """Weigh the causes of a tag's silence.

    Args:
        state: The memory; it is only read.
        tag: It was heard at least once.
        usual: Gateways that usually hear it, the newest first.
        watermark_s: Newest event time of its site, seconds.
    """
    since_s = tag.active_s if tag.active_s is not None else watermark_s
    silent_s = max(watermark_s - since_s, 0.0)
    held_s = folds.held_s(tag)
    told = ((name, tag.heard.get(name, since_s) + held_s) for name in usual)
    witnesses = tuple(_witness(state, tag, name, max(since_s, at_s)) for name, at_s in told)
    observed_s = max((w.listened_s for w in witnesses), default=0.0)
    mode = _mode(state, tag)
    open_s = max(silent_s - observed_s, 0.0) + max(min(tag.interval_s, silent_s), 1e-3)
    chance = math.exp(max(sum(w.log_chance for w in witnesses), -500.0))
    blind = tuple(_blind(state, tag, since_s))
    weights = {
        CHANCE: chance,
        SHADOW: SHADOWS_PER_S * min(open_s, SHADOW_S) * _shadow_lasts(observed_s),
        BATTERY: batteries.hazard_per_s(tag.habits.battery, since_s) * open_s,
        LEFT: _exit_per_s(state, tag) * open_s,
        BLIND: MOVES_PER_S[mode] * open_s * sum(share for _, share in blind),
        GONE: LEAVES_PER_S[mode] * open_s,
    }
    total = sum(weights.values())
    found = {cause: weight / total for cause, weight in weights.items()}
    scale = MOVES_PER_S[mode] * open_s / total
    return Judgement(
        silent_s, observed_s, witnesses, chance, found,
        sum(found[cause] for cause in REAL), sum(found[cause] for cause in ELSEWHERE),
        tuple((zone_id, share * scale) for zone_id, share in blind),
    )  # fmt: skip


def _shadow_lasts(observed_s: float) -> float:
    return LASTING_SHADOWS + (1.0 - LASTING_SHADOWS) * math.exp(-observed_s / SHADOW_S)


def _mode(state: State, tag: TagState) -> str:
    known = state.registry.tags.get(tag.tag_id)
    return known.mode if known is not None else "storage"


def _witness(state: State, tag: TagState, gateway_id: str, since_s: float) -> Witness:
    listened_s = coverage.listened_s(state, state.gateways.get(gateway_id), since_s)
    missed = int(listened_s / max(tag.interval_s, 1e-3))
    heard, lost = coverage.evidence(state, tag, gateway_id)
    log_chance = (
        math.lgamma(heard + lost) - math.lgamma(lost)
        + math.lgamma(lost + missed) - math.lgamma(heard + lost + missed)
    )  # fmt: skip
    return Witness(gateway_id, listened_s, missed, heard / (heard + lost), log_chance)


def heard_share(witnesses: tuple[Witness, ...]) -> float:
    """Return the share of a tag's adverts that its gateways hear together, of those that listened."""
    listened = [w for w in witnesses if w.listened_s > 0.0] or witnesses
    return 1.0 - math.prod(1.0 - w.share for w in listened)


def heading(state: State, tag: TagState) -> str | None:
    """Return the zone towards which a tag moved last; None if it did not.

    That is the candidate for its zone, else the zone of the gateway that still heard it when those
    of its own zone, though alive, did not.
    """
    hold = tag.radio
    if hold.candidate_count and hold.candidate_id not in (None, tag.zone_id):
        return hold.candidate_id
    newest = max(tag.heard.items(), key=lambda item: (item[1], item[0]), default=None)
    if newest is None or tag.zone_id is None:
        return None
    zone_of = state.registry.zone_of
    zone_id = zone_of.get(newest[0])
    home = [
        tag.heard.get(name, 0.0)
        for name, gateway in state.gateways.items()
        if zone_of.get(name) == tag.zone_id and gateway.last_s >= newest[1]
    ]
    if zone_id is None or zone_id == tag.zone_id or not home:
        return None
    return zone_id if newest[1] - max(home) >= 2.0 * tag.interval_s else None


def exit_of(state: State, tag: TagState) -> tuple[Zone, float] | None:
    """Return the zone through which a tag may have left, and how probably it was there.

    Its own zone or the one it moved towards is taken for certain; one that its last area reaches
    into counts by the share of that area, but never for more than its own zone leaves open.
    """
    zones = state.registry.zones
    for zone_id in (tag.zone_id, heading(state, tag)):
        zone = zones.get(zone_id) if zone_id is not None else None
        if zone is not None and zone.kind in EXITS_PER_S:
            return zone, 1.0
    open_share = 1.0 - (tag.radio.confidence or 0.0)
    found = [
        (min(_share_inside(zone, tag), open_share), zone.zone_id, zone)
        for zone in zones.values()
        if zone.kind in EXITS_PER_S and zone.site_id == tag.site_id
    ]
    share, _, zone = max(found, key=lambda item: item[:2], default=(0.0, "", None))
    return (zone, share) if zone is not None and share >= LEAST_EXIT_SHARE else None


def _share_inside(zone: Zone, tag: TagState) -> float:
    """Return about how much of a tag's last area lies in a zone, by the distance to its border."""
    track = tag.track
    if track is None or zone.outline_m is None or track.site_id != zone.site_id:
        return 0.0
    if track.x_m is None or track.y_m is None or not track.radius_95_m:
        return 0.0
    sigma_m = track.radius_95_m / SIGMAS_95
    inside_m = depth_m(zone.outline_m, track.x_m, track.y_m)
    return 0.5 * math.erfc(-inside_m / sigma_m / math.sqrt(2.0))


def _exit_per_s(state: State, tag: TagState) -> float:
    found = exit_of(state, tag)
    return 0.0 if found is None else EXITS_PER_S[found[0].kind] * found[1]


def neighbours(state: State, tag: TagState) -> list[Zone]:
    """Return the zones that a tag could reach from its own unheard, the nearest first.

    Where outlines are unknown that is every zone of the site.
    """
    registry, reach_m = state.registry, NEXT_M + REACH_MPS * tag.interval_s
    home = registry.zones.get(tag.zone_id) if tag.zone_id is not None else None
    if home is None:
        return []
    found = []
    for zone in registry.zones.values():
        if zone.site_id == home.site_id and zone.zone_id != home.zone_id:
            away_m = _apart_m(home, zone)
            if away_m <= reach_m:
                found.append((away_m, zone.zone_id, zone))
    return [zone for _, _, zone in sorted(found, key=lambda item: item[:2])]


@functools.lru_cache(maxsize=MOST_PAIRS)
def _apart_m(one: Zone, other: Zone) -> float:
    """Return about how far two zones are apart, metres: from the corners of each to the other."""
    if one.outline_m is None or other.outline_m is None:
        return 0.0
    if one.floor != other.floor:
        return math.inf
    pairs = ((one.outline_m, other.outline_m), (other.outline_m, one.outline_m))
    inside_m = max(depth_m(outline, *corner) for outline, corners in pairs for corner in corners)
    return max(-inside_m, 0.0)


def _blind(state: State, tag: TagState, since_s: float) -> Iterator[tuple[str, float]]:
    """Yield neighbouring zones with the share of moves there that would have been unheard."""
    around = neighbours(state, tag)
    own: dict[str, list[str]] = {}
    for name, zone_id in state.registry.zone_of.items():
        own.setdefault(zone_id, []).append(name)
    for zone in around:
        unheard = _unheard_in(state, tag, zone, own.get(zone.zone_id, []), since_s)
        if unheard > 0.0:
            yield zone.zone_id, unheard / len(around)


def _unheard_in(state: State, tag: TagState, zone: Zone, own: list[str], since_s: float) -> float:
    """Return how probably a tag in a zone would not have been heard since a time.

    Zones of which nothing is known count as heard, and so do gateways that never spoke: what was
    never measured excuses nothing.

    Args:
        state: The memory.
        tag: Its interval says how often it would have spoken.
        zone: The zone.
        own: Gateways that stand in it.
        since_s: Event time, seconds.
    """
    heard = state.coverage.get(zone.zone_id)
    names = sorted({*own, *heard.heard} if heard is not None else own)
    found, known = 1.0, False
    for name in names:
        gateway = state.gateways.get(name)
        if gateway is None or gateway.site_id != zone.site_id or not gateway.last_s:
            continue
        share = coverage.zone_share(state, zone.zone_id, name)
        if share is None and name in own:
            share = NEIGHBOUR_SHARE
        if share is not None:
            known = True
            listened_s = coverage.listened_s(state, gateway, since_s)
            found *= (1.0 - share) ** (listened_s / max(tag.interval_s, 1e-3))
    return found if known else 0.0
