"""The inventory service."""

from __future__ import annotations

from fastapi import APIRouter

from tagtrail_inventory import api_imports, api_reading, api_registry, api_stock
from tagtrail_inventory.holding import Holding
from tagtrail_inventory.importing import Importing
from tagtrail_inventory.projections.books import Books
from tagtrail_inventory.registering import Registering
from tagtrail_inventory.settings import InventorySettings
from tagtrail_inventory.writer import Writer
from tagtrail_kernel.wiring import Deps, Service

NAME = "inventory"


def build(deps: Deps, settings: InventorySettings) -> Service:
    """Build the service on the given ports."""
    writer = Writer(deps, settings)
    router = APIRouter()
    router.include_router(api_stock.router_of(writer, Holding(writer)))
    router.include_router(api_registry.router_of(Registering(writer)))
    importing = Importing(writer, settings)
    router.include_router(api_imports.router_of(writer, importing))
    router.include_router(api_reading.router_of(writer))
    return Service(name=NAME, router=router, projections=(Books,))
