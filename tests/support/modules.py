"""Imports everything, so that what registers itself by subclassing is there."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Final

PACKAGES: Final = (
    "tagtrail_kernel", "tagtrail_ingest", "tagtrail_locate", "tagtrail_inventory",
    "tagtrail_alerts", "tagtrail_console", "tagtrail",
)  # fmt: skip
_NOT_LIBRARIES: Final = ("migrations", "alembic_env", "__main__", ".testing")


def import_all() -> None:
    """Import every module of the server's packages."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not any(part in module.name for part in _NOT_LIBRARIES):
                importlib.import_module(module.name)
