"""The ingest service: the only one that writes the log."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from tagtrail_ingest.adapters import Router, TopicRule
from tagtrail_ingest.api import router_of
from tagtrail_ingest.appender import Appender
from tagtrail_ingest.deliveries import Deliveries
from tagtrail_ingest.directory import Directory
from tagtrail_ingest.enrolment import Enrolments
from tagtrail_ingest.intake import Intake
from tagtrail_ingest.mqtt import MqttSession, client_of, is_level
from tagtrail_ingest.quarantine import Quarantine
from tagtrail_ingest.relay import Relay
from tagtrail_ingest.settings import IngestSettings
from tagtrail_ingest.sources.asking import Partners, partners_of
from tagtrail_ingest.sources.erasing import Erasures
from tagtrail_ingest.sources.store import PartnerStore
from tagtrail_ingest.state import State
from tagtrail_ingest.tallies import Tallies
from tagtrail_ingest.updates.fleet import Updates
from tagtrail_ingest.updates.store import UpdateStore
from tagtrail_kernel.consumers import Projection
from tagtrail_kernel.events.registry import Family
from tagtrail_kernel.leadership import Leadership
from tagtrail_kernel.settings import SettingsError
from tagtrail_kernel.sinks import DirectSink
from tagtrail_kernel.wiring import Deps, Service, supervise

log = logging.getLogger(__name__)
NAME = "ingest"

WHEELS_KEPT: Final = timedelta(days=1)
"""A wheel stays for so long whatever becomes of its update: an order to stop may be taken back by
putting the same one out again."""


class TopicRuleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operator's topic rule, as in the setting `TAGTRAIL_INGEST_TOPIC_RULES`."""

    pattern: str
    adapter: str
    site_id: str | None = None


def topic_rules(text: str) -> list[TopicRule]:
    """Read the operator's topic rules.

    Raises:
        SettingsError: not a JSON list of rules.
    """
    try:
        rules = msgspec.json.decode(text, type=list[TopicRuleBody])
    except msgspec.DecodeError as error:
        raise SettingsError(f"TAGTRAIL_INGEST_TOPIC_RULES: {error}") from error
    return [TopicRule(r.pattern, r.adapter, r.site_id) for r in rules]


