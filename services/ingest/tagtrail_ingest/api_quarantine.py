"""Routes of the quarantine."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from tagtrail_ingest.adapters import adapter_for_route
from tagtrail_ingest.answers import PROBLEM, After, Limit, Operator, json_answer
from tagtrail_ingest.quarantine import Kept
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError, RejectedError
from tagtrail_kernel.events.operations import MessageRedriven


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


def add_quarantine(router: APIRouter, state: State) -> None:
    """Add the routes of the quarantine."""

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
        return json_answer({"items": items, "next": following}, headers=headers)

    @router.get(
        "/quarantine/{quarantine_id}", tags=["quarantine"], summary="One message with its bytes"
    )
    async def get_quarantined(
        who: Operator, quarantine_id: Annotated[int, Path(ge=1, le=2**62)]
    ) -> Response:
        return json_answer(
            _kept_json(await state.quarantine.get(who.log_id, quarantine_id), payload=True)
        )

    @router.delete(
        "/quarantine/{quarantine_id}",
        tags=["quarantine"],
        status_code=204,
        summary="Delete a message with its bytes",
    )
    async def delete_quarantined(
        who: Operator, quarantine_id: Annotated[int, Path(ge=1, le=2**62)]
    ) -> None:
        await state.quarantine.remove(who.log_id, quarantine_id)

    @router.post("/quarantine/{quarantine_id}/redrive", tags=["quarantine"],
                 summary="Read a message again, after a fix or a new rule",
                 responses={409: {"description": "It still cannot be read", **PROBLEM}})  # fmt: skip
    async def redrive(
        who: Operator, quarantine_id: Annotated[int, Path(ge=1, le=2**62)]
    ) -> Response:
        kept = await state.quarantine.get(who.log_id, quarantine_id)
        return json_answer(
            {"quarantine_id": quarantine_id, "events": await _redrive(state, who, kept)}
        )


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
