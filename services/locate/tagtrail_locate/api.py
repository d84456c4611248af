"""HTTP: latest places, a tag's place, history and explanation, the live stream, gateway health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AwareDatetime

from tagtrail_kernel.access import Principal, requires
from tagtrail_locate.memories import Memories
from tagtrail_locate.reading import Item, Reading, ids_for_resuming, unknown_tag
from tagtrail_locate.replies import (
    NOT_FOUND,
    PROBLEMS,
    age_s,
    cursor_of,
    json_of,
    page_of,
    single,
    text_of,
)
from tagtrail_locate.settings import LocateSettings

Reader = Annotated[Principal, Depends(requires("places:read"))]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the page.")]
After = Annotated[str | None, Query(description="`next` of the page before.")]
SiteId = Annotated[str | None, Query(description="Only this site.")]
TagId = Annotated[str, Path(max_length=200, description="Tag.")]

_EXAMPLE: Item = {
    "tag_id": "tag-7", "site_id": "hall", "zone_id": "aisle-1",
    "since_at": "2026-03-02T08:00:00+00:00", "floor": 0.0, "x_m": 12.1, "y_m": 4.9,
    "accuracy_m": 3.4, "radius_95_m": 5.5, "method": "ble_zone", "confidence": 0.93, "presence": "present",
    "cause": None, "gone_probability": None, "lost": False, "look_first": [],
    "last_heard_at": "2026-03-02T08:31:12+00:00", "gateway_id": "gw-3", "configuration": "118",
    "position": 51230, "event_id": "019cad58-b670-865d-9419-daf41f0064d5", "age_s": 0.8,
    "site_heard_at": "2026-03-02T08:31:12+00:00", "site_silent": False, "source_class": None,
}  # fmt: skip


def _answers(
    example: Any, *more: dict[int | str, dict[str, Any]]
) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"example": example}}, "description": "Found"}
    }
    for problems in (PROBLEMS, *more):
        found |= problems
    return found


class Api:
    """The endpoints of locate.

    Args:
        reading: Reads the tables.
        memories: Finds the memory that explanations are read from.
        settings: Rates of the stream.
    """

    def __init__(self, reading: Reading, memories: Memories, settings: LocateSettings) -> None:
        self._reading = reading
        self._memories = memories
        self._settings = settings

    async def places(
        self,
        request: Request,
        who: Reader,
        site_id: SiteId = None,
        zone_id: Annotated[str | None, Query(description="Only this zone.")] = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """List the latest place of every tag that was heard, by tag id, with its age."""
        last = text_of(after) or ""
        async with self._reading.snapshot(who.log_id) as (connection, position):
            found = await self._reading.places(
                connection, who.log_id, after=last, limit=limit + 1, site_id=site_id,
                zone_id=zone_id,
            )  # fmt: skip
        cursor = cursor_of(found[limit - 1]["tag_id"]) if len(found) > limit else None
        return page_of(request, found[:limit], position=position, cursor=cursor)

    async def place(self, request: Request, who: Reader, tag_id: TagId) -> Response:
        """Show the latest place of one tag."""
        async with self._reading.snapshot(who.log_id) as (connection, position):
            item = await self._reading.place(connection, who.log_id, tag_id)
        body = item | {"as_of_position": position}
        return single(request, body, (item["position"], item["site_silent"]))

    async def history(
        self,
        request: Request,
        who: Reader,
        tag_id: TagId,
        since: Annotated[
            AwareDatetime | None, Query(alias="from", description="From then on.")
        ] = None,
        until: Annotated[AwareDatetime | None, Query(alias="to", description="Until then.")] = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """List the confirmed changes of a tag's zone, newest first, with their evidence."""
        last = text_of(after)
        before = int(last) if last is not None and last.isdigit() else None
        async with self._reading.snapshot(who.log_id) as (connection, position):
            await self._reading.place(connection, who.log_id, tag_id)
            found = await self._reading.history(
                connection, who.log_id, tag_id, since=since, until=until, before=before,
                limit=limit + 1,
            )  # fmt: skip
        cursor = cursor_of(str(found[limit - 1]["position"])) if len(found) > limit else None
        return page_of(request, found[:limit], position=position, cursor=cursor)

    async def explanation(self, request: Request, who: Reader, tag_id: TagId) -> Response:
        """Explain a tag's place: candidates, levels, ages, margins, what was not heard."""
        engine = await self._memories.of(who.log_id, request.app.state.followers)
        tag = engine.state.tags.get(tag_id)
        if tag is None:
            raise unknown_tag(tag_id)
        body = engine.explain(tag)
        body |= {
            "age_s": age_s(body["at"], self._reading.now()),
            "as_of_position": engine.state.position,
        }
        return Response(json_of(body), media_type="application/json")

    async def health(
        self,
        request: Request,
        who: Reader,
        site_id: SiteId = None,
        after: After = None,
        limit: Limit = 100,
    ) -> Response:
        """List the gateways with when they were heard, what they hear, and a word for it."""
        last = text_of(after) or ""
        async with self._reading.snapshot(who.log_id) as (connection, position):
            found = await self._reading.gateways(
                connection, who.log_id, after=last, limit=limit + 1, site_id=site_id
            )
        cursor = cursor_of(found[limit - 1]["gateway_id"]) if len(found) > limit else None
        return page_of(request, found[:limit], position=position, cursor=cursor)

    async def stream(
        self,
        who: Reader,
        site_id: SiteId = None,
        after: Annotated[
            int | None, Query(ge=0, description="Position of the log; by default now.")
        ] = None,
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        """Follow the places live: each event is a tag's newest place, at most four a second.

        With `site_id`, a tag that leaves the site is told once more, with its new site.
        """
        at = int(last_event_id) if last_event_id and last_event_id.isdigit() else after
        if at is None:
            at = await self._reading.position(who.log_id)
        here = await self._reading.tags_of_site(who.log_id, site_id) if site_id else set[str]()
        yield ServerSentEvent(comment=f"from {at}", id=str(at))
        quiet_s = 0.0
        while True:
            found = await self._reading.changed_places(who.log_id, at)
            for item, resume in zip(found, ids_for_resuming(found), strict=True):
                at = int(item["position"])
                if site_id is not None and not _belongs(item, site_id, here):
                    continue
                quiet_s = 0.0
                yield ServerSentEvent(
                    raw_data=json_of(item).decode(), event="place", id=str(resume)
                )
            if quiet_s >= self._settings.stream_keepalive_s:
                quiet_s = 0.0
                yield ServerSentEvent(comment=f"at {at}")
            await asyncio.sleep(self._settings.stream_interval_s)
            quiet_s += self._settings.stream_interval_s


def _belongs(item: Item, site_id: str, here: set[str]) -> bool:
    """Tell whether a stream of one site tells this place; keeps account of who is there."""
    tag_id = str(item["tag_id"])
    if item["site_id"] == site_id:
        here.add(tag_id)
        return True
    if tag_id in here:
        here.discard(tag_id)
        return True
    return False


def router_of(reading: Reading, memories: Memories, settings: LocateSettings) -> APIRouter:
    """Return the routes."""
    api = Api(reading, memories, settings)
    router = APIRouter(prefix="/v1", tags=["places"])
    page = {"items": [_EXAMPLE], "next": None, "as_of_position": 51231}
    router.add_api_route(
        "/places", api.places, summary="Latest place of every tag", responses=_answers(page),
        operation_id="list_places",
    )  # fmt: skip
    router.add_api_route(
        "/places/stream", api.stream, summary="Follow the places live (server-sent events)",
        response_class=EventSourceResponse, responses=PROBLEMS, operation_id="stream_places",
    )  # fmt: skip
    router.add_api_route(
        "/tags/{tag_id}/place", api.place, summary="Latest place of a tag",
        responses=_answers(_EXAMPLE | {"as_of_position": 51231}, NOT_FOUND),
        operation_id="get_place",
    )  # fmt: skip
    router.add_api_route(
        "/tags/{tag_id}/history", api.history, summary="Confirmed zone changes of a tag",
        responses=_answers({"items": [], "next": None, "as_of_position": 51231}, NOT_FOUND),
        operation_id="list_place_history",
    )  # fmt: skip
    router.add_api_route(
        "/tags/{tag_id}/explain", api.explanation, summary="Why a tag is said to be there",
        responses=_answers({"tag_id": "tag-7", "zone_id": "aisle-1"}, NOT_FOUND),
        operation_id="explain_place",
    )  # fmt: skip
    router.add_api_route(
        "/gateways/health", api.health, summary="How the gateways are",
        responses=_answers({"items": [], "next": None, "as_of_position": 51231}),
        operation_id="list_gateway_health",
    )  # fmt: skip
    return router
