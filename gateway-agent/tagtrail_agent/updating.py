"""Looks for new versions, and says whether the one on trial is good.

A version comes from the server, in the signed configuration (the server decides whose turn it is),
or from a manifest at a fixed address (the manifest's percentage decides). Either way only what the
release key has signed is taken.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urljoin, urlsplit

from tagtrail_agent import VERSION
from tagtrail_agent.config import UpdatesSection
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import AgentError, UnreachableError, UpdateError
from tagtrail_agent.remote import PushedUpdate
from tagtrail_agent.updates import FAILED_BEFORE, LAUNCHED, Manifest, Versions, manifest_of

if TYPE_CHECKING:
    from tagtrail_agent.runtime import Agent

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""Wait after a wheel could not be fetched: the server is back by then, or is asked again."""


class Updating:
    """Keeps an agent's version up to date.

    Args:
        agent: Which agent; `restart` asks it to end, and the service manager starts it again.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._wanted = asyncio.Event()
        self.versions = Versions(agent.config.updates.root)
        self.refused: str | None = None
        self.refused_version: str | None = None

    def notice(self) -> None:
        """Look at once: the server has pushed something."""
        self._wanted.set()

    async def run(self) -> None:
        """Judge the version on trial, then look for new ones for ever."""
        if self.versions.trial.state == "trying":
            await self._judge()
        while True:
            self._wanted.clear()
            wait_s = await self._turn(self._agent.config.updates)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()

    async def _turn(self, section: UpdatesSection) -> float:
        """Look once; returns the time until the next look, seconds."""
        wait_s, refused, version = section.every_s, None, None
        try:
            if await asyncio.to_thread(self._look, section):
                self._agent.restart()
        except UnreachableError as error:
            wait_s, refused = min(AGAIN_S, wait_s), str(error)
        except AgentError as error:
            pushed = self._agent.pushed
            refused = str(error)
            version = pushed.update.version if pushed is not None and pushed.update else None
        if refused is not None:
            log.warning("update.refused", extra={"cause": refused})
        self.refused, self.refused_version = refused, version
        return wait_s

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
        """Take what the server pushed, else what the manifest offers; returns whether to restart.

        Raises:
            AgentError: out of reach, not signed, damaged, or it does not start.
        """
        pushed = self._agent.pushed
        if pushed is not None and pushed.update is not None:
            return self._take_pushed(pushed.update, section)
        if section.manifest is None:
            return False
        manifest = manifest_of(self._fetched(section.manifest), _key(section.key))
        if self._why_not(manifest) is not None:
            return False
        self._install(manifest, self._fetched(urljoin(section.manifest, manifest.url)))
        return True

    def _take_pushed(self, update: PushedUpdate, section: UpdatesSection) -> bool:
        """Take a version that the server offers to this gateway.

        Raises:
            AgentError: as `_look`; the server is told the version that is not taken.
        """
        # whose turn it is the server has decided
        manifest = replace(manifest_of(update.manifest, _key(section.key)), canary_pct=100.0)
        why_not = self._why_not(manifest)
        if why_not == FAILED_BEFORE:
            raise UpdateError(why_not)
        if why_not is not None:
            return False
        if LAUNCHED not in os.environ:
            raise UpdateError("it was started by hand; start it with `tagtrail-agent launch`")
        self._install(manifest, self._wheel(update))
        return True

    def _why_not(self, manifest: Manifest) -> str | None:
        why_not = self.versions.wanted(
            manifest, running=VERSION, gateway_id=self._agent.config.gateway.id
        )
        if why_not is not None:
            log.info("update.not_taken", extra={"version": manifest.version, "cause": why_not})
        return why_not

    def _install(self, manifest: Manifest, wheel: bytes) -> None:
        self.versions.stage(manifest, wheel)
        try:
            self.versions.switch(manifest.version)
        except OSError as error:
            raise UpdateError(f"cannot switch to the new version: {error}") from error
        log.info("update.installed", extra={"version": manifest.version})

    def _wheel(self, update: PushedUpdate) -> bytes:
        agent = self._agent
        path = f"/v1/updates/{quote(update.update_id, safe='')}/wheel"
        headers = {"Authorization": f"Bearer {agent.credentials.key}"}
        return self._answer(agent.config.server.url or "", path, headers)

    def _fetched(self, address: str) -> bytes:
        parts = urlsplit(address)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return self._answer(f"{parts.scheme}://{parts.netloc}", path, {})

    def _answer(self, server: str, path: str, headers: Mapping[str, str]) -> bytes:
        config = self._agent.config
        ca_file = config.beside(config.server.ca_file) if config.server.ca_file else None
        web = Web(server, ca_file=ca_file, headers=headers)
        try:
            reply = web.request("GET", path)
        finally:
            web.close()
        if reply.status != 200:
            raise UnreachableError(f"{server}{path} answers with {reply.status}")
        return reply.body

    def figures(self) -> Mapping[str, Any]:
        """Return what the gateway's status says about updates."""
        found: dict[str, Any] = dict(self.versions.figures())
        if self.refused is not None:
            found["update_refused"] = self.refused
        if self.refused_version is not None:
            found["update_refused_version"] = self.refused_version
        return found


def _key(written: str | None) -> bytes:
    if not written:
        raise UpdateError(
            "this gateway knows no release key; write it into agent.toml as updates.key"
        )
    try:
        key = base64.b64decode(written, validate=True)
    except ValueError as error:
        raise UpdateError("updates.key must be base64") from error
    if len(key) != 32:
        raise UpdateError("updates.key must be an Ed25519 key of 32 bytes, base64")
    return key
