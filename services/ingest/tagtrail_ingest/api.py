"""Ingest's HTTP API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from tagtrail_ingest.answers import PROBLEMS, Limit, json_answer
from tagtrail_ingest.api_gateways import add_gateways
from tagtrail_ingest.api_log import add_events, add_log
from tagtrail_ingest.api_quarantine import add_quarantine
from tagtrail_ingest.api_sightings import add_sightings
from tagtrail_ingest.sources.api import add_sources
from tagtrail_ingest.state import State
from tagtrail_ingest.updates.api import add_updates
from tagtrail_kernel.access import Principal, requires


def router_of(state: State) -> APIRouter:
    """Return ingest's routes."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS)
    add_sightings(router, state)
    add_events(router, state)
    add_log(router, state)
    add_quarantine(router, state)
    add_gateways(router, state)
    add_updates(router, state)
    add_sources(router, state)
    _add_overview(router, state)
    return router


def _add_overview(router: APIRouter, state: State) -> None:
    @router.get("/unenrolled", tags=["ingest"], summary="Identities heard that no tag has")
    async def list_unenrolled(
        who: Annotated[Principal, Depends(requires("registry:write"))],
        limit: Limit = 100,
    ) -> Response:
        heard = list(state.intake.directory(who.log_id).unenrolled.values())[::-1][:limit]
        return json_answer({"items": heard, "note": "kept in memory only, never stored"})

    @router.get("/ingest/stats", tags=["ingest"], summary="What came in and what became of it")
    async def stats(
        who: Annotated[Principal, Depends(requires("operations"))],
        hours: Annotated[int, Query(ge=1, le=24 * 31)] = 24,
    ) -> Response:
        since = state.clock.now() - timedelta(hours=hours)
        totals = await state.tallies.totals(
            who.log_id, since.replace(minute=0, second=0, microsecond=0)
        )
        return json_answer(
            {
                "since": since,
                "by_adapter": totals,
                "quarantine": await state.quarantine.counts(who.log_id),
                "mqtt_connected": state.mqtt_connected(),
                "topics_without_rule": state.intake.ignored_topics(),
            }
        )
