"""Which services there are, and how they become one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from fastapi import FastAPI

from tagtrail_alerts.service import build as build_alerts
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_console.service import build as build_console
from tagtrail_console.settings import ConsoleSettings
from tagtrail_ingest.service import build as build_ingest
from tagtrail_ingest.settings import IngestSettings
from tagtrail_inventory.service import build as build_inventory
from tagtrail_inventory.settings import InventorySettings
from tagtrail_kernel.bootstrap import deps_of
from tagtrail_kernel.migrations import Migration
from tagtrail_kernel.settings import KernelSettings, SettingsError, load
from tagtrail_kernel.wiring import Deps, Service, app_of
from tagtrail_locate.service import build as build_locate
from tagtrail_locate.settings import LocateSettings

BUILDERS: Final[dict[str, Callable[[Deps], Service]]] = {
    "ingest": lambda deps: build_ingest(deps, load(IngestSettings)),
    "locate": lambda deps: build_locate(deps, load(LocateSettings)),
    "inventory": lambda deps: build_inventory(deps, load(InventorySettings)),
    "alerts": lambda deps: build_alerts(deps, load(AlertsSettings)),
    "console": lambda deps: build_console(deps, load(ConsoleSettings)),
}
"""Services by name, in the order in which they start."""

PORTS: Final = {"ingest": 8101, "locate": 8102, "inventory": 8103, "alerts": 8104, "console": 8105}
"""Default port of a service that runs alone."""

MIGRATIONS: Final = (
    Migration("access", "tagtrail_kernel.migrations_access"),
    Migration("log", "tagtrail_ingest.migrations"),
    Migration("ingest", "tagtrail_ingest.migrations_ingest"),
    Migration("locate", "tagtrail_locate.migrations"),
    Migration("inventory", "tagtrail_inventory.migrations"),
    Migration("alerts", "tagtrail_alerts.migrations"),
)
"""All schemas, in the order of their dependencies."""


def check_names(names: Sequence[str]) -> list[str]:
    """Return the services to run; all of them if none is named.

    Raises:
        SettingsError: a name is unknown.
    """
    unknown = [n for n in names if n not in BUILDERS]
    if unknown:
        raise SettingsError(f"no service {unknown[0]!r}; services are {', '.join(BUILDERS)}")
    return list(dict.fromkeys(names)) or list(BUILDERS)


def app_for(
    settings: KernelSettings, names: Sequence[str], *, gateway_mqtt_url: str = ""
) -> FastAPI:
    """Return one app with the named services.

    Args:
        settings: Of the process.
        names: Of the services; all if none.
        gateway_mqtt_url: Where enrolled gateways publish, unless ingest's own setting says it.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    chosen = check_names(names)
    if "ingest" not in chosen and not settings.ingest_url and chosen != ["console"]:
        raise SettingsError(
            f"{', '.join(chosen)} without ingest in the same process: set TAGTRAIL_INGEST_URL and "
            "TAGTRAIL_SERVICE_KEY (or TAGTRAIL_SERVICE_KEY_FILE)"
        )
    if "ingest" in chosen:
        settings = settings.model_copy(update={"ingest_url": ""})
    deps = deps_of(settings)
    builders = {**BUILDERS, "ingest": _ingest_builder(gateway_mqtt_url)}
    return app_of(deps, *(builders[name](deps) for name in chosen))


def _ingest_builder(gateway_mqtt_url: str) -> Callable[[Deps], Service]:
    def build(deps: Deps) -> Service:
        settings = load(IngestSettings)
        address = settings.gateway_mqtt_url or gateway_mqtt_url
        return build_ingest(deps, settings.model_copy(update={"gateway_mqtt_url": address}))

    return build


def create_app() -> FastAPI:
    """Return the app for `TAGTRAIL_SERVICES` (comma-separated): `uvicorn … --factory`."""
    names = [n for n in os.environ.get("TAGTRAIL_SERVICES", "").split(",") if n]
    return app_for(load(KernelSettings), names)
