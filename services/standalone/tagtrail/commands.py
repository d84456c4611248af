"""The commands of `tagtrail` that need the services; see `cli` for the others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
import uvloop

from tagtrail import demonstration, diagnosis, rebuilding, running
from tagtrail_kernel import logs
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.events.registry import REGISTRY
from tagtrail_kernel.settings import KernelSettings, load

app = typer.Typer(add_completion=False)
keys = typer.Typer(
    help="Make, list and revoke API keys; make links to sign in.", no_args_is_help=True
)
bench = typer.Typer(help="Measure this machine against the limits in bench/.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(bench, name="bench")

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
OfServices = Annotated[
    bool, typer.Option("--service", help="Keys of the services towards each other.")
]
TenantSlug = Annotated[str, typer.Option("--tenant", help="Slug of the tenant.")]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    return uvloop.run(work)


def reached() -> AbstractAsyncContextManager[KernelSettings]:
    """Lend settings whose addresses work: of outside servers, else of the ones that serve this home.

    When nothing serves the home, its own servers run meanwhile.
    """
    return running.infrastructure(diagnosis.settings_of_home(load(KernelSettings)))


def show(value: object, as_json: bool, lines: list[str]) -> None:
    """Print a result: as JSON for programs, else as lines for people."""
    if as_json:
        typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())
    else:
        for line in lines:
            typer.echo(line)


@app.command()
def serve(
    services: Annotated[
        list[str] | None,
        typer.Argument(help="ingest, locate, inventory, alerts, console; all if none."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 = any.")] = None,
) -> None:
    """Run all services, or the named ones, until Ctrl-C.

    Without TAGTRAIL_DATABASE_URL an own PostgreSQL and NATS run beside them.
    """
    settings = load(KernelSettings)
    names = list(services or [])
    logs.configure("+".join(names) or "tagtrail", settings.log_level)
    run(demonstration.serve(settings, names, host=host, port=port))


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port; another one is taken if it is in use.")] = 8080,
    world: Annotated[
        str, typer.Option(help="Simulated warehouse, see `tagtrail simulate`.")
    ] = "small",
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 1.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data of the last demo.")] = False,
    logging: Annotated[bool, typer.Option("--logs", help="Show the services' logs.")] = False,
) -> None:
    """Run everything with a simulated warehouse; prints the console's address."""
    logs.configure("demo", "INFO" if logging else "ERROR")
    run(demonstration.demo(load(KernelSettings), port=port, world=world, speed=speed, keep=keep))


@app.command()
def migrate() -> None:
    """Bring the database's schemas up to date (TAGTRAIL_DATABASE_URL)."""

    async def work() -> None:
        async with reached() as settings:
            await running.prepare_database(settings)
            await running.ensure_tenant(settings, *running.DEFAULT_TENANT)

    run(work())
    typer.echo("the database is up to date")


@app.command()
def rebuild(
    names: Annotated[
        list[str] | None, typer.Argument(help="Projections, e.g. inventory.stock; all if none.")
    ] = None,
    swap: Annotated[bool, typer.Option("--swap", help="Put the rebuilt tables in place.")] = False,
    tenant: TenantSlug = "default",
    as_json: AsJson = False,
) -> None:
    """Rebuild projections from the log beside the live ones and compare their hashes.

    Exit code 1 if a hash differs and --swap was not given.
    """

    async def work() -> list[dict[str, object]]:
        async with reached() as settings:
            return await rebuilding.rebuild_all(settings, tenant, list(names or []), swap=swap)

    results = run(work())
    show(results, as_json, [rebuilding.line_of(r) for r in results])
    if not swap and not all(r["equal"] for r in results):
        sys.exit(1)


@app.command()
def replay(
    to: Annotated[
        int | None, typer.Option(help="Last position; the end of the log if none.")
    ] = None,
    hash_only: Annotated[
        bool, typer.Option("--hash", help="Print only the hash of the state.")
    ] = False,
    tenant: TenantSlug = "default",
    as_json: AsJson = False,
) -> None:
    """Replay the log into fresh projections and print the hash of each: the same log, the same hash."""

    async def work() -> list[dict[str, object]]:
        async with reached() as settings:
            return await rebuilding.replay_all(settings, tenant, to)

    results = run(work())
    if hash_only and not as_json:
        typer.echo(rebuilding.one_hash(results))
        return
    show(
        {"hash": rebuilding.one_hash(results), "projections": results},
        as_json,
        [f"{r['projection']}  {r['hash']}  at {r['position']}" for r in results]
        + [f"all  {rebuilding.one_hash(results)}"],
    )


