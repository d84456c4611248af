"""`tagtrail-agent check`: would everything work, and if not, what is to be done."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tagtrail_agent import config
from tagtrail_agent.clock import ServerTime, SystemClock
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import AgentError, DeliveryError
from tagtrail_agent.items import compact
from tagtrail_agent.runtime import Agent

WAIT_S = 10.0
"""How long the server may take to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What.
        ok: Whether it works.
        words: How it is, or what to do.
    """

    what: str
    ok: bool
    words: str


async def checked(path: Path, *, offline: bool) -> list[Finding]:
    """Look at everything, in order of dependence.

    Raises:
        ConfigError: the configuration cannot be read at all.
    """
    loaded = config.load(path)
    findings = [Finding("configuration", True, str(path))]
    try:
        agent = Agent(loaded)
    except AgentError as error:
        return [*findings, Finding("set-up", False, str(error))]
    try:
        findings.append(_inputs(agent))
        findings.append(_disk(agent))
        findings.append(_tags(agent))
        if not offline:
            findings += [await _api(agent), await _confirmation(agent)]
    finally:
        agent.outbox.close()
    return findings


def _inputs(agent: Agent) -> Finding:
    names = ", ".join(i.name for i in agent.inputs)
    if agent.config.server.way == "http" and any(e.kind == "mqtt" for e in agent.config.inputs):
        names += "; messages that only the server reads are not passed on: that needs server.mqtt"
    return Finding("inputs", bool(names), names or "none: add an [[input]] to the configuration")


def _disk(agent: Agent) -> Finding:
    free_mb = shutil.disk_usage(agent.config.state).free / 1_048_576
    wanted_mb = agent.config.outbox.max_mb
    queued = agent.outbox.figures()["queue_items"]
    words = f"{queued} items wait; {free_mb:.0f} MB free for at most {wanted_mb:g} MB"
    return Finding("queue", free_mb >= wanted_mb, words)


def _tags(agent: Agent) -> Finding:
    enrolment = agent.enrolment(agent.pushed)
    source = f"revision {agent.pushed.revision}" if agent.pushed else "file of this machine"
    if not enrolment.tags and not enrolment.ranges and agent.config.server.url:
        return Finding("tags", True, "none yet: they come from the server while the agent runs")
    return Finding(
        "tags", bool(enrolment.tags or enrolment.ranges),
        f"{len(enrolment.tags)} enrolled ({source})" if enrolment.tags or enrolment.ranges
        else "none: nothing would leave; set server.url and enrol, or tags.file",
    )  # fmt: skip


async def _api(agent: Agent) -> Finding:
    url = agent.config.server.url
    if url is None:
        return Finding("server", True, "no server.url: no pushed configuration")
    ca_file = agent.config.server.ca_file
    try:
        web = Web(url, ca_file=agent.config.beside(ca_file) if ca_file else None, timeout_s=WAIT_S)
        reply = await asyncio.to_thread(web.request, "GET", "/healthz")
        await asyncio.to_thread(web.close)
    except AgentError as error:
        return Finding("server", False, str(error))
    return Finding("server", reply.status == 200, f"{url} answers with {reply.status}")


async def _confirmation(agent: Agent) -> Finding:
    """Send an empty batch and wait until ingest confirms it."""
    name = f"delivery by {agent.config.server.way}"
    clock, gateway_id = SystemClock(), agent.config.gateway.id
    body = compact({"batch_id": "check", "gateway_id": gateway_id, "sightings": []}).encode()
    try:
        await agent.link.open()
        before_s = clock.elapsed_s()
        async with asyncio.timeout(WAIT_S):
            answer = await agent.link.deliver(gateway_id, "check", body)
        time = ServerTime()
        time.observe(answer.received_at, before_s, clock.elapsed_s())
    except TimeoutError:
        return Finding(name, False, _fault(agent) or f"no confirmation within {WAIT_S:g} s")
    except (AgentError, DeliveryError) as error:
        return Finding(name, False, str(error))
    finally:
        await agent.link.close()
    return Finding(name, True, f"confirmed; this clock is {time.skew_s(clock):+.2f} s off")


def _fault(agent: Agent) -> str | None:
    fault: Callable[[], str | None] | str | None = getattr(agent.link, "fault", None)
    return fault if isinstance(fault, str) else None
