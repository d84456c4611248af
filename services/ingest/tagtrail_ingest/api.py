"""Ingest's HTTP API."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tagtrail_ingest.adapters import ADAPTERS, ROUTES, Adapter, Message, adapter_for_route
from tagtrail_ingest.adapters.native import native_schema
from tagtrail_ingest.bodies import (
    AppendReply,
    AppendResult,
    EventsBody,
    SightingsReply,
    envelope_of,
)
from tagtrail_ingest.quarantine import Kept, Unread
from tagtrail_ingest.reading import Filter, event_json, one_event, slice_of, tail_of
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError, NotFoundError, RejectedError, TooLargeError
from tagtrail_kernel.events.operations import MessageRedriven
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES
from tagtrail_kernel.logs import trace_id

JSON = "application/json"
Reader = Annotated[Principal, Depends(requires("events:read"))]
Operator = Annotated[Principal, Depends(requires("operations"))]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", description="The same key and body again give the same answer."
    ),
]
After = Annotated[int, Query(ge=0, description="Position after which to begin.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most events.")]
Families = Annotated[str | None, Query(description="Comma-separated: radio, gateway, registry, …")]
Types = Annotated[
    str | None, Query(description="Comma-separated wire names, e.g. tag.zone_changed.")
]

_PROBLEM = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No valid key", **_PROBLEM},
    403: {"description": "The key may not do this", **_PROBLEM},
    422: {"description": "The body does not fit", **_PROBLEM},
    429: {"description": "Too many requests", **_PROBLEM},
    503: {"description": "The database is out of reach; send it again", **_PROBLEM},
}
_NATIVE_BODY = {
    "requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}}
}


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, JSON)


def router_of(state: State) -> APIRouter:
    """Return ingest's routes."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS)
    _add_sightings(router, state)
    _add_events(router, state)
    _add_log(router, state)
    _add_quarantine(router, state)
    _add_overview(router, state)
    return router


def _add_sightings(router: APIRouter, state: State) -> None:
    @router.post(
        "/sightings",
        tags=["ingest"],
        summary="Send a batch of sightings",
        description="Items are judged one by one: the good ones are appended and durable when the "
        "answer comes, each bad one is named with its reason. Wire format: docs/wire-format.md.",
        responses={409: {"description": "No retention rule for radio facts yet", **_PROBLEM}},
        openapi_extra={
            "requestBody": {"required": True, "content": {JSON: {"schema": native_schema()}}}
        },
    )
    async def post_sightings(
        request: Request,
        who: Annotated[Principal, Depends(requires("sightings:write"))],
        idempotency_key: Key = None,
    ) -> Response:
        return await _take(state, request, who, ADAPTERS["native"], "sightings", idempotency_key)

    @router.post(
        "/messages/{format}",
        tags=["ingest"],
        summary="Send one message of a foreign gateway, unchanged",
        description="Formats are listed in docs/gateways.md. A message that cannot be read is kept "
        "in quarantine and answered with 202.",
        openapi_extra=_NATIVE_BODY,
    )
    async def post_message(
        request: Request,
        who: Annotated[Principal, Depends(requires("sightings:write"))],
        format: Annotated[str, Path(description="Format, e.g. ruuvi")],  # noqa: A002 - the route's word
        idempotency_key: Key = None,
        site_id: Annotated[str | None, Query(description="Site of the gateway.")] = None,
    ) -> Response:
        adapter = adapter_for_route(format)
        if adapter is None:
            raise NotFoundError(f"no format {format!r}; formats are {', '.join(sorted(ROUTES))}")
        return await _take(state, request, who, adapter, format, idempotency_key, site_id)


async def _take(
    state: State,
    request: Request,
    who: Principal,
    adapter: Adapter,
    route: str,
    key: str | None,
    site_id: str | None = None,
) -> Response:
    body = await request.body()
    now = state.clock.now()
    message = Message(
        payload=body or request.url.query.encode(),
        received_at=now,
        route=route,
        content_type=request.headers.get("content-type"),
        site_id=site_id,
        gateway_id=who.gateway_id,
    )

    async def act(first_at: Any) -> tuple[int, bytes]:
        prepared = state.intake.prepare(
            who.log_id,
            adapter,
            message,
            key=(first_at, key) if key is not None else None,
            only_gateway=who.gateway_id,
        )
        if len(prepared.verdicts) > state.settings.max_items:
            raise TooLargeError(f"send at most {state.settings.max_items} items in one request")
        await state.intake.commit([prepared])
        return 200, msgspec.json.encode(SightingsReply.of(prepared.verdicts))

    try:
        status, answer = await state.idempotency.once(
            who.log_id, f"/v1/{route}", key, message.payload, now, act
        )
    except RejectedError as error:
        if route == "sightings" or error.code != "unreadable-message":
            state.intake.refuse(who.log_id, adapter.name, now, "message.rejected")
            raise
        await state.quarantine.keep(
            who.log_id, [Unread(message, adapter.name, error.code, error.detail)]
        )
        state.intake.refuse(who.log_id, adapter.name, now, "message.quarantined")
        return _json({"quarantined": True, "reason": error.code, "detail": error.detail}, 202)
    return Response(answer, status, media_type=JSON)


