"""The product in processes of its own, for measurements and end-to-end checks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagtrail import running
from tagtrail_kernel.errors import TagtrailError
from tagtrail_kernel.settings import KernelSettings

_ADDRESS = re.compile(r"answers at (http://\S+)")


class NotServedError(TagtrailError):
    """A process ended before it answered; the message has its last lines."""


@dataclass(frozen=True, slots=True)
class Served:
    """A process that answers.

    Attributes:
        url: Where.
        process: The process.
    """

    url: str
    process: asyncio.subprocess.Process


def environment_of(settings: KernelSettings, **more: str) -> dict[str, str]:
    """Return an environment that names the servers of some settings."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("TAGTRAIL_")},
        "TAGTRAIL_DATABASE_URL": settings.database_url,
        "TAGTRAIL_NATS_URL": settings.nats_url,
        "TAGTRAIL_MQTT_URL": settings.mqtt_url,
        "TAGTRAIL_REQUESTS_PER_S": "100000",
        "TAGTRAIL_LOG_LEVEL": "WARNING",
        **more,
    }


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Lend a folder that the servers' account can reach, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="tagtrail-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@contextlib.asynccontextmanager
async def served(
    settings: KernelSettings, services: Sequence[str] = (), *, port: int = 0, **more: str
) -> AsyncIterator[Served]:
    """Run `tagtrail serve` with outside servers while the block lasts.

    Raises:
        NotServedError: it does not answer within 60 s.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tagtrail", "serve", *services, "--port", str(port),
        env=environment_of(settings, **more),
        stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield Served(await _address(process), process)
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 20)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        raise NotServedError("the process has no output to read")
    try:
        async with asyncio.timeout(60):
            while line := (await process.stdout.readline()).decode():
                found = _ADDRESS.search(line)
                if found:
                    return found[1]
    except TimeoutError:
        raise NotServedError("the server did not answer within 60 s") from None
    raise NotServedError("the server ended; its log is on standard error")


async def tenant_with_key(settings: KernelSettings) -> tuple[int, str]:
    """Migrate, make the default tenant and an administrator's key; gives log id and key."""
    await running.prepare_database(settings)
    tenant = await running.ensure_tenant(settings, *running.DEFAULT_TENANT)
    key = await running.make_key(settings, log_id=tenant.log_id, name="measurement", role="admin")
    return tenant.log_id, key
