"""Where to look first for a tag that is silent, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tagtrail_locate.core import causes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagtrail_locate.core.causes import Judgement
    from tagtrail_locate.core.state import State, TagState

MOST_PLACES: Final = 5
"""More places than this are no advice."""

LEAST_BLIND: Final = 0.01
"""Neighbouring zones less probable than this are looked at in the order of distance."""

REASONS: Final = {
    "last_zone": "it was last confirmed here",
    "moved_towards": "it was moving this way when it was last heard",
    "unheard_there": "a tag in this zone would not be heard now",
    "exit": "things leave through this zone",
    "next": "it lies next to where the tag was last",
}
"""Reasons as sentences; the codes are stable, the sentences are not."""


def places(state: State, tag: TagState, found: Judgement) -> list[tuple[str, str]]:
    """Return zones in the order in which to look, each with the code of its reason; at most five.

    Args:
        state: The memory; it is only read.
        tag: One of its tags.
        found: What its silence most probably comes from.
    """
    ranked: dict[str, str] = {}
    for zone_id, reason in _all(state, tag, found):
        if zone_id in state.registry.zones:
            ranked.setdefault(zone_id, reason)
    return list(ranked.items())[:MOST_PLACES]


def _all(state: State, tag: TagState, found: Judgement) -> Iterator[tuple[str, str]]:
    cause = max(found.probabilities, key=lambda name: found.probabilities[name])
    blind = sorted(found.blind_zones, key=lambda item: (-item[1], item[0]))
    unheard = [(z, "unheard_there") for z, share in blind if share >= LEAST_BLIND]
    if cause == causes.LEFT:
        way_out = causes.exit_of(state, tag)
        if way_out is not None:
            yield way_out[0].zone_id, "exit"
    if cause == causes.BLIND:
        yield from unheard
    if tag.zone_id is not None:
        yield tag.zone_id, "last_zone"
    towards = causes.heading(state, tag)
    if towards is not None:
        yield towards, "moved_towards"
    yield from unheard
    around = causes.neighbours(state, tag)
    for zone in around:
        if zone.kind in causes.EXITS_PER_S:
            yield zone.zone_id, "exit"
    for zone in around:
        yield zone.zone_id, "next"
