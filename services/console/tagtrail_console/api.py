"""Addresses of the console. They serve people, so they stay out of the API's description."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from tagtrail_console.assets import Assets
from tagtrail_console.pages import Pages
from tagtrail_console.proxy import PREFIX, Proxy
from tagtrail_console.security import guarded_route
from tagtrail_console.session import Sessions
from tagtrail_kernel.errors import UnauthenticatedError

HOME: Final = "/console/"
FOR_EVER: Final = "public, max-age=31536000, immutable"
MAX_FORM_BYTES: Final = 4_096


def router_of(assets: Assets, pages: Pages, sessions: Sessions, proxy: Proxy) -> APIRouter:
    """Return the console's routes."""
    route = guarded_route(
        lambda error: pages.render("problem.html", HTTPStatus(error.status), detail=error.detail)
    )
    router = APIRouter(route_class=route, include_in_schema=False)
    _add_sign_in(router, pages, sessions)
    _add_static(router, assets)
    _add_proxy(router, sessions, proxy)
    _add_pages(router, pages, sessions)
    return router


def _add_sign_in(router: APIRouter, pages: Pages, sessions: Sessions) -> None:
    @router.get("/console/enter")
    async def confirm(code: str = "") -> Response:
        """Ask before the code is used up: chat programs open links to preview them."""
        return pages.render("enter.html", code=code)

    @router.post("/console/enter")
    async def enter(request: Request) -> Response:
        sessions.check_origin(request)
        form = await _form(request)
        response: Response = RedirectResponse(HOME, HTTPStatus.SEE_OTHER)
        response.headers["Cache-Control"] = "no-store"
        if await sessions.enter(request, response, form.get("code", "")):
            return response
        return pages.render("refused.html", HTTPStatus.UNAUTHORIZED)

    @router.post("/console/leave")
    async def leave(request: Request) -> Response:
        sessions.check_origin(request)
        response = pages.render("left.html")
        await sessions.leave(request, response)
        return response


def _add_static(router: APIRouter, assets: Assets) -> None:
    @router.get("/console/static/{version}/{name:path}")
    async def static(request: Request, version: str, name: str) -> Response:
        found = assets.files.get(name)
        if found is None:
            return PlainTextResponse("no such file", HTTPStatus.NOT_FOUND)
        headers = {
            "Cache-Control": FOR_EVER if version == assets.version else "no-cache",
            "ETag": f'"{assets.version}"',
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        body = found.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = found.packed
            headers["Content-Encoding"] = "gzip"
        return Response(body, media_type=found.media_type, headers=headers)

    @router.get("/favicon.ico")
    async def favicon() -> Response:
        return RedirectResponse(assets.url("icon.svg"), HTTPStatus.TEMPORARY_REDIRECT)


def _add_proxy(router: APIRouter, sessions: Sessions, proxy: Proxy) -> None:
    @router.api_route(PREFIX + "/{path:path}", methods=["GET", "POST"])
    async def forward(request: Request, path: str) -> Response:
        if request.method == "POST":
            sessions.check_origin(request)
        token = sessions.token(request)
        if token is None or await sessions.principal(request) is None:
            raise UnauthenticatedError(
                "the session is over; run `tagtrail keys sign-in-link` and open its address",
                path=path,
            )
        return await proxy.answer(request, token)


def _add_pages(router: APIRouter, pages: Pages, sessions: Sessions) -> None:
    @router.get("/")
    @router.get("/console")
    async def root() -> Response:
        return RedirectResponse(HOME, HTTPStatus.TEMPORARY_REDIRECT)

    @router.get(HOME)
    async def live(request: Request) -> Response:
        """Show the live page; without a session the help, with 200: it is the front door."""
        who = await sessions.principal(request)
        if who is None:
            return pages.render("help.html")
        return pages.render(
            "live.html", role=who.role, may_acknowledge="alerts:write" in who.scopes
        )

    @router.get(HOME + "{path:path}")
    async def other(request: Request, path: str) -> Response:
        if await sessions.principal(request) is None:
            return pages.render("help.html", HTTPStatus.UNAUTHORIZED)
        return pages.render("missing.html", HTTPStatus.NOT_FOUND, path=path)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a small form; a larger body has none."""
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        return {}
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}