def _add_events(router: APIRouter, state: State) -> None:
    @router.post(
        "/events",
        tags=["ingest"],
        summary="Append business events: all of them, or none",
        description="Event types are described in docs/events.md. Durable when the answer comes.",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {
                        "schema": {"type": "object"},
                        "example": {
                            "events": [
                                {"type": "pod.recorded", "data": {"asset_ids": ["pallet-42"]}}
                            ]
                        },
                    }
                },
            }
        },
    )
    async def post_events(
        request: Request,
        who: Annotated[Principal, Depends(requires("events:write"))],
        idempotency_key: Key = None,
    ) -> Response:
        body = await request.body()
        now = state.clock.now()

        async def act(first_at: Any) -> tuple[int, bytes]:
            envelopes = _envelopes(state, body, first_at, idempotency_key)
            appended = await state.intake.append_facts(who.log_id, envelopes)
            results = [
                AppendResult(
                    e.id, appended.positions[i],
                    "duplicate" if i in appended.duplicates else "accepted",
                )
                for i, e in enumerate(envelopes)
            ]  # fmt: skip
            reply = AppendReply(results, appended.last, appended.recorded_at)
            return 200, msgspec.json.encode(reply)

        status, answer = await state.idempotency.once(
            who.log_id, "/v1/events", idempotency_key, body, now, act
        )
        return Response(answer, status, media_type=JSON)


def _envelopes(state: State, body: bytes, first_at: Any, key: str | None) -> list[Envelope]:
    try:
        events = msgspec.json.decode(body, type=EventsBody).events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedError(f"the body does not fit: {error}") from error
    if len(events) > state.settings.max_items:
        raise TooLargeError(f"send at most {state.settings.max_items} events in one request")
    return [
        envelope_of(
            new,
            i,
            event_id=uuid8(first_at, f"{key}\x00{i}".encode()) if key else state.ids.new(),
            at=first_at,
            trace=trace_id.get(),
        )
        for i, new in enumerate(events)
    ]


