"""A Docker engine of the test's own, and the bases that stand in for the official images.

Runs inside network, mount and process namespaces that the test made (`unshare`): no packet leaves
the machine, and nothing is left of bridges, packet filters or mounts afterwards.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.compose.running import CommandError, pipe, run, say

PYTHON, POSTGRES, NATS = "standin/python:3.11", "standin/postgres:18", "standin/nats:2.15"
_START_S = 60
_PATHS = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def engine(work: Path) -> Iterator[dict[str, str]]:
    """Run dockerd while the block lasts; gives the environment of its clients.

    Raises:
        CommandError: it does not start.
    """
    run(["ip", "link", "set", "lo", "up"])
    socket = f"unix://{work}/docker.sock"
    driver = "overlay2" if _overlays(work) else "vfs"
    say(f"starting dockerd with storage driver {driver}")
    command = [
        "dockerd", f"--storage-driver={driver}", f"--data-root={work}/docker",
        f"--exec-root={work}/exec", f"--pidfile={work}/docker.pid", f"--host={socket}",
    ]  # fmt: skip
    environment = {**os.environ, "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"}
    environment.pop("DOCKER_CONTEXT", None)
    with (work / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _await_answer(process, environment, work / "dockerd.log")
            yield environment
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def _await_answer(process: subprocess.Popen[bytes], environment: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            run(["docker", "version"], environment=environment, within_s=10)
        except CommandError:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.3)
                continue
            raise CommandError(f"dockerd did not start:\n{log.read_text()[-3000:]}") from None
        return


def _overlays(work: Path) -> bool:
    """Return whether overlays can be mounted here: much quicker than copies."""
    places = {name: work / "overlay" / name for name in ("lower", "upper", "work", "merged")}
    for place in places.values():
        place.mkdir(parents=True)
    options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**places)
    try:
        run(["mount", "-t", "overlay", "overlay", "-o", options, places["merged"]])
    except CommandError:
        return False
    run(["umount", places["merged"]])
    return True


def import_bases(environment: dict[str, str], python: Path, postgres: Path, nats: Path) -> None:
    """Make the stand-ins, with what the official images set."""

    def image(source: list[str | Path], name: str, *changes: str) -> None:
        options = [word for change in changes for word in ("--change", change)]
        pipe(source, ["docker", "import", *options, "-", name], **environment)

    image(["cat", python], PYTHON, f"ENV {_PATHS}", 'CMD ["python3"]')
    image(
        ["tar", "-C", postgres, "--numeric-owner", "-c", "."], POSTGRES,
        f"ENV {_PATHS}:/usr/lib/postgresql/18/bin", "ENV PGDATA=/var/lib/postgresql/18/docker",
        "VOLUME /var/lib/postgresql", "EXPOSE 5432",
        'ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["postgres"]',
    )  # fmt: skip
    image(
        ["tar", "-C", nats, "--numeric-owner", "-c", "."], NATS,
        f"ENV {_PATHS}:/", 'ENTRYPOINT ["/nats-server"]',
    )  # fmt: skip
