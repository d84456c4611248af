"""What gateways tell of themselves: how much they hear of anything, restarts, their clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from tagtrail_locate.core.hearing import Ear

ADVERTS: Final = "adverts"
"""Adverts of any device since the start, strangers included (our agent, ESPresense)."""

UPTIMES_S: Final = ("uptime_s", "uptime")
SKEW_S: Final = "clock_skew_s"

FADE: Final = 0.9
"""Share of the usual rate that one more report leaves standing."""

SILENT_ADVERTS: Final = 20.0
"""A gateway that usually hears so many adverts in a time and now heard none has lost its radio."""


def note(ears: dict[str, Ear], gateway_id: str, at_s: float, values: Mapping[str, Any]) -> None:
    """Take in a gateway's figures; reports older than the newest are not used.

    Args:
        ears: By gateway; changed in place.
        gateway_id: Whose figures.
        at_s: Event time, seconds.
        values: The figures as sent; those of other makers may mean anything, so only numbers
            under known names are read.
    """
    adverts, uptime_s = _number(values, ADVERTS), _first(values, UPTIMES_S)
    skew_s = _number(values, SKEW_S)
    if adverts is None and uptime_s is None and skew_s is None:
        return
    ear = ears.get(gateway_id)
    if ear is None:
        ears[gateway_id] = Ear(at_s, adverts, uptime_s, skew_s, heard_s=at_s)
        return
    if at_s <= ear.told_s:
        return
    if _fell(ear.adverts, adverts) or _fell(ear.uptime_s, uptime_s):
        ear.restarts, ear.restarted_s = ear.restarts + 1, at_s
    elif ear.adverts is not None and adverts is not None:
        _take_rate(ear, (adverts - ear.adverts) / (at_s - ear.told_s), at_s)
    ear.told_s, ear.adverts, ear.uptime_s, ear.skew_s = at_s, adverts, uptime_s, skew_s


def _take_rate(ear: Ear, per_s: float, at_s: float) -> None:
    ear.adverts_per_s = per_s
    if per_s > 0.0:
        ear.heard_s = at_s
        ear.usual_per_s = per_s + FADE * (ear.usual_per_s - per_s) if ear.usual_per_s else per_s


def lost_radio(ear: Ear) -> bool | None:
    """Tell whether a gateway no longer hears any device; None if it does not say."""
    if ear.adverts_per_s is None:
        return None
    if ear.adverts_per_s > 0.0:
        return False
    return (ear.told_s - ear.heard_s) * ear.usual_per_s > SILENT_ADVERTS


def _fell(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after < before


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    found = (_number(values, name) for name in names)
    return next((value for value in found if value is not None), None)


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
