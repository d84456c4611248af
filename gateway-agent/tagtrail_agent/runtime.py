"""One running agent: inputs, ear, outbox, sender, heartbeat, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any, Final

from tagtrail_agent import remote
from tagtrail_agent.assembly import input_of
from tagtrail_agent.clock import Clock, ServerTime, SystemClock, boot_id
from tagtrail_agent.config import Config, Credentials, InputEntry, credentials_in
from tagtrail_agent.configuring import Configuring
from tagtrail_agent.courier import OutboxCourier, Passed
from tagtrail_agent.delivery.http import HttpLink
from tagtrail_agent.delivery.link import Link
from tagtrail_agent.delivery.mqtt import Broker, MqttLink
from tagtrail_agent.delivery.sender import Pace, Sender
from tagtrail_agent.errors import AgentError, ConfigError
from tagtrail_agent.filtering import Alarm, LogAndFile, Rules, RulesError, parse_rules
from tagtrail_agent.hearing import Hearing
from tagtrail_agent.heartbeat import Heartbeat
from tagtrail_agent.identity import Enrolment
from tagtrail_agent.inputs.common import Backoff
from tagtrail_agent.models import load_models
from tagtrail_agent.outbox import Outbox
from tagtrail_agent.readings import Input
from tagtrail_agent.tags import enrolment_of, kept_push
from tagtrail_agent.updating import Updating

log = logging.getLogger(__name__)

MB: Final = 1_048_576


class Agent:
    """Everything of one agent. Make it, `run` it.

    Args:
        config: Of agent.toml.
        clock: Both clocks.
        inputs: Instead of those of the configuration.

    Raises:
        AgentError: the configuration cannot work; says what to do.
    """

    def __init__(
        self, config: Config, *, clock: Clock | None = None, inputs: Sequence[Input] | None = None
    ) -> None:
        self.config, self.clock = config, clock or SystemClock()
        self.credentials = credentials_in(config.credentials_path)
        self.boot = boot_id()
        self.server_time = ServerTime()
        self._prepare_state()
        self.inputs = (
            list(inputs) if inputs is not None else [self._input(entry) for entry in config.inputs]
        )
        with ExitStack() as on_failure:
            self.outbox = on_failure.enter_context(closing(self._made_outbox()))
            self.courier = OutboxCourier(self.outbox, server_time=self.server_time, boot=self.boot)
            self.alarms: list[Alarm] = []
            self.pushed = kept_push(config, self.credentials)
            self.hearing = self._made_hearing()
            self.configuring = Configuring(self)
            self.link = link_of(config, self.credentials, self.configuring.notice)
            on_failure.pop_all()
        self.sender = Sender(
            self.outbox,
            self.link,
            clock=self.clock,
            server_time=self.server_time,
            boot=self.boot,
            gateway_id=config.gateway.id,
            pace=_pace(config),
        )
        self.updating = Updating(self)
        self.heartbeat = Heartbeat(self)
        self._stop = asyncio.Event()

    def _made_outbox(self) -> Outbox:
        config = self.config
        return Outbox(
            config.state / "outbox.db",
            clock=self.clock,
            boot=self.boot,
            most_bytes=int(config.outbox.max_mb * MB),
            most_age_s=config.outbox.max_age_days * 86_400,
        )

    def _made_hearing(self) -> Hearing:
        config = self.config
        catalogue = load_models(*map(config.beside, config.tags.models))
        return Hearing(
            self.outbox,
            enrolment=self.enrolment(self.pushed),
            rules=self._rules(),
            filtering=config.filter.enabled,
            decode_advert=catalogue.decoder().decode,
            clock=self.clock,
            server_time=self.server_time,
            boot=self.boot,
            gateway_id=config.gateway.id,
            alarm_sink=_Alarms(self.alarms, LogAndFile(config.state / "alarms.json")),
        )

    def _input(self, entry: InputEntry) -> Input:
        courier = self if self.config.server.way == "mqtt" else None
        return input_of(self.config, entry, self.clock, self._enrolled, courier)

    def forward(self, message: Passed) -> None:
        """Bring a message to the server unchanged; see `Courier`."""
        self.courier.forward(message)

    def _enrolled(self, identity: str) -> bool:
        return self.hearing.knows(identity)

    def _prepare_state(self) -> None:
        state = self.config.state
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"cannot make the folder {state} ({error.strerror}); name another one as "
                "gateway.state"
            ) from error

    def enrolment(self, pushed: remote.Pushed | None) -> Enrolment:
        """Return the tags that may leave; see `enrolment_of`."""
        return enrolment_of(self.config, pushed)

    def _rules(self) -> Rules | None:
        if self.pushed is not None and self.pushed.rules is not None:
            return self.pushed.rules
        path = self.config.filter.rules
        if path is None:
            return None
        try:
            return parse_rules(self.config.beside(path).read_bytes())
        except (OSError, RulesError) as error:
            raise self.config.document.fault(
                ("filter", "rules"), f"cannot be used: {error}"
            ) from error

    def adopt(self, pushed: remote.Pushed) -> None:
        """Go on with what the server pushed."""
        self.hearing.adopt(self.enrolment(pushed), pushed.rules)
        self.pushed = pushed
        self.updating.notice()

    async def run(self, stop: asyncio.Event, *, until_done: bool = False) -> None:
        """Run until told to stop; what is heard is kept, what is kept stays for the next start.

        Args:
            stop: Set it to end.
            until_done: End when all inputs have ended and everything is confirmed.

        Raises:
            AgentError: an input can never work as configured.
        """
        self._stop = stop
        with ExitStack() as on_failure:
            on_failure.callback(self.outbox.close)
            await self.link.open()
            on_failure.pop_all()
        tasks = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in (
                ("sender", self._for_ever("sender", self.sender.run)),
                ("heartbeat", self._for_ever("heartbeat", self.heartbeat.run)),
                ("config", self._for_ever("config", self.configuring.run)),
                ("updates", self._for_ever("updates", self.updating.run)),
                ("tend", self._for_ever("tend", self._tend)),
                ("force", self._for_ever("force", self._force)),
            )
        ]
        hearing = [asyncio.create_task(self._hear(one), name=one.name) for one in self.inputs]
        stopping = asyncio.create_task(stop.wait())
        if until_done:
            tasks.append(asyncio.create_task(self._stop_when_done(hearing, stop)))
        try:
            await self._watch(stopping, hearing)
        finally:
            stopping.cancel()
            await _ended([*tasks, *hearing])
            self.hearing.flush()
            await self.link.close()
            self.outbox.close()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop, or wants to be started again."""
        return self._stop.is_set()

    def restart(self) -> None:
        """End, so that the service manager starts the agent again, in its new version."""
        self._stop.set()

    async def _hear(self, one: Input) -> None:
        """Run an input to its end; one that fails by a fault of ours is run again.

        Raises:
            AgentError: it can never work as configured.
        """
        backoff = Backoff(1.0, 60.0)
        while True:
            try:
                await one.run(self.hearing)
            except AgentError:
                raise
            except Exception:
                log.exception("input.failed", extra={"input": one.name})
                await asyncio.sleep(backoff.next_s())
            else:
                return

    @staticmethod
    async def _watch(stopping: asyncio.Task[Any], hearing: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the stop; an input that can never work ends the agent, another end does not."""
        waiting: set[asyncio.Task[Any]] = {stopping, *hearing}
        while not stopping.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()

    async def _stop_when_done(
        self, hearing: Sequence[asyncio.Task[None]], stop: asyncio.Event
    ) -> None:
        await asyncio.wait(hearing)
        self.hearing.flush()
        while self.outbox.figures()["queue_items"]:  # noqa: ASYNC110 - counted, no event
            await asyncio.sleep(0.1)
        stop.set()

    @staticmethod
    async def _for_ever(name: str, work: Any) -> None:
        """Run a part again when it fails: one part's fault must not end the others."""
        backoff = Backoff(1.0, 60.0)
        while True:
            try:
                await work()
            except Exception:
                log.exception("agent.part_failed", extra={"part": name})
            await asyncio.sleep(backoff.next_s())

    async def _tend(self) -> None:
        while True:
            self.hearing.online = self.link.connected
            self.hearing.tend()
            self.outbox.tend(self.server_time)
            await asyncio.sleep(1)

    async def _force(self) -> None:
        while True:
            await asyncio.sleep(self.config.outbox.force_every_s)
            await asyncio.to_thread(self.outbox.force)


def link_of(config: Config, credentials: Credentials, on_config: Any = None) -> Link:
    """Return the way to the server.

    Raises:
        ConfigError: there are no credentials for it.
    """
    server = config.server
    ca_file = config.beside(server.ca_file) if server.ca_file else None
    if server.way == "mqtt":
        broker = Broker(
            server.mqtt or "", credentials.mqtt_user, credentials.mqtt_password, ca_file
        )
        return MqttLink(
            broker,
            site_id=config.gateway.site,
            gateway_id=config.gateway.id,
            confirm_within_s=config.batch.confirm_within_s,
            on_config=on_config,
        )
    if not credentials.key:
        raise ConfigError(
            f"there is no key in {config.credentials_path}; run `tagtrail-agent enrol` with a code"
        )
    return HttpLink(
        server.url or "",
        key=credentials.key,
        gateway_id=config.gateway.id,
        ca_file=ca_file,
        timeout_s=config.batch.confirm_within_s,
    )


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: one that catches a cancellation gets another."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=1)


def _pace(config: Config) -> Pace:
    batch = config.batch
    return Pace(
        most_items=batch.max_items,
        wait_s=batch.wait_s,
        tolerance_s=batch.clock_tolerance_s,
        retry_s=batch.retry_s,
        most_retry_s=batch.max_retry_s,
    )


class _Alarms:
    """Writes alarms down, and keeps them for the next heartbeat."""

    def __init__(self, waiting: list[Alarm], notes: LogAndFile) -> None:
        self._waiting, self._notes = waiting, notes

    def alarm(self, alarm: Alarm) -> None:
        """Take one."""
        self._notes.alarm(alarm)
        self._waiting.append(alarm)
        del self._waiting[:-100]
