"""How services are put together, alone or all in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx2
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from tagtrail_kernel import middleware, problems
from tagtrail_kernel.access import AccessStore, Gatekeeper
from tagtrail_kernel.clock import Clock, Ids
from tagtrail_kernel.consumers import Consumer, Projection, State, Status
from tagtrail_kernel.database import Database
from tagtrail_kernel.errors import TagtrailError, UnavailableError
from tagtrail_kernel.idempotency import Idempotency
from tagtrail_kernel.leadership import Leadership
from tagtrail_kernel.log import EventLog, EventSink, Tail
from tagtrail_kernel.openapi import App, operation_id
from tagtrail_kernel.operations_api import consumers_router, keys_router
from tagtrail_kernel.settings import KernelSettings

log = logging.getLogger(__name__)
VERSION = "0.1.0"


class Resource(Protocol):
    """Something that is opened before the first request and closed after the last."""

    async def open(self) -> None:
        """Open it."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


@dataclass(frozen=True, slots=True)
class Deps:
    """What the outside world lends to a service.

    Attributes:
        settings: Settings that all processes share.
        log: Reader (and, for ingest, writer) of the log.
        tail: Wakes readers.
        sink: Where services other than ingest put facts.
        clock: Current time.
        ids: New identities.
        access: Tenants and keys.
        idempotency: Answers kept for `Idempotency-Key`.
        http: Client for calls to the outside and to other services.
        database_of: Returns the pool of a schema; the same one for the same schema.
        resources: What is opened at start, in order, and closed in reverse.
        registry: Metrics of this process.
    """

    settings: KernelSettings
    log: EventLog
    tail: Tail
    sink: EventSink
    clock: Clock
    ids: Ids
    access: AccessStore
    idempotency: Idempotency
    http: httpx2.AsyncClient
    database_of: Callable[[str], Database]
    resources: list[Resource]
    registry: CollectorRegistry


Task = Callable[[], Awaitable[None]]
Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Service:
    """A service as data.

    Attributes:
        name: Its schema, and the prefix of its consumers.
        router: Its routes, with whole paths.
        projections: Makes a fresh projection of each kind, for one tenant's log each.
        tasks: Coroutines that run for ever; restarted with back-off when they fail.
        checks: Return a sentence when the service is not ready, else None.
        start: Runs after the resources are open, before the first request.
    """

    name: str
    router: APIRouter
    projections: Sequence[Callable[[], Projection]] = ()
    tasks: Sequence[Task] = ()
    checks: Sequence[Check] = ()
    start: Sequence[Task] = field(default=())


class Follower:
    """Keeps one consumer per tenant and projection of a service running."""

    def __init__(self, deps: Deps, service: Service) -> None:
        self._deps = deps
        self._service = service
        self.consumers: dict[tuple[str, int], Consumer] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._leadership = Leadership(deps.database_of(service.name))

    async def run(self) -> None:
        """Look for new tenants for ever; each gets its consumers within seconds."""
        try:
            while True:
                for tenant in await self._deps.access.tenants():
                    for make in self._service.projections:
                        self._ensure(make, tenant.log_id)
                await asyncio.sleep(3)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self._leadership.close()

    def _ensure(self, make: Callable[[], Projection], log_id: int) -> None:
        projection = make()
        key = (projection.name, log_id)
        task = self._tasks.get(key)
        if task is not None and not task.done():
            return
        if task is not None and not task.cancelled():
            log.error("follower.died", extra={"follower": key[0]}, exc_info=task.exception())
        consumer = Consumer(
            projection,
            service=self._service.name,
            log_id=log_id,
            database=self._deps.database_of(self._service.name),
            event_log=self._deps.log,
            tail=self._deps.tail,
            sink=self._deps.sink,
            leadership=self._leadership,
        )
        self.consumers[key] = consumer
        self._tasks[key] = asyncio.create_task(consumer.run(), name=consumer.status.consumer)


