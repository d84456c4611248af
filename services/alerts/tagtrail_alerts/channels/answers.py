"""Reads what the HTTP answers of all kinds of channels have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_MAX_S: Final = 3600.0
"""Longest wait that a channel may ask for, seconds: a wrong header must not silence it for days."""

RETRY_AFTER_DEFAULT_S: Final = 30.0


def retry_after_s(header: str | None, now: datetime) -> float:
    """Return the wait that a header `Retry-After` asks for, seconds, 1 to 3600.

    Args:
        header: Its value, seconds or a date; None or nonsense gives 30.
        now: Wall clock, for a date.
    """
    if header is None:
        return RETRY_AFTER_DEFAULT_S
    readers: list[Callable[[str], float]] = [
        float,
        lambda text: (parsedate_to_datetime(text) - now).total_seconds(),
    ]
    for read in readers:
        try:
            seconds = read(header)
        except (ValueError, TypeError):
            continue
        if not math.isnan(seconds):
            return min(max(seconds, 1.0), RETRY_AFTER_MAX_S)
    return RETRY_AFTER_DEFAULT_S
