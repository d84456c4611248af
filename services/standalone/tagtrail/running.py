"""One running process: the database brought up to date, a tenant to begin with, and a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import uvicorn

from tagtrail.collecting import collect_rarely
from tagtrail.composition import MIGRATIONS, app_for
from tagtrail.embedded import Embedded
from tagtrail.homes import home_of
from tagtrail_kernel.access import Tenant, mint, new_code
from tagtrail_kernel.access_stores import PostgresAccess
from tagtrail_kernel.adapters.postgres_log import LogPool, PostgresLog
from tagtrail_kernel.clock import SystemClock, uuid8
from tagtrail_kernel.database import Database
from tagtrail_kernel.envelope import Envelope, seal_all
from tagtrail_kernel.errors import ConflictError
from tagtrail_kernel.events.registrations import RetentionSet
from tagtrail_kernel.migrations import upgrade_all
from tagtrail_kernel.settings import KernelSettings

log = logging.getLogger(__name__)

DEFAULT_TENANT: Final = ("default", "Default")

DEFAULT_RETENTION: Final = {
    "radio": (90, "Locating goods: raw sightings are needed to correct and explain positions."),
    "business": (3650, "Stock records and proofs: kept as long as trade records must be kept."),
}
"""Written as events when a tenant is made; changed with POST /v1/retention."""

CODE_LIFETIME: Final = timedelta(minutes=30)
"""A sign-in link works once, and only for so long."""


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """Servers that answer.

    Attributes:
        settings: Settings with their addresses.
        gateway_mqtt_url: Where gateways of this machine publish, with user and password; empty
            unless the broker is an embedded one.
    """

    settings: KernelSettings
    gateway_mqtt_url: str = ""


@contextlib.asynccontextmanager
async def servers_of(settings: KernelSettings) -> AsyncIterator[Infrastructure]:
    """Lend the outside servers, or run embedded ones until the block ends."""
    if settings.database_url:
        yield Infrastructure(settings)
        return
    async with Embedded(home_of(settings)) as servers:
        addresses = {
            "database_url": servers.database_url,
            "nats_url": settings.nats_url or servers.nats_url,
            "mqtt_url": settings.mqtt_url or servers.mqtt_url,
        }
        yield Infrastructure(
            settings.model_copy(update=addresses),
            "" if settings.mqtt_url else servers.gateway_mqtt_url,
        )


@contextlib.asynccontextmanager
async def infrastructure(settings: KernelSettings) -> AsyncIterator[KernelSettings]:
    """Lend settings whose addresses work: the outside servers', or those of embedded ones."""
    async with servers_of(settings) as servers:
        yield servers.settings


async def prepare_database(settings: KernelSettings) -> None:
    """Bring all schemas up to date."""
    await upgrade_all(settings.database_url, MIGRATIONS)


@contextlib.asynccontextmanager
async def access_of(settings: KernelSettings) -> AsyncIterator[PostgresAccess]:
    """Lend the store of tenants and keys."""
    database = Database(settings.database_url, schema="access", max_size=2)
    await database.open()
    try:
        yield PostgresAccess(database)
    finally:
        await database.close()


async def ensure_tenant(settings: KernelSettings, slug: str, name: str) -> Tenant:
    """Make a tenant with its retention rules, unless it is there; the rules are events of its log."""
    async with access_of(settings) as access:
        known = {t.slug: t for t in await access.tenants()}
        tenant = known.get(slug) or await access.add_tenant(slug, name)
    pool = LogPool(settings.database_url, max_size=1)
    await pool.open()
    try:
        event_log = PostgresLog(pool)
        if (await event_log.head(tenant.log_id)).position == 0:
            now = SystemClock().now()
            facts = [
                Envelope(
                    id=uuid8(now, f"{tenant.log_id}/retention/{event_class}".encode()),
                    subject=event_class,
                    source="setup",
                    occurred_at=now,
                    data=RetentionSet(event_class=event_class, keep_days=days, basis=basis),  # type: ignore[arg-type]
                )
                for event_class, (days, basis) in DEFAULT_RETENTION.items()
            ]
            await event_log.append(tenant.log_id, seal_all(facts), writer="setup")
    finally:
        await pool.close()
    return tenant


