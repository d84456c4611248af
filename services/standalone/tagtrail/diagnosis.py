"""`tagtrail doctor`: what runs, what it occupies, and what is wrong."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import httpx2

from tagtrail import homes
from tagtrail.embedded.memory import occupied_bytes
from tagtrail_kernel.settings import KernelSettings

LOW_DISK_BYTES: Final = 2 * 1024**3
"""Below this PostgreSQL may soon be unable to commit."""


def settings_of_home(settings: KernelSettings) -> KernelSettings:
    """Return settings that reach the embedded database of a home that is being served."""
    noted = homes.serving_of(settings)
    if settings.database_url or noted is None:
        return settings
    home = Path(noted["home"])
    with contextlib.suppress(OSError, ValueError, KeyError):
        secrets = json.loads((home / "secrets.json").read_text("utf-8"))
        ports = json.loads((home / "ports.json").read_text("utf-8"))
        address = (
            f"postgresql://tagtrail:{secrets['postgres']}@127.0.0.1:{ports['postgres']}/tagtrail"
        )
        return settings.model_copy(update={"database_url": address, "home": str(home)})
    return settings


async def examine(settings: KernelSettings, url: str | None) -> dict[str, Any]:
    """Return a report; `faults` lists what is wrong, each with what to do."""
    faults: list[str] = []
    noted = homes.serving_of(settings)
    report: dict[str, Any] = {
        "python": sys.version.split()[0],
        "home": noted["home"] if noted else str(homes.home_of(settings)),
        "server": url or (noted["url"] if noted else None),
    }
    if noted:
        report["pid"] = noted["pid"]
        report["resident_mb"] = round(occupied_bytes(int(noted["pid"])) / 1024**2, 1)
    report.update(_disk(Path(report["home"]), faults))
    if report["server"]:
        report.update(await _health(str(report["server"]), faults))
    else:
        faults.append("no server runs on this home; start one with `tagtrail serve`, or give --url")
    return {**report, "faults": faults}


def _disk(home: Path, faults: list[str]) -> dict[str, Any]:
    existing = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < LOW_DISK_BYTES:
        faults.append(f"only {free / 1024**3:.1f} GB are free at {existing}; make room")
    return {"disk_free_gb": round(free / 1024**3, 1)}


async def _health(url: str, faults: list[str]) -> dict[str, Any]:
    async with httpx2.AsyncClient(timeout=5) as client:
        try:
            alive = await client.get(f"{url}/healthz")
            ready = (await client.get(f"{url}/readyz")).json()
        except (httpx2.HTTPError, ValueError) as error:
            faults.append(f"{url} does not answer ({type(error).__name__}); look at its log")
            return {"alive": False}
    for name, state in ready["failing"].items():
        faults.append(f"{name}: {state}")
    return {
        "alive": alive.status_code == 200,
        "version": alive.json()["version"],
        "ready": ready["status"],
    }


def lines_of(report: dict[str, Any]) -> list[str]:
    """Return the report for people."""
    lines = [f"{name:14} {value}" for name, value in report.items() if name != "faults"]
    if not report["faults"]:
        return [*lines, "No faults found."]
    return [*lines, "Faults:", *(f"  - {fault}" for fault in report["faults"])]
