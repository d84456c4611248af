"""HTTP: sites, zones, gateways, tags, assets, SKUs; settings; bindings."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response

from tagtrail_inventory import models
from tagtrail_inventory.registering import Registering
from tagtrail_inventory.replies import CONFLICT, NOT_FOUND, PROBLEMS, REJECTED
from tagtrail_kernel.access import Principal, requires

Writing = Annotated[Principal, Depends(requires("registry:write"))]
Administering = Annotated[Principal, Depends(requires("registry:write", "operations"))]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Repeating a request with it has one effect."),
]
Answer = Coroutine[Any, Any, Response]
_ALL: Final = PROBLEMS | NOT_FOUND | CONFLICT | REJECTED


class RegistryApi:
    """Endpoints that register."""

    def __init__(self, registering: Registering) -> None:
        self._do = registering

    async def site(
        self, request: Request, body: models.SiteBody, who: Writing, key: Key = None
    ) -> Response:
        """Register a site, or describe it anew."""
        return await self._do.register("site", request, body, who, key)

    async def zone(
        self, request: Request, body: models.ZoneBody, who: Writing, key: Key = None
    ) -> Response:
        """Register a zone of a site, or describe it anew."""
        return await self._do.register("zone", request, body, who, key)

    async def gateway(
        self, request: Request, body: models.GatewayBody, who: Writing, key: Key = None
    ) -> Response:
        """Register a gateway, anchor or reader, or describe it anew."""
        return await self._do.register("gateway", request, body, who, key)

    async def tag(
        self, request: Request, body: models.TagBody, who: Writing, key: Key = None
    ) -> Response:
        """Enrol a tag: from now on its sightings are accepted. Identities are normalised."""
        return await self._do.register("tag", request, body, who, key)

    async def asset(
        self, request: Request, body: models.AssetBody, who: Writing, key: Key = None
    ) -> Response:
        """Register an asset, or describe it anew."""
        return await self._do.register("asset", request, body, who, key)

    async def sku(
        self, request: Request, body: models.SkuBody, who: Writing, key: Key = None
    ) -> Response:
        """Register a kind of item, or describe it anew."""
        return await self._do.register("sku", request, body, who, key)

    async def retention(
        self, request: Request, body: models.RetentionBody, who: Administering, key: Key = None
    ) -> Response:
        """Set how long a class of events is kept. Radio facts are refused without a rule."""
        return await self._do.register("retention", request, body, who, key)

    async def config(
        self,
        section: str,
        request: Request,
        body: models.ConfigBody,
        who: Administering,
        key: Key = None,
    ) -> Response:
        """Replace one section of the tenant's settings."""
        return await self._do.register("config", request, body, who, key, section=section)

    async def bind(
        self,
        tag_id: str,
        request: Request,
        body: models.BindBody,
        who: Writing,
        key: Key = None,
    ) -> Response:
        """Put a tag on an asset, from `at` on. With `move` it leaves the asset that it is on."""
        return await self._do.bind(tag_id, request, body, who, key)

    async def unbind(
        self,
        tag_id: str,
        request: Request,
        body: models.UnbindBody,
        who: Writing,
        key: Key = None,
    ) -> Response:
        """Take a tag off its asset, from `at` on."""
        return await self._do.unbind(tag_id, request, body, who, key)

    def retiring(self, kind: str) -> Callable[..., Answer]:
        """Return the endpoint that retires things of a kind."""

        async def retire(
            item_id: str,
            request: Request,
            who: Writing,
            body: models.RetireBody | None = None,
            key: Key = None,
        ) -> Response:
            return await self._do.retire(
                kind, item_id, request, body or models.RetireBody(), who, key
            )

        return retire


def router_of(registering: Registering) -> APIRouter:
    """Return the routes that write the registry."""
    api = RegistryApi(registering)
    router = APIRouter(tags=["registry"])
    posts: list[tuple[str, Callable[..., Answer], str, str]] = [
        ("/v1/sites", api.site, "register_site", "Register a site"),
        ("/v1/zones", api.zone, "register_zone", "Register a zone"),
        ("/v1/gateways", api.gateway, "register_gateway", "Register a gateway"),
        ("/v1/tags", api.tag, "register_tag", "Enrol a tag"),
        ("/v1/assets", api.asset, "register_asset", "Register an asset"),
        ("/v1/skus", api.sku, "register_sku", "Register a SKU"),
        ("/v1/retention", api.retention, "set_retention", "Set a retention rule"),
        ("/v1/config/{section}", api.config, "set_config", "Replace a section of settings"),
        ("/v1/tags/{tag_id}/bind", api.bind, "bind_tag", "Put a tag on an asset"),
        ("/v1/tags/{tag_id}/unbind", api.unbind, "unbind_tag", "Take a tag off its asset"),
    ]
    for kind, plural in (
        ("site", "sites"), ("zone", "zones"), ("gateway", "gateways"), ("tag", "tags"),
        ("asset", "assets"), ("sku", "skus"),
    ):  # fmt: skip
        path = f"/v1/{plural}/{{item_id}}/retire"
        posts.append((path, api.retiring(kind), f"retire_{kind}", f"Retire one of the {plural}"))
    for path, endpoint, name, summary in posts:
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            operation_id=name,
            summary=summary,
            response_model=models.Receipt,
            responses=_ALL | {201: {"model": models.Receipt, "description": "Registered"}},
        )
    return router
