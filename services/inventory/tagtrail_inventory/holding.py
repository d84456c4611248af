"""Commands on contents and shipments: checked against what is held, then written as facts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from fastapi import Request, Response

from tagtrail_inventory import models, registry
from tagtrail_inventory.core.checks import Fault, Known, unknown
from tagtrail_inventory.core.contents import Key
from tagtrail_inventory.core.stock_facts import merged
from tagtrail_inventory.reading import snapshot
from tagtrail_inventory.registering import refuse, reply_of
from tagtrail_inventory.writer import Fact, Seed, Writer
from tagtrail_kernel.access import Principal
from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import ConflictError, RejectedError
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned
from tagtrail_kernel.events.stock import (
    ContentsMoved,
    CountRecorded,
    CratePacked,
    CrateUnpacked,
    Line,
)

Reply = tuple[int, dict[str, Any]]


class Turns:
    """Lets the commands on one asset follow one another, so that a check still holds at the write.

    Within one process. Between replicas the books are the judge: what they cannot cover becomes a
    discrepancy, never a negative quantity.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[int, str], tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, log_id: int, *assets: str) -> AsyncIterator[None]:
        """Hold the turn of some assets, in the order of their ids."""
        async with contextlib.AsyncExitStack() as stack:
            for asset in sorted(set(assets)):
                await stack.enter_async_context(self._one((log_id, asset)))
            yield

    @contextlib.asynccontextmanager
    async def _one(self, key: tuple[int, str]) -> AsyncIterator[None]:
        lock, waiting = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[key]
            if waiting == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, waiting - 1)


