"""Looks for new versions, and says whether the one on trial is good."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from tagtrail_agent import VERSION
from tagtrail_agent.config import UpdatesSection
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import AgentError, UpdateError
from tagtrail_agent.updates import Manifest, Versions, manifest_of

if TYPE_CHECKING:
    from tagtrail_agent.runtime import Agent

log = logging.getLogger(__name__)


class Updating:
    """Keeps an agent's version up to date.

    Args:
        agent: Which agent; `restart` asks it to end, and the service manager starts it again.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.versions = Versions(agent.config.updates.root)
        self.refused: str | None = None

    async def run(self) -> None:
        """Judge the version on trial, then look for new ones for ever."""
        if self.versions.trial.state == "trying":
            await self._judge()
        section = self._agent.config.updates
        if section.manifest is None or section.key is None:
            await asyncio.Event().wait()
        while True:
            try:
                if await asyncio.to_thread(self._look, section):
                    self._agent.restart()
                self.refused = None
            except AgentError as error:
                self.refused = str(error)
                log.warning("update.refused", extra={"cause": str(error)})
            await asyncio.sleep(section.every_s)

    async def _judge(self) -> None:
        """A version is good once the server has confirmed something to it; else it goes."""
        agent = self._agent
        try:
            async with asyncio.timeout(agent.config.updates.health_within_s):
                while agent.sender.last_confirmed_s is None:  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.versions.roll_back("the server has confirmed nothing to it in time")
            agent.restart()
        else:
            self.versions.keep()

    def _look(self, section: UpdatesSection) -> bool:
        """Fetch the manifest, and the release if it is for us; returns whether to restart.

        Raises:
            AgentError: out of reach, not signed, damaged, or it does not start.
        """
        address = section.manifest or ""
        manifest = manifest_of(self._fetched(address), _key(section.key or ""))
        why_not = self.versions.wanted(
            manifest, running=VERSION, gateway_id=self._agent.config.gateway.id
        )
        if why_not is not None:
            log.info("update.not_taken", extra={"version": manifest.version, "cause": why_not})
            return False
        self._install(manifest, address)
        return True

    def _install(self, manifest: Manifest, address: str) -> None:
        self.versions.stage(manifest, self._fetched(urljoin(address, manifest.url)))
        try:
            self.versions.switch(manifest.version)
        except OSError as error:
            raise UpdateError(f"cannot switch to the new version: {error}") from error
        log.info("update.installed", extra={"version": manifest.version})

    def _fetched(self, address: str) -> bytes:
        parts = urlsplit(address)
        ca_file = self._agent.config.server.ca_file
        web = Web(f"{parts.scheme}://{parts.netloc}", ca_file=ca_file)
        try:
            reply = web.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
        finally:
            web.close()
        if reply.status != 200:
            raise UpdateError(f"{address} answers with {reply.status}")
        return reply.body

    def figures(self) -> Mapping[str, Any]:
        """Return what the gateway's status says about updates."""
        refused = {"update_refused": self.refused} if self.refused is not None else {}
        return {**self.versions.figures(), **refused}


def _key(written: str) -> bytes:
    try:
        key = base64.b64decode(written, validate=True)
    except ValueError as error:
        raise UpdateError("updates.key must be base64") from error
    if len(key) != 32:
        raise UpdateError("updates.key must be an Ed25519 key of 32 bytes, base64")
    return key
