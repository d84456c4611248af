"""Fixtures for every test: real PostgreSQL and NATS, one pair per test process."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.support.broker_memory import forget_retained

from tagtrail.embedded import Embedded, running

REPOSITORY = Path(__file__).resolve().parents[1]
MEMORY, DISK = Path("/dev/shm"), Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of its own
MEMORY_BYTES = 4 * 1024**3
"""Four times what the servers of one test process write until its end."""


def roomy_folder() -> Path:
    """Return where servers keep their files: in memory if there is room, else on the disk.

    A disk syncs for every commit and every database that is dropped, which took half of the time of
    tests with a database. What a killed process has written, the kernel keeps on both.
    """
    try:
        system, memory = os.statvfs(MEMORY), Path("/proc/meminfo").read_text()
    except OSError:
        return DISK
    lines = dict(line.split(":", 1) for line in memory.splitlines())
    available_bytes = 1024 * int(lines.get("MemAvailable", "0").split()[0])
    room_bytes = min(available_bytes // 2, system.f_bavail * system.f_frsize)
    fits = room_bytes >= MEMORY_BYTES and not system.f_flag & os.ST_NOEXEC
    return MEMORY if fits else DISK


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A folder outside closed ones: the servers' account cannot enter root's own or pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="tagtrail-", dir=roomy_folder()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def infra(short_dir: Path) -> Iterator[Embedded]:
    """The embedded PostgreSQL and NATS of this test process; do not kill or stop them."""
    with running(short_dir / "infra") as servers:
        yield servers


@pytest.fixture(autouse=True)
def nothing_retained(request: pytest.FixtureRequest) -> None:
    """Give a test on the shared broker a store that is empty, whatever ran before it."""
    if "infra" in request.fixturenames:
        servers: Embedded = request.getfixturevalue("infra")
        forget_retained(servers.mqtt_url)


@pytest.fixture
async def database_url(infra: Embedded) -> AsyncIterator[str]:
    """Address of a fresh, empty database that the role `tagtrail` owns."""
    name = f"t_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(infra.admin_database_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER tagtrail TEMPLATE template0")
        yield infra.database_url.rpartition("/")[0] + f"/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared test data: $TAGTRAIL_SHARED/data, else ../shared/data beside the repository."""
    shared = Path(os.environ.get("TAGTRAIL_SHARED") or REPOSITORY.parent / "shared")
    if not (shared / "data").is_dir():
        pytest.fail(f"no test data at {shared / 'data'}: set TAGTRAIL_SHARED to the shared folder")
    return shared / "data"
