"""HTTP: alerts, what people do about them, and their live stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tagtrail_alerts import views
from tagtrail_alerts.acting import Acting
from tagtrail_alerts.models import AcknowledgeBody, ResolveBody
from tagtrail_alerts.projection import NAME
from tagtrail_alerts.replies import (
    CONFLICT,
    NOT_FOUND,
    PROBLEMS,
    AlertId,
    Cursor,
    Key,
    Limit,
    Reading,
    Writing,
    page_answer,
    tagged_answer,
)
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.access import Principal
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.wiring import Deps

KEEP_ALIVE_S: Final = 10.0
"""Silence of a stream before a comment is sent: proxies cut at 30 to 60 s."""

MOST: Final = 500
_JSON: Final = "application/json"


class AlertsApi:
    """Endpoints of alerts."""

    def __init__(self, deps: Deps, settings: AlertsSettings, acting: Acting) -> None:
        self._deps = deps
        self._database = deps.database_of(NAME)
        self._poll_s = settings.poll_s
        self._acting = acting

    async def list_alerts(
        self,
        request: Request,
        who: Reading,
        state: Annotated[
            Literal["open", "acknowledged", "resolved"] | None, Query(description="Only these.")
        ] = None,
        rule_id: Annotated[str | None, Query(description="Only of this rule.")] = None,
        site_id: Annotated[str | None, Query(description="Only at this site.")] = None,
        subject: Annotated[str | None, Query(description="Only of this asset or tag.")] = None,
        after: Cursor = None,
        limit: Limit = 100,
    ) -> Response:
        """Alerts, newest first."""
        async with self._database.connection() as connection:
            position = await views.as_of(connection, who.log_id)
            rows = await views.alerts_page(
                connection,
                who.log_id,
                state=state,
                rule_id=rule_id,
                site_id=site_id,
                subject=subject,
                before=after,
                limit=limit,
            )
        now = self._deps.clock.now()
        following = rows[-1]["fired_position"] if len(rows) == limit else None
        items = [views.alert_json(row, now) for row in rows]
        return page_answer(request, items, following, as_of_position=position, as_of=now)

    async def get_alert(self, request: Request, alert_id: AlertId, who: Reading) -> Response:
        """One alert with the ids of the events that made it; they are at `/v1/events/{id}`."""
        async with self._database.connection() as connection:
            position = await views.as_of(connection, who.log_id)
            row = await connection.fetchrow(
                "select * from alert where log_id = $1 and alert_id = $2", who.log_id, alert_id
            )
        if row is None:
            raise NotFoundError(f"no alert {alert_id}; see GET /v1/alerts", alert_id=alert_id)
        shown = views.alert_with_evidence(dict(row), self._deps.clock.now())
        return tagged_answer(request, shown | {"as_of_position": position}, row["changed_position"])

    async def acknowledge(
        self, alert_id: AlertId, who: Writing, body: AcknowledgeBody | None = None, key: Key = None
    ) -> Response:
        """Take an alert on. The state changes when the log has taken the event."""
        answer = await self._acting.acknowledge(who, alert_id, body or AcknowledgeBody(), key)
        return Response(answer, media_type=_JSON)

    async def resolve(
        self, alert_id: AlertId, who: Writing, body: ResolveBody, key: Key = None
    ) -> Response:
        """Close an alert, with its cause."""
        return Response(await self._acting.resolve(who, alert_id, body, key), media_type=_JSON)

    async def stream(
        self,
        who: Reading,
        after: Annotated[
            int | None, Query(ge=0, description="Position; by default what is known now.")
        ] = None,
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        """Alerts as they change (server-sent events `alert`, the whole alert each time).

        The id of an event is the position of the change; a reader that comes back with it misses
        no alert's latest state.
        """
        given = int(last_event_id) if last_event_id and last_event_id.isdigit() else after
        at = given if given is not None else await self._known(who)
        yield ServerSentEvent(comment=f"from {at}", id=str(at))
        silent_s = 0.0
        while True:
            found = await self._changes(who, at)
            for position, text in found:
                at = position
                yield ServerSentEvent(raw_data=text, event="alert", id=str(position))
            silent_s = 0.0 if found else silent_s + self._poll_s
            if silent_s >= KEEP_ALIVE_S:
                silent_s = 0.0
                yield ServerSentEvent(comment=f"at {at}")
            if len(found) < MOST:
                await asyncio.sleep(self._poll_s)

    async def _known(self, who: Principal) -> int:
        async with self._database.connection() as connection:
            return await views.as_of(connection, who.log_id)

    async def _changes(self, who: Principal, after: int) -> list[tuple[int, str]]:
        async with self._database.connection() as connection:
            rows = await views.changed_alerts(connection, who.log_id, after=after, limit=MOST)
        now = self._deps.clock.now()
        return [
            (
                row["changed_position"],
                orjson.dumps(views.alert_json(row, now), option=orjson.OPT_UTC_Z).decode(),
            )
            for row in rows
        ]


def router_of(deps: Deps, settings: AlertsSettings, acting: Acting) -> APIRouter:
    """Return the routes of alerts."""
    api = AlertsApi(deps, settings, acting)
    router = APIRouter(prefix="/alerts", tags=["alerts"], responses=PROBLEMS)
    add = router.add_api_route
    add("", api.list_alerts, methods=["GET"], summary="List alerts, newest first")
    add(
        "/stream",
        api.stream,
        methods=["GET"],
        response_class=EventSourceResponse,
        summary="Follow alerts live (server-sent events)",
        operation_id="stream_alerts",
    )
    add(
        "/{alert_id}",
        api.get_alert,
        methods=["GET"],
        summary="One alert with its evidence",
        responses=NOT_FOUND,
    )
    for name, act, summary in (
        ("acknowledge", api.acknowledge, "Take an alert on"),
        ("resolve", api.resolve, "Close an alert with its cause"),
    ):
        add(
            f"/{{alert_id}}/{name}",
            act,
            methods=["POST"],
            summary=summary,
            responses=NOT_FOUND | CONFLICT,
        )
    return router
