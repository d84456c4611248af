"""Commands on the registry: checked against what is known, then written as facts."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request, Response

from tagtrail_inventory import models, registry
from tagtrail_inventory.core.checks import Fault, Known, check
from tagtrail_inventory.core.identities import normal_identity
from tagtrail_inventory.core.kinds import KINDS, Kind, id_of
from tagtrail_inventory.reading import snapshot
from tagtrail_inventory.tag_models import built_in_models, catalogue_of
from tagtrail_inventory.writer import Fact, Seed, Writer, Written
from tagtrail_kernel.access import Principal
from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import ConflictError, NotFoundError, RejectedError
from tagtrail_kernel.events.registrations import (
    AssetRetired,
    GatewayRegistered,
    TagBound,
    TagRegistered,
    TagRetired,
    TagUnbound,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event

Reply = tuple[int, dict[str, Any]]
_CONFLICTS = frozenset({"identity_taken", "already_bound"})


def reply_of(id_: str, status: str, written: Written) -> dict[str, Any]:
    """Return the answer of a command, as `models.Receipt`."""
    ids = [str(i) for i in written.event_ids]
    return {
        "id": id_,
        "status": status,
        "event_id": ids[-1],
        "event_ids": ids,
        "position": written.position,
        "applied": written.applied,
        "warnings": [],
    }


def refuse(faults: list[Fault]) -> None:
    """Raise what is wrong with a command, if anything is.

    Raises:
        ConflictError: it contradicts what is registered.
        RejectedError: it names something unknown.
    """
    if not faults:
        return
    errors = [{"pointer": f"#/{f.column}", "code": f.code, "detail": f.detail} for f in faults]
    detail = "; ".join(f.detail for f in faults)
    if any(f.code in _CONFLICTS for f in faults):
        raise ConflictError(detail, errors=errors)
    raise RejectedError(detail, errors=errors)


def wanted_by(fact: Event) -> Known:
    """Return what a registration refers to."""
    match fact:
        case ZoneRegistered(site_id=site):
            return Known(sites={site})
        case GatewayRegistered(site_id=site, zone_id=zone):
            return Known(sites={site}, zones={zone: ""} if zone else {})
        case TagRegistered(identities=identities):
            return Known(owners=dict.fromkeys(identities, ""))
        case TagBound(tag_id=tag, asset_id=asset):
            return Known(tags={tag}, assets={asset})
        case _:
            return Known()


class Registering:
    """Registers, binds and retires."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._models = built_in_models()

    async def register(
        self,
        kind_name: str,
        request: Request,
        body: models.Body,
        who: Principal,
        key: str | None,
        **more: str,
    ) -> Response:
        """Register something, or describe it anew; the same description again changes nothing."""
        kind = KINDS[kind_name]

        async def act(seed: Seed) -> Reply:
            members = body.model_dump(exclude_none=True) | more
            if members.get(kind.id_field) is None:
                members[kind.id_field] = str(self._writer.event_id(seed, 1))
            fact = self._fact(kind, members)
            id_ = id_of(kind, fact)
            done = await self._writer.repeated(request, seed)
            if done is not None:
                return 201, reply_of(id_, "created", done)
            async with snapshot(self._writer.database, who.log_id) as (c, position):
                before = await registry.get(c, who.log_id, kind.name, id_)
                refuse(check(fact, await registry.known_of(c, who.log_id, wanted_by(fact))))
                warnings = {"warnings": await self._warnings(c, who.log_id, fact)}
            if before is not None and not before.retired and before.fact == fact:
                same = Written((before.event_id,), before.position, position >= before.position)
                return 200, reply_of(id_, "unchanged", same) | warnings
            written = await self._writer.write(request, seed, [Fact(id_, fact, seed.first_at)])
            status = (201, "created") if before is None or before.retired else (200, "updated")
            return status[0], reply_of(id_, status[1], written) | warnings

        return await self._writer.once(request, who, key, act)

    async def _warnings(self, c: Connection, log_id: int, fact: Event) -> list[str]:
        """A tag of an unknown model is accepted: its agent may know what the server does not."""
        if not isinstance(fact, TagRegistered) or fact.model is None:
            return []
        if (await catalogue_of(c, log_id, self._models)).knows(fact.model):
            return []
        warning = (
            f"model {fact.model[:60]!r} is none of GET /v1/tag-models; the tag is enrolled all the "
            "same. Correct it, or describe the model with POST /v1/config/tag_models"
        )
        return [warning]

    @staticmethod
    def _fact(kind: Kind, members: dict[str, Any]) -> Event:
        if kind.name == "tag":
            written = [normal_identity(i) for i in members["identities"]]
            members = members | {"identities": list(dict.fromkeys(written))}
        try:
            return msgspec.convert(members, kind.registered)
        except msgspec.ValidationError as error:
            raise RejectedError(f"{kind.name}: {error}") from error

    async def bind(
        self, tag_id: str, request: Request, body: models.BindBody, who: Principal, key: str | None
    ) -> Response:
        """Put a tag on an asset; see the endpoint."""

        async def act(seed: Seed) -> Reply:
            done = await self._writer.repeated(request, seed)
            if done is not None:
                return 200, reply_of(tag_id, "recorded", done)
            at = self._writer.time_of(body.at, seed.first_at)
            fact = TagBound(tag_id=tag_id, asset_id=body.asset_id)
            async with snapshot(self._writer.database, who.log_id) as (c, _):
                refuse(check(fact, await registry.known_of(c, who.log_id, wanted_by(fact))))
                held, statement = await registry.binding_at(c, who.log_id, tag_id, at)
            if held == body.asset_id and statement is not None and not body.move:
                same = Written((statement[0],), statement[1], applied=True)
                return 200, reply_of(tag_id, "unchanged", same)
            facts = [Fact(tag_id, fact, at)]
            if held is not None and held != body.asset_id:
                refuse(_bound_elsewhere(tag_id, held, move=body.move))
                off = TagUnbound(tag_id=tag_id, asset_id=held)
                facts.insert(0, Fact(tag_id, off, at))
            written = await self._writer.write(request, seed, facts)
            return 200, reply_of(tag_id, "recorded", written)

        return await self._writer.once(request, who, key, act)

    async def unbind(
        self,
        tag_id: str,
        request: Request,
        body: models.UnbindBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """Take a tag off its asset; see the endpoint."""

        async def act(seed: Seed) -> Reply:
            done = await self._writer.repeated(request, seed)
            if done is not None:
                return 200, reply_of(tag_id, "recorded", done)
            at = self._writer.time_of(body.at, seed.first_at)
            async with snapshot(self._writer.database, who.log_id) as (c, _):
                held = await registry.bound_at(c, who.log_id, tag_id, at)
            if held is None or body.asset_id not in (None, held):
                where = "on no asset" if held is None else f"on asset {held!r}"
                raise ConflictError(
                    f"tag {tag_id!r} is {where} at that time; nothing to take off", asset_id=held
                )
            fact = TagUnbound(tag_id=tag_id, asset_id=held)
            written = await self._writer.write(request, seed, [Fact(tag_id, fact, at)])
            return 200, reply_of(tag_id, "recorded", written)

        return await self._writer.once(request, who, key, act)

    async def retire(
        self,
        kind_name: str,
        id_: str,
        request: Request,
        body: models.RetireBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """End the use of something; a tag is taken off its asset, an asset must be empty."""
        kind = KINDS[kind_name]

        async def act(seed: Seed) -> Reply:
            done = await self._writer.repeated(request, seed)
            if done is not None:
                return 200, reply_of(id_, "recorded", done)
            at = self._writer.time_of(body.at, seed.first_at)
            async with snapshot(self._writer.database, who.log_id) as (c, _):
                before = await self._must_exist(c, who.log_id, kind.name, id_)
                facts = await _endings(c, who.log_id, kind, id_, body.reason)
            if before.retired:
                same = Written((before.event_id,), before.position, applied=True)
                return 200, reply_of(id_, "unchanged", same)
            whole = [Fact(_subject(f, id_), f, at) for f in facts]
            written = await self._writer.write(request, seed, whole)
            return 200, reply_of(id_, "recorded", written)

        return await self._writer.once(request, who, key, act)

    @staticmethod
    async def _must_exist(c: Connection, log_id: int, kind: str, id_: str) -> registry.Registration:
        found = await registry.get(c, log_id, kind, id_)
        if found is None:
            raise NotFoundError(f"no {kind} {id_!r}; list them with GET /v1/{kind}s", id=id_)
        return found


def _subject(fact: Event, id_: str) -> str:
    return fact.tag_id if isinstance(fact, TagUnbound) else id_


def _bound_elsewhere(tag_id: str, held: str, *, move: bool) -> list[Fault]:
    if move:
        return []
    detail = (
        f'tag {tag_id!r} is on asset {held!r} at that time; send "move": true to take it off, '
        f"or POST /v1/tags/{tag_id}/unbind first"
    )
    return [Fault("already_bound", "asset_id", detail)]


async def _endings(
    c: Connection, log_id: int, kind: Kind, id_: str, reason: str | None
) -> list[Event]:
    if kind.retired is None:
        raise RejectedError(f"a {kind.name} is replaced, never retired")
    if kind.name == "tag":
        held = await registry.bound_at(c, log_id, id_)
        off = [TagUnbound(tag_id=id_, asset_id=held)] if held is not None else []
        return [*off, TagRetired(tag_id=id_, reason=reason)]
    if kind.name == "asset":
        await _must_be_empty(c, log_id, id_)
        tags = await registry.tags_on(c, log_id, id_)
        offs = [TagUnbound(tag_id=tag, asset_id=id_) for tag in tags]
        return [*offs, AssetRetired(asset_id=id_, reason=reason)]
    return [kind.retired(**{kind.id_field: id_})]


async def _must_be_empty(c: Connection, log_id: int, asset_id: str) -> None:
    held = await c.fetchval(
        "select coalesce(sum(quantity), 0)::bigint from content_now "
        "where log_id = $1 and asset_id = $2",
        log_id, asset_id,
    )  # fmt: skip
    if held:
        raise ConflictError(
            f"asset {asset_id!r} still holds {held} units; unpack or move them first, or count it "
            "as empty",
            held=int(held),
        )
