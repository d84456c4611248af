"""The README's curl lines run as they stand, against all services in one process."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.serving import served, settings_for

from tagtrail import demonstration, running
from tagtrail.composition import app_for

README = Path(__file__).resolve().parents[2] / "README.md"
PATIENCE_S = 20.0
"""Longest wait for what the README promises `a moment later`."""

TIMED_OUT = 28
"""Exit code of curl when `max-time` ends a stream."""

Holds = Callable[[Any], object]
PROMISES: dict[str, Holds] = {
    "/v1/sightings": lambda body: body["accepted"] == 1,
    "/v1/tags/my-tag/place": lambda body: body["zone_id"] == "shop-shelf",
    "/v1/tags/my-tag/explain": lambda body: body["because"],
    "/v1/stock?sku=bolt-m8": lambda body: (
        [(i["zone_id"], i["quantity"]) for i in body["items"]] == [("shop-shelf", 250)]
    ),
    "/v1/stock/explain": lambda body: body["folds_to"] == body["quantity"] == 250,
    "/v1/stock?sku=bolt-m8&position=5": lambda body: body["items"] == [],
    "/v1/messages/ruuvi": lambda body: body["quarantined"],
    "/v1/quarantine": lambda body: [i["route"] for i in body["items"]] == ["ruuvi"],
    "/v1/ingest/stats": lambda body: body["by_adapter"]["native"]["event.appended"] == 1,
}
"""What an answer must say, by the beginning of its path; the longest that fits counts."""


def blocks(name: str) -> list[str]:
    """Return the lines of the blocks that the README marks with a name."""
    found = re.findall(
        rf"<!-- runs: {name}\b.*?-->\n```sh\n(.*?)```", README.read_text(), re.DOTALL
    )
    lines = [line for block in found for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "sleep"))]


def promise(line: str) -> Holds | None:
    """Return what the answer of a line must say."""
    path = re.search(r"\$URL(/[^\"]*)", line)
    fitting = [p for p in PROMISES if path is not None and path[1].startswith(p)]
    return PROMISES[max(fitting, key=len)] if fitting else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a line printed."""

    status: int
    text: str


class Shell:
    """Runs lines with the variables that the README sets."""

    def __init__(self, url: str, key: str, folder: Path) -> None:
        (folder / ".curlrc").write_text('max-time = 3\nwrite-out = "\\n%{http_code}"\n')
        self._environment = {
            "PATH": os.environ["PATH"], "CURL_HOME": str(folder), "HOME": str(folder),
            "URL": url, "KEY": key, "AUTH": f"Authorization: Bearer {key}",
        }  # fmt: skip

    async def run(self, line: str) -> Answer:
        """Run one line as it stands."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", line, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        expected = TIMED_OUT if "stream" in line else 0
        assert process.returncode == expected, f"{line}\n{err.decode()}"
        text, _, status = out.decode().rpartition("\n")
        return Answer(int(status), text)

    async def until_kept(self, line: str) -> Answer:
        """Run a line until its answer says what the README promises."""
        holds = promise(line)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            answer = await self.run(line)
            if answer.status < 300 and (holds is None or holds(json.loads(answer.text))):
                return answer
            assert loop.time() < deadline, f"{line}\n{answer.status} {answer.text}"
            await asyncio.sleep(0.2)


@pytest.fixture
async def shell(database_url: str, tmp_path: Path) -> AsyncIterator[Shell]:
    """A shell before the services as `tagtrail serve` builds them."""
    settings = settings_for(database_url)
    await running.prepare_database(settings)
    tenant = await running.ensure_tenant(settings, *running.DEFAULT_TENANT)
    key = await running.make_key(settings, log_id=tenant.log_id, name="test", role="admin")
    async with served(app_for(settings, [])) as url:
        yield Shell(url, key, tmp_path)


async def test_the_walk_with_a_crate_of_ones_own_works_line_by_line(shell: Shell) -> None:
    lines = blocks("crate")
    streams = [line for line in lines if "stream" in line]

    for line in lines:
        if line in streams:
            answer = await shell.run(line)
            assert "event: tag.zone_changed" in answer.text, answer.text
        else:
            await shell.until_kept(line)

    assert len(lines) > 10
    assert len(streams) == 1


async def test_the_first_questions_are_answered_also_when_nothing_was_heard(shell: Shell) -> None:
    for line in blocks("look"):
        answer = await shell.run(line)

        assert answer.status == 200, answer.text
        assert json.loads(answer.text)["items"] == []


async def test_the_walk_can_be_repeated_with_the_same_registrations(shell: Shell) -> None:
    line = next(line for line in blocks("crate") if '/v1/tags"' in line)

    first = await shell.run(line)
    second = await shell.run(line)

    assert json.loads(first.text)["status"] == "created"
    assert json.loads(second.text)["status"] == "unchanged"


def test_what_the_demo_prints_to_try_is_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    demonstration._say("http://127.0.0.1:8080", "code", Path("admin.key"))

    printed = capsys.readouterr().out
    paths = re.findall(r"8080(/v1/[a-z/]+)", printed)
    assert len(paths) >= 4
    for path in paths:
        assert f"$URL{path}" in README.read_text(), f"{path} is printed, but not in the README"
