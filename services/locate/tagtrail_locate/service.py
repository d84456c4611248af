"""The locate service."""

from __future__ import annotations

from fastapi import APIRouter

from tagtrail_kernel.wiring import Deps, Service
from tagtrail_locate.api import router_of
from tagtrail_locate.api_coverage import coverage_router
from tagtrail_locate.memories import Memories
from tagtrail_locate.omlox.projection import OmloxObjects
from tagtrail_locate.omlox.service import omlox_router
from tagtrail_locate.projection import Places
from tagtrail_locate.reading import Reading
from tagtrail_locate.settings import LocateSettings

NAME = "locate"


def build(deps: Deps, settings: LocateSettings) -> Service:
    """Build the service on the given ports."""
    database = deps.database_of(NAME)
    memories = Memories(database, deps.log, chunk_events=settings.chunk_events)
    reading = Reading(database, deps.clock, gateway_silent_s=settings.gateway_silent_s)

    def places() -> Places:
        return Places(deps.log, chunk_events=settings.chunk_events)

    router = APIRouter()
    router.include_router(router_of(reading, memories, settings))
    router.include_router(coverage_router(memories, deps.clock))
    router.include_router(
        omlox_router(deps, database, reading, interval_s=settings.stream_interval_s)
    )
    return Service(name=NAME, router=router, projections=(places, OmloxObjects))
