"""Ranges of the wire format's members: the server refuses an item as a whole for one bad value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "rssi_dbm": (-150, 30), "rssi_1m_dbm": (-150, 30), "tx_power_dbm": (-150, 30),
    "battery_pct": (0, 100), "battery_mv": (0, 100_000), "temperature_c": (-273.15, 1000),
    "distance_m": (0, 100_000), "range_m": (0, 100_000), "first_path_dbm": (-150, 30),
}  # fmt: skip
"""Lowest and highest value, by member (docs/wire-format.md)."""


def fit(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members without values that the wire does not carry: out of range, not finite."""
    return {name: value for name, value in members.items() if _fits(name, value)}


def _fits(name: str, value: object) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    limits = LIMITS.get(name)
    if limits is None:
        return True
    return isinstance(value, int | float) and limits[0] <= value <= limits[1]
