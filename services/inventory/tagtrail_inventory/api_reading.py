"""HTTP: lists and single resources of the registry, assets over time, summary, work lists."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from tagtrail_inventory import registry, views, worklists
from tagtrail_inventory.core.kinds import KINDS
from tagtrail_inventory.models import Moment
from tagtrail_inventory.reading import snapshot, within
from tagtrail_inventory.replies import (
    CONFLICT,
    NOT_FOUND,
    PROBLEMS,
    REJECTED,
    age_s,
    cursor_of,
    link_next,
    page_of,
    parts_of,
    single,
)
from tagtrail_inventory.stock import When
from tagtrail_inventory.tag_models import TagModelList, built_in_models, catalogue_of
from tagtrail_inventory.timeline import timeline
from tagtrail_inventory.writer import Writer
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.errors import NotFoundError

Reading = Annotated[Principal, Depends(requires("registry:read"))]
StockReading = Annotated[Principal, Depends(requires("stock:read"))]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the page.")]
After = Annotated[str | None, Query(description="`next` of the page before.")]
At = Annotated[Moment | None, Query(description="Effective time; by default now.")]
Position = Annotated[
    int | None,
    Query(ge=0, lt=2**63, description="What was known: the log up to here; by default all."),
]

BY_SITE: Final = frozenset({"zone", "gateway", "tag"})
"""Kinds whose list can be asked for by site."""


class ReadingApi:
    """Endpoints that read the registry and the places of assets."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._database = writer.database
        self._models = built_in_models()

    async def _page(
        self,
        kind: str,
        request: Request,
        response: Response,
        who: Principal,
        *,
        limit: int,
        after: str | None,
        site_id: str | None = None,
        retired: bool = False,
    ) -> dict[str, Any]:
        last = parts_of(after, 1)
        async with snapshot(self._database, who.log_id) as (c, position):
            by_tag = kind == "tag" and site_id is not None
            found = await registry.page(
                c, who.log_id, kind, after=last[0] if last else "", limit=limit + 1,
                site_id=None if by_tag else site_id, retired=retired,
                ids=await views.tags_at(c, who.log_id, site_id) if by_tag else None,
            )  # fmt: skip
            shown, more = found[:limit], len(found) > limit
            items = [views.item_of(r) for r in shown]
            if kind == "tag":
                items = await views.tag_items(c, who.log_id, shown, self._writer.now())
        cursor = cursor_of(shown[-1].id) if more else None
        link_next(request, response, cursor)
        return page_of(items, position=position, cursor=cursor)

    def listing(self, kind: str) -> Any:
        """Return the endpoint that lists things of a kind."""

        async def list_kind(
            request: Request,
            response: Response,
            who: Reading,
            limit: Limit = 100,
            after: After = None,
            retired: bool = False,
        ) -> dict[str, Any]:
            return await self._page(
                kind, request, response, who, limit=limit, after=after, retired=retired
            )

        return list_kind

    def listing_by_site(self, kind: str) -> Any:
        """Return the endpoint that lists things of a kind, all or those of a site."""

        async def list_kind(
            request: Request,
            response: Response,
            who: Reading,
            limit: Limit = 100,
            after: After = None,
            site_id: str | None = None,
            retired: bool = False,
        ) -> dict[str, Any]:
            return await self._page(
                kind, request, response, who, limit=limit, after=after, site_id=site_id,
                retired=retired,
            )  # fmt: skip

        return list_kind

    def getting(self, kind: str) -> Any:
        """Return the endpoint that shows one thing of a kind."""

        async def get_kind(item_id: str, request: Request, who: Reading) -> Response:
            async with snapshot(self._database, who.log_id) as (c, position):
                found = await registry.get(c, who.log_id, kind, item_id)
            if found is None:
                path = KINDS[kind].plural
                raise NotFoundError(f"no {kind} {item_id!r}; list them with GET /v1/{path}")
            body = views.item_of(found) | {"as_of_position": position}
            return single(request, body, (kind, found.position))

        return get_kind

    async def tag_models(self, who: Reading) -> TagModelList:
        """List the tag models with what they can do: identity, radios, battery, precision.

        Those that come with Tagtrail, and those of the section `tag_models` of the settings.
        """
        async with snapshot(self._database, who.log_id) as (c, position):
            catalogue = await catalogue_of(c, who.log_id, self._models)
        return catalogue.listed(position)

    async def assets(
        self,
        request: Request,
        response: Response,
        who: StockReading,
        limit: Limit = 100,
        after: After = None,
        zone_id: str | None = None,
        site_id: str | None = None,
        retired: bool = False,
    ) -> dict[str, Any]:
        """List assets with where they are, how fresh that is and how much they hold."""
        last = parts_of(after, 1)
        async with snapshot(self._database, who.log_id) as (c, position):
            ids: list[str] | None = None
            if zone_id is not None or site_id is not None:
                ids = await views.assets_at(c, who.log_id, zone_id, site_id)
            found = await registry.page(
                c, who.log_id, "asset", after=last[0] if last else "", limit=limit + 1,
                retired=retired, ids=ids,
            )  # fmt: skip
            shown, more = found[:limit], len(found) > limit
            items = await views.asset_items(c, who.log_id, shown, self._writer.now())
        cursor = cursor_of(shown[-1].id) if more else None
        link_next(request, response, cursor)
        return page_of(items, position=position, cursor=cursor)

    async def tag(
        self, tag_id: str, who: Reading, at: At = None, position: Position = None
    ) -> dict[str, Any]:
        """Show a tag: description, binding and zone, for any pair of clocks."""
        when = When(who.log_id, at, position)
        async with snapshot(self._database, who.log_id) as (c, applied):
            within(when, applied)
            found = await registry.get(c, who.log_id, "tag", tag_id)
            state = await views.tag_state(c, when, tag_id)
        if found is None and not state:
            raise NotFoundError(f"no tag {tag_id!r}; list them with GET /v1/tags")
        body = views.item_of(found) if found is not None else {"tag_id": tag_id}
        return body | state | self._clocks(when, applied)

    async def asset(
        self, asset_id: str, who: StockReading, at: At = None, position: Position = None
    ) -> dict[str, Any]:
        """Show an asset: where it is, what it holds, its tags, for any pair of clocks."""
        when = When(who.log_id, at, position)
        async with snapshot(self._database, who.log_id) as (c, applied):
            within(when, applied)
            found = await registry.get(c, who.log_id, "asset", asset_id)
            place = await views.asset_place(c, when, asset_id)
            contents = await views.asset_contents(c, when, asset_id)
            tags = await views.asset_tags(c, when, asset_id)
            seen = await views.last_seen(c, who.log_id, place) if when.is_now else None
        if found is None and place is None and not contents:
            raise NotFoundError(f"no asset {asset_id!r}; list them with GET /v1/assets")
        body = views.item_of(found) if found is not None else {"asset_id": asset_id}
        seen = seen or (place["zone_at"] if place else None)
        clocks = self._clocks(when, applied)
        return body | {
            "place": place,
            "contents": contents,
            "tags": tags,
            "last_seen_at": seen,
            "last_seen_age_s": age_s(seen, clocks["as_of"]["at"]),
        } | clocks  # fmt: skip

    async def asset_timeline(
        self,
        asset_id: str,
        request: Request,
        response: Response,
        who: StockReading,
        limit: Limit = 100,
        after: After = None,
    ) -> dict[str, Any]:
        """Show what happened to an asset, newest first: tags, zones, contents, shipments."""
        last = parts_of(after, 2)
        async with snapshot(self._database, who.log_id) as (c, position):
            items = await timeline(c, who.log_id, asset_id, last, limit + 1)
        shown, more = items[:limit], len(items) > limit
        cursor = (
            cursor_of(shown[-1]["occurred_at"].isoformat(), str(shown[-1]["position"]))
            if more
            else None
        )
        link_next(request, response, cursor)
        return page_of(shown, position=position, cursor=cursor, asset_id=asset_id)

    async def summary(self, who: StockReading) -> dict[str, Any]:
        """Show the figures of the board."""
        async with snapshot(self._database, who.log_id) as (c, position):
            body = await worklists.summary(c, who.log_id)
        return body | {"as_of_position": position}

    async def unmapped(self, who: Reading, limit: Limit = 100) -> dict[str, Any]:
        """List tags that are on no asset, and assets that carry no tag."""
        async with snapshot(self._database, who.log_id) as (c, position):
            body = await worklists.unmapped(c, who.log_id, limit)
        return body | {"as_of_position": position}

    async def double_mapped(self, who: Reading, limit: Limit = 100) -> dict[str, Any]:
        """List contradictions that still hold: one identity on two tags, one tag on two assets."""
        async with snapshot(self._database, who.log_id) as (c, position):
            items = await worklists.double_mapped(c, who.log_id, limit)
        return page_of(items, position=position, cursor=None)

    def _clocks(self, when: When, applied: int) -> dict[str, Any]:
        position = applied if when.position is None else when.position
        at = when.at or self._writer.now()
        return {"as_of": {"position": position, "at": at}, "as_of_position": position}