class Holding:
    """Packs, unpacks, moves, counts, ships."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._turns = Turns()

    async def pack(
        self,
        asset_id: str,
        request: Request,
        body: models.PackBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """Put SKUs into an asset."""
        fact = _fact(CratePacked, body, asset_id=asset_id)

        async def check(c: Connection) -> None:
            await self._must_know(c, who.log_id, [asset_id], fact.lines)

        return await self._command(asset_id, [asset_id], fact, check, request, body.at, who, key)

    async def unpack(
        self,
        asset_id: str,
        request: Request,
        body: models.PackBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """Take SKUs out of an asset; never more than it holds."""
        fact = _fact(CrateUnpacked, body, asset_id=asset_id)

        async def check(c: Connection) -> None:
            await self._must_know(c, who.log_id, [asset_id], ())
            await _must_hold(c, who.log_id, asset_id, fact.lines)

        return await self._command(asset_id, [asset_id], fact, check, request, body.at, who, key)

    async def move(
        self,
        asset_id: str,
        request: Request,
        body: models.MoveBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """Move SKUs from an asset into another one."""
        if asset_id == body.to_asset_id:
            raise RejectedError("contents move into another asset; name it", field="to_asset_id")
        fact = _fact(ContentsMoved, body, asset_id=asset_id)
        assets = [asset_id, body.to_asset_id]

        async def check(c: Connection) -> None:
            await self._must_know(c, who.log_id, assets, ())
            await _must_hold(c, who.log_id, asset_id, fact.lines)

        return await self._command(asset_id, assets, fact, check, request, body.at, who, key)

    async def count(
        self,
        asset_id: str,
        request: Request,
        body: models.CountBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """Record a count; the answer names the differences to the books."""
        fact = _fact(CountRecorded, body, asset_id=asset_id)

        async def act(seed: Seed) -> Reply:
            at = self._writer.time_of(body.at, seed.first_at)
            done = await self._writer.repeated(request, seed)
            async with self._turns.of(who.log_id, asset_id):
                if done is None:
                    async with snapshot(self._writer.database, who.log_id) as (c, _):
                        await self._must_know(c, who.log_id, [asset_id], fact.lines)
                    done = await self._writer.write(request, seed, [Fact(asset_id, fact, at)])
            async with snapshot(self._writer.database, who.log_id) as (c, _):
                differences = await c.fetch(
                    "select sku, nullif(lot, '') as lot, expected, found, "
                    "found - expected as difference from discrepancy "
                    "where log_id = $1 and position = $2 order by sku, lot",
                    who.log_id, done.position,
                )  # fmt: skip
            reply = reply_of(asset_id, "recorded", done)
            return 201, reply | {"lines": [dict(d) for d in differences]}

        return await self._writer.once(request, who, key, act)

    async def plan(
        self, request: Request, body: models.ShipmentBody, who: Principal, key: str | None
    ) -> Response:
        """Plan a shipment."""

        async def act(seed: Seed) -> Reply:
            at = self._writer.time_of(body.at, seed.first_at)
            shipment_id = body.shipment_id or str(self._writer.event_id(seed, 1))
            fact = ShipmentPlanned(
                shipment_id=shipment_id, asset_ids=tuple(body.asset_ids), document=body.document,
                ship_to=body.ship_to,
            )  # fmt: skip
            return await self._ship(request, seed, shipment_id, fact, fact.asset_ids, at)

        return await self._writer.once(request, who, key, act)

    async def depart(
        self,
        shipment_id: str,
        request: Request,
        body: models.DepartBody,
        who: Principal,
        key: str | None,
    ) -> Response:
        """Record that a shipment left."""

        async def act(seed: Seed) -> Reply:
            at = self._writer.time_of(body.at, seed.first_at)
            fact = ShipmentDeparted(
                shipment_id=shipment_id, asset_ids=tuple(body.asset_ids), zone_id=body.zone_id
            )
            if not fact.asset_ids:
                await self._must_be_planned(who.log_id, shipment_id)
            return await self._ship(request, seed, shipment_id, fact, fact.asset_ids, at)

        return await self._writer.once(request, who, key, act)

    async def pod(
        self, request: Request, body: models.PodBody, who: Principal, key: str | None
    ) -> Response:
        """Record a proof of delivery."""
        if body.shipment_id is None and not body.asset_ids:
            raise RejectedError("name the shipment or the assets that were delivered")

        async def act(seed: Seed) -> Reply:
            at = self._writer.time_of(body.at, seed.first_at)
            fact = PodRecorded(
                shipment_id=body.shipment_id, asset_ids=tuple(body.asset_ids),
                document=body.document, signed_by=body.signed_by,
            )  # fmt: skip
            if body.shipment_id is not None and not fact.asset_ids:
                await self._must_be_planned(who.log_id, body.shipment_id)
            subject = body.shipment_id or fact.asset_ids[0]
            return await self._ship(request, seed, subject, fact, fact.asset_ids, at)

        return await self._writer.once(request, who, key, act)

    async def _ship(
        self,
        request: Request,
        seed: Seed,
        subject: str,
        fact: Event,
        assets: Sequence[str],
        at: Any,
    ) -> Reply:
        done = await self._writer.repeated(request, seed)
        if done is None:
            async with snapshot(self._writer.database, seed.who.log_id) as (c, _):
                await self._must_know(c, seed.who.log_id, assets, (), column="asset_ids")
            done = await self._writer.write(request, seed, [Fact(subject, fact, at)])
        return 201, reply_of(subject, "recorded", done)

    async def _must_be_planned(self, log_id: int, shipment_id: str) -> None:
        async with snapshot(self._writer.database, log_id) as (c, _):
            found = await c.fetchval(
                "select jsonb_array_length(asset_ids) from shipment "
                "where log_id = $1 and shipment_id = $2",
                log_id, shipment_id,
            )  # fmt: skip
        if not found:
            raise RejectedError(
                f"shipment {shipment_id!r} has no planned assets; name `asset_ids`, or plan it with "
                "POST /v1/shipments",
                field="asset_ids",
            )

    async def _command(
        self,
        asset_id: str,
        assets: Sequence[str],
        fact: Event,
        check: Any,
        request: Request,
        stated: Any,
        who: Principal,
        key: str | None,
    ) -> Response:
        async def act(seed: Seed) -> Reply:
            at = self._writer.time_of(stated, seed.first_at)
            async with self._turns.of(who.log_id, *assets):
                done = await self._writer.repeated(request, seed)
                if done is None:
                    async with snapshot(self._writer.database, who.log_id) as (c, _):
                        await check(c)
                    done = await self._writer.write(request, seed, [Fact(asset_id, fact, at)])
            return 201, reply_of(asset_id, "recorded", done)

        return await self._writer.once(request, who, key, act)

    @staticmethod
    async def _must_know(
        c: Connection,
        log_id: int,
        assets: Sequence[str],
        lines: Sequence[Any],
        column: str = "asset_id",
    ) -> None:
        skus = {line.sku for line in lines}
        found = await registry.known_of(c, log_id, Known(assets=set(assets), skus=skus))
        faults = [unknown("asset", a, column, "assets") for a in assets if a not in found.assets]
        faults += [unknown("sku", s, "lines", "skus") for s in sorted(skus - set(found.skus))]
        refuse(list[Fault](faults))


def _fact(cls: Any, body: models.Body, **more: str) -> Any:
    members = body.model_dump(exclude_none=True, exclude={"at"}) | more
    try:
        return msgspec.convert(members, cls)
    except msgspec.ValidationError as error:
        raise RejectedError(str(error)) from error


async def _must_hold(c: Connection, log_id: int, asset_id: str, lines: Sequence[Line]) -> None:
    rows = await c.fetch(
        "select sku, lot, quantity from content_now where log_id = $1 and asset_id = $2",
        log_id, asset_id,
    )  # fmt: skip
    held = {Key(asset_id, r["sku"], r["lot"]): r["quantity"] for r in rows}
    errors: list[dict[str, str]] = []
    for key, wanted in merged(asset_id, lines).items():
        if held.get(key, 0) < wanted:
            lot = f" of lot {key.lot!r}" if key.lot else " without a lot"
            sentence = f"{key.sku}{lot}: {wanted} wanted, {held.get(key, 0)} held"
            errors.append({"pointer": "#/lines", "code": "not_held", "detail": sentence})
    if errors:
        whole = "; ".join(e["detail"] for e in errors)
        raise ConflictError(
            f"asset {asset_id!r} does not hold that: {whole}. Take less, or count the asset with "
            f"POST /v1/assets/{asset_id}/count if the books are wrong",
            errors=errors,
        )
