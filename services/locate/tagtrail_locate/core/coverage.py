"""Which gateways hear which tags and zones, learned from what was heard.

Adverts are counted against the tag's expected interval, and only while a gateway was listening. A
gateway that hears four of ten adverts of a tag can miss five in a row by chance; one that hears all
of them can not. Both what is learned of a tag and what is learned of a zone fade, so that a moved
rack or gateway shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tagtrail_locate.core import ears
from tagtrail_locate.core.hearing import Reception, ZoneHearing

if TYPE_CHECKING:
    from tagtrail_locate.core.readings import Reading
    from tagtrail_locate.core.state import GatewayState, State, TagState

HALF_LIFE: Final = 32.0
"""Adverts after which what was learned of a tag counts half: a tag that moved is known anew soon."""

LONGEST_LESSON: Final = 32.0
"""Adverts that one silence can teach: after a longer one the tag was elsewhere, not badly heard."""

MOST_RATES: Final = 48
"""Gateways per tag whose reception is remembered."""

ZONE_HALF_LIFE: Final = 20_000.0
"""Adverts after which what was learned of a zone counts half: five hours of one tag at 1 Hz."""

NEEDED: Final = 50.0
"""Adverts from a zone, or fewer say nothing about it."""

USUAL_SHARE: Final = 0.8
"""Share of adverts that a gateway is taken to hear where nothing was learned yet."""

PRIOR_ADVERTS: Final = 5.0
"""Adverts that this assumption is worth at first ..."""

PRIOR_FADES: Final = 8.0
"""... and half as many after so many adverts of the tag itself."""

LOST_ADVERTS: Final = (None, "adverts_lost", "link_weak", "shadowed")
"""Causes of silence by which a tag stayed where it was and went on sending."""

SAME_ADVERT_S: Final = 2.0
"""Readings of one advert by several gateways differ by no more: clocks, and sending in batches."""

DEAF_TAGS: Final = 3
"""A gateway that heard so many tags within a minute and then none at all may have lost its radio:
one or two tags may well have gone by themselves."""

DEAF_WITHIN_S: Final = 60.0
"""That minute, seconds."""


def note(tag: TagState, readings: Sequence[Reading]) -> None:
    """Count readings of a tag that speaks by itself; the hot path of this module."""
    habits = tag.habits
    counts, since_s = habits.counts, habits.since_s
    slack_s = min(0.5 * tag.interval_s, SAME_ADVERT_S)
    if since_s is not None and not tag.span_s and readings[0][0] >= since_s - slack_s:
        for reading in readings:
            name = reading[1]
            counts[name] = counts.get(name, 0) + 1
        return
    for at_s, name, _, _, count, span_s in readings:
        if since_s is None:
            since_s = habits.since_s = at_s
        elif at_s >= since_s - slack_s:
            if span_s and span_s > at_s - since_s:
                count = max(round(count * (at_s - since_s) / span_s), 1)  # noqa: PLW2901
            counts[name] = counts.get(name, 0) + count


def note_verdict(tag: TagState, cause: str | None, *, lost: bool) -> None:
    """Remember why a tag was said to be silent.

    One that is heard again after it was elsewhere taught nothing about how well it is heard; one
    that was silent by lost adverts did.
    """
    habits = tag.habits
    if cause is None and habits.cause not in LOST_ADVERTS:
        habits.since_s, habits.counts = tag.active_s, {}
    habits.cause, habits.lost = cause, lost


def forget(tag: TagState) -> None:
    """Begin anew: the tag's interval is another one now. What its battery told stays."""
    tag.habits.since_s, tag.habits.counts, tag.habits.rates = tag.active_s, {}, {}


def listened_until_s(state: State, gateway: GatewayState) -> float:
    """Return until when a gateway surely listened, seconds.

    That is its last sign of life, unless it fell deaf: it lives, but no longer hears any of the
    tags that it heard. It can not be told from an emptied room, so it proves nothing.
    """
    if is_deaf(state, gateway) and gateway.sighted_s is not None:
        return gateway.sighted_s
    return gateway.last_s


