"""Homes: folders of embedded servers, and who serves them."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from tagtrail.embedded import default_home
from tagtrail_kernel.settings import KernelSettings


def home_of(settings: KernelSettings) -> Path:
    """Return the folder of the embedded servers and of the administrator's key."""
    return Path(settings.home) if settings.home else default_home()


def serving_of(settings: KernelSettings) -> dict[str, Any] | None:
    """Return pid and address of the process that serves this home or its demo."""
    home = home_of(settings)
    for folder in (home, home / "demo"):
        with contextlib.suppress(OSError, ValueError):
            noted: dict[str, Any] = json.loads((folder / "serving.json").read_text("utf-8"))
            os.kill(int(noted["pid"]), 0)
            return {**noted, "home": str(folder)}
    return None
