"""What happens to the embedded servers when something is killed, closed or taken."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import nats
import pytest

from tagtrail.embedded import Embedded, EmbeddedError, HomeInUseError
from tagtrail.embedded.accounts import Account

if TYPE_CHECKING:
    from tests.standalone.conftest import Installation, Parents

GONE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises when its server goes away in the middle of a call."""

NatsAnswer = Callable[[str], str]
Eventually = Callable[[Callable[[], bool], str], None]


async def _write(url: str, numbers: range) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number bigint PRIMARY KEY)")
        for number in numbers:
            await connection.execute("INSERT INTO kept VALUES ($1)", number)
    finally:
        await connection.close()


async def _count(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


async def _back(infra: Embedded, name: str, old: int, nats_answer: NatsAnswer) -> None:
    """Wait until a killed server runs again and both answer."""
    async with asyncio.timeout(15):
        while infra.pids().get(name, old) == old:
            await asyncio.sleep(0.02)
        while True:
            try:
                connection = await asyncpg.connect(infra.database_url)
                await connection.close()
                assert await asyncio.to_thread(nats_answer, infra.nats_url) == "PONG"
            except (*GONE, AssertionError):
                await asyncio.sleep(0.02)
                continue
            return


async def test_killed_postgres_comes_back_on_its_port_with_every_acknowledged_row(
    home: Path, nats_answer: NatsAnswer
) -> None:
    acknowledged = 0

    async def write_on(url: str) -> None:
        nonlocal acknowledged
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept (number bigint PRIMARY KEY)")
        while True:
            await connection.execute("INSERT INTO kept VALUES ($1)", acknowledged + 1)
            acknowledged += 1

    async with Embedded(home) as infra:
        url = infra.database_url
        writer = asyncio.create_task(write_on(url))
        while acknowledged < 100:
            await asyncio.sleep(0.01)
        old = infra.pids()["postgres"]
        os.kill(old, signal.SIGKILL)
        with pytest.raises(GONE):
            await writer
        await _back(infra, "postgres", old, nats_answer)
        rows = await _count(url)
        restarts = infra.restart_counts()
        same_url = infra.database_url == url

    assert same_url
    assert rows in {acknowledged, acknowledged + 1}  # the last one may lack its answer
    assert restarts == {"postgres": 1, "nats": 0}


async def test_killed_postgres_comes_back_although_a_session_is_busy(
    home: Path, nats_answer: NatsAnswer
) -> None:
    async with Embedded(home) as infra:
        busy = await asyncpg.connect(infra.database_url)
        spin = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"
        running = asyncio.create_task(busy.execute(spin))
        await asyncio.sleep(0.2)
        old = infra.pids()["postgres"]
        os.kill(old, signal.SIGKILL)
        await _back(infra, "postgres", old, nats_answer)
        with pytest.raises(GONE):
            await running
        restarts = infra.restart_counts()["postgres"]

    assert restarts == 1


async def test_killed_nats_comes_back_on_its_ports_with_what_it_acknowledged(
    home: Path, nats_answer: NatsAnswer
) -> None:
    async with Embedded(home) as infra:
        urls = (infra.nats_url, infra.mqtt_url)
        client = await nats.connect(infra.nats_url)
        await client.jetstream().add_stream(name="kept", subjects=["kept.>"])
        for number in range(50):
            await client.jetstream().publish(f"kept.{number}", b"x")
        await client.close()
        old = infra.pids()["nats"]
        os.kill(old, signal.SIGKILL)
        await _back(infra, "nats", old, nats_answer)
        client = await nats.connect(infra.nats_url)
        kept = (await client.jetstream().stream_info("kept")).state.messages
        await client.close()
        urls_after, restarts = (infra.nats_url, infra.mqtt_url), infra.restart_counts()

    assert urls_after == urls
    assert kept == 50
    assert restarts == {"postgres": 0, "nats": 1}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_killed_parent_leaves_no_orphans_and_loses_no_data(
    loop: str, home: Path, parents: Parents, eventually: Eventually
) -> None:
    first = parents(home, loop)
    await _write(first.says.database_url, range(10))
    first.end(signal.SIGKILL)
    eventually(lambda: first.alive() == {}, "the servers end with their parent")
    second = parents(home, loop)
    rows = await _count(second.says.database_url)

    assert rows == 10
    assert second.says.database_url == first.says.database_url
    assert second.says.mqtt_url == first.says.mqtt_url


async def test_servers_that_outlived_their_parent_are_ended_by_the_next_one(
    home: Path, parents: Parents
) -> None:
    first = parents(home)
    await _write(first.says.database_url, range(10))
    for pid in first.says.pids.values():
        os.kill(pid, signal.SIGSTOP)  # now they cannot act on their parent's end
    first.end(signal.SIGKILL)
    left = first.alive()
    second = parents(home)
    rows = await _count(second.says.database_url)

    assert set(left) == {"postgres", "nats"}
    assert first.alive() == {}
    assert rows == 10


def test_ctrl_c_reaches_the_parent_only_and_ends_the_servers_cleanly(
    home: Path, parents: Parents
) -> None:
    parent = parents(home)
    os.killpg(parent.process.pid, signal.SIGINT)
    code = parent.end(signal.SIGINT)

    assert code == 0
    assert parent.alive() == {}
    assert "database system is shut down" in (home / "log" / "postgres.log").read_text()
    assert "Server Exiting" in (home / "log" / "nats.log").read_text()


async def test_a_second_start_on_a_home_is_refused_and_says_who_holds_it(
    home: Path, parents: Parents
) -> None:
    async with Embedded(home) as infra:
        with pytest.raises(HomeInUseError, match=f"in use by process {os.getpid()}; stop that one"):
            await Embedded(home).__aenter__()
        other = parents(home)
        restarts, pids = infra.restart_counts(), infra.pids()

    assert other.says.error == "HomeInUseError"
    assert restarts == {"postgres": 0, "nats": 0}
    assert set(pids) == {"postgres", "nats"}


async def test_ports_are_kept_over_a_restart_unless_somebody_took_one(home: Path) -> None:
    async with Embedded(home) as infra:
        first = (infra.database_url, infra.nats_url, infra.mqtt_url)
    async with Embedded(home) as infra:
        second = (infra.database_url, infra.nats_url, infra.mqtt_url)
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", urlsplit(first[1]).port or 0))
        taker.listen()
        async with Embedded(home) as infra:
            third = (infra.database_url, infra.nats_url, infra.mqtt_url)

    assert second == first
    assert [a == b for a, b in zip(first, third, strict=True)] == [True, False, True]


async def test_a_named_port_is_used_and_a_taken_one_is_refused(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.listen()
        with pytest.raises(EmbeddedError, match=f"port {port} for nats is taken"):
            await Embedded(home, nats_port=port).__aenter__()
    async with Embedded(home, nats_port=port) as infra:
        used = urlsplit(infra.nats_url).port

    assert used == port


def _sleeper(account: Account | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "60"], user=account.uid if account else None)


def _owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _program(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def _made(path: Path, mode: int) -> Path:
    path.mkdir(mode=mode)
    return path


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_a_pid_file_whose_number_went_to_a_stranger_does_not_stop_postgres(
    home: Path, account: Account | None
) -> None:
    async with Embedded(home) as infra:
        await _write(infra.database_url, range(10))
        kept = (home / "postgres" / "data" / "postmaster.pid").read_text()
    stranger = _sleeper(account)
    try:
        _, _, rest = kept.partition("\n")
        (home / "postgres" / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
        async with Embedded(home) as infra:
            rows = await _count(infra.database_url)
        spared = stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()

    assert rows == 10
    assert spared


async def test_lost_secrets_are_named_as_the_reason(home: Path) -> None:
    async with Embedded(home):
        pass
    (home / "secrets.json").unlink()

    with pytest.raises(EmbeddedError, match=r"secrets\.json is missing.*restore it"):
        await Embedded(home).__aenter__()


async def test_a_cluster_of_another_version_is_left_alone(home: Path) -> None:
    async with Embedded(home):
        pass
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedError, match="written by PostgreSQL 17, this is 18"):
        await Embedded(home).__aenter__()


async def test_a_torn_first_start_is_repeated(home: Path, account: Account | None) -> None:
    torn = home / "postgres" / "data.new"
    torn.mkdir(parents=True)
    (torn / "PG_VERSION").write_text("18\n")
    for folder in (home, torn.parent, torn):
        folder.chmod(0o711)
    if account:
        os.chown(torn.parent, account.uid, account.gid)
    async with Embedded(home) as infra:
        await _write(infra.database_url, range(1))
        rows = await _count(infra.database_url)

    assert rows == 1
    assert not torn.exists()


async def test_a_plain_user_runs_the_servers_as_himself(
    home: Path, parents: Parents, installation: Installation, account: Account | None
) -> None:
    if account:
        os.chown(home.parent, account.uid, account.gid)
    parent = parents(
        home,
        python=[str(installation.python)],
        runner=installation.runner,
        account=account,
        environment=installation.environment,
    )
    await _write(parent.says.database_url, range(3))
    uid = account.uid if account else os.getuid()
    owners = {_owner(pid) for pid in parent.says.pids.values()}
    code = parent.end(signal.SIGTERM)

    assert owners == {uid}
    assert _mode(home) == 0o700
    assert code == 0
    assert parent.alive() == {}


async def test_programs_under_a_closed_folder_are_copied_and_the_folder_stays_closed(
    home: Path, parents: Parents, installation: Installation, account: Account | None
) -> None:
    installation.folder.chmod(0o700)
    try:
        parent = parents(home, runner=installation.runner, environment=installation.environment)
        await _write(parent.says.database_url, range(3))
        programs = [_program(pid) for pid in parent.says.pids.values()]
        parent.end(signal.SIGTERM)
        mode = _mode(installation.folder)
    finally:
        installation.folder.chmod(0o755)
    below = home if account else installation.folder  # its owner needs no copy

    assert all(program.is_relative_to(below) for program in programs), programs
    assert mode == 0o700


async def test_a_home_that_the_servers_cannot_reach_is_refused_and_stays_closed(
    home: Path, account: Account | None
) -> None:
    mode = 0o700 if account else 0o500
    closed = _made(home, mode)

    with pytest.raises(EmbeddedError, match="set TAGTRAIL_HOME"):
        await Embedded(closed).__aenter__()
    assert _mode(closed) == mode
    assert list(closed.iterdir()) == []


async def test_a_log_that_grew_large_is_put_aside(home: Path) -> None:
    async with Embedded(home):
        pass
    log = home / "log" / "nats.log"
    os.truncate(log, 11 * 1024 * 1024)
    async with Embedded(home):
        sizes = [path.stat().st_size for path in (log, log.with_suffix(".log.1"))]
        mode = _mode(log.with_suffix(".log.1"))

    assert 0 < sizes[0] < 100_000
    assert sizes[1] == 11 * 1024 * 1024
    assert mode == 0o600


async def test_a_home_that_cannot_be_made_is_named(home: Path) -> None:
    (home.parent / "file").touch()

    with pytest.raises(EmbeddedError, match=r"cannot make .*file/home.*set TAGTRAIL_HOME"):
        await Embedded(home.parent / "file" / "home").__aenter__()