@app.command()
def doctor(
    as_json: AsJson = False,
    url: Annotated[
        str | None, typer.Option(help="A server to look at; else the one of this home.")
    ] = None,
) -> None:
    """Look at this installation: servers, schemas, memory, disk; says what to do about faults."""
    report = run(diagnosis.examine(load(KernelSettings), url))
    show(report, as_json, diagnosis.lines_of(report))
    if report["faults"]:
        sys.exit(1)


@app.command(name="events")
def list_events(as_json: AsJson = False) -> None:
    """List all event types with their fields' documentation."""
    known = [
        {
            "type": name,
            "version": cls.VERSION,
            "family": (cls.FAMILY.name or "").lower(),
            "doc": cls.__doc__,
        }
        for name, cls in sorted(REGISTRY.items())
    ]
    show(known, as_json, [f"{k['type']:28} {str(k['doc']).splitlines()[0]}" for k in known])


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What people call it.")],
    role: Annotated[
        str, typer.Option(help="admin, operator, auditor, integrator, gateway.")
    ] = "operator",
    gateway: Annotated[str | None, typer.Option(help="Bind it to one gateway.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it ends.")] = None,
    service: Annotated[
        bool, typer.Option("--service", help="Key of the services towards each other.")
    ] = False,
    tenant: TenantSlug = "default",
) -> None:
    """Make a key. Its text is printed once and not stored."""

    async def work() -> str:
        async with reached() as settings:
            await running.prepare_database(settings)
            log_id = None if service else (await tenant_of(settings, tenant))
            return await running.make_key(
                settings,
                log_id=log_id,
                name=name,
                role="service" if service else role,
                gateway_id=gateway,
                lifetime=timedelta(days=days) if days else None,
            )

    typer.echo(run(work()))


@keys.command("adopt")
def adopt_key(
    name: Annotated[str, typer.Option(help="What people call it.")],
    from_file: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="File that holds the key's text.")
    ],
    role: Annotated[
        str, typer.Option(help="admin, operator, auditor, integrator, gateway.")
    ] = "operator",
    service: Annotated[
        bool, typer.Option("--service", help="Key of the services towards each other.")
    ] = False,
    tenant: TenantSlug = "default",
) -> None:
    """Store a key that was made elsewhere, for example by infra/make-secrets.sh.

    Processes that start together can thus share a key before there is a database. Run again, it
    changes nothing.
    """

    async def work() -> bool:
        async with running.infrastructure(load(KernelSettings)) as settings:
            await running.prepare_database(settings)
            return await running.adopt_key(
                settings,
                from_file.read_text(encoding="utf-8").strip(),
                log_id=None if service else (await tenant_of(settings, tenant)),
                name=name,
                role="service" if service else role,
            )

    typer.echo("the key is stored" if run(work()) else "the key is stored already")


async def tenant_of(settings: KernelSettings, slug: str) -> int:
    """Return a tenant's log id; the default tenant is made if missing.

    Raises:
        NotFoundError: there is no such tenant.
    """
    if slug == running.DEFAULT_TENANT[0]:
        return (await running.ensure_tenant(settings, *running.DEFAULT_TENANT)).log_id
    async with running.access_of(settings) as access:
        for tenant in await access.tenants():
            if tenant.slug == slug:
                return tenant.log_id
    raise NotFoundError(f"no tenant {slug!r}; make it with `tagtrail keys add-tenant`")


@keys.command("add-tenant")
def add_tenant(
    slug: Annotated[str, typer.Argument(help="Short name.")],
    name: Annotated[str, typer.Option(help="What people call it.")],
) -> None:
    """Make a tenant with its own log and default retention rules."""

    async def work() -> int:
        async with reached() as settings:
            await running.prepare_database(settings)
            return (await running.ensure_tenant(settings, slug, name)).log_id

    typer.echo(f"tenant {slug} has log {run(work())}")


