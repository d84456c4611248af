"""Routes that take sightings and messages of foreign gateways."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from tagtrail_ingest.adapters import ADAPTERS, ROUTES, Adapter, Message, adapter_for_route
from tagtrail_ingest.adapters.native import native_schema
from tagtrail_ingest.answers import ANY_BODY, JSON, PROBLEM, Key, json_answer
from tagtrail_ingest.bodies import SightingsReply
from tagtrail_ingest.quarantine import Unread
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.errors import NotFoundError, RejectedError, TooLargeError


def add_sightings(router: APIRouter, state: State) -> None:
    """Add the routes that take sightings and foreign messages."""

    @router.post(
        "/sightings",
        tags=["ingest"],
        summary="Send a batch of sightings",
        description="Items are judged one by one: the good ones are appended and durable when the "
        "answer comes, each bad one is named with its reason. The body may be packed with gzip. Wire format: "
        "docs/wire-format.md.",
        responses={409: {"description": "No retention rule for radio facts yet", **PROBLEM}},
        openapi_extra={
            "requestBody": {"required": True, "content": {JSON: {"schema": native_schema()}}}
        },
    )
    async def post_sightings(
        request: Request,
        who: Annotated[Principal, Depends(requires("sightings:write"))],
        idempotency_key: Key = None,
        results: Annotated[
            Literal["all", "faults"],
            Query(description="`faults` names only items that did not go into the log."),
        ] = "all",
    ) -> Response:
        return await _take(
            state, request, who, ADAPTERS["native"], "sightings", idempotency_key, results=results
        )

    @router.post(
        "/messages/{format}",
        tags=["ingest"],
        summary="Send one message of a foreign gateway, unchanged",
        description="Formats are listed in docs/gateways.md. A message that cannot be read is kept "
        "in quarantine and answered with 202.",
        openapi_extra=ANY_BODY,
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
    results: Literal["all", "faults"] = "all",
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
        return 200, msgspec.json.encode(SightingsReply.of(prepared, results))

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
        return json_answer({"quarantined": True, "reason": error.code, "detail": error.detail}, 202)
    return Response(answer, status, media_type=JSON)
