"""How much memory processes occupy."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def occupied_bytes(pid: int) -> int:
    """Return the proportional set size of a process and all its descendants, bytes.

    Pages shared by several processes are divided among them, so that the sum over all processes
    is what they occupy. 0 where the system does not tell (not Linux, or another user's process).
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    waiting, total = [pid], 0
    while waiting:
        number = waiting.pop()
        waiting += children.get(number, [])
        with contextlib.suppress(OSError):
            found = _PSS.search(Path(f"/proc/{number}/smaps_rollup").read_text())
            total += int(found[1]) * 1024 if found else 0
    return total
