"""Updates: only what the release key signed, first for a few, and back again when it fails (S89)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.agents import (
    FAST,
    Fed,
    eventually,
    ingest_server,
    running,
    write_config,
    write_credentials,
)

from tagtrail_agent import VERSION
from tagtrail_agent.errors import UpdateError
from tagtrail_agent.updates import (
    CONTEXT,
    MOST_STARTS,
    Manifest,
    Versions,
    is_canary,
    manifest_of,
    number_of,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
NEW = "9.1.0"

MAIN = """\
import sys, pathlib
if "--version" in sys.argv:
    print({version!r})
else:
    with open({note!r}, "a") as note:
        note.write(" ".join(sys.argv[1:2]) + "\\n")
    sys.exit({code})
"""


def wheel(
    version: str = NEW, *, note: str = "", code: int = 0, files: Mapping[str, str] | None = None
) -> bytes:
    """Return a wheel of an agent that writes down its starts and ends at once."""
    held = io.BytesIO()
    main = MAIN.format(version=version, note=note or os.devnull, code=code)
    whole = {"tagtrail_agent/__init__.py": "", "tagtrail_agent/__main__.py": main}
    whole |= files or {}
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in whole.items():
            archive.writestr(name, content)
    return held.getvalue()


def manifest(content: bytes, **members: Any) -> Manifest:
    sha256 = hashlib.sha256(content).hexdigest()
    return Manifest(**{"version": NEW, "url": "agent.whl", "sha256": sha256, **members})


def signed(members: dict[str, Any], key: Ed25519PrivateKey = KEY) -> bytes:
    payload = json.dumps(members).encode()
    return json.dumps(
        {
            "payload": base64.b64encode(payload).decode(),
            "signature": base64.b64encode(key.sign(CONTEXT + payload)).decode(),
        }
    ).encode()


SHA = "0" * 64


def test_a_signed_manifest_is_read() -> None:
    raw = signed({"version": NEW, "url": "a.whl", "sha256": SHA, "canary_pct": 5})

    assert manifest_of(raw, PUBLIC) == Manifest(version=NEW, url="a.whl", sha256=SHA, canary_pct=5)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (signed({"version": NEW, "url": "a", "sha256": SHA}, Ed25519PrivateKey.generate()), "not signed"),
        (signed({"version": "new", "url": "a", "sha256": SHA}), "numbers with dots"),
        (signed({"version": NEW, "url": "a", "sha256": "ff"}), "64 hexadecimal"),
        (signed({"version": NEW, "url": "a", "sha256": SHA, "canary_pct": 101}), "0 to 100"),
        (signed({"version": NEW, "url": "a", "sha256": SHA, "force": True}), "not readable"),
        (b"[]", "not a signed manifest"),
    ],
)  # fmt: skip
def test_any_other_manifest_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(UpdateError, match=words):
        manifest_of(raw, PUBLIC)


def test_a_small_part_of_the_gateways_comes_first_and_stays_when_the_part_grows() -> None:
    gateways = [f"dock-{n}" for n in range(2000)]
    few = {g for g in gateways if is_canary(NEW, g, 5)}
    more = {g for g in gateways if is_canary(NEW, g, 30)}

    assert 60 < len(few) < 140
    assert few < more
    assert not any(is_canary(NEW, g, 0) for g in gateways)
    assert all(is_canary(NEW, g, 100) for g in gateways)
    assert few != {g for g in gateways if is_canary("9.1.1", g, 5)}


@pytest.mark.parametrize(
    ("members", "running_version", "why"),
    [
        ({}, "9.0", None),
        ({}, NEW, "not newer"),
        ({}, "10.0", "not newer"),
        ({"min_version": "9.0.5"}, "9.0.4", "needs 9.0.5"),
        ({"min_version": "9.0.5"}, "9.0.5", None),
        ({"canary_pct": 0}, "9.0", "turn has not come"),
    ],
)
def test_a_release_is_taken_only_where_it_fits(
    tmp_path: Path, members: dict[str, Any], running_version: str, why: str | None
) -> None:
    said = Versions(tmp_path).wanted(
        manifest(b"", **members), running=running_version, gateway_id="dock-1"
    )

    assert (why is None) == (said is None)
    assert why is None or (said is not None and why in said)


@pytest.mark.parametrize(
    ("content", "named", "words"),
    [
        (wheel(), b"another", "SHA-256"),
        (b"no zip", b"no zip", "no wheel"),
        (wheel(files={"../evil.py": ""}), None, "outside its folder"),
        (wheel("9.1.1"), None, "does not start"),
        (
            wheel(files={"tagtrail_agent/__main__.py": "raise SystemExit(1)"}),
            None,
            "does not start",
        ),
    ],
)
def test_an_artefact_that_is_not_right_is_not_installed(
    tmp_path: Path, content: bytes, named: bytes | None, words: str
) -> None:
    versions = Versions(tmp_path / "versions")

    with pytest.raises(UpdateError, match=words):
        versions.stage(manifest(named or content), content)

    assert versions.current is None
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def installed(folder: Path, content: bytes, version: str = NEW) -> Versions:
    versions = Versions(folder)
    versions.stage(manifest(content, version=version), content)
    versions.switch(version)
    return versions


def test_a_version_on_trial_that_proves_good_stays_and_old_ones_are_removed(
    tmp_path: Path,
) -> None:
    for version in ("9.1.0", "9.2.0", "9.3.0"):
        versions = installed(tmp_path, wheel(version), version)
        versions.before_start()
        versions.keep()

    current = versions.current
    assert current is not None
    assert current.name == "9.3.0"
    assert versions.trial.state == "good"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir() and not p.is_symlink()) == [
        "9.2.0", "9.3.0",
    ]  # fmt: skip


def test_a_version_that_is_started_too_often_is_taken_back_and_not_tried_again(
    tmp_path: Path,
) -> None:
    versions = installed(tmp_path, wheel())
    starts = [versions.before_start() for _ in range(MOST_STARTS + 1)]

    assert [s.name if s else None for s in starts] == [NEW] * MOST_STARTS + [None]
    assert versions.trial.state == "rolled_back"
    assert versions.wanted(manifest(b""), running="9.0", gateway_id="g") == "it failed here before"


def test_a_damaged_note_means_the_version_that_is_linked(tmp_path: Path) -> None:
    versions = installed(tmp_path, wheel())
    (tmp_path / "update.json").write_text("{")

    found = versions.before_start()
    assert found is not None
    assert found.name == NEW


def test_versions_are_ordered_as_numbers() -> None:
    assert number_of("0.10") > number_of("0.9.9") > number_of("0.9")
    with pytest.raises(ValueError, match="numbers with dots"):
        number_of("1.0rc1")


async def test_the_launcher_goes_back_to_the_installed_agent_after_failed_starts(
    tmp_path: Path,
) -> None:
    note = tmp_path / "starts"
    path = write_config(tmp_path, mqtt="mqtt://127.0.0.1:1", more='[updates]\nroot = "versions"\n')
    installed(tmp_path / "versions", wheel(note=str(note), code=1))

    command = [sys.executable, "-m", "tagtrail_agent", "launch", "--config", str(path)]
    ends = []
    for _ in range(MOST_STARTS + 1):
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, err = await process.communicate()
        ends.append((process.returncode, b"has no [[input]]" in err))

    assert note.read_text().splitlines() == ["run"] * MOST_STARTS
    assert ends == [(1, False)] * MOST_STARTS + [(2, True)]  # the installed agent, without inputs


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a real server offers it."""
    folder = tmp_path / "releases"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def release(folder: Path, content: bytes, **members: Any) -> None:
    (folder / "agent.whl").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    raw = signed({"version": NEW, "url": "agent.whl", "sha256": sha256, **members})
    (folder / "manifest.json").write_bytes(raw)


