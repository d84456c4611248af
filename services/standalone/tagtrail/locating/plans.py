"""Reads what a person prepared: the stops of a walk, places of reference tags."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.registrations import Polygon, ZoneRegistered, ZoneRetired
from tagtrail_locate.core.grid import Grid, grid_over

CELL_M = 1.0
"""Edge of the cells that calibrations are tested on, metres: BLE does not tell less apart."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One stop of a walk.

    Attributes:
        zone_id: True zone.
        x_m: East, metres; None where only the zone counts.
        y_m: North, metres.
        z_m: Height above the floor, metres.
        floor: Floor number.
        from_at: When the tag was there, if the walk has been walked.
        until_at: Until when.
    """

    zone_id: str
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    floor: float = 0.0
    from_at: datetime | None = None
    until_at: datetime | None = None


def planned_stops(path: Path) -> list[Planned]:
    """Read a CSV file with the columns zone_id, and if known x_m, y_m, z_m, floor, from_at, until_at.

    Raises:
        RejectedError: a column or a value does not fit; the detail names line and column.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "zone_id" not in (rows.fieldnames or ()):
            raise RejectedError(f"{path.name}: the first line must name the columns, zone_id first")
        found = [_planned(row, f"{path.name}, line {n}") for n, row in enumerate(rows, start=2)]
    if not found:
        raise RejectedError(f"{path.name}: no stops; write one line for each")
    return found


def _planned(row: dict[str, str], where: str) -> Planned:
    numbers = {}
    for name in ("x_m", "y_m", "z_m", "floor"):
        text = (row.get(name) or "").strip()
        try:
            numbers[name] = float(text) if text else None
        except ValueError as error:
            raise RejectedError(f"{where}: {name} is {text[:20]!r}, not a number") from error
    times = {}
    for name in ("from_at", "until_at"):
        text = (row.get(name) or "").strip()
        try:
            times[name] = datetime.fromisoformat(text) if text else None
        except ValueError as error:
            raise RejectedError(
                f"{where}: {name} must be a time such as 2026-03-02T08:00:00Z"
            ) from error
        at = times[name]
        if at is not None and at.tzinfo is None:
            raise RejectedError(f"{where}: {name} needs its offset, for example Z")
    zone_id = (row.get("zone_id") or "").strip()
    if not zone_id:
        raise RejectedError(f"{where}: zone_id is empty")
    return Planned(
        zone_id, numbers["x_m"], numbers["y_m"], numbers["z_m"], numbers["floor"] or 0.0,
        times["from_at"], times["until_at"],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """A tag that hangs at a known place for good."""

    tag_id: str
    x_m: float
    y_m: float
    z_m: float | None = None


def references(written: Sequence[str]) -> list[Reference]:
    """Read options such as `tag-7=12.5,3.0` or `tag-7=12.5,3.0,1.2`.

    Raises:
        RejectedError: one does not read so.
    """
    found = []
    for text in written:
        tag_id, _, place = text.partition("=")
        try:
            numbers = [float(n) for n in place.split(",")]
        except ValueError:
            numbers = []
        if not tag_id or len(numbers) not in (2, 3):
            raise RejectedError(
                f"--reference {text[:60]!r} must read TAG=X,Y or TAG=X,Y,Z in metres"
            )
        found.append(Reference(tag_id, *numbers))
    return found


def grid_of(plan: Sequence[Recorded], site_id: str, floor: float) -> Grid:
    """Return a grid over the zones of a site and floor.

    Raises:
        RejectedError: no zone of it has an outline.
    """
    outlines: dict[str, Polygon] = {}
    for event in plan:
        data = event.data
        if isinstance(data, ZoneRegistered):
            outlines.pop(data.zone_id, None)
            if data.site_id == site_id and data.floor == floor and data.outline_m is not None:
                outlines[data.zone_id] = data.outline_m
        elif isinstance(data, ZoneRetired):
            outlines.pop(data.zone_id, None)
    if not outlines:
        raise RejectedError(
            f"no zone of site {site_id!r} has an outline; register the zones with outline_m first"
        )
    return grid_over(outlines, cell_m=CELL_M)
