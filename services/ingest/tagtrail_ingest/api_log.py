"""Routes that append business events and read the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tagtrail_ingest.answers import (
    JSON,
    LAST_POSITION,
    After,
    Families,
    Key,
    Limit,
    Reader,
    Types,
    json_answer,
)
from tagtrail_ingest.bodies import AppendReply, AppendResult, EventsBody, envelope_of
from tagtrail_ingest.reading import Filter, event_json, one_event, slice_of, tail_of
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import RejectedError, TooLargeError
from tagtrail_kernel.events.registry import BUSINESS_FAMILIES
from tagtrail_kernel.log import MAX_BATCH
from tagtrail_kernel.logs import trace_id


def add_events(router: APIRouter, state: State) -> None:
    """Add the route that appends business events."""

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
            envelopes = _envelopes(
                state, body, first_at, idempotency_key, radio=who.role == "service"
            )
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


def _envelopes(
    state: State, body: bytes, first_at: Any, key: str | None, *, radio: bool
) -> list[Envelope]:
    try:
        events = msgspec.json.decode(body, type=EventsBody).events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedError(f"the body does not fit: {error}") from error
    if len(events) > MAX_BATCH:
        raise TooLargeError(f"send at most {MAX_BATCH} events in one request: they are one batch")
    return [
        envelope_of(
            new,
            i,
            event_id=uuid8(first_at, f"{key}\x00{i}".encode()) if key else state.ids.new(),
            at=first_at,
            trace=trace_id.get(),
            radio=radio,
        )
        for i, new in enumerate(events)
    ]


def add_log(router: APIRouter, state: State) -> None:
    """Add the routes that read the log."""

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
            int | None, Query(ge=0, le=LAST_POSITION, description="By default the end of the log.")
        ] = None,
        families: Families = None,
        types: Types = None,
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        wanted = Filter.of(families, types, None)
        seen = last_event_id or ""
        start = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 19 else after
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
        return json_answer(
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
        return json_answer(
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
    return json_answer(
        {
            "items": [event_json(who.log_id, e, cloud=cloud) for e in found.events],
            "next_after": found.next_after,
            "at_end": found.at_end,
        },
        headers=headers,
    )
