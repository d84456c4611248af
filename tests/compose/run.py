"""`make test-compose`: the end-to-end test against composed containers. Needs root.

    python -m tests.compose.run [--fresh]

Bases are stood in for by a Debian that debootstrap makes, since image registries may be out of
reach; everything else is docker-compose.yml as it is. `--fresh` fetches all anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.compose import preparing
from tests.compose.running import CommandError, say

NAMESPACES = (
    "--net",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
    "--mount-proc",
)


def main(arguments: list[str]) -> int:
    """Prepare with the network, then run the test without one; returns the exit code."""
    if os.geteuid() != 0:
        sys.stderr.write("make test-compose runs a Docker engine, so it needs root: use sudo\n")
        return 2
    if "--fresh" in arguments:
        shutil.rmtree(preparing.CACHE, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix="tagtrail-compose-", ignore_cleanup_errors=True
    ) as made:
        work = Path(made)
        try:
            prepare(work)
        except CommandError as error:
            say(f"{error}")
            sys.stdout.write("0 passed, 1 failed\n")
            return 1
        say("entering namespaces of its own")
        inside = [sys.executable, "-m", "tests.compose.inside", str(work)]
        return subprocess.run(["unshare", *NAMESPACES, *inside], check=False).returncode


def prepare(work: Path) -> None:
    """Fetch and lay out what the test needs.

    Raises:
        CommandError: something cannot be had.
    """
    preparing.install_packages()
    python = preparing.debian(work)
    say("laying out the bases and the build context")
    bases = {
        "python": python,
        "postgres": preparing.postgres_root(work, python),
        "nats": preparing.nats_root(work),
    }
    preparing.stage(work)
    (work / "bases.json").write_text(json.dumps({k: str(v) for k, v in bases.items()}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
