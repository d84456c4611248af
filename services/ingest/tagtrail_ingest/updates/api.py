"""Routes of updates: put one out, see how it goes, stop it; what gateways fetch."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from tagtrail_ingest.answers import PROBLEM
from tagtrail_ingest.state import State
from tagtrail_ingest.updates.bodies import (
    DecidedUpdate,
    NewUpdate,
    PublishedUpdate,
    StopUpdate,
    UpdateList,
    UpdateState,
    VersionList,
    state_of,
    summary_of,
    versions_of,
)
from tagtrail_ingest.updates.manifest import is_older, manifest_of, number_of
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError, NotFoundError, RejectedError
from tagtrail_kernel.events.gateways import UpdateExtended, UpdatePublished, UpdateStopped

WHEEL = "application/octet-stream"

Operator = Annotated[Principal, Depends(requires("operations"))]
Viewer = Annotated[Principal, Depends(requires("registry:read"))]
UpdateId = Annotated[str, Path(min_length=1, max_length=200, description="Update.")]

_NO_UPDATE: dict[int | str, dict[str, Any]] = {404: {"description": "No such update", **PROBLEM}}


def add_updates(router: APIRouter, state: State) -> None:
    """Add the routes of updates."""
    _add_publishing(router, state)
    _add_decisions(router, state)
    _add_reads(router, state)
    _add_wheel(router, state)


def _add_publishing(router: APIRouter, state: State) -> None:
    @router.post(
        "/updates",
        status_code=201,
        tags=["registry"],
        summary="Put a version of the agent out, to a few gateways first",
        description="The others follow when all of the first ones have worked with it for "
        "`soak_minutes`; it stops when a gateway takes it back or refuses it, or when the first ones "
        "need longer than `within_hours`. It takes the place of an update before. The release key "
        "that signs manifests does not belong on the server.",
    )
    async def publish_update(body: NewUpdate, who: Operator) -> PublishedUpdate:
        signed = {"payload": body.manifest.payload, "signature": body.manifest.signature}
        wheel = _decoded(body.wheel)
        manifest = manifest_of(signed, wheel, state.settings.release_key)
        canaries = await _canaries(state, who.log_id, body, manifest.version)
        event = UpdatePublished(
            update_id=str(state.ids.new()),
            version=manifest.version,
            manifest=signed,
            sha256=manifest.sha256,
            canaries=canaries,
            soak_s=body.soak_minutes * 60,
            within_s=body.within_hours * 3600,
            by=who.key_id,
        )
        await state.updates.keep_wheel(who.log_id, event.sha256, wheel, state.clock.now())
        revision = await _append(state, who.log_id, event)
        return PublishedUpdate(
            update_id=event.update_id,
            version=event.version,
            canaries=list(canaries),
            revision=revision,
        )


def _decoded(wheel: str) -> bytes:
    try:
        return base64.b64decode(wheel, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RejectedError("wheel must be base64") from error


async def _canaries(state: State, log_id: int, body: NewUpdate, version: str) -> tuple[str, ...]:
    """Return the gateways that take a version first: those named, or a part chosen by a hash.

    Raises:
        RejectedError: one is not registered, or there is none to choose.
    """
    directory = state.intake.directory(log_id)
    if body.canaries:
        unknown = sorted(g for g in set(body.canaries) if not directory.has_gateway(g))
        if unknown:
            raise RejectedError(f"no gateway {unknown[0]!r} is registered", gateway_id=unknown[0])
        return tuple(dict.fromkeys(body.canaries))
    fleet = await state.updates.fleet(log_id)
    eligible = [
        gateway_id
        for gateway_id, told in fleet.told.items()
        if told.takes_updates
        and directory.has_gateway(gateway_id)
        and is_older(told.version, than=version)
    ]
    if not eligible:
        raise RejectedError(
            f"no enrolled gateway has told a version older than {version}; "
            "name the first ones as canaries"
        )
    eligible.sort(key=lambda g: hashlib.sha256(f"{version}\x00{g}".encode()).digest())
    return tuple(eligible[: math.ceil(len(eligible) * body.canary_pct / 100)])


async def _append(
    state: State, log_id: int, event: UpdatePublished | UpdateExtended | UpdateStopped
) -> int:
    envelope = Envelope(
        id=state.ids.new(),
        subject=event.update_id,
        source="ingest/updates",
        occurred_at=state.clock.now(),
        data=event,
    )
    return (await state.intake.append_facts(log_id, [envelope])).positions[0]


def _add_decisions(router: APIRouter, state: State) -> None:
    @router.post(
        "/updates/{update_id}/extend",
        tags=["registry"],
        summary="Let all gateways take an update, without waiting for the first ones",
        responses={**_NO_UPDATE, 409: {"description": "It is not open", **PROBLEM}},
    )
    async def extend_update(update_id: UpdateId, who: Operator) -> DecidedUpdate:
        update = await _open(state, who.log_id, update_id)
        event = UpdateExtended(update_id=update_id, version=update.version, by=who.key_id)
        revision = await _append(state, who.log_id, event)
        return DecidedUpdate(update_id=update_id, version=update.version, revision=revision)

    @router.post(
        "/updates/{update_id}/stop",
        tags=["registry"],
        summary="Let no further gateway take an update",
        description="Gateways that work with it keep it: to go back, put the older code out as a newer "
        "version.",
        responses={**_NO_UPDATE, 409: {"description": "It is not open", **PROBLEM}},
    )
    async def stop_update(update_id: UpdateId, body: StopUpdate, who: Operator) -> DecidedUpdate:
        update = await _open(state, who.log_id, update_id)
        event = UpdateStopped(
            update_id=update_id, version=update.version, cause=body.cause, by=who.key_id
        )
        revision = await _append(state, who.log_id, event)
        return DecidedUpdate(update_id=update_id, version=update.version, revision=revision)


async def _open(state: State, log_id: int, update_id: str) -> UpdatePublished:
    """Return the update that is open.

    Raises:
        NotFoundError: there is no such update.
        ConflictError: it is stopped, or another one has taken its place.
    """
    directory = state.intake.directory(log_id)
    await state.intake.catch_up(directory)
    update = directory.update
    if update is not None and update.update_id == update_id:
        return update
    known = await state.updates.campaigns(log_id, limit=1000)
    if any(c.published.update_id == update_id for c in known):
        raise ConflictError("this update is stopped, or another one has taken its place")
    raise NotFoundError(f"no update {update_id!r}", update_id=update_id)


def _add_reads(router: APIRouter, state: State) -> None:
    @router.get("/updates", tags=["registry"], summary="Updates of the agent, the last one first")
    async def list_updates(
        who: Viewer, limit: Annotated[int, Query(ge=1, le=100, description="Most updates.")] = 20
    ) -> UpdateList:
        found = await state.updates.campaigns(who.log_id, limit=limit)
        return UpdateList(items=[summary_of(c) for c in found])

    @router.get(
        "/updates/latest",
        tags=["registry"],
        summary="The last update, and how every gateway stands to it",
        responses=_NO_UPDATE,
    )
    async def read_latest_update(who: Viewer) -> UpdateState:
        fleet = await state.updates.fleet(who.log_id)
        if fleet.campaign is None:
            raise NotFoundError("no update was put out yet")
        return state_of(fleet.campaign, fleet)

    @router.get(
        "/gateway-versions",
        tags=["registry"],
        summary="Which version of the agent each gateway runs",
    )
    async def list_gateway_versions(
        who: Viewer,
        below: Annotated[
            str | None, Query(max_length=40, description="Only what is older than this version.")
        ] = None,
    ) -> VersionList:
        if below is not None:
            number_of(below)
        return versions_of(await state.updates.fleet(who.log_id), below)


def _add_wheel(router: APIRouter, state: State) -> None:
    @router.get(
        "/updates/{update_id}/wheel",
        tags=["registry"],
        summary="The wheel of the update that is open",
        response_class=Response,
        responses={
            200: {"content": {WHEEL: {"schema": {"type": "string", "format": "binary"}}}},
            **_NO_UPDATE,
        },
    )
    async def read_update_wheel(
        update_id: UpdateId, who: Annotated[Principal, Depends(requires("sightings:write"))]
    ) -> Response:
        update = state.intake.directory(who.log_id).update
        wheel = None
        if update is not None and update.update_id == update_id:
            wheel = await state.updates.wheel(who.log_id, update.sha256)
        if wheel is None:
            raise NotFoundError(f"no update {update_id!r} is open", update_id=update_id)
        return Response(wheel, media_type=WHEEL)
