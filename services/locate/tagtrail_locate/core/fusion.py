"""One answer from several sources, with the reason, and what the others said.

The strongest source that is fresh wins: a tap, portal read or phone scan of the last minutes, then
ranged positions, then positions that others report, then zones that others claim, then signal
strength. A source that has gone stale loses its vote; when none is fresh, the last answer stands.
What partners or strangers say has no vote against anything newer from one's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tagtrail_locate.core.registry import Registry
from tagtrail_locate.core.state import Hold, TagState

WORDS: Final = {
    "read_point": "tap, portal read or phone scan",
    "uwb": "ranged position",
    "gps": "GPS position",
    "reported": "position by another system",
    "claimed": "zone claimed by another system",
    "ble_zone": "signal strength",
}
"""How explanations call the methods."""


FOREIGN: Final = frozenset({"partner_network", "crowd_shared"})
"""Classes of sources that are not one's own."""


class Vote(NamedTuple):
    """What one source says.

    Attributes:
        method: Wire name of the method.
        hold: Its confirmed zone.
        age_s: Age of its newest evidence, seconds.
        fresh_s: Age up to which it counts, seconds; None = always.
        counts: Whether it may vote now.
    """

    method: str
    hold: Hold
    age_s: float
    fresh_s: float | None
    counts: bool


def votes(tag: TagState, registry: Registry, interval_s: float) -> list[Vote]:
    """Return the sources that ever spoke, strongest first.

    Args:
        tag: The tag.
        registry: Thresholds.
        interval_s: Its expected interval, seconds.
    """
    limits = registry.thresholds
    sources: tuple[tuple[str, Hold, float | None], ...] = (
        ("read_point", tag.read, limits.read_point_s),
        ("uwb", tag.ranged, max(limits.uwb_s, 3.0 * interval_s)),
        (tag.reported_method, tag.reported, max(limits.reported_s, 3.0 * interval_s)),
        ("claimed", tag.claimed, limits.claimed_s),
        ("ble_zone", tag.radio, None),
    )
    own_s = max(
        (h.heard_s for _, h, _ in sources if h.heard_s is not None and h.entered and not h.foreign),
        default=None,
    )
    found = []
    for method, hold, fresh_s in sources:
        if hold.heard_s is None:
            continue
        age_s = tag.now_s - hold.heard_s
        counts = hold.entered and (fresh_s is None or age_s <= fresh_s)
        if hold.foreign and own_s is not None and own_s > hold.heard_s:
            counts = False
        found.append(Vote(method, hold, age_s, fresh_s, counts))
    return found


def fuse(tag: TagState, registry: Registry, interval_s: float) -> Hold | None:
    """Decide a tag's zone over all sources.

    Args:
        tag: `method`, `confidence` and `reason` are changed in place; `zone_id` is not.
        registry: Thresholds.
        interval_s: Its expected interval, seconds.

    Returns:
        The winner's tenure, whose `zone_id` is the answer; None if no source may vote.
    """
    others = (tag.read.heard_s, tag.ranged.heard_s, tag.reported.heard_s, tag.claimed.heard_s)
    if others == (None, None, None, None) and tag.radio.entered:
        tag.method, tag.reason = "ble_zone", "only_source"
        tag.confidence = tag.radio.confidence
        return tag.radio
    found = votes(tag, registry, interval_s)
    winner = next((vote for vote in found if vote.counts), None)
    if winner is None:
        tag.reason = "no_fresh_source"
        return None
    rivals = [v for v in found if v is not winner and v.counts]
    tag.method, tag.confidence = winner.method, winner.hold.confidence
    if any(v.hold.zone_id != winner.hold.zone_id for v in rivals):
        tag.reason = "outranks_contradiction"
    elif rivals:
        tag.reason = "sources_agree"
    else:
        tag.reason = "only_source"
    return winner.hold


def foreign_class(tag: TagState) -> str | None:
    """Return the class of the source that decided a tag's zone; None if it is one's own."""
    if tag.method == "claimed":
        return tag.claimed.foreign
    return tag.reported.foreign if tag.method in ("gps", "reported") else None


def wording(tag: TagState, found: list[Vote]) -> str:
    """Return one sentence for people: who won, and over whom."""
    winner = next((vote for vote in found if vote.counts), None)
    if winner is None:
        return "no source is fresh, so the last answer stands"
    name = tag.read_by[2] if winner.method == "read_point" and tag.read_by else None
    text = f"{name or WORDS[winner.method]} {age_text(winner.age_s)}"
    losers = [v for v in found if v is not winner]
    against = [
        f"{WORDS[v.method]} ({v.hold.zone_id or 'outside all zones'}, {age_text(v.age_s)})"
        for v in losers
        if v.counts and v.hold.zone_id != winner.hold.zone_id
    ]
    stale = [f"{WORDS[v.method]} ({age_text(v.age_s)})" for v in losers if not v.counts]
    if against:
        text += " outranks " + " and ".join(against)
    if stale:
        text += "; too old or undecided: " + ", ".join(stale)
    return text


def age_text(seconds: float) -> str:
    """Return an age as people say it.

    Example:
        >>> age_text(180), age_text(4.2)
        ('3 min ago', '4 s ago')
    """
    if seconds >= 120:
        return f"{seconds / 60:.0f} min ago"
    return f"{max(seconds, 0):.0f} s ago"
