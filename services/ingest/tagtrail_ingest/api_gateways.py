"""Routes of gateways: one-time codes, their redemption, and what a gateway is to know."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tagtrail_ingest.answers import JSON, PROBLEM, json_answer
from tagtrail_ingest.enrolment import ANY_GATEWAY, document_of, signed
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal, mint, requires
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import (
    NotFoundError,
    RejectedError,
    UnauthenticatedError,
    UnavailableError,
)
from tagtrail_kernel.events.gateways import GatewayConfigured, GatewayEnrolled

GatewayId = Annotated[
    str, Path(min_length=1, max_length=200, description="Gateway, as registered.")
]

MOST_RULES_BYTES = 65_536 - 16_384
"""An event may have 65,535 bytes; this leaves room for settings and envelope."""

KEY_NAME = "enrolled gateway"
"""Name of keys that enrolments made; a new enrolment of the same gateway revokes them."""


class NewCode(BaseModel):
    """A code to make."""

    model_config = ConfigDict(strict=True, extra="forbid")

    minutes: int = Field(30, ge=1, le=1440, description="Minutes that the code works.")


class MadeCode(BaseModel):
    """A one-time code; the only time it is shown."""

    code: str
    gateway_id: str
    site_id: str
    expires_at: datetime
    command: str = Field(description="What to run on the gateway; put the server's address in.")


class Redemption(BaseModel):
    """A machine that wants to be a gateway."""

    model_config = ConfigDict(strict=True, extra="forbid")

    code: str = Field(min_length=8, max_length=64)
    agent_version: str | None = Field(None, min_length=1, max_length=100)
    host: str | None = Field(None, max_length=100, description="Not kept.")


class BrokerAccess(BaseModel):
    """Where gateways publish."""

    url: str
    user: str | None
    password: str | None


class Enrolled(BaseModel):
    """What a gateway needs from now on; the only time the key is shown."""

    gateway_id: str
    site_id: str
    key: str
    config_key: str = Field(description="Ed25519 key, hexadecimal: pin it.")
    config: dict[str, str] = Field(description="As GET /v1/gateways/{gateway_id}/config.")
    mqtt: BrokerAccess | None
    release_key: str | None = Field(
        None, description="Ed25519 key, base64, of whoever signs versions of the agent: pin it."
    )


class GatewaySettings(BaseModel):
    """How a gateway shall work."""

    model_config = ConfigDict(strict=True, extra="forbid")

    settings: dict[str, Any] = Field(default_factory=dict, description="`heartbeat_s`, `ranges`.")
    rules: dict[str, Any] | None = Field(
        None, description="Rules of the edge filter and of local alarms."
    )


class Configured(BaseModel):
    """Where the decision stands in the log."""

    gateway_id: str
    revision: int


def add_gateways(router: APIRouter, state: State) -> None:
    """Add the routes of gateways."""
    _add_codes(router, state)
    _add_enrolments(router, state)
    _add_config(router, state)


def _add_codes(router: APIRouter, state: State) -> None:
    @router.post(
        "/gateways/{gateway_id}/enrolment-codes",
        status_code=201,
        tags=["keys"],
        summary="Make a one-time code that makes a machine this gateway",
        description="The code is shown once and stored as a hash. A new code voids older ones.",
        responses={404: {"description": "No such gateway is registered", **PROBLEM}},
    )
    async def make_enrolment_code(
        gateway_id: GatewayId,
        body: NewCode,
        who: Annotated[Principal, Depends(requires("keys"))],
    ) -> MadeCode:
        site_id = state.intake.directory(who.log_id).site_of_gateway.get(gateway_id)
        if site_id is None:
            raise NotFoundError(
                f"no gateway {gateway_id!r} is registered; register it first, with its site",
                gateway_id=gateway_id,
            )
        now, lifetime = state.clock.now(), timedelta(minutes=body.minutes)
        code = await state.enrolments.make_code(
            who.log_id, gateway_id, made_by=who.key_id, at=now, lifetime=lifetime
        )
        return MadeCode(
            code=code,
            gateway_id=gateway_id,
            site_id=site_id,
            expires_at=now + lifetime,
            command=f"tagtrail-agent enrol --server https://… --code {code}",
        )


def _add_enrolments(router: APIRouter, state: State) -> None:
    @router.post(
        "/enrolments",
        status_code=201,
        tags=["keys"],
        summary="Redeem a one-time code",
        description="Needs no key: the machine has none yet, the code stands for it. A wrong code "
        "counts as a refused key, so guessing is limited per address.",
    )
    async def redeem_enrolment_code(request: Request, body: Redemption) -> Enrolled:
        now = state.clock.now()
        redeemed = await state.enrolments.use_code(body.code, now)
        if redeemed is None:
            raise UnauthenticatedError(
                "this code is unknown, used or expired; ask for another one with "
                "POST /v1/gateways/{gateway_id}/enrolment-codes"
            )
        try:
            found = await _enrolled(state, redeemed.log_id, redeemed.gateway_id, body, now)
        except UnavailableError:
            await state.enrolments.give_back(body.code)
            raise
        if not _reaches(request.client.host if request.client else "", found.mqtt):
            return found.model_copy(update={"mqtt": None})
        return found


def _reaches(client: str, broker: BrokerAccess | None) -> bool:
    """Return whether a machine can reach a broker: one on the loopback only from its own machine."""
    host = (urlsplit(broker.url).hostname if broker is not None else None) or ""
    return _is_loopback(client) or not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _enrolled(
    state: State, log_id: int, gateway_id: str, body: Redemption, now: datetime
) -> Enrolled:
    """Give a machine what makes it the gateway; earlier machines lose theirs."""
    directory = state.intake.directory(log_id)
    await state.intake.catch_up(directory)
    signing = await state.enrolments.signing_key(log_id, now)
    text, key = mint(log_id, name=KEY_NAME, role="gateway", at=now, gateway_id=gateway_id)
    before = [
        k.key_id
        for k in await state.access.keys(log_id)
        if (k.name, k.gateway_id, k.revoked_at) == (KEY_NAME, gateway_id, None)
    ]
    await state.access.add_key(key)
    event = GatewayEnrolled(
        gateway_id=gateway_id, key_id=key.key_id, agent_version=body.agent_version
    )
    await _append(state, log_id, event, gateway_id, now)
    for key_id in before:
        await state.access.revoke_key(log_id, key_id, now)
    return Enrolled(
        gateway_id=gateway_id,
        site_id=directory.site_of_gateway.get(gateway_id, ""),
        key=text,
        config_key=signing.public_key().public_bytes_raw().hex(),
        config=signed(document_of(directory, gateway_id), signing),
        mqtt=_broker(state.settings.gateway_mqtt_url),
        release_key=state.settings.release_key or None,
    )


def _broker(url: str) -> BrokerAccess | None:
    if not url:
        return None
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return BrokerAccess(
        url=f"{parts.scheme}://{parts.hostname}{port}",
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


async def _append(
    state: State,
    log_id: int,
    event: GatewayEnrolled | GatewayConfigured,
    gateway_id: str,
    now: datetime,
) -> int:
    envelope = Envelope(
        id=state.ids.new(),
        subject=gateway_id,
        source="ingest/gateways",
        occurred_at=now,
        data=event,
    )
    return (await state.intake.append_facts(log_id, [envelope])).positions[0]


def _add_config(router: APIRouter, state: State) -> None:
    @router.get(
        "/gateways/{gateway_id}/config",
        tags=["registry"],
        summary="What a gateway is to know, signed",
        description="`payload` is base64 of a JSON object with `revision`, `tags`, `settings`, "
        "`rules` and `update`; `signature` is Ed25519 over `tagtrail gateway config v1`, a line feed, and the "
        "payload. A gateway's key reads its own only.",
        responses={
            200: {"content": {JSON: {"schema": {"type": "object"}}}},
            304: {"description": "Nothing new since the ETag in If-None-Match"},
            404: {"description": "No such gateway, or not this key's", **PROBLEM},
        },
    )
    async def read_gateway_config(
        gateway_id: GatewayId,
        who: Annotated[Principal, Depends(requires("sightings:write"))],
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        directory = state.intake.directory(who.log_id)
        mine = (
            who.gateway_id == gateway_id
            if who.gateway_id is not None
            else "registry:read" in who.scopes
        )
        if not mine or not directory.has_gateway(gateway_id):
            raise NotFoundError(f"no gateway {gateway_id!r} for this key", gateway_id=gateway_id)
        document = document_of(directory, gateway_id)
        etag = f'"{hashlib.sha256(msgspec.json.encode(document)).hexdigest()[:32]}"'
        if if_none_match == etag:
            return Response(status_code=304, headers={"ETag": etag})
        key = await state.enrolments.signing_key(who.log_id, state.clock.now())
        return json_answer(signed(document, key), headers={"ETag": etag})

    @router.put(
        "/gateways/{gateway_id}/config",
        tags=["registry"],
        summary="Decide how a gateway works",
        description=f"Replaces the decision before. The gateway `{ANY_GATEWAY}` stands for all: its "
        "settings hold where a gateway has none, its rules where a gateway has no rules.",
        responses={404: {"description": "No such gateway is registered", **PROBLEM}},
    )
    async def decide_gateway_config(
        gateway_id: GatewayId,
        body: GatewaySettings,
        who: Annotated[Principal, Depends(requires("registry:write"))],
    ) -> Configured:
        directory = state.intake.directory(who.log_id)
        if gateway_id != ANY_GATEWAY and not directory.has_gateway(gateway_id):
            raise NotFoundError(
                f"no gateway {gateway_id!r} is registered; {ANY_GATEWAY!r} means all",
                gateway_id=gateway_id,
            )
        if len(msgspec.json.encode((body.settings, body.rules))) > MOST_RULES_BYTES:
            raise RejectedError(f"settings and rules may have {MOST_RULES_BYTES} bytes together")
        event = GatewayConfigured(
            gateway_id=gateway_id, settings=body.settings or None, rules=body.rules
        )
        revision = await _append(state, who.log_id, event, gateway_id, state.clock.now())
        return Configured(gateway_id=gateway_id, revision=revision)