def is_deaf(state: State, gateway: GatewayState) -> bool:
    """Tell whether a gateway lives and no longer hears anything.

    It knows best, where it tells how many adverts of any device it hears. Else it is deaf if it
    heard several tags at a time and then none.
    """
    sighted_s = gateway.sighted_s
    if sighted_s is None:
        return False
    if gateway.last_s - sighted_s <= state.registry.thresholds.gateway_timeout_s:
        return False
    ear = state.ears.get(gateway.gateway_id)
    told = ears.lost_radio(ear) if ear is not None else None
    if told is not None:
        return told
    last_words, name = 0, gateway.gateway_id
    for tag in state.tags.values():
        last_words += tag.heard.get(name, 0.0) >= sighted_s - DEAF_WITHIN_S
        if last_words >= DEAF_TAGS:
            return True
    return False


def listened_s(state: State, gateway: GatewayState | None, since_s: float) -> float:
    """Return how long a gateway surely listened since a time, in its present life, seconds."""
    if gateway is None:
        return 0.0
    until_s = listened_until_s(state, gateway)
    return max(until_s - max(since_s, gateway.alive_since_s), 0.0)


@dataclass(slots=True)
class Lesson:
    """What was heard of a tag for a while; the zone in which it was then learns from it.

    Attributes:
        tag: The tag.
        order: Running number of the newest job that became due before.
        since_s: Begin of that while, event time in seconds.
        until_s: Its end.
        sent: Adverts sent.
        counts: Adverts heard, by gateway.
        heard_s: When each of those gateways last heard it.
        dark: Gateways that did not listen all the time.
        zone: Confirmed zone at the end and since when it is; None until that is computed.
    """

    tag: TagState
    order: int
    since_s: float
    until_s: float
    sent: float
    counts: dict[str, int]
    heard_s: dict[str, float]
    dark: tuple[str, ...]
    zone: tuple[str | None, float] | None = None

    def settle(self) -> None:
        """Take the zone in which the tag is confirmed now."""
        self.zone = (self.tag.zone_id, self.tag.zone_since_s)


def learn(state: State, tag: TagState) -> None:
    """Take what was heard of a tag since the last time into what is known of it and its zone."""
    lesson = lesson_of(state, tag, 0)
    if lesson is not None:
        lesson.settle()
        teach(state, lesson)


def lesson_of(state: State, tag: TagState, order: int) -> Lesson | None:
    """Take what was heard of a tag since the last time into what is known of it.

    Adverts are counted from hearing to hearing: the first is left out and the last counted, so
    that weak links are not flattered by beginning with a hearing.

    Returns:
        What its zone learns; None if nothing was heard.
    """
    habits = tag.habits
    if habits.since_s is None or tag.active_s is None or not habits.counts:
        return None
    since_s, until_s = habits.since_s, tag.active_s
    sent = sent_since(tag)
    names = sorted(habits.rates.keys() | habits.counts.keys())
    keep = 0.5 ** (min(sent, LONGEST_LESSON) / HALF_LIFE)
    for name in names:
        if _listened(state, name, since_s, until_s):
            rate = habits.rates.setdefault(name, Reception())
            heard = min(float(habits.counts.get(name, 0)), sent)
            rate.heard = rate.heard * keep + heard * min(LONGEST_LESSON / sent, 1.0)
            rate.expected = rate.expected * keep + min(sent, LONGEST_LESSON)
    while len(habits.rates) > MOST_RATES:
        del habits.rates[min(habits.rates, key=lambda g: (habits.rates[g].heard, g))]
    counts = habits.counts
    heard_s = {name: tag.heard.get(name, 0.0) for name in counts}
    away = [n for n in state.gateways if n not in counts]
    dark = tuple(n for n in away if not _listened(state, n, since_s, until_s))
    habits.since_s, habits.counts = until_s, {}
    return Lesson(tag, order, since_s, until_s, sent, counts, heard_s, dark)


