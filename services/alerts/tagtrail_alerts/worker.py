"""Sends what is in the outbox: one message per channel at a time, patient and honest about doubt."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import httpx2
from prometheus_client import Counter, Gauge

from tagtrail_alerts import outbox
from tagtrail_alerts.channels import guard, slack
from tagtrail_alerts.channels.contract import Outcome, Reply
from tagtrail_alerts.channels.directory import Channels
from tagtrail_alerts.channels.transport import keep_addresses_out_of_logs, post
from tagtrail_alerts.core.card import GroupCard
from tagtrail_alerts.projection import NAME
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.errors import DomainError, UnavailableError
from tagtrail_kernel.wiring import Deps

log = logging.getLogger(__name__)

LEASE_MARGIN_S: Final = 15.0
"""A sender that is silent for this much longer than its own timeouts is dead, not slow."""

Render = Callable[[GroupCard], dict[str, object]]
Classify = Callable[[Reply, datetime], Outcome]
KINDS: Final[Mapping[str, tuple[Render, Classify]]] = {"slack": (slack.render, slack.classify)}


class Sender:
    """Sends one card to one address."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        settings: AlertsSettings,
        *,
        resolve: guard.Resolve = guard.resolve,
    ) -> None:
        keep_addresses_out_of_logs()
        self._http = http
        self._settings = settings
        self._resolve = resolve

    async def send(self, kind: str, url: str, card: GroupCard, now: datetime) -> Outcome:
        """Send a card; returns what became of it."""
        render, classify = KINDS[kind]
        answer = await post(
            self._http,
            url,
            render(card),
            timeout_s=self._settings.send_timeout_s,
            allow_loopback=self._settings.allow_loopback,
            resolve=self._resolve,
        )
        return answer if isinstance(answer, Outcome) else classify(answer, now)


class Worker:
    """Empties the outbox of all tenants. Any number of processes may run one."""

    def __init__(
        self, deps: Deps, settings: AlertsSettings, channels: Channels, sender: Sender
    ) -> None:
        self._deps = deps
        self._settings = settings
        self._channels = channels
        self._sender = sender
        self._database = deps.database_of(NAME)
        self._random = random.Random(settings.jitter_seed or None)  # noqa: S311 - jitter
        self._terms = outbox.Terms(
            interval=timedelta(seconds=settings.send_interval_s),
            lease=timedelta(seconds=2 * settings.send_timeout_s + LEASE_MARGIN_S),
        )
        self._under_way: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._messages = Counter(
            "tagtrail_alerts_messages_total",
            "Tries to send a message, by what became of them.",
            ["channel", "result"],
            registry=deps.registry,
        )
        self._dead = Counter(
            "tagtrail_alerts_dead_letters_total",
            "Alerts that could not be told.",
            ["channel"],
            registry=deps.registry,
        )
        self._depth = Gauge(
            "tagtrail_alerts_outbox_messages",
            "Rows of the outbox by state.",
            ["log_id", "state"],
            registry=deps.registry,
        )

    async def run(self) -> None:
        """Send for ever."""
        try:
            rounds = 0
            while True:
                await self.round()
                if rounds % 20 == 0:
                    await self.measure()
                rounds += 1
                await asyncio.sleep(self._settings.poll_s)
        finally:
            for task in self._under_way.values():
                task.cancel()
            await self.settle()

    async def round(self) -> int:
        """Start sending what is due; returns how many messages were started."""
        started = 0
        for tenant in await self._deps.access.tenants():
            async with self._database.connection() as connection:
                busy = await outbox.busy_channels(connection, tenant.log_id)
            for channel_id in busy:
                key = (tenant.log_id, channel_id)
                task = self._under_way.get(key)
                if task is not None and not task.done():
                    continue
                claimed = await self._claim(*key)
                if claimed is not None:
                    self._under_way[key] = asyncio.create_task(self._deliver(claimed))
                    started += 1
        return started

    async def settle(self) -> None:
        """Wait for everything under way."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def measure(self) -> None:
        """Set the gauges."""
        for tenant in await self._deps.access.tenants():
            async with self._database.connection() as connection:
                found = await outbox.counts(connection, tenant.log_id)
            for state, number in found.items():
                self._depth.labels(str(tenant.log_id), state).set(number)

    async def _claim(self, log_id: int, channel_id: str) -> outbox.Claimed | None:
        async with self._database.transaction() as tx:
            return await outbox.claim(
                tx,
                log_id,
                channel_id,
                message_id=self._deps.ids.new(),
                now=self._deps.clock.now(),
                terms=self._terms,
            )

    async def _deliver(self, claimed: outbox.Claimed) -> None:
        outcome = await self._outcome(claimed)
        delay = timedelta(seconds=self._delay_s(claimed.attempts, outcome))
        try:
            async with self._database.transaction() as tx:
                state = await outbox.finish(
                    tx,
                    claimed,
                    outcome,
                    now=self._deps.clock.now(),
                    delay=delay,
                    max_attempts=self._settings.max_attempts,
                )
        except UnavailableError as error:
            log.warning("message.unsettled", extra={"cause": error.detail, **_extra(claimed)})
            return
        self._messages.labels(claimed.channel_id, outcome.result).inc()
        extra = {"result": outcome.result, "state": state, "reason": outcome.reason}
        if state == "dead":
            self._dead.labels(claimed.channel_id).inc(len(claimed.group.cards))
            log.error("message.died", extra=extra | _extra(claimed))
        elif state == "queued":
            log.warning("message.delayed", extra=extra | _extra(claimed))
        else:
            log.info("message.sent", extra=_extra(claimed))

    async def _outcome(self, claimed: outbox.Claimed) -> Outcome:
        try:
            url = await self._channels.address(claimed.log_id, claimed.channel_id)
        except UnavailableError as error:
            return Outcome("retry", error.detail)
        except DomainError as error:
            return Outcome("permanent", error.detail)
        try:
            return await self._sender.send("slack", url, claimed.group, self._deps.clock.now())
        except Exception as error:  # noqa: BLE001 - the row must not stay `sending`
            # No message and no traceback of values: they could show the address.
            at = traceback.extract_tb(error.__traceback__)[-1]
            cause = f"{type(error).__name__} at {at.name}:{at.lineno}"
            log.error("message.failed", extra={"cause": cause, **_extra(claimed)})  # noqa: TRY400
            return Outcome("retry", f"a fault of this service: {type(error).__name__}")

    def _delay_s(self, attempts: int, outcome: Outcome) -> float:
        if outcome.after_s is not None:
            return outcome.after_s
        most = self._settings.backoff_max_s
        wait_s = min(most, self._settings.backoff_first_s * 2.0 ** min(attempts - 1, 30))
        return wait_s * self._random.uniform(0.5, 1.0)


def _extra(claimed: outbox.Claimed) -> dict[str, object]:
    return {
        "log_id": claimed.log_id,
        "channel_id": claimed.channel_id,
        "message_id": str(claimed.message_id),
        "alerts": len(claimed.group.cards),
        "attempt": claimed.attempts,
    }
