"""Routes that every process has: keys, and the consumers that run in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from tagtrail_kernel.access import ROLES, AccessStore, Key, Principal, mint, requires
from tagtrail_kernel.clock import Clock
from tagtrail_kernel.consumers import Status
from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import ForbiddenError, NotFoundError
from tagtrail_kernel.log import EventSink
from tagtrail_kernel.parking import park, resume

Operator = Annotated[Principal, Depends(requires("operations"))]
KeyKeeper = Annotated[Principal, Depends(requires("keys"))]
Name = Annotated[str, Path(max_length=100)]


class NewKey(BaseModel):
    """A key to make."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100, description="What people call it.")
    role: str = Field(
        description=f"One of {', '.join(sorted(r for r in ROLES if r != 'service'))}."
    )
    gateway_id: str | None = Field(None, max_length=200, description="Bind it to one gateway.")
    days: int | None = Field(None, ge=1, le=3650, description="Days until it ends; none = never.")


class ShownKey(BaseModel):
    """A key without its secret."""

    key_id: str
    name: str
    role: str
    gateway_id: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class MadeKey(ShownKey):
    """A key that was just made; the only time its text is shown."""

    key: str


class Reason(BaseModel):
    """Why an operator does something."""

    model_config = ConfigDict(strict=True, extra="forbid")

    reason: str = Field(min_length=3, max_length=500)


def _shown(key: Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role,
        "gateway_id": key.gateway_id,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def keys_router(access: AccessStore, clock: Clock) -> APIRouter:
    """Return the routes for keys of the caller's tenant."""
    router = APIRouter(prefix="/v1/keys", tags=["keys"])

    @router.get("", summary="Keys of this tenant")
    async def list_keys(who: KeyKeeper) -> dict[str, list[ShownKey]]:
        return {"items": [ShownKey(**_shown(k)) for k in await access.keys(who.log_id)]}

    @router.post("", status_code=201, summary="Make a key; its text is shown once")
    async def make_key(body: NewKey, who: KeyKeeper) -> MadeKey:
        if body.role == "service":
            raise ForbiddenError("keys of services are made with `tagtrail keys create --service`")
        lifetime = timedelta(days=body.days) if body.days else None
        text, key = mint(
            who.log_id,
            name=body.name,
            role=body.role,
            at=clock.now(),
            gateway_id=body.gateway_id,
            lifetime=lifetime,
        )
        await access.add_key(key)
        return MadeKey(key=text, **_shown(key))

    @router.delete("/{key_id}", status_code=204, summary="Revoke a key")
    async def revoke_key(key_id: Name, who: KeyKeeper) -> None:
        await access.revoke_key(who.log_id, key_id, clock.now())

    return router


def consumers_router(
    statuses: Callable[[], Sequence[Status]],
    database_of: Callable[[str], Database],
    sink: EventSink,
    clock: Clock,
) -> APIRouter:
    """Return the routes for the consumers of this process."""
    router = APIRouter(prefix="/v1/consumers", tags=["operations"])

    @router.get("", summary="Consumers of this process: position, state, error")
    async def list_consumers(who: Operator) -> dict[str, list[dict[str, Any]]]:
        return {
            "items": [
                {
                    "consumer": s.consumer,
                    "state": s.state,
                    "position": s.position,
                    "behind": s.behind,
                    "error": s.error,
                    "error_position": s.error_position,
                }
                for s in statuses()
                if s.log_id == who.log_id
            ]
        }

    def database(service: str, name: str, log_id: int) -> Database:
        if not any(s.consumer == f"{service}.{name}" and s.log_id == log_id for s in statuses()):
            raise NotFoundError(f"no consumer {service}.{name} runs in this process")
        return database_of(service)

    @router.post("/{service}/{name}/resume", status_code=204, summary="Try a paused consumer again")
    async def resume_consumer(service: Name, name: Name, who: Operator) -> None:
        await resume(database(service, name, who.log_id), name, who.log_id)

    @router.post("/{service}/{name}/park", summary="Let a paused consumer pass over its event")
    async def park_event(service: Name, name: Name, body: Reason, who: Operator) -> dict[str, int]:
        position = await park(
            database(service, name, who.log_id),
            sink,
            clock,
            service=service,
            name=name,
            log_id=who.log_id,
            reason=body.reason,
            by=who.key_id,
        )
        return {"position": position}

    return router
