"""Chooses adapters for the ports. The only place that reads the environment."""

from __future__ import annotations

import httpx2
from prometheus_client import CollectorRegistry

from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.adapters.log_keeper import LogKeeper
from tagtrail_kernel.adapters.nats_tail import NatsFanout, NatsTail
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.clock import SystemClock, TimeOrderedIds
from tagtrail_kernel.database import Database
from tagtrail_kernel.idempotency import Idempotency
from tagtrail_kernel.log import EventSink
from tagtrail_kernel.settings import KernelSettings, SettingsError, load
from tagtrail_kernel.sinks import DirectSink, HttpSink
from tagtrail_kernel.wiring import Deps, Resource


class _HttpClient:
    """Closes the client with the process."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def open(self) -> None:
        """Nothing to do: connections are made on demand."""

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class Databases:
    """The pools of a process, one per schema, made on demand before the start."""

    def __init__(self, settings: KernelSettings, resources: list[Resource]) -> None:
        self._settings = settings
        self._resources = resources
        self._by_schema: dict[str, Database] = {}

    def __call__(self, schema: str) -> Database:
        """Return the pool of a schema; each acts as its own role."""
        if schema not in self._by_schema:
            database = Database(
                self._settings.database_url,
                schema=schema,
                role=f"tagtrail_{schema}",
                max_size=self._settings.database_connections,
            )
            self._by_schema[schema] = database
            self._resources.append(database)
        return self._by_schema[schema]


def deps_of(settings: KernelSettings) -> Deps:
    """Return the ports for given settings.

    Raises:
        SettingsError: the database's address is missing.
    """
    if not settings.database_url:
        raise SettingsError(
            "TAGTRAIL_DATABASE_URL is not set; `tagtrail serve` starts an own server"
        )
    resources: list[Resource] = []
    databases = Databases(settings, resources)
    clock = SystemClock()
    http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=50), follow_redirects=False)
    resources.append(_HttpClient(http))
    sink: EventSink
    if settings.ingest_url:
        sink = HttpSink(http, settings.ingest_url, settings.service_key)
    else:
        sink = DirectSink()
    fanout = NatsFanout(settings.nats_url)
    tail = NatsTail(settings.nats_url)
    reader = LogPool(settings.database_url, role="tagtrail_log_reader")
    writer = LogPool(settings.database_url, role="tagtrail_log_writer")
    resources += [fanout, tail, reader, writer, LogKeeper(writer)]
    access = databases("access")
    return Deps(
        settings=settings,
        log=PostgresLog(reader, writer, on_batch=fanout.offer, on_erase=fanout.forget),
        tail=tail,
        sink=sink,
        clock=clock,
        ids=TimeOrderedIds(clock),
        access=PostgresAccess(access),
        idempotency=Idempotency(access),
        http=http,
        database_of=databases,
        resources=resources,
        registry=CollectorRegistry(),
    )


def deps_from_env() -> Deps:
    """Return the ports as the environment says."""
    return deps_of(load(KernelSettings))
