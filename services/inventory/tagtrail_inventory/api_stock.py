"""HTTP: contents of assets, shipments, stock by zone and what makes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from tagtrail_inventory import models, views
from tagtrail_inventory.api_reading import After, At, Limit, Position
from tagtrail_inventory.explain import explain
from tagtrail_inventory.holding import Holding
from tagtrail_inventory.reading import snapshot, within
from tagtrail_inventory.replies import (
    CONFLICT,
    NOT_FOUND,
    PROBLEMS,
    REJECTED,
    cursor_of,
    link_next,
    page_of,
    parts_of,
)
from tagtrail_inventory.stock import Filters, When, cells
from tagtrail_inventory.writer import Writer
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.errors import NotFoundError

Reading = Annotated[Principal, Depends(requires("stock:read"))]
Writing = Annotated[Principal, Depends(requires("stock:write"))]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Repeating a request with it has one effect."),
]
_ALL: Final = PROBLEMS | NOT_FOUND | CONFLICT | REJECTED
SHIPMENTS: Final = """
select shipment_id, state, asset_ids, document, ship_to, planned_at, departed_at, delivered_at,
       event_id, position
from shipment
where log_id = $1 and shipment_id > $2 and ($3::text is null or state = $3)
  and ($4::text is null or shipment_id = $4)