def sent_since(tag: TagState) -> float:
    """Return the adverts that a tag sent since `habits.since_s`, by its interval or as heard."""
    habits = tag.habits
    if habits.since_s is None or tag.active_s is None:
        return 0.0
    heard = max(habits.counts.values(), default=0)
    return max((tag.active_s - habits.since_s) / max(tag.interval_s, 1e-3), float(heard))


def _listened(state: State, gateway_id: str, since_s: float, until_s: float) -> bool:
    """Tell whether a gateway lived from one time to another."""
    gateway = state.gateways.get(gateway_id)
    if gateway is None or gateway.alive_since_s > since_s:
        return False
    return gateway.last_s >= until_s - state.registry.thresholds.gateway_timeout_s


def teach(state: State, lesson: Lesson) -> None:
    """Let the zone learn in which a tag was all the while; lessons in the order of the log."""
    zone_id, zone_since_s = lesson.zone or (None, 0.0)
    sent = lesson.sent
    if zone_id is None or zone_since_s > lesson.since_s or sent > LONGEST_LESSON * 4:
        return
    registered = state.registry.zones.get(zone_id)
    if registered is None:
        return
    zone = state.coverage.get(zone_id)
    if zone is None or zone.site_id != registered.site_id:
        zone = state.coverage[zone_id] = ZoneHearing(registered.site_id)
    if zone.expected + sent > 2.0 * ZONE_HALF_LIFE:
        _halve(zone)
    zone.expected += sent
    zone.at_s = max(zone.at_s, lesson.until_s)
    for name, count in lesson.counts.items():
        zone.heard[name] = zone.heard.get(name, 0.0) + min(float(count), sent)
        zone.heard_s[name] = max(zone.heard_s.get(name, 0.0), lesson.heard_s[name])
    for name in lesson.dark:
        gateway = state.gateways.get(name)
        if gateway is not None and gateway.site_id == zone.site_id:
            zone.dark[name] = zone.dark.get(name, 0.0) + sent


def _halve(zone: ZoneHearing) -> None:
    zone.expected /= 2.0
    zone.heard = {name: heard / 2.0 for name, heard in zone.heard.items()}
    zone.dark = {name: dark / 2.0 for name, dark in zone.dark.items()}


def zone_share(state: State, zone_id: str | None, gateway_id: str) -> float | None:
    """Return the share of a zone's adverts that a gateway hears; None where too little is known."""
    zone = state.coverage.get(zone_id) if zone_id is not None else None
    if zone is None:
        return None
    expected = zone.expected - zone.dark.get(gateway_id, 0.0)
    if expected < NEEDED:
        return None
    return min(zone.heard.get(gateway_id, 0.0) / expected, 1.0)


def evidence(state: State, tag: TagState, gateway_id: str) -> tuple[float, float]:
    """Return adverts of a tag that a gateway heard and missed, with what may be assumed before.

    The assumption is what the gateway hears of the tag's zone, else `USUAL_SHARE`; it weighs the
    less the more was heard of the tag itself. What was not yet taken in by `learn` counts too.

    Returns:
        (heard, missed), both > 0: parameters of a beta distribution.
    """
    habits = tag.habits
    rate = habits.rates.get(gateway_id)
    heard, expected = (rate.heard, rate.expected) if rate is not None else (0.0, 0.0)
    sent = sent_since(tag)
    heard += min(float(habits.counts.get(gateway_id, 0)), sent)
    expected += sent
    share = zone_share(state, tag.zone_id, gateway_id)
    assumed = min(max(USUAL_SHARE if share is None else share, 0.02), 0.98)
    weight = PRIOR_ADVERTS * PRIOR_FADES / (PRIOR_FADES + expected)
    return heard + weight * assumed, max(expected - heard, 0.0) + weight * (1.0 - assumed)
