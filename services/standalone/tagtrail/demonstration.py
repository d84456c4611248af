"""`tagtrail serve` and `tagtrail demo`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import typer

from tagtrail import homes, running
from tagtrail.composition import PORTS, check_names
from tagtrail_kernel.errors import TagtrailError
from tagtrail_kernel.settings import KernelSettings


class PortTakenError(TagtrailError):
    """Something else listens there."""


async def serve(
    settings: KernelSettings, names: Sequence[str], *, host: str | None, port: int | None
) -> None:
    """Run services until the process is asked to end.

    Raises:
        PortTakenError: the port is in use.
        SettingsError: a setting is missing or wrong.
    """
    chosen = check_names(names)
    alone = PORTS.get(chosen[0]) if len(chosen) == 1 else None
    wanted = port if port is not None else (alone or settings.port)
    try:
        bound = running.listen(host or settings.host, wanted)
    except OSError as error:
        raise PortTakenError(
            f"port {wanted} cannot be used ({error}); give another one with --port"
        ) from error
    async with (
        running.servers_of(settings) as servers,
        running.serving(servers, chosen, bound) as server,
    ):
        ready, ended = servers.settings, asyncio.create_task(running.until_interrupted())
        await asyncio.sleep(0)  # it listens before anybody can have read the address
        note = running.note_process(ready, server.url) if not settings.database_url else None
        if note is not None:
            path, _ = await running.administrator_key(ready, server.tenant)
            typer.echo(f"Tagtrail answers at {server.url}  (administrator's key: {path})")
            broker = urlsplit(ready.mqtt_url)
            typer.echo(
                f"Gateways publish by MQTT 3.1.1 to {broker.hostname}:{broker.port} as the user "
                f"gateway; its password is in {path.with_name('secrets.json')}"
            )
            if "console" in chosen:
                code = await running.sign_in_code(ready, server.tenant.log_id)
                typer.echo(f"Sign in once: {server.url}/console/enter?code={code}")
        else:
            typer.echo(f"Tagtrail ({', '.join(chosen)}) answers at {server.url}")
        sys.stdout.flush()
        try:
            await ended
        finally:
            ended.cancel()
            if note is not None:
                note.unlink(missing_ok=True)


async def demo(
    settings: KernelSettings, *, port: int, world: str, speed: float, keep: bool
) -> None:
    """Run everything, play a simulated warehouse, print where to look.

    Raises:
        PortTakenError: no port is free.
    """
    bound = _listen_near(settings.host, port)
    home = homes.home_of(settings) / "demo"
    if not keep and not settings.database_url:
        _wipe(home)
    settings = settings.model_copy(update={"home": str(home)})
    typer.echo("Starting PostgreSQL, NATS and the services …")
    async with (
        running.servers_of(settings) as servers,
        running.serving(servers, [], bound) as server,
    ):
        ready, ended = servers.settings, asyncio.create_task(running.until_interrupted())
        note = running.note_process(ready, server.url)
        home.mkdir(parents=True, exist_ok=True)
        path, key = await running.administrator_key(ready, server.tenant)
        code = await running.sign_in_code(ready, server.tenant.log_id)
        _say(server.url, code, path)
        async with _simulation(ready, server.url, key, world, speed):
            watcher = asyncio.create_task(_tell_first_change(server.url, key))
            try:
                await ended
            finally:
                watcher.cancel()
                ended.cancel()
        typer.echo("Stopping …")
        if note is not None:
            note.unlink(missing_ok=True)


def _wipe(home: Path) -> None:
    """Remove the data of the last demo; a demo that still runs on it keeps its lock."""
    if not (home / "secrets.json").exists():
        return
    lock = home / "lock"
    with contextlib.suppress(OSError), lock.open("rb") as file:
        import fcntl  # noqa: PLC0415 - only here

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(home)


def _listen_near(host: str, port: int) -> socket.socket:
    for candidate in (port, *range(port + 1, port + 20), 0):
        with contextlib.suppress(OSError):
            return running.listen(host, candidate)
    raise PortTakenError(f"no port near {port} is free; give one with --port")


def _say(url: str, code: str, key_path: Path) -> None:
    typer.echo(f"""
  Console   {url}/console/enter?code={code}
            (works once; another one: tagtrail keys sign-in-link --url {url})

  Try the API while the warehouse moves:
    KEY=$(cat {key_path})
    curl -s -H "Authorization: Bearer $KEY" "{url}/v1/places?limit=3"
    curl -s -H "Authorization: Bearer $KEY" {url}/v1/stock
    curl -s -H "Authorization: Bearer $KEY" "{url}/v1/events?types=tag.zone_changed&limit=3"
    curl -N -H "Authorization: Bearer $KEY" "{url}/v1/events/stream?types=tag.zone_changed"

  Stop with Ctrl-C.
""")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def _simulation(
    settings: KernelSettings, url: str, key: str, world: str, speed: float
) -> AsyncIterator[None]:
    """Play a warehouse from a process of its own while the block lasts."""
    environment = {
        **os.environ,
        "TAGTRAIL_API_KEY": key,
        "TAGTRAIL_API_URL": url,
        "TAGTRAIL_MQTT_URL": settings.mqtt_url,
    }
    arguments = ["simulate", "--world", world, "--speed", str(speed), "--duration", "8h", "--json"]
    log_path = Path(settings.home) / "simulator.log" if settings.home else Path(os.devnull)
    with log_path.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tagtrail", *arguments,
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 5)
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _tell_first_change(url: str, key: str) -> None:
    """Print the first confirmed zone change."""
    started = asyncio.get_running_loop().time()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=5) as client:
        while True:
            with contextlib.suppress(httpx2.HTTPError, KeyError, ValueError):
                reply = await client.get(
                    f"{url}/v1/events", params={"types": "tag.zone_changed", "limit": 1}
                )
                items = reply.json()["items"]
                if items:
                    seconds = asyncio.get_running_loop().time() - started
                    typer.echo(
                        f"  First confirmed zone change after {seconds:.0f} s: tag "
                        f"{items[0]['data']['tag_id']} is in {items[0]['data']['zone_id']}."
                    )
                    sys.stdout.flush()
                    return
            await asyncio.sleep(1)