def router_of(writer: Writer) -> APIRouter:
    """Return the routes that read the registry."""
    api = ReadingApi(writer)

    def list_of(kind: str) -> Any:
        return api.listing_by_site(kind) if kind in BY_SITE else api.listing(kind)

    router = APIRouter(tags=["registry"])
    for kind, plural in (
        ("site", "sites"), ("zone", "zones"), ("gateway", "gateways"), ("tag", "tags"),
        ("sku", "skus"), ("config", "config"), ("retention", "retention"),
    ):  # fmt: skip
        router.add_api_route(
            f"/v1/{plural}", list_of(kind), methods=["GET"], operation_id=f"list_{plural}",
            summary=f"List {plural}", responses=PROBLEMS | REJECTED,
        )  # fmt: skip
        if kind != "tag":
            router.add_api_route(
                f"/v1/{plural}/{{item_id}}", api.getting(kind), methods=["GET"],
                operation_id=f"get_{kind}", summary=f"Show one of {plural}",
                responses=PROBLEMS | NOT_FOUND | {304: {"description": "Not modified"}},
            )  # fmt: skip
    router.add_api_route(
        "/v1/tag-models", api.tag_models, methods=["GET"], operation_id="list_tag_models",
        summary="What tags of each model can do", response_model=TagModelList, responses=PROBLEMS,
    )  # fmt: skip
    for path, endpoint, name, summary in (
        ("/v1/tags/{tag_id}", api.tag, "get_tag", "Show a tag"),
        ("/v1/assets", api.assets, "list_assets", "List assets with their places"),
        ("/v1/assets/{asset_id}", api.asset, "get_asset", "Show an asset, at any time"),
        ("/v1/assets/{asset_id}/timeline", api.asset_timeline, "get_asset_timeline",
         "What happened to an asset"),
        ("/v1/summary", api.summary, "get_summary", "Figures of the board"),
        ("/v1/worklists/unmapped-tags", api.unmapped, "list_unmapped", "Tags on no asset"),
        ("/v1/worklists/double-mapped", api.double_mapped, "list_double_mapped",
         "Contradictions that still hold"),
    ):  # fmt: skip
        router.add_api_route(
            path, endpoint, methods=["GET"], operation_id=name, summary=summary,
            responses=PROBLEMS | NOT_FOUND | CONFLICT | REJECTED,
        )  # fmt: skip
    return router
