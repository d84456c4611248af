"""The part of the test that runs inside its own namespaces: engine, images, containers, checks."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compose.checks import CHECKS, Case
from tests.compose.engine import NATS, POSTGRES, PYTHON, engine, import_bases
from tests.compose.running import run, say
from tests.compose.stack import Stack

IMAGES = ("tagtrail/server:0.1.0", "tagtrail/postgres:0.1.0", "tagtrail/nats:0.1.0")


@contextmanager
def composed(work: Path, environment: dict[str, str]) -> Iterator[Stack]:
    """Build the images and run the containers, ingest twice, while the block lasts."""
    stack = Stack(work / "stage", environment)
    say("building the images")
    stack.compose("build", "postgres", "nats", "setup", within_s=1800)
    for image in IMAGES:
        size = int(
            run(["docker", "inspect", "--format", "{{.Size}}", image], environment=environment)
        )
        say(f"  {image}: {size / 1e6:.0f} MB")
    say("starting the containers")
    try:
        stack.compose("up", "--detach", "--no-build", "--scale", "ingest=2")
        yield stack
    finally:
        say("taking everything down")
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")
        left = run(["docker", "ps", "--all", "--quiet"], environment=environment).split()
        say(f"  {len(left)} containers left")


async def check_all(stack: Stack) -> tuple[int, int]:
    """Run the checks; returns how many passed and failed."""
    await stack.healthy()
    say("all containers are healthy")
    key = stack.tagtrail("keys", "create", "--name", "admin", "--role", "admin").split()[-1]
    case, failed = Case(stack, key), 0
    for check in CHECKS:
        sentence = check.__name__.replace("_", " ")
        try:
            await check(case)
            say(f"passed  {sentence}")
        except Exception:  # noqa: BLE001 - told, counted, and the next check runs
            failed += 1
            say(f"FAILED  {sentence}\n{traceback.format_exc()}{stack.troubles()}")
    return len(CHECKS) - failed, failed


def main(work: Path) -> int:
    """Run the test in a prepared folder; returns the exit code."""
    bases = json.loads((work / "bases.json").read_text())
    passed, failed = 0, 0
    try:
        with engine(work) as client:
            say("importing the bases")
            import_bases(client, *(Path(bases[name]) for name in ("python", "postgres", "nats")))
            client |= {
                "PYTHON_IMAGE": PYTHON, "POSTGRES_IMAGE": POSTGRES, "NATS_IMAGE": NATS,
                "COMPOSE_DOCKER_CLI_BUILD": "0",
                "TAGTRAIL_INGEST_PORTS": "8111-8112",
            }  # fmt: skip
            with composed(work, client) as stack:
                passed, failed = asyncio.run(check_all(stack))
    except Exception:  # noqa: BLE001 - told; the exit code says it
        failed += 1
        say(traceback.format_exc())
    sys.stdout.write(f"{passed} passed, {failed} failed\n")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