class Ingest:
    """Tasks of one ingest process."""

    def __init__(self, deps: Deps, settings: IngestSettings) -> None:
        self.deps = deps
        self.settings = settings
        database = deps.database_of(NAME)
        self.tallies = Tallies(database, deps.registry)
        self.appender = Appender(
            deps.log, writer=settings.writer, inflight=settings.inflight_appends
        )
        self.intake = Intake(deps.log, self.appender, self.tallies, deps.clock, deps.ids)
        self.quarantine = Quarantine(database)
        self.updates = UpdateStore(database)
        self.router = Router(topic_rules(settings.topic_rules))
        self._leadership = Leadership(database)
        self.partners = Partners(
            partners_of(settings.partners),
            intake=self.intake,
            store=PartnerStore(database),
            clock=deps.clock,
            access=deps.access,
            leadership=Leadership(database),
        )
        self._session: MqttSession | None = None
        self._followed: dict[int, asyncio.Task[None]] = {}

    def mqtt_connected(self) -> bool:
        """Return whether this process holds a connected session."""
        return self._session is not None and self._session.connected

    async def load_directories(self) -> None:
        """Fold every tenant's registry before the first request is answered."""
        for tenant in await self.deps.access.tenants():
            await self.intake.catch_up(self.intake.directory(tenant.log_id))

    async def follow_directories(self) -> None:
        """Keep every tenant's registry fresh, for ever."""
        try:
            while True:
                for tenant in await self.deps.access.tenants():
                    task = self._followed.get(tenant.log_id)
                    if task is None or task.done():
                        directory = self.intake.directory(tenant.log_id)
                        self._followed[tenant.log_id] = asyncio.create_task(
                            supervise(
                                "ingest.directory", functools.partial(self._follow, directory)
                            )
                        )
                await asyncio.sleep(3)
        finally:
            for task in self._followed.values():
                task.cancel()
            await asyncio.gather(*self._followed.values(), return_exceptions=True)
            self._followed.clear()

    async def _follow(self, directory: Directory) -> None:
        while True:
            page = await self.deps.tail.next(
                directory.log_id,
                after=directory.position,
                families=Family.REGISTRY,
                timeout_s=2.0,
            )
            if page is not None and page.first == directory.position + 1:
                directory.fold(page.events, page.last)
            else:
                await self.intake.catch_up(directory)

    async def prune_quarantine(self) -> None:
        """Keep unread messages no longer than sightings may be kept; looks every hour."""
        while True:
            for tenant in await self.deps.access.tenants():
                days = self.intake.directory(tenant.log_id).retention.get("radio")
                if days is not None:
                    before = self.deps.clock.now() - timedelta(days=days)
                    gone = await self.quarantine.prune(tenant.log_id, before)
                    if gone:
                        log.info(
                            "quarantine.pruned", extra={"log_id": tenant.log_id, "count": gone}
                        )
            await asyncio.sleep(3600)

    async def prune_wheels(self) -> None:
        """Keep no wheel of an update that is stopped or replaced; looks every hour."""
        while True:
            for tenant in await self.deps.access.tenants():
                directory = self.intake.directory(tenant.log_id)
                await self.intake.catch_up(directory)
                needed = directory.update.sha256 if directory.update is not None else None
                before = self.deps.clock.now() - WHEELS_KEPT
                gone = await self.updates.prune_wheels(tenant.log_id, needed, before)
                if gone:
                    log.info("wheels.pruned", extra={"log_id": tenant.log_id, "count": gone})
            await asyncio.sleep(3600)

    async def hold_mqtt_session(self) -> None:
        """Take sightings from the broker while this process is the one that may."""
        log_id = await self._mqtt_tenant()
        name = f"ingest.mqtt.{self.settings.mqtt_client_id}"
        while not await self._leadership.acquire(name, log_id):  # noqa: ASYNC110 - a lock elsewhere
            await asyncio.sleep(1)
        deliveries = Deliveries(
            log_id=log_id,
            router=self.router,
            intake=self.intake,
            quarantine=self.quarantine,
            event_log=self.deps.log,
            window_s=self.settings.redelivery_window_s,
            publish=self._publish,
        )
        self._session = MqttSession(
            self.deps.settings.mqtt_url,
            client_id=f"{self.settings.mqtt_client_id}-{log_id}",
            filters=self._filters(),
            handle=deliveries.take,
            clock=self.deps.clock,
            queue_bytes=self.settings.mqtt_queue_bytes,
            ca_file=self.settings.mqtt_ca_file,
        )
        try:
            await self._session.run(lambda: self._leadership.holds(name, log_id))
        finally:
            await self._leadership.close()

    async def announce_configurations(self) -> None:
        """Tell gateways, retained, that there is something new to fetch; looks every second."""
        log_id, announced, seen = await self._mqtt_tenant(), 0, 0
        directory = self.intake.directory(log_id)
        connection = 0
        while True:
            await asyncio.sleep(1)
            session, latest = self._session, directory.configured_at
            if session is None or not session.connected:
                continue
            if session.connections != connection:
                connection, announced = session.connections, 0
            if latest != announced and latest == seen:
                body = msgspec.json.encode({"revision": latest})
                for gateway_id, site_id in directory.site_of_gateway.items():
                    if is_level(gateway_id) and is_level(site_id):
                        topic = f"tagtrail/v1/{site_id}/{gateway_id}/config"
                        session.publish(topic, body, retain=True)
                announced = latest
            seen = latest

    def _publish(self, topic: str, payload: bytes) -> None:
        if self._session is not None:
            self._session.publish(topic, payload)

    def _filters(self) -> Sequence[str]:
        text = self.settings.mqtt_filters.replace(" ", "")
        return self.router.filters if text == "rules" else text.split(",")

    async def _mqtt_tenant(self) -> int:
        while True:
            for tenant in await self.deps.access.tenants():
                if tenant.slug == self.settings.tenant:
                    return tenant.log_id
            await asyncio.sleep(2)

    def check_mqtt(self) -> str | None:
        """Return what is wrong with the MQTT session, if this process holds it."""
        if self._session is not None and not self._session.connected:
            return "the MQTT broker is out of reach; messages wait there"
        return None


def build(deps: Deps, settings: IngestSettings) -> Service:
    """Build the service on the given ports.

    Raises:
        SettingsError: a topic rule is wrong, or the broker's address or certificates.
    """
    if deps.settings.mqtt_url:
        client_of(deps.settings.mqtt_url, "", ca_file=settings.mqtt_ca_file)  # wrong ones show here
    ingest = Ingest(deps, settings)
    state = State(
        settings=settings,
        log=deps.log,
        tail=deps.tail,
        clock=deps.clock,
        ids=deps.ids,
        idempotency=deps.idempotency,
        intake=ingest.intake,
        quarantine=ingest.quarantine,
        tallies=ingest.tallies,
        router=ingest.router,
        enrolments=Enrolments(deps.database_of(NAME)),
        updates=ingest.updates,
        partners=ingest.partners,
        access=deps.access,
        mqtt_connected=ingest.mqtt_connected,
    )
    if isinstance(deps.sink, DirectSink):
        deps.sink.connect(ingest.intake.append_facts)
    tasks = [
        ingest.tallies.write_tallies,
        ingest.follow_directories,
        ingest.prune_quarantine,
        ingest.prune_wheels,
    ]
    projections: list[Callable[[], Projection]] = [
        Updates,
        lambda: Erasures(deps.log, ingest.quarantine),
    ]
    if ingest.partners.partners:
        tasks.append(ingest.partners.ask)
    if deps.settings.mqtt_url:
        tasks += [ingest.hold_mqtt_session, ingest.announce_configurations]
        if settings.relay:
            projections.append(
                functools.partial(
                    Relay, deps.settings.mqtt_url, settings.mqtt_client_id, settings.mqtt_ca_file
                )
            )
    return Service(
        name=NAME,
        router=router_of(state),
        projections=projections,
        tasks=tasks,
        checks=[ingest.check_mqtt],
        start=[ingest.load_directories],
    )
