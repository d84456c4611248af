"""Sends what is in the outbox: one message per channel at a time, patient and honest about doubt."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from datetime import datetime, timedelta
from typing import Final

import httpx2
import msgspec
from prometheus_client import Counter, Gauge

from tagtrail_alerts import outbox
from tagtrail_alerts.channels import guard, slack, webhook
from tagtrail_alerts.channels.contract import Kind, Letter, Outcome, Reply
from tagtrail_alerts.channels.directory import Address, Channels
from tagtrail_alerts.channels.transport import keep_addresses_out_of_logs, post
from tagtrail_alerts.core.card import GroupCard
from tagtrail_alerts.projection import NAME
from tagtrail_alerts.settings import AlertsSettings
from tagtrail_kernel.database import Connection
from tagtrail_kernel.errors import DomainError, UnavailableError
from tagtrail_kernel.wiring import Deps

log = logging.getLogger(__name__)

LEASE_MARGIN_S: Final = 15.0
"""A sender that is silent for this much longer than its own timeouts is dead, not slow."""


class Sender:
    """Sends one message to one address."""

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

    async def send(self, address: Address, message: GroupCard | Letter, now: datetime) -> Outcome:
        """Send a card or a letter; returns what became of it."""
        if isinstance(message, Letter) != (address.kind == "webhook"):
            return Outcome("permanent", "the channel is of another kind now")
        if isinstance(message, Letter):
            headers = webhook.headers_of(address.secrets, message, now)
            answer = await self._post(address, message.body, headers)
            if isinstance(answer, Outcome):
                return webhook.repeatable(answer)
            return webhook.classify(answer, now)
        answer = await self._post(address, msgspec.json.encode(slack.render(message)), {})
        return answer if isinstance(answer, Outcome) else slack.classify(answer, now)

    async def _post(
        self, address: Address, body: bytes, headers: dict[str, str]
    ) -> Reply | Outcome:
        return await post(
            self._http,
            address.url,
            body,
            headers=headers,
            timeout_s=self._settings.send_timeout_s,
            allow_loopback=self._settings.allow_loopback,
            resolve=self._resolve,
        )


def interval_of(kind: Kind, settings: AlertsSettings) -> timedelta:
    """Return the least time between two messages of one channel: programs need none."""
    return timedelta(seconds=settings.send_interval_s if kind == "slack" else 0)


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
        self._lease = timedelta(seconds=2 * settings.send_timeout_s + LEASE_MARGIN_S)
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
            for channel_id, kind in busy:
                key = (tenant.log_id, channel_id)
                task = self._under_way.get(key)
                if task is not None and not task.done():
                    continue
                claimed = await self._claim(*key, kind)
                if claimed is not None:
                    self._under_way[key] = asyncio.create_task(self._deliver_all(claimed))
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

    async def _claim(self, log_id: int, channel_id: str, kind: Kind) -> outbox.Claimed | None:
        async with self._database.transaction() as tx:
            return await outbox.claim(
                tx,
                log_id,
                channel_id,
                message_id=self._deps.ids.new(),
                now=self._deps.clock.now(),
                terms=outbox.Terms(interval=interval_of(kind, self._settings), lease=self._lease),
            )

    async def _deliver_all(self, first: outbox.Claimed) -> None:
        """Send a message, and after a letter all that are due, one after the other."""
        claimed: outbox.Claimed | None = first
        try:
            while claimed is not None:
                await self._deliver(claimed)
                if claimed.letter is None:
                    return
                claimed = await self._claim(claimed.log_id, claimed.channel_id, "webhook")
        except UnavailableError as error:
            log.warning("outbox.unreadable", extra={"cause": error.detail, **_extra(first)})

    async def _deliver(self, claimed: outbox.Claimed) -> None:
        outcome = await self._outcome(claimed)
        delay = timedelta(seconds=self._delay_s(claimed, outcome))
        letter = claimed.letter is not None
        try:
            async with self._database.transaction() as tx:
                state = await outbox.finish(
                    tx,
                    claimed,
                    outcome,
                    now=self._deps.clock.now(),
                    delay=delay,
                    max_attempts=webhook.MAX_ATTEMPTS if letter else self._settings.max_attempts,
                )
                if outcome.disables:
                    await self._disable(tx, claimed, outcome.reason)
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
            address = await self._channels.address(
                claimed.log_id, claimed.channel_id, self._deps.clock.now()
            )
        except UnavailableError as error:
            return Outcome("retry", error.detail)
        except DomainError as error:
            return Outcome("permanent", error.detail)
        try:
            message = claimed.letter or claimed.group
            return await self._sender.send(address, message, self._deps.clock.now())
        except Exception as error:  # noqa: BLE001 - the row must not stay `sending`
            # No message and no traceback of values: they could show the address.
            at = traceback.extract_tb(error.__traceback__)[-1]
            cause = f"{type(error).__name__} at {at.name}:{at.lineno}"
            log.error("message.failed", extra={"cause": cause, **_extra(claimed)})  # noqa: TRY400
            return Outcome("retry", f"a fault of this service: {type(error).__name__}")

    async def _disable(self, tx: Connection, claimed: outbox.Claimed, reason: str) -> None:
        await self._channels.disable(
            tx, claimed.log_id, claimed.channel_id, reason, self._deps.clock.now()
        )
        log.error("channel.disabled", extra={"reason": reason, **_extra(claimed)})

    def _delay_s(self, claimed: outbox.Claimed, outcome: Outcome) -> float:
        asked_s = outcome.after_s or 0.0
        if outcome.result == "rate_limited":
            return asked_s
        if claimed.letter is not None:
            wait_s = webhook.wait_s(claimed.attempts)
        else:
            doubled = self._settings.backoff_first_s * 2.0 ** min(claimed.attempts - 1, 30)
            wait_s = min(self._settings.backoff_max_s, doubled)
        return max(asked_s, wait_s * self._random.uniform(0.5, 1.0))


def _extra(claimed: outbox.Claimed) -> dict[str, object]:
    return {
        "log_id": claimed.log_id,
        "channel_id": claimed.channel_id,
        "message_id": str(claimed.message_id),
        "alerts": len(claimed.group.cards),
        "attempt": claimed.attempts,
    }