@keys.command("list")
def list_keys(
    tenant: TenantSlug = "default", service: OfServices = False, as_json: AsJson = False
) -> None:
    """List a tenant's keys (never their secrets)."""

    async def work() -> list[dict[str, object]]:
        async with reached() as settings:
            log_id = None if service else await tenant_of(settings, tenant)
            async with running.access_of(settings) as access:
                return [
                    {
                        "key_id": k.key_id, "name": k.name, "role": k.role, "gateway_id": k.gateway_id,
                        "created_at": k.created_at, "expires_at": k.expires_at, "revoked_at": k.revoked_at,
                    }
                    for k in await access.keys(log_id)
                ]  # fmt: skip

    found = run(work())
    show(found, as_json, [f"{k['key_id']}  {k['role']:10} {k['name']}" for k in found])


@keys.command("revoke")
def revoke_key(key_id: str, tenant: TenantSlug = "default", service: OfServices = False) -> None:
    """Revoke a key; running processes refuse it within seconds."""

    async def work() -> None:
        async with reached() as settings:
            log_id = None if service else await tenant_of(settings, tenant)
            async with running.access_of(settings) as access:
                await access.revoke_key(log_id, key_id, SystemClock().now())

    run(work())
    typer.echo(f"{key_id} is revoked")


@keys.command("sign-in-link")
def sign_in_link(
    url: Annotated[str, typer.Option(help="Address of the console.")] = "http://127.0.0.1:8080",
    role: Annotated[str, typer.Option(help="Role of the session.")] = "admin",
    tenant: TenantSlug = "default",
) -> None:
    """Print a link that signs in to the console once, within 30 minutes."""

    async def work() -> str:
        async with reached() as settings:
            return await running.sign_in_code(settings, await tenant_of(settings, tenant), role)

    typer.echo(f"{url.rstrip('/')}/console/enter?code={run(work())}")


def _show_figures(report: dict[str, Any], as_json: bool) -> None:
    show(report, as_json, [f"{name}: {figure}" for name, figure in report.items()])


@bench.command("ingest")
def bench_ingest(
    as_json: AsJson = False,
    seconds: Annotated[float, typer.Option(help="Length of each measured part, seconds.")] = 20.0,
) -> None:
    """Append and HTTP ingest against a plain COPY of the same rows, in one run."""
    from tagtrail.benchmarks import ingest  # noqa: PLC0415 - only this command needs it

    _show_figures(asyncio.run(ingest.measure(seconds_each=seconds)), as_json)


@bench.command("latency")
def bench_latency(
    as_json: AsJson = False,
    seconds: Annotated[float, typer.Option(help="Length of the run, seconds.")] = 60.0,
) -> None:
    """From a sighting's publication to the zone change on the event stream."""
    from tagtrail.benchmarks import latency  # noqa: PLC0415 - only this command needs it

    _show_figures(asyncio.run(latency.measure(seconds=seconds)), as_json)


@bench.command("locate")
def bench_locate(
    as_json: AsJson = False,
    seconds: Annotated[int, typer.Option(min=1, help="Length of the measured stream.")] = 10,
) -> None:
    """Locate's core on one core: sightings folded and fixes solved per second."""
    from tagtrail.benchmarks import locate  # noqa: PLC0415 - only this command needs it

    _show_figures(locate.measure(seconds=seconds), as_json)


@bench.command("zones")
def bench_zones(
    as_json: AsJson = False,
    survey: Annotated[
        str, typer.Option(help="What is known of the radio: plan, walk (5 min) or map.")
    ] = "map",
    seconds: Annotated[float, typer.Option(help="How much of the hour is played.")] = 3600.0,
    tags: Annotated[int, typer.Option(min=1, help="Tags in the hall.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the simulated hall.")] = 1,
    halls: Annotated[
        int, typer.Option(min=1, help="Halls to measure, with seeds from that one on.")
    ] = 1,
) -> None:
    """Zone accuracy and false changes in fixture F1, against the simulator's truth."""
    from tagtrail.benchmarks import zones  # noqa: PLC0415 - only this command needs it

    if halls == 1:
        found = zones.measure(survey=survey, seconds=seconds, tags=tags, seed=seed)
    else:
        seeds = range(seed, seed + halls)
        found = zones.measure_halls(survey=survey, seconds=seconds, tags=tags, seeds=seeds)
    _show_figures(found, as_json)


@app.command()
def version() -> None:
    """Print the version."""
    from tagtrail_kernel.wiring import VERSION  # noqa: PLC0415 - keeps `--help` quick

    typer.echo(f"tagtrail {VERSION}")