def updates(url: str, health_s: float = 30) -> str:
    key = base64.b64encode(PUBLIC).decode()
    return FAST + (
        f'[updates]\nmanifest = "{url}/manifest.json"\nkey = "{key}"\nroot = "versions"\n'
        f"every_s = 1\nhealth_within_s = {health_s}\n"
    )


async def test_a_running_agent_installs_a_release_and_ends_to_be_started_again(
    database_url: str, tmp_path: Path, releases: tuple[Path, str]
) -> None:
    folder, url = releases
    release(folder, wheel())
    async with ingest_server(database_url) as server:
        path = write_config(tmp_path, url=server.url, more=updates(url))
        write_credentials(tmp_path, key=server.gateway_key)
        async with running(path, Fed()) as agent:
            await eventually(lambda: agent.stopping, "it asks for a restart")
    versions = Versions(tmp_path / "versions")

    assert versions.trial.state == "trying"
    assert versions.current is not None
    assert versions.current.name == NEW


async def test_an_agent_says_why_it_does_not_take_a_release(
    database_url: str, tmp_path: Path, releases: tuple[Path, str]
) -> None:
    folder, url = releases
    release(folder, wheel())
    (folder / "agent.whl").write_bytes(wheel(note="other"))
    async with ingest_server(database_url) as server:
        path = write_config(tmp_path, url=server.url, more=updates(url))
        write_credentials(tmp_path, key=server.gateway_key)
        async with running(path, Fed()) as agent:
            await eventually(lambda: agent.updating.refused is not None, "refused")
            figures = agent.heartbeat.figures()

    assert "SHA-256" in figures["update_refused"]
    assert figures["version"] == VERSION


@pytest.mark.parametrize("works", [True, False])
async def test_a_version_on_trial_is_judged_by_what_the_server_confirms(
    works: bool, database_url: str, tmp_path: Path
) -> None:
    async with ingest_server(database_url) as server:
        path = write_config(
            tmp_path,
            url=server.url if works else "http://127.0.0.1:1",
            more=FAST + '[updates]\nroot = "versions"\nhealth_within_s = 1\n',
        )
        write_credentials(tmp_path, key=server.gateway_key)
        versions = installed(tmp_path / "versions", wheel())
        versions.before_start()
        async with running(path, Fed()) as agent:
            await eventually(lambda: versions.trial.state != "trying", "judged")
            restarting = agent.stopping

    assert versions.trial.state == ("good" if works else "rolled_back")
    assert (versions.current is None) == restarting == (not works)
