"""How the gateway is, told to the server again and again, and to whoever asks on the machine."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from tagtrail_agent import VERSION, machine
from tagtrail_agent.errors import RefusedError, UnreachableError
from tagtrail_agent.items import text_of
from tagtrail_agent.readings import Input
from tagtrail_agent.remote import write_private

if TYPE_CHECKING:
    from tagtrail_agent.runtime import Agent

log = logging.getLogger(__name__)


class Heartbeat:
    """Reports figures; the file `status.json` in the state has the last ones.

    Args:
        agent: Whose figures.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._last: tuple[float, int] | None = None

    @property
    def every_s(self) -> float:
        """Time between two heartbeats, seconds."""
        pushed = self._agent.pushed
        wanted = pushed.settings.get("heartbeat_s") if pushed is not None else None
        if isinstance(wanted, int | float) and 1 <= wanted <= 3600:
            return float(wanted)
        return self._agent.config.heartbeat.every_s

    async def run(self) -> None:
        """Report for ever; the first time as soon as the server can be reached."""
        while True:
            while not self._agent.link.connected:  # noqa: ASYNC110 - the link has no event
                await asyncio.sleep(0.2)
            await self.beat()
            await self._until_due()

    async def _until_due(self) -> None:
        """Wait for the next heartbeat, an alarm, or the end of a time without connection."""
        loop = asyncio.get_running_loop()
        due, was_connected = loop.time() + self.every_s, True
        while loop.time() < due and not self._agent.alarms:
            if not was_connected and self._agent.link.connected:
                return
            was_connected = self._agent.link.connected
            await asyncio.sleep(0.2)

    async def beat(self) -> None:
        """Report once."""
        figures = self.figures()
        alarms = list(self._agent.alarms)
        if alarms:
            figures["alarms"] = self._agent.hearing.without_addresses(
                [alarm.figures() for alarm in alarms]
            )
        self._write(figures)
        try:
            await self._agent.link.report(figures)
        except (UnreachableError, RefusedError) as error:
            log.warning("heartbeat.not_sent", extra={"cause": str(error)})
        else:
            del self._agent.alarms[: len(alarms)]

    def figures(self) -> dict[str, Any]:
        """Return all figures."""
        agent, now_s = self._agent, self._agent.clock.elapsed_s()
        adverts = agent.hearing.adverts + agent.hearing.readings
        before = self._last
        self._last = (now_s, adverts)
        rate = (adverts - before[1]) / max(now_s - before[0], 1e-3) if before else 0.0
        skew_s = agent.server_time.skew_s(agent.clock)
        at = agent.server_time.at(now_s) or agent.clock.now()
        sender = agent.sender
        return {
            "at": text_of(at),
            "version": VERSION,
            **agent.outbox.figures(),
            "dropped": agent.outbox.tally.figures(),
            "adverts_per_s": round(rate, 2),
            **agent.hearing.figures(),
            "confirmed": sender.confirmed_items,
            "duplicates": sender.duplicate_items,
            "repeats": sender.repeats,
            "forwarded": sender.forwarded_messages,
            "sent_bytes": agent.link.sent_bytes,
            "clock_skew_s": round(skew_s, 3) if skew_s is not None else None,
            "inputs": {i.name: _counts(i) for i in agent.inputs},
            **agent.configuring.figures(),
            **agent.updating.figures(),
            **machine.figures(),
        }

    def _write(self, figures: dict[str, Any]) -> None:
        try:
            content = json.dumps(figures, indent=1).encode()
            write_private(self._agent.config.state / "status.json", content)
        except OSError as error:
            log.warning("heartbeat.not_written", extra={"cause": str(error)})


def _counts(source: Input) -> dict[str, Any]:
    """Return what an input says about itself."""
    found: dict[str, Any] = dict(getattr(source, "counts", {}))
    connected = getattr(source, "connected", None)
    if isinstance(connected, bool):
        found["connected"] = connected
    return found
