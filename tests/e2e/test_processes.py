"""What the running product occupies, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import pytest
from tests.support.processes import (
    ADDRESS,
    SIGN_IN,
    Launched,
    all_in_one,
    clean_environment,
    descendants,
    launch,
    ready,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="playback")]

MOST_RESIDENT_MB = 400.0
END_WITHIN_S = 10.0
FIRST_CHANGE = re.compile(r"First confirmed zone change after (\d+) s")


def alive(pids: list[int]) -> list[int]:
    """Return those processes that still run."""
    found = []
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            found.append(pid)
    return found


async def interrupted(launched: Launched) -> tuple[float, list[int], list[int]]:
    """Press Ctrl-C: the whole foreground group gets SIGINT.

    Returns:
        Seconds until the process ended, all processes there were, and those that are left.
    """
    pid = launched.process.pid
    pids = [pid, *descendants(pid)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    os.killpg(pid, signal.SIGINT)
    await asyncio.wait_for(launched.process.wait(), 30)
    return loop.time() - began, pids, alive(pids)


async def test_all_processes_together_stay_below_400_mb_and_end_at_sigterm(
    short_dir: Path,
) -> None:
    async with all_in_one(short_dir / "idle") as product:
        await ready(product.urls.ingest[0])
        await asyncio.sleep(5)
        code, out, err = await product.command("doctor", "--json")
        launched = product.launched["serve"]
        pids = [launched.process.pid, *descendants(launched.process.pid)]
        took_s = await launched.end(signal.SIGTERM)

    report = json.loads(out)
    assert code == 0, out + err
    assert (report["alive"], report["ready"]) == (True, "ready")
    assert 50 < report["resident_mb"] <= MOST_RESIDENT_MB
    assert len(pids) > 5, "PostgreSQL and NATS run beside it"
    assert took_s <= END_WITHIN_S
    assert launched.process.returncode == 0
    assert alive(pids) == []


async def test_the_demonstration_shows_a_zone_change_and_ends_at_ctrl_c(short_dir: Path) -> None:
    environment = clean_environment(TAGTRAIL_HOME=str(short_dir / "demo"))
    launched = await launch(["demo", "--port", "0"], environment)
    try:
        await launched.said(re.compile(r"Console   (http://\S+)"))
        seconds = int(await launched.said(FIRST_CHANGE, within_s=120))
        took_s, pids, left = await interrupted(launched)
    finally:
        await launched.end()

    assert seconds <= 120
    assert any("/v1/stock" in line for line in launched.lines)
    assert took_s <= END_WITHIN_S
    assert launched.process.returncode == 0, launched.printed()
    assert len(pids) > 6, "the simulator runs as well"
    assert left == []


async def test_serve_prints_where_it_answers_and_ends_at_ctrl_c(short_dir: Path) -> None:
    environment = clean_environment(TAGTRAIL_HOME=str(short_dir / "serve"))
    launched = await launch(["serve", "--port", "0"], environment)
    try:
        url = await launched.said(ADDRESS)
        link = await launched.said(SIGN_IN)
        took_s, _, left = await interrupted(launched)
    finally:
        await launched.end()

    assert link.startswith(url)
    assert took_s <= END_WITHIN_S
    assert launched.process.returncode == 0, launched.printed()
    assert left == []
