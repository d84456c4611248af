"""Headers that keep a browser from doing for others what it does for the console."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from tagtrail_kernel.errors import DomainError
from tagtrail_kernel.problems import of_domain_error

log = logging.getLogger(__name__)

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""No inline script or style, no other host, no frame; `data:` is for icons inside the style sheet.

The referrer policy is not `no-referrer`: with that, browsers send `Origin: null` with forms, and the
check of the origin could not work.
"""


def guarded_route(page_of: Callable[[DomainError], Response]) -> type[APIRoute]:
    """Return a class of routes whose every answer carries `HEADERS`.

    Args:
        page_of: Makes the page that a person sees when a request fails; programs get the problem.
    """

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    response = await handler(request)
                except DomainError as error:
                    log.info("request.rejected", extra={"code": error.code, "status": error.status})
                    person = "text/html" in request.headers.get("accept", "")
                    response = (
                        page_of(error) if person else of_domain_error(request.url.path, error)
                    )
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                return response

            return guarded

    return GuardedRoute
