"""How full a tag's battery is, how fast that falls, and how probably it has ended."""

from __future__ import annotations

from typing import Final

from tagtrail_locate.core.hearing import Battery, Habits

HOUR_S: Final = 3600.0

STEP_SHARE: Final = 0.05
"""The slope is taken over at least so much charge: tags tell it in steps, and temperature moves it."""

FULLER_SHARE: Final = 0.1
"""A battery that is fuller by this much is another one, or was charged."""

EMPTY_MV: Final = 2000.0
FULL_MV: Final = 3000.0
HIGHEST_MV: Final = 3300.0
"""Lithium coin cells and pairs of alkaline cells: most tags stop between 2.0 and 1.8 V. The voltage
of other cells, above the highest of these, does not tell their charge."""

EMPTY_SHARE: Final = 0.03
"""Charge at which a battery is empty: what tags say in percent is not more exact than that."""

LOW_SHARE: Final = 0.2
"""Above this charge the slope of the discharge is mostly temperature."""

BATTERY_LIFE_S: Final = 2.0 * 365.0 * 24.0 * HOUR_S
"""Life of a full battery of which nothing else is known: one to three years are usual."""


def share_of(battery_pct: float | None, battery_mv: float | None) -> float | None:
    """Return the charge that a reading states, 0 to 1; None if it states none that is known.

    Args:
        battery_pct: Charge, percent; preferred.
        battery_mv: Voltage, millivolts; taken as linear from 2.0 to 3.0 V.
    """
    if battery_pct is not None:
        return battery_pct / 100.0
    if battery_mv is None or not 0.0 < battery_mv <= HIGHEST_MV:
        return None
    return min(max((battery_mv - EMPTY_MV) / (FULL_MV - EMPTY_MV), 0.0), 1.0)


def note(habits: Habits, at_s: float, battery_pct: float | None, battery_mv: float | None) -> None:
    """Take in what a sighting tells of the battery, if it does."""
    if battery_pct is not None or battery_mv is not None:
        share = share_of(battery_pct, battery_mv)
        if share is not None:
            learn(habits, at_s, share)


def learn(habits: Habits, at_s: float, share: float) -> None:
    """Note the charge of a tag's battery; readings older than the newest are not used."""
    known = habits.battery
    if known is None or share >= known.share + FULLER_SHARE:
        if known is None or at_s > known.at_s:
            habits.battery = Battery(at_s, share, at_s, share, at_s, share)
        return
    if at_s <= known.at_s:
        return
    known.at_s, known.share = at_s, share
    if share <= known.mid_share - STEP_SHARE:
        known.from_s, known.from_share = known.mid_s, known.mid_share
        known.mid_s, known.mid_share = at_s, share


def slope_per_s(battery: Battery) -> float:
    """Return how fast a battery's charge falls lately, share per second, >= 0; 0 if not known."""
    took_s, fell = battery.at_s - battery.from_s, battery.from_share - battery.share
    return fell / took_s if took_s > 0.0 and fell >= STEP_SHARE else 0.0


def hazard_per_s(battery: Battery | None, at_s: float) -> float:
    """Return how probably a battery ends per second, about a time.

    One over the time that is left: by the slope of the discharge where it is low and falls, else
    by its charge. An empty one is taken to end within the hour.

    Args:
        battery: None if the tag never told.
        at_s: Event time, seconds.
    """
    if battery is None:
        return 1.0 / BATTERY_LIFE_S
    share, slope = battery.share, slope_per_s(battery)
    if share < LOW_SHARE:
        share -= slope * max(at_s - battery.at_s, 0.0)
    if share <= EMPTY_SHARE:
        return 1.0 / HOUR_S
    left_s = share * BATTERY_LIFE_S
    if share < LOW_SHARE and slope > 0.0:
        left_s = min(left_s, (share - EMPTY_SHARE) / slope)
    return 1.0 / max(left_s, HOUR_S)
