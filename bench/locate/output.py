"""What the harness writes, and how it finds its runs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("set", "run", "t", "x", "y", "zone")


class Fix(NamedTuple):
    """Where a tag was at a moment, as far as the measurements until then plus the delay tell.

    Attributes:
        set: The label that the caller gave to the data.
        run: Name of the run.
        t: The moment, unit of the run's own time column (seconds; epoch index where that counts).
        x: Metres, frame of the set.
        y: Metres, frame of the set.
        zone: Most probable zone; None where the set has none.
    """

    set: str
    run: str
    t: float
    x: float
    y: float
    zone: str | None = None


def write(path: Path, fixes: Iterable[Fix]) -> int:
    """Write fixes as CSV and return how many there were."""
    count = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for fix in fixes:
            count += 1
            row = (fix.set, fix.run, f"{fix.t:.4f}", f"{fix.x:.4f}", f"{fix.y:.4f}", fix.zone or "")
            writer.writerow(row)
    return count


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file by column name."""
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def runs(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern below a folder, in the order of their names.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"no {pattern} in {folder}: name the folder of the set itself")
    return found
