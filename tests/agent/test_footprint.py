"""What the agent takes of a small box (S19): memory, processor, bytes upstream."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from tests.support.agents import bare, ingest_server, write_config, write_credentials

from tagtrail.embedded import Embedded
from tagtrail_agent.simulation import simulated_tags

MOST_MB = 60.0
MOST_OF_A_CORE = 0.25
RATE = 200
TAGS = 50
SECONDS = 12.0


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
async def test_s19_bandwidth_memory_and_processor_at_200_adverts_per_second_fit_a_small_box(
    database_url: str, infra: Embedded, tmp_path: Path
) -> None:
    async with ingest_server(database_url, infra) as server:
        path = write_config(tmp_path, mqtt=bare(server.mqtt_url), more="[batch]\nwait_s = 2\n")
        path.write_text(path.read_text().replace("enabled = false", "enabled = true"))
        write_credentials(tmp_path, mqtt_url=server.mqtt_url)
        tags = simulated_tags(TAGS)
        (tmp_path / "tags.json").write_text(json.dumps(tags))
        events = [{"type": "tag.registered", "data": tag} for tag in tags]
        await server.client.post("/v1/events", json={"events": events})
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tagtrail_agent", "simulate", "--config", str(path), "--json",
            "--rate", str(RATE), "--tags", str(TAGS), "--strangers", "50", "--seconds",
            str(SECONDS + 5), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asyncio.sleep(3)
        before_s = cpu_s(process.pid)
        await asyncio.sleep(SECONDS)
        share = (cpu_s(process.pid) - before_s) / SECONDS
        out, _ = await process.communicate()
    figures = json.loads(out)
    sys.stdout.write(
        f"\n{share:.1%} of a core, {figures['resident_mb']} MB, "
        f"{figures['adverts']} adverts, {figures['confirmed']} confirmed, "
        f"{figures['sent_bytes']} bytes\n"
    )

    assert share <= MOST_OF_A_CORE
    assert figures["resident_mb"] <= MOST_MB
    assert figures["adverts"] >= RATE * SECONDS
    assert 0 < figures["confirmed"] <= figures["adverts"] / 5