async def make_key(
    settings: KernelSettings,
    *,
    log_id: int | None,
    name: str,
    role: str,
    gateway_id: str | None = None,
    lifetime: timedelta | None = None,
) -> str:
    """Make a key and return its text, which is not stored."""
    text, key = mint(
        log_id,
        name=name,
        role=role,
        at=SystemClock().now(),
        gateway_id=gateway_id,
        lifetime=lifetime,
    )
    async with access_of(settings) as access:
        await access.add_key(key)
    return text


async def adopt_key(
    settings: KernelSettings, text: str, *, log_id: int | None, name: str, role: str
) -> bool:
    """Store a key whose text was made elsewhere; returns whether it was not stored before.

    Raises:
        RejectedError: the text is not that of a key.
        ConflictError: the key's public part belongs to another key, or it was revoked.
    """
    text, key = mint(log_id, name=name, role=role, at=SystemClock().now(), text=text)
    async with access_of(settings) as access:
        stored = await access.key(key.key_id)
        if stored is None:
            await access.add_key(key)
            return True
    if stored.revoked_at is not None:
        raise ConflictError(f"key {key.key_id} was revoked; make another one", key_id=key.key_id)
    if (stored.secret_hash, stored.log_id, stored.role) != (key.secret_hash, log_id, role):
        raise ConflictError(
            f"key {key.key_id} is stored with another secret, tenant or role; make another one",
            key_id=key.key_id,
        )
    return False


async def sign_in_code(settings: KernelSettings, log_id: int, role: str = "admin") -> str:
    """Make a code for one sign-in to the console."""
    code, digest = new_code()
    async with access_of(settings) as access:
        await access.add_code(digest, log_id, role, SystemClock().now() + CODE_LIFETIME)
    return code


async def administrator_key(settings: KernelSettings, tenant: Tenant) -> tuple[Path, str]:
    """Return the administrator's key kept in the home (mode 600), made if missing."""
    path = home_of(settings) / "admin.key"
    if path.exists():
        return path, path.read_text(encoding="ascii").strip()
    text = await make_key(
        settings, log_id=tenant.log_id, name="administrator of this machine", role="admin"
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
    return path, text


@dataclass(slots=True)
class Running:
    """A server that answers.

    Attributes:
        settings: Its settings, with the addresses it uses.
        url: Where it answers.
        tenant: The first tenant.
    """

    settings: KernelSettings
    url: str
    tenant: Tenant


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket now, so that a taken port is told before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named as TCP: asyncio's own loop turns Nagle's delay off only then
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone: the caller decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


@contextlib.asynccontextmanager
async def serving(
    servers: Infrastructure, names: Sequence[str], bound: socket.socket
) -> AsyncIterator[Running]:
    """Run the named services until the block ends.

    Args:
        servers: What they run on.
        names: Of the services; all if none.
        bound: Where they listen.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    settings = servers.settings
    if settings.migrate:
        await prepare_database(settings)
    tenant = await ensure_tenant(settings, *DEFAULT_TENANT)
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{port}"  # noqa: S104 - compared, not bound
    app = app_for(settings, names, gateway_mqtt_url=servers.gateway_mqtt_url)
    collect_rarely()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server ended before it had started")
            await asyncio.sleep(0.02)
        yield Running(settings, url, tenant)
    finally:
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(task, 15)


async def until_interrupted() -> None:
    """Return when the process is asked to end (Ctrl-C or TERM)."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    try:
        await asked.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def note_process(settings: KernelSettings, url: str) -> Path | None:
    """Write who serves this home, for `tagtrail doctor`; returns the file."""
    home = home_of(settings)
    if not home.is_dir():
        return None
    path = home / "serving.json"
    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="utf-8")
        return path
    return None
