"""What one gateway heard of one tag."""

from __future__ import annotations

from typing import Final
from uuid import UUID

NO_EVENT: Final = UUID(int=0)
"""Id of no event at all."""

Reading = tuple[float, str, float, UUID, int, float]
"""What one gateway heard: event time in seconds, gateway, normalised level in dBm, id of the event,
how many readings it stands for, and the time that they span in seconds (0 for one); see `folds`."""