async def supervise(name: str, task: Task) -> None:
    """Run a coroutine for ever; after a failure wait and run it again."""
    wait_s = 0.5
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await task()
        except UnavailableError as error:
            log.warning("task.waiting", extra={"task": name, "cause": error.detail})
        except TagtrailError as error:
            log.warning("task.failed", extra={"task": name, "cause": str(error)})
        except Exception:
            log.exception("task.failed", extra={"task": name})
        if asyncio.get_running_loop().time() - started > 30:
            wait_s = 0.5
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, 10)


@contextlib.asynccontextmanager
async def _running(
    deps: Deps, services: Sequence[Service], followers: Sequence[Follower]
) -> AsyncIterator[None]:
    opened: list[Resource] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        for resource in deps.resources:
            await resource.open()
            opened.append(resource)
        for service in services:
            for start in service.start:
                await start()
        tasks += [asyncio.create_task(supervise("followers", f.run)) for f in followers]
        tasks += [
            asyncio.create_task(supervise(f"{s.name}.{getattr(t, '__name__', 'task')}", t))
            for s in services
            for t in s.tasks
        ]
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for resource in reversed(opened):
            with contextlib.suppress(Exception):
                await resource.close()


def app_of(deps: Deps, *services: Service) -> FastAPI:
    """Return one ASGI app that runs the given services in one process."""
    followers = [Follower(deps, s) for s in services if s.projections]

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with _running(deps, services, followers):
            yield

    app = App(
        title="Tagtrail " + "+".join(s.name for s in services),
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=operation_id,
    )
    app.state.gatekeeper = Gatekeeper(deps.access, deps.clock)
    app.state.followers = followers
    problems.install(app)
    middleware.install(
        app,
        deps.registry,
        requests_per_s=deps.settings.requests_per_s,
        max_body_bytes=deps.settings.max_body_bytes,
    )
    for service in services:
        app.include_router(service.router)
    app.include_router(keys_router(deps.access, deps.clock))
    if followers:
        app.include_router(
            consumers_router(lambda: statuses(followers), deps.database_of, deps.sink, deps.clock)
        )
    _add_health(app, deps, services, followers)
    return app


def statuses(followers: Sequence[Follower]) -> list[Status]:
    """Return the status of every consumer of the process."""
    return [c.status for f in followers for c in f.consumers.values()]


def _add_health(
    app: FastAPI, deps: Deps, services: Sequence[Service], followers: Sequence[Follower]
) -> None:
    """Add the three endpoints without a key: they tell states and figures, never data.

    An orchestrator and a scraper must reach them before any tenant exists.
    """
    position = Gauge(
        "tagtrail_consumer_position",
        "Last position applied.",
        ["consumer", "log_id"],
        registry=deps.registry,
    )
    trouble = Gauge(
        "tagtrail_consumer_paused", "1 while a consumer is paused or refused.", ["consumer", "log_id"],
        registry=deps.registry,
    )  # fmt: skip

    @app.get("/healthz", tags=["health"], summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Whether every part works, and what does not",
        responses={503: {"description": "Something does not work; `failing` says what"}},
    )
    async def readyz(response: Response) -> dict[str, object]:
        failing: dict[str, object] = {}
        for status in statuses(followers):
            if status.state in (State.PAUSED, State.REFUSED, State.RETRYING, State.STARTING):
                failing[f"{status.consumer}/{status.log_id}"] = {
                    "state": status.state,
                    "error": status.error,
                    "position": status.position,
                    "error_position": status.error_position,
                }
        for service in services:
            for check in service.checks:
                sentence = check()
                if sentence:
                    failing[service.name] = sentence
        response.status_code = 503 if failing else 200
        return {"status": "failing" if failing else "ready", "failing": failing}

    @app.get("/metrics", tags=["health"], summary="Prometheus metrics", response_class=Response)
    async def metrics(_: Request) -> Response:
        for status in statuses(followers):
            position.labels(status.consumer, str(status.log_id)).set(status.position)
            trouble.labels(status.consumer, str(status.log_id)).set(
                status.state in (State.PAUSED, State.REFUSED)
            )
        return Response(generate_latest(deps.registry), media_type=CONTENT_TYPE_LATEST)