order by shipment_id limit $5
"""


class StockApi:
    """Endpoints of contents, shipments and stock."""

    def __init__(self, writer: Writer, holding: Holding) -> None:
        self._writer = writer
        self._do = holding
        self._database = writer.database

    async def pack(
        self,
        asset_id: str,
        request: Request,
        body: models.PackBody,
        who: Writing,
        key: Key = None,
    ) -> Response:
        """Put SKUs into or onto an asset. They are `inferred` at its place until counted."""
        return await self._do.pack(asset_id, request, body, who, key)

    async def unpack(
        self,
        asset_id: str,
        request: Request,
        body: models.PackBody,
        who: Writing,
        key: Key = None,
    ) -> Response:
        """Take SKUs out of an asset. More than it holds is refused; the answer names what it holds."""
        return await self._do.unpack(asset_id, request, body, who, key)

    async def move_contents(
        self,
        asset_id: str,
        request: Request,
        body: models.MoveBody,
        who: Writing,
        key: Key = None,
    ) -> Response:
        """Move SKUs into another asset: split or merge. The quantity is conserved."""
        return await self._do.move(asset_id, request, body, who, key)

    async def count(
        self,
        asset_id: str,
        request: Request,
        body: models.CountBody,
        who: Writing,
        key: Key = None,
    ) -> Response:
        """Record a blind count: from its time on it is what is there, and verified."""
        return await self._do.count(asset_id, request, body, who, key)

    async def plan(
        self, request: Request, body: models.ShipmentBody, who: Writing, key: Key = None
    ) -> Response:
        """Plan a shipment of assets."""
        return await self._do.plan(request, body, who, key)

    async def depart(
        self,
        shipment_id: str,
        request: Request,
        who: Writing,
        body: models.DepartBody | None = None,
        key: Key = None,
    ) -> Response:
        """Record that a shipment left: its assets are in transit. Without `asset_ids`: as planned."""
        return await self._do.depart(shipment_id, request, body or models.DepartBody(), who, key)

    async def pod(
        self, request: Request, body: models.PodBody, who: Writing, key: Key = None
    ) -> Response:
        """Record a proof of delivery, or of handing over, for a shipment or for single assets."""
        return await self._do.pod(request, body, who, key)

    async def shipments(
        self,
        request: Request,
        response: Response,
        who: Reading,
        limit: Limit = 100,
        after: After = None,
        state: Annotated[str | None, Query(pattern="^(planned|departed|delivered)$")] = None,
    ) -> dict[str, Any]:
        """List shipments."""
        last = parts_of(after, 1)
        async with snapshot(self._database, who.log_id) as (c, position):
            rows = await c.fetch(
                SHIPMENTS, who.log_id, last[0] if last else "", state, None, limit + 1
            )
        items = [_shipment(r) for r in rows[:limit]]
        cursor = cursor_of(items[-1]["shipment_id"]) if len(rows) > limit else None
        link_next(request, response, cursor)
        return page_of(items, position=position, cursor=cursor)

    async def shipment(self, shipment_id: str, who: Reading) -> dict[str, Any]:
        """Show a shipment."""
        async with snapshot(self._database, who.log_id) as (c, position):
            rows = await c.fetch(SHIPMENTS, who.log_id, "", None, shipment_id, 1)
        if not rows:
            raise NotFoundError(f"no shipment {shipment_id!r}; list them with GET /v1/shipments")
        return _shipment(rows[0]) | {"as_of_position": position}

    async def stock(
        self,
        request: Request,
        response: Response,
        who: Reading,
        limit: Limit = 1000,
        after: After = None,
        zone_id: str | None = None,
        site_id: str | None = None,
        sku: str | None = None,
        placed: Annotated[
            bool | None, Query(description="True: only with a zone; false: only without.")
        ] = None,
        delivered: Annotated[bool, Query(description="Whether delivered assets count.")] = False,
        at: At = None,
        position: Position = None,
    ) -> dict[str, Any]:
        """Show stock by zone, SKU and lot, now or at any effective time and log position.

        `inferred` units follow from what was packed on the asset whose tag is there, `verified`
        ones were counted. `zone_id` null means: no known place.
        """
        last = parts_of(after, 4)
        filters = Filters(
            zone_id, site_id, sku, placed, delivered,
            (last[0], last[1], last[2], last[3]) if last else None, limit + 1,
        )  # fmt: skip
        when = When(who.log_id, at, position)
        async with snapshot(self._database, who.log_id) as (c, applied):
            within(when, applied)
            found = await cells(c, when, filters)
        clocks = self._clocks(when, applied)
        shown = found[:limit]
        cursor = cursor_of(*shown[-1].cursor) if len(found) > limit else None
        link_next(request, response, cursor)
        items = [views.cell_item(cell, clocks["at"]) for cell in shown]
        return page_of(items, position=clocks["position"], cursor=cursor, as_of=clocks)

    async def explain(
        self,
        who: Reading,
        sku: str,
        zone_id: Annotated[
            str | None, Query(description="Left out: stock without a known place.")
        ] = None,
        lot: Annotated[str | None, Query(description='"" = without a lot; left out: all.')] = None,
        at: At = None,
        position: Position = None,
    ) -> dict[str, Any]:
        """Show the facts behind a number; `folds_to` is what folding only them gives."""
        when = When(who.log_id, at, position)
        async with snapshot(self._database, who.log_id) as (c, applied):
            within(when, applied)
            body = await explain(c, when, zone_id, sku, lot)
        clocks = self._clocks(when, applied)
        return body | {"as_of": clocks, "as_of_position": clocks["position"]}

    def _clocks(self, when: When, applied: int) -> dict[str, Any]:
        at: datetime = when.at or self._writer.now()
        return {"position": applied if when.position is None else when.position, "at": at}


def _shipment(row: Any) -> dict[str, Any]:
    return {
        **row, "asset_ids": orjson.loads(row["asset_ids"]), "event_id": str(row["event_id"]),
    }  # fmt: skip


def router_of(writer: Writer, holding: Holding) -> APIRouter:
    """Return the routes of contents, shipments and stock."""
    api = StockApi(writer, holding)
    router = APIRouter(tags=["stock"])
    posts: list[tuple[str, Callable[..., Any], str, str]] = [
        ("/v1/assets/{asset_id}/pack", api.pack, "pack", "Put SKUs into an asset"),
        ("/v1/assets/{asset_id}/unpack", api.unpack, "unpack", "Take SKUs out of an asset"),
        ("/v1/assets/{asset_id}/move-contents", api.move_contents, "move_contents",
         "Move SKUs into another asset"),
        ("/v1/assets/{asset_id}/count", api.count, "count", "Record a count"),
        ("/v1/shipments", api.plan, "plan_shipment", "Plan a shipment"),
        ("/v1/shipments/{shipment_id}/depart", api.depart, "depart", "Record a departure"),
        ("/v1/pods", api.pod, "record_pod", "Record a proof of delivery"),
    ]  # fmt: skip
    for path, endpoint, name, summary in posts:
        router.add_api_route(
            path, endpoint, methods=["POST"], status_code=201, operation_id=name, summary=summary,
            response_model=models.Receipt, responses=_ALL,
        )  # fmt: skip
    gets: list[tuple[str, Callable[..., Any], str, str]] = [
        ("/v1/shipments", api.shipments, "list_shipments", "List shipments"),
        ("/v1/shipments/{shipment_id}", api.shipment, "get_shipment", "Show a shipment"),
        ("/v1/stock", api.stock, "get_stock", "Stock by zone, at any time"),
        ("/v1/stock/explain", api.explain, "explain_stock", "The facts behind a number"),
    ]
    for path, endpoint, name, summary in gets:
        router.add_api_route(
            path, endpoint, methods=["GET"], operation_id=name, summary=summary, responses=_ALL
        )
    return router
