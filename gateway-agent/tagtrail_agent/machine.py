"""How the machine is: load, temperature, memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final

_ZONE: Final = Path("/sys/class/thermal/thermal_zone0/temp")
_STATUS: Final = Path("/proc/self/status")


def figures() -> dict[str, Any]:
    """Return what this system can tell; what it cannot is left out."""
    found: dict[str, Any] = {"load_1min": round(os.getloadavg()[0], 2)}
    with contextlib.suppress(OSError, ValueError):  # no sensor, as in most virtual machines
        found["temperature_c"] = int(_ZONE.read_text(encoding="ascii")) / 1000
    resident = resident_mb()
    if resident is not None:
        found["resident_mb"] = resident
    return found


def resident_mb() -> float | None:
    """Return the memory of this process that is in use, MB."""
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return round(int(line.split()[1]) / 1024, 1)
    except (OSError, ValueError, IndexError):
        return None
    return None
