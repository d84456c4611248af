"""HTTP: the coverage map of a site."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.clock import Clock
from tagtrail_kernel.errors import NotFoundError
from tagtrail_locate.core.coverage_report import report
from tagtrail_locate.memories import Memories
from tagtrail_locate.replies import PROBLEMS, age_s, json_of

Reader = Annotated[Principal, Depends(requires("places:read"))]

_EXAMPLE: dict[str, Any] = {
    "site_id": "hall", "at": "2026-03-02T08:31:12+00:00", "age_s": 0.8, "as_of_position": 51230,
    "zones": [{
        "zone_id": "aisle-1", "name": "Aisle 1", "kind": "storage", "adverts": 1840.0,
        "learned_at": "2026-03-02T08:31:02+00:00", "age_s": 10.8, "heard_share": 0.97,
        "heard_share_now": 0.97, "coverage": "good", "coverage_now": "good",
        "blind_without": ["gw-3"],
        "gateways": [{
            "gateway_id": "gw-3", "heard_share": 0.97, "listening": True,
            "heard_at": "2026-03-02T08:31:01+00:00", "age_s": 11.8,
        }],
    }],
    "gateways": [{
        "gateway_id": "gw-3", "zone_id": "aisle-1", "state": "listening",
        "last_heard_at": "2026-03-02T08:31:12+00:00", "age_s": 0.8,
        "alive_since_at": "2026-03-01T06:00:00+00:00",
        "last_sighting_at": "2026-03-02T08:31:12+00:00", "sightings": 90211,
        "adverts_per_s": 41.2, "restarts": 1, "restarted_at": "2026-03-01T06:00:04+00:00",
        "clock_skew_s": 0.02, "clock_ahead_s": None, "blind_without_it": ["aisle-1"],
    }],
}  # fmt: skip


class CoverageApi:
    """The endpoint of the coverage map.

    Args:
        memories: Finds the memory that is read.
        clock: For ages; nothing is decided by it.
    """

    def __init__(self, memories: Memories, clock: Clock) -> None:
        self._memories = memories
        self._clock = clock

    async def coverage(
        self,
        request: Request,
        who: Reader,
        site_id: Annotated[str, Path(max_length=200, description="Site.")],
    ) -> Response:
        """Show which gateways hear the tags of which zone, and which zones depend on one gateway.

        Shares are of the adverts that tags sent from a zone while the gateway listened, as learned
        from what was heard; zones with less than 50 such adverts are `unknown`.
        """
        engine = await self._memories.of(who.log_id, request.app.state.followers)
        state = engine.state
        if site_id not in state.registry.sites:
            raise NotFoundError(
                f"no site {site_id!r} is registered; GET /v1/sites lists those that are",
                site_id=site_id,
            )
        body = report(state, site_id)
        _with_ages(body, self._clock.now())
        body["as_of_position"] = state.position
        return Response(json_of(body), media_type="application/json")


def _with_ages(body: dict[str, Any], now: datetime) -> None:
    body["age_s"] = age_s(body["at"], now)
    for zone in body["zones"]:
        zone["age_s"] = age_s(zone["learned_at"], now)
        for gateway in zone["gateways"]:
            gateway["age_s"] = age_s(gateway["heard_at"], now)
    for gateway in body["gateways"]:
        gateway["age_s"] = age_s(gateway["last_heard_at"], now)


def coverage_router(memories: Memories, clock: Clock) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/v1", tags=["places"])
    found: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"example": _EXAMPLE}}, "description": "Found"},
        404: {"description": "No such site is registered"},
    }
    router.add_api_route(
        "/sites/{site_id}/coverage", CoverageApi(memories, clock).coverage,
        summary="Which gateways hear which zone of a site", responses={**PROBLEMS, **found},
        operation_id="get_coverage",
    )  # fmt: skip
    return router
