"""Calls of the command line to the API of a running server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from tagtrail import homes
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.settings import KernelSettings, load

TIMEOUT_S: Final = 30.0
"""For an answer: most take milliseconds, a wheel of the agent a little more."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: Its address, without a slash at the end.
        key: API key.
    """

    url: str
    key: str = field(repr=False)

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a request.

        Raises:
            UnavailableError: nobody answers.
            RejectedError: the server refuses; says why.
        """
        try:
            reply = httpx2.request(
                method,
                f"{self.url}/v1{path}",
                json=body,
                headers={"Authorization": f"Bearer {self.key}"} | (headers or {}),
                timeout=TIMEOUT_S,
            )
            members: dict[str, Any] = reply.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise UnavailableError(
                f"{self.url} does not answer as Tagtrail does ({type(error).__name__}); check "
                "--api-url, and that `tagtrail serve` runs"
            ) from error
        if not reply.is_success:
            raise RejectedError(
                f"the server refuses ({reply.status_code}): {members.get('detail')}"
            )
        return members


def server_of(api_url: str | None) -> Server:
    """Return the server at an address, else the one that runs on this home, with its key.

    Raises:
        UnavailableError: none runs on this home.
        RejectedError: there is no key.
    """
    settings = load(KernelSettings)
    noted = homes.serving_of(settings)
    url = (api_url or (str(noted["url"]) if noted else "")).rstrip("/")
    if not url:
        raise UnavailableError(
            "no server runs on this home; start one with `tagtrail serve`, or give --api-url"
        )
    home = Path(noted["home"]) if noted else homes.home_of(settings)
    return Server(url, _key(home))


def _key(home: Path) -> str:
    """Return the key of the environment, else the administrator's of a home.

    Raises:
        RejectedError: there is none.
    """
    given = os.environ.get("TAGTRAIL_API_KEY")
    if given:
        return given
    try:
        return (home / "admin.key").read_text(encoding="ascii").strip()
    except OSError as error:
        raise RejectedError(
            f"set TAGTRAIL_API_KEY to an administrator's key: {home / 'admin.key'} cannot be read"
        ) from error
