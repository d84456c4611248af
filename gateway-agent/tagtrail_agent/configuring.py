"""Fetches what the server pushes: at the start, on its notice, and now and then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tagtrail_agent import remote
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import AgentError, RemoteConfigError

if TYPE_CHECKING:
    from tagtrail_agent.runtime import Agent

log = logging.getLogger(__name__)


class Configuring:
    """Keeps the pushed configuration of an agent fresh.

    Args:
        agent: Who adopts it.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._wanted = asyncio.Event()
        self._etag: str | None = None
        self.refused: str | None = None

    def notice(self, payload: bytes) -> None:
        """Take the server's notice that there is something new; its content does not matter."""
        del payload  # what counts is signed, and fetched
        self._wanted.set()

    async def run(self) -> None:
        """Fetch for ever, if this gateway is enrolled at a server."""
        agent = self._agent
        server, credentials = agent.config.server, agent.credentials
        if not (server.url and credentials.key and credentials.config_key):
            await asyncio.Event().wait()
        ca_file = agent.config.beside(server.ca_file) if server.ca_file else None
        headers = {"Authorization": f"Bearer {credentials.key}"}
        web = Web(server.url or "", ca_file=ca_file, headers=headers)
        try:
            while True:
                self._wanted.clear()
                try:
                    await self._fetch(web)
                except AgentError as error:
                    log.warning("config.not_fetched", extra={"cause": str(error)})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(server.config_every_s):
                        await self._wanted.wait()
        finally:
            web.end()

    async def _fetch(self, web: Web) -> None:
        agent = self._agent
        gateway_id = quote(agent.config.gateway.id, safe="")
        headers = {"If-None-Match": self._etag} if self._etag else {}
        reply = await asyncio.to_thread(
            web.request, "GET", f"/v1/gateways/{gateway_id}/config", None, headers
        )
        if reply.status == 304:
            return
        if reply.status != 200:
            log.warning("config.not_fetched", extra={"cause": reply.detail})
            return
        self._take(reply.body)
        self._etag = reply.headers.get("etag")

    def _take(self, raw: bytes) -> None:
        agent, key = self._agent, self._agent.credentials.config_key
        in_force = agent.pushed.revision if agent.pushed is not None else 0
        if key is None:
            return
        try:
            pushed = remote.verified(
                raw, key=key, gateway_id=agent.config.gateway.id, at_least=in_force
            )
        except RemoteConfigError as error:
            self.refused = str(error)
            log.warning("config.refused", extra={"cause": str(error)})
            return
        self.refused = None
        agent.adopt(pushed)
        remote.keep(agent.config.state, pushed)
        log.info("config.adopted", extra={"revision": pushed.revision})

    def figures(self) -> dict[str, Any]:
        """Return what the gateway's status says about its configuration."""
        pushed = self._agent.pushed
        found: dict[str, Any] = {"config_revision": pushed.revision if pushed else None}
        if self.refused is not None:
            found["config_refused"] = self.refused
        return found
