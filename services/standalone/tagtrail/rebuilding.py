"""`tagtrail rebuild` and `tagtrail replay`: every projection, folded anew from the log."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from tagtrail.composition import BUILDERS
from tagtrail.renewing import renewal_of
from tagtrail.running import access_of
from tagtrail_kernel.bootstrap import deps_of
from tagtrail_kernel.consumers import Projection
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.rebuild import rebuild, replay
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.wiring import Deps

Made = tuple[str, Callable[[], Projection]]

RENEWS = ("locate", "places")
"""Service and projection whose conclusions are withdrawn with sightings."""


@contextlib.asynccontextmanager
async def _opened(settings: KernelSettings) -> AsyncIterator[tuple[Deps, list[Made]]]:
    """Lend ports without running anything, and the projections that keep tables."""
    quiet = settings.model_copy(update={"nats_url": "", "mqtt_url": ""})
    deps = deps_of(quiet)
    services = [build(deps) for build in BUILDERS.values()]
    made = [(s.name, make) for s in services for make in s.projections if make().tables]
    async with contextlib.AsyncExitStack() as stack:
        for resource in deps.resources:
            await resource.open()
            stack.push_async_callback(resource.close)
        yield deps, made


async def _log_of(settings: KernelSettings, slug: str) -> int:
    async with access_of(settings) as access:
        for tenant in await access.tenants():
            if tenant.slug == slug:
                return tenant.log_id
    raise NotFoundError(f"no tenant {slug!r} in this database")


async def rebuild_all(
    settings: KernelSettings, tenant: str, names: list[str], *, swap: bool
) -> list[dict[str, Any]]:
    """Rebuild projections and compare them with the live ones.

    Args:
        settings: Addresses.
        tenant: Slug.
        names: `service.projection` or `service`; all if empty.
        swap: Put the rebuilt tables in place. Places of tags whose sightings were erased are then
            recorded anew, as far as they still hold.

    Raises:
        NotFoundError: no such tenant or projection.
    """
    log_id = await _log_of(settings, tenant)
    async with _opened(settings) as (deps, made):
        chosen = [
            (service, make)
            for service, make in made
            if not names or service in names or f"{service}.{make().name}" in names
        ]
        if not chosen:
            known = ", ".join(f"{s}.{make().name}" for s, make in made)
            raise NotFoundError(f"no projection is called so; there are {known}")
        results = []
        renewal = await renewal_of(deps, log_id) if swap else None
        for service, make in chosen:
            renews = renewal is not None and (service, make().name) == RENEWS
            result = await rebuild(
                deps.database_of(service),
                deps.log,
                make,
                log_id,
                service=service,
                swap=swap,
                publish=renewal.publish if renewal is not None and renews else None,
            )
            if renewal is not None and renews:
                await renewal.finish()
            results.append({**asdict(result), "equal": result.equal})
        return results


async def replay_all(settings: KernelSettings, tenant: str, to: int | None) -> list[dict[str, Any]]:
    """Replay the log into fresh tables and hash them; nothing live is touched.

    Args:
        settings: Addresses.
        tenant: Slug.
        to: Last position; the end of the log if None.
    """
    log_id = await _log_of(settings, tenant)
    async with _opened(settings) as (deps, made):
        return [
            asdict(
                await replay(
                    deps.database_of(service), deps.log, make, log_id, service=service, to=to
                )
            )
            for service, make in made
        ]


def one_hash(results: list[dict[str, Any]]) -> str:
    """Return one hash over the hashes of all projections."""
    text = "\n".join(f"{r['projection']} {r['hash']}" for r in results)
    return hashlib.sha256(text.encode()).hexdigest()


def line_of(result: dict[str, Any]) -> str:
    """Return one rebuilt projection for people."""
    verdict = "equal" if result["equal"] else "DIFFERENT"
    swapped = ", rebuilt tables in place" if result["swapped"] else ""
    return (
        f"{result['projection']:24} {verdict} at {result['position']} "
        f"({result['seconds']:.1f} s{swapped})"
    )
