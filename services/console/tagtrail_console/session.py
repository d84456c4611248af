"""Sessions of people: a key that expires, kept in a cookie that scripts cannot read."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response

from tagtrail_console.settings import ConsoleSettings
from tagtrail_kernel.access import Gatekeeper, Principal, code_hash, mint
from tagtrail_kernel.errors import ForbiddenError, UnauthenticatedError
from tagtrail_kernel.wiring import Deps

COOKIE: Final = "tagtrail_session"
PATH: Final = "/console"
MAX_CODE_CHARS: Final = 200
"""Codes have 32 characters; anything much longer is not one and need not be hashed."""


class Sessions:
    """Opens and ends sessions."""

    def __init__(self, deps: Deps, settings: ConsoleSettings) -> None:
        self._deps = deps
        self._settings = settings
        self._public = urlsplit(settings.public_url)

    def token(self, request: Request) -> str | None:
        """Return the key in the request's cookie."""
        return request.cookies.get(COOKIE) or None

    async def principal(self, request: Request) -> Principal | None:
        """Return who is signed in; None if nobody is, or the session is over."""
        token = self.token(request)
        if token is None:
            return None
        gatekeeper: Gatekeeper = request.app.state.gatekeeper
        try:
            return await gatekeeper.principal(f"Bearer {token}", None)
        except (UnauthenticatedError, ForbiddenError):
            return None

    async def enter(self, request: Request, response: Response, code: str) -> bool:
        """Use up a sign-in code and put the new session's cookie on the response.

        Returns:
            False if the code is unknown, used or expired; then there is no session.
        """
        if not 0 < len(code) <= MAX_CODE_CHARS:
            return False
        now = self._deps.clock.now()
        granted = await self._deps.access.use_code(code_hash(code), now)
        if granted is None:
            return False
        log_id, role = granted
        lifetime = timedelta(hours=self._settings.session_h)
        text, key = mint(log_id, name="console session", role=role, at=now, lifetime=lifetime)
        await self._deps.access.add_key(key)
        response.set_cookie(
            COOKIE,
            text,
            max_age=int(lifetime.total_seconds()),
            path=PATH,
            secure=self._secure(request),
            httponly=True,
            samesite="strict",
        )
        return True

    async def leave(self, request: Request, response: Response) -> None:
        """End the session: the key is revoked and the cookie removed."""
        who = await self.principal(request)
        if who is not None:
            await self._deps.access.revoke_key(who.log_id, who.key_id, self._deps.clock.now())
        response.delete_cookie(
            COOKIE, path=PATH, secure=self._secure(request), httponly=True, samesite="strict"
        )

    def check_origin(self, request: Request) -> None:
        """Refuse a change that another site's page has sent.

        The cookie is SameSite=Strict already; this also stops sister domains, which count as the
        same site. Programs send no `Origin`, and no cookie either.

        Raises:
            ForbiddenError: the origin is not ours.
        """
        origin = request.headers.get("origin")
        if origin is None:
            return
        ours = {request.headers.get("host", ""), self._public.netloc} - {""}
        if urlsplit(origin).netloc not in ours:
            raise ForbiddenError(
                "this request came from a page of another site; open the console itself, "
                "or set TAGTRAIL_CONSOLE_PUBLIC_URL if a reverse proxy changes the Host header",
                origin=origin,
            )

    def _secure(self, request: Request) -> bool:
        return request.url.scheme == "https" or self._public.scheme == "https"