def _add_log(router: APIRouter, state: State) -> None:
    @router.get("/events", tags=["log"], summary="Read the log in order")
    async def get_events(
        who: Reader,
        after: After = 0,
        limit: Limit = 500,
        families: Families = None,
        types: Types = None,
        subject: Annotated[str | None, Query(description="Only events about this.")] = None,
    ) -> Response:
        return await _page(state, who, after, limit, Filter.of(families, types, subject))

    @router.get("/events/stream", tags=["log"], response_class=EventSourceResponse,
                summary="Follow the log live (server-sent events)")  # fmt: skip
    async def stream_events(
        who: Reader,
        after: Annotated[
            int | None, Query(ge=0, description="By default the end of the log.")
        ] = None,
        families: Families = None,
        types: Types = None,
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        wanted = Filter.of(families, types, None)
        start = int(last_event_id) if last_event_id and last_event_id.isdigit() else after
        if start is None:
            start = (await state.log.head(who.log_id)).position
        yield ServerSentEvent(comment=f"from {start}", id=str(start))
        async for events, at in tail_of(
            state.log, state.tail, who.log_id, after=start, wanted=wanted
        ):
            for event in events:
                yield ServerSentEvent(
                    raw_data=bytes(event_json(who.log_id, event)).decode(),
                    event=event.type,
                    id=str(event.position),
                )
            if not events:
                yield ServerSentEvent(comment=f"at {at}")

    @router.get("/events/{event_id}", tags=["log"], summary="One event by its id")
    async def get_event(
        who: Reader, event_id: Annotated[str, Path(description="Event id")]
    ) -> Response:
        event = await one_event(state.log, who.log_id, event_id)
        return _json(
            event_json(who.log_id, event), headers={"ETag": f'"{event.id}"', "Cache-Control": "private, immutable"}
        )  # fmt: skip

    @router.get(
        "/changes", tags=["log"], summary="Gapless feed of business events (CloudEvents 1.0)"
    )
    async def get_changes(
        who: Reader, after: After = 0, limit: Limit = 500, types: Types = None
    ) -> Response:
        wanted = Filter.of(None, types, None)
        wanted = Filter(wanted.families & BUSINESS_FAMILIES, wanted.types, None)
        return await _page(state, who, after, limit, wanted, cloud=True)

    @router.get("/log/head", tags=["log"], summary="End of the log")
    async def get_head(who: Reader) -> Response:
        head = await state.log.head(who.log_id)
        return _json(
            {
                "log_id": who.log_id,
                "position": head.position,
                "chain": head.chain.hex(),
                "recorded_at": head.recorded_at,
            }
        )


async def _page(
    state: State, who: Principal, after: int, limit: int, wanted: Filter, *, cloud: bool = False
) -> Response:
    found = await slice_of(state.log, who.log_id, after=after, limit=limit, wanted=wanted)
    headers = {}
    if not found.at_end:
        headers["Link"] = f'<?after={found.next_after}&limit={limit}>; rel="next"'
    return _json(
        {
            "items": [event_json(who.log_id, e, cloud=cloud) for e in found.events],
            "next_after": found.next_after,
            "at_end": found.at_end,
        },
        headers=headers,
    )


def _kept_json(kept: Kept, *, payload: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        name: getattr(kept, name)
        for name in (
            "quarantine_id", "adapter", "topic", "route", "site_id", "reason", "detail",
            "first_at", "last_at", "count", "redriven_at", "redriven_events",
        )
    }  # fmt: skip
    shown["bytes"] = len(kept.payload)
    if payload:
        shown["payload_base64"] = base64.b64encode(kept.payload).decode()
    return shown


def _add_quarantine(router: APIRouter, state: State) -> None:
    @router.get("/quarantine", tags=["quarantine"], summary="Messages that could not be read")
    async def list_quarantine(
        who: Operator,
        after: After = 0,
        limit: Limit = 100,
        redriven: Annotated[
            bool | None, Query(description="Only read ones, or only waiting ones.")
        ] = False,
    ) -> Response:
        found = await state.quarantine.page(who.log_id, after=after, limit=limit, redriven=redriven)
        following = found[-1].quarantine_id if len(found) == limit else None
        headers = {"Link": f'<?after={following}&limit={limit}>; rel="next"'} if following else {}
        items = [_kept_json(k, payload=False) for k in found]
        return _json({"items": items, "next": following}, headers=headers)

    @router.get(
        "/quarantine/{quarantine_id}", tags=["quarantine"], summary="One message with its bytes"
    )
    async def get_quarantined(
        who: Operator, quarantine_id: Annotated[int, Path(ge=1, le=2**62)]
    ) -> Response:
        return _json(
            _kept_json(await state.quarantine.get(who.log_id, quarantine_id), payload=True)
        )

    @router.post("/quarantine/{quarantine_id}/redrive", tags=["quarantine"],
                 summary="Read a message again, after a fix or a new rule",
                 responses={409: {"description": "It still cannot be read", **_PROBLEM}})  # fmt: skip
    async def redrive(
        who: Operator, quarantine_id: Annotated[int, Path(ge=1, le=2**62)]
    ) -> Response:
        kept = await state.quarantine.get(who.log_id, quarantine_id)
        return _json({"quarantine_id": quarantine_id, "events": await _redrive(state, who, kept)})


async def _redrive(state: State, who: Principal, kept: Kept) -> int:
    if kept.redriven_at is not None:
        return kept.redriven_events or 0
    if kept.route is not None:
        adapter = adapter_for_route(kept.route)
    else:
        match = state.router.for_topic(kept.topic or "")
        adapter = match.adapter if match else None
    if adapter is None:
        raise ConflictError("still no rule names a format for this message; add a topic rule first")
    name = f"quarantine/{kept.quarantine_id}"
    try:
        prepared = state.intake.prepare(
            who.log_id, adapter, kept.message(), key=(kept.first_at, name)
        )
    except RejectedError as error:
        raise ConflictError(f"it still cannot be read: {error.detail}") from error
    await state.intake.commit([prepared])
    now = state.clock.now()
    fact = MessageRedriven(
        quarantine_id=str(kept.quarantine_id), events=len(prepared.facts), by=who.key_id
    )
    envelope = Envelope(
        id=uuid8(kept.last_at, f"{who.log_id}/{name}/{kept.count}".encode()),
        subject=name, source="ingest", occurred_at=now, data=fact,
    )  # fmt: skip
    await state.intake.append_facts(who.log_id, [envelope])
    await state.quarantine.mark(who.log_id, kept.quarantine_id, now, len(prepared.facts))
    return len(prepared.facts)


def _add_overview(router: APIRouter, state: State) -> None:
    @router.get("/unenrolled", tags=["ingest"], summary="Identities heard that no tag has")
    async def list_unenrolled(
        who: Annotated[Principal, Depends(requires("registry:write"))],
        limit: Limit = 100,
    ) -> Response:
        heard = list(state.intake.directory(who.log_id).unenrolled.values())[::-1][:limit]
        return _json({"items": heard, "note": "kept in memory only, never stored"})

    @router.get("/ingest/stats", tags=["ingest"], summary="What came in and what became of it")
    async def stats(
        who: Annotated[Principal, Depends(requires("operations"))],
        hours: Annotated[int, Query(ge=1, le=24 * 31)] = 24,
    ) -> Response:
        since = state.clock.now() - timedelta(hours=hours)
        totals = await state.tallies.totals(
            who.log_id, since.replace(minute=0, second=0, microsecond=0)
        )
        return _json(
            {
                "since": since,
                "by_adapter": totals,
                "quarantine": await state.quarantine.counts(who.log_id),
                "mqtt_connected": state.mqtt_connected(),
                "topics_without_rule": state.intake.ignored_topics(),
            }
        )
