"""The ground plan: zones, walls, doors, gateways and anchors of a simulated site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_kernel.events.registrations import ZoneKind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Point = tuple[float, float]

DOOR_M: Final = 3.0
"""Clear width of a door: two pallet trucks pass each other."""
APRON_M: Final = 7.0
"""Length of a trailer at a dock door; the apron belongs to the dock's zone."""
OUTER_WALL_DB: Final = 12.0
INNER_WALL_DB: Final = 8.0
RACK_DB: Final = 6.0
"""One-way loss at 2.4 GHz through a brick wall, a light partition, and a loaded rack row."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the site, as BLE answers it.

    Attributes:
        zone_id: Id in the tenant.
        name: What people call it.
        kind: Its part in the flow of goods.
        outline_m: Polygon in the site frame, metres.
    """

    zone_id: str
    name: str
    kind: ZoneKind
    outline_m: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Wall:
    """A straight obstacle; doors are gaps between walls.

    Attributes:
        a_m: One end, metres.
        b_m: Other end, metres.
        loss_db: What a signal loses that crosses it, dB.
    """

    a_m: Point
    b_m: Point
    loss_db: float


@dataclass(frozen=True, slots=True)
class Station:
    """A gateway or a UWB anchor at its place.

    Attributes:
        key: Short name, unique on the site, for example "inbound".
        x_m: East, metres.
        y_m: North, metres.
        z_m: Height, metres.
        zone_id: The zone it hangs in.
        kind: What it hears.
    """

    key: str
    x_m: float
    y_m: float
    z_m: float
    zone_id: str
    kind: str = "ble"


@dataclass(frozen=True, slots=True)
class Site:
    """One hall with its yard.

    Attributes:
        site_id: Short id, used in topics.
        name: What people call it.
        width_m: Extent to the east, metres.
        depth_m: Extent to the north, metres.
        zones: Zones; they do not overlap.
        walls: Obstacles for people and for signals.
        gateways: BLE gateways.
        anchors: UWB anchors, may be empty.
        crossings_m: Door centres and rack ends: where routes bend.
    """

    site_id: str
    name: str
    width_m: float
    depth_m: float
    zones: tuple[Zone, ...]
    walls: tuple[Wall, ...]
    gateways: tuple[Station, ...]
    anchors: tuple[Station, ...]
    crossings_m: tuple[Point, ...]

    @property
    def outline_m(self) -> tuple[Point, ...]:
        """Outline of the hall without the aprons, metres."""
        w, d = self.width_m, self.depth_m
        return ((0.0, 0.0), (w, 0.0), (w, d), (0.0, d))

    @property
    def door_in_m(self) -> Point:
        """Centre of the inbound dock door."""
        return (0.0, self.depth_m / 2)

    @property
    def door_out_m(self) -> Point:
        """Centre of the outbound dock door."""
        return (self.width_m, self.depth_m / 4)

    def zones_of(self, kind: ZoneKind) -> tuple[Zone, ...]:
        """Return the zones of one kind, in their order."""
        return tuple(z for z in self.zones if z.kind == kind)

    def zone_index_at(self, x_m: Floats, y_m: Floats) -> Ints:
        """Return the index of the zone that holds each point, -1 outside all; shape (n,)."""
        found = np.full(x_m.shape, -1, dtype=np.int64)
        for index, zone in enumerate(self.zones):
            found[inside(zone.outline_m, x_m, y_m) & (found < 0)] = index
        return found

    def zone_id_at(self, x_m: float, y_m: float) -> str | None:
        """Return the zone that holds a point, None outside all."""
        index = int(self.zone_index_at(np.array([x_m]), np.array([y_m]))[0])
        return None if index < 0 else self.zones[index].zone_id


def inside(outline_m: tuple[Point, ...], x_m: Floats, y_m: Floats) -> npt.NDArray[np.bool_]:
    """Tell which points lie in a polygon (even-odd rule); NaN lies outside.

    Args:
        outline_m: Corners, metres, at least three.
        x_m: East, shape (n,).
        y_m: North, shape (n,).

    Returns:
        Shape (n,).
    """
    odd = np.zeros(x_m.shape, dtype=np.bool_)
    previous = outline_m[-1]
    for corner in outline_m:
        (x0, y0), (x1, y1) = previous, corner
        previous = corner
        if y0 == y1:
            continue
        spans = (y0 > y_m) != (y1 > y_m)
        odd ^= spans & (x_m < (x1 - x0) * (y_m - y0) / (y1 - y0) + x0)
    return odd


def loss_through_walls_db(
    walls: tuple[Wall, ...], x_m: Floats, y_m: Floats, to_x_m: Floats, to_y_m: Floats
) -> Floats:
    """Return what straight signals lose on the walls they cross.

    Args:
        walls: The obstacles.
        x_m: East of n senders, shape (n, 1).
        y_m: North, shape (n, 1).
        to_x_m: East of g receivers, shape (1, g).
        to_y_m: North, shape (1, g).

    Returns:
        Loss in dB, shape (n, g).
    """
    total = np.zeros(np.broadcast_shapes(x_m.shape, to_x_m.shape))
    for wall in walls:
        (ax, ay), (bx, by) = wall.a_m, wall.b_m
        near = (bx - ax) * (y_m - ay) - (by - ay) * (x_m - ax)
        far = (bx - ax) * (to_y_m - ay) - (by - ay) * (to_x_m - ax)
        dx, dy = to_x_m - x_m, to_y_m - y_m
        left = dx * (ay - y_m) - dy * (ax - x_m)
        right = dx * (by - y_m) - dy * (bx - x_m)
        total += wall.loss_db * ((near * far < 0) & (left * right < 0))
    return total


def _with_gaps(
    fixed: float, start: float, end: float, gaps: list[float], *, vertical: bool, loss_db: float
) -> list[Wall]:
    """Split one wall line at its doors."""
    cuts = [start]
    for centre in sorted(gaps):
        cuts += [centre - DOOR_M / 2, centre + DOOR_M / 2]
    cuts.append(end)
    walls = []
    for a, b in zip(cuts[::2], cuts[1::2], strict=True):
        ends = ((fixed, a), (fixed, b)) if vertical else ((a, fixed), (b, fixed))
        walls.append(Wall(ends[0], ends[1], loss_db))
    return walls


def _zones(site_id: str, w: float, d: float, aisles: int) -> tuple[Zone, ...]:
    west, east = w * 0.2, w * 0.7
    half, out = DOOR_M / 2 + 1.0, d / 4
    inbound = (
        (0.0, 0.0), (west, 0.0), (west, d), (0.0, d),
        (0.0, d / 2 + half), (-APRON_M, d / 2 + half), (-APRON_M, d / 2 - half), (0.0, d / 2 - half),
    )  # fmt: skip
    outbound = (
        (east, 0.0), (w, 0.0), (w, out - half), (w + APRON_M, out - half), (w + APRON_M, out + half),
        (w, out + half), (w, d / 2), (east, d / 2),
    )  # fmt: skip
    packing = ((east, d / 2), (w, d / 2), (w, d), (east, d))
    found = [Zone(f"{site_id}-inbound", "Inbound dock", "inbound", inbound)]
    for n in range(aisles):
        low, high = d * n / aisles, d * (n + 1) / aisles
        outline = ((west, low), (east, low), (east, high), (west, high))
        found.append(Zone(f"{site_id}-aisle-{n + 1}", f"Aisle {n + 1}", "storage", outline))
    found.append(Zone(f"{site_id}-packing", "Packing and staging", "staging", packing))
    found.append(Zone(f"{site_id}-outbound", "Outbound dock", "outbound", outbound))
    return tuple(found)


def _walls(w: float, d: float, aisles: int) -> tuple[Wall, ...]:
    west, east = w * 0.2, w * 0.7
    walls = _with_gaps(0.0, 0.0, d, [d / 2], vertical=True, loss_db=OUTER_WALL_DB)
    walls += _with_gaps(w, 0.0, d, [d / 4], vertical=True, loss_db=OUTER_WALL_DB)
    walls += _with_gaps(0.0, 0.0, w, [], vertical=False, loss_db=OUTER_WALL_DB)
    walls += _with_gaps(d, 0.0, w, [], vertical=False, loss_db=OUTER_WALL_DB)
    walls += _with_gaps(west, 0.0, d, [d / 2], vertical=True, loss_db=INNER_WALL_DB)
    walls += _with_gaps(east, 0.0, d, [d / 4, d * 0.75], vertical=True, loss_db=INNER_WALL_DB)
    walls += _with_gaps(d / 2, east, w, [w * 0.85], vertical=False, loss_db=INNER_WALL_DB)
    for n in range(1, aisles):
        y = d * n / aisles
        walls += _with_gaps(y, west + 2, east - 2, [], vertical=False, loss_db=RACK_DB)
    return tuple(walls)


def _crossings(w: float, d: float, aisles: int) -> tuple[Point, ...]:
    west, east = w * 0.2, w * 0.7
    doors = [(0.0, d / 2), (w, d / 4), (west, d / 2), (east, d / 4), (east, d * 0.75)]
    doors.append((w * 0.85, d / 2))
    ends = [(x, d * n / aisles) for n in range(1, aisles) for x in (west + 1, east - 1)]
    return tuple(doors + ends)


def hall(
    site_id: str,
    name: str,
    *,
    width_m: float,
    depth_m: float,
    aisles: int,
    gateways: tuple[tuple[str, float, float], ...] | None = None,
    anchors: bool = False,
) -> Site:
    """Build a hall: goods come in from the west and leave to the east.

    The inbound dock takes the western fifth, storage aisles lie one above the other in the
    middle, packing and the outbound dock share the eastern end; both docks include the apron
    where a trailer stands.

    Args:
        site_id: Short id.
        name: What people call it.
        width_m: Extent to the east, metres, > 20.
        depth_m: Extent to the north, metres, > 12.
        aisles: Number of storage zones, >= 1.
        gateways: (key, x, y) of each gateway; None hangs one into the middle of every zone.
        anchors: Whether six UWB anchors hang along the walls.

    Returns:
        The site, with `aisles` + 3 zones.
    """
    zones = _zones(site_id, width_m, depth_m, aisles)
    bare = Site(
        site_id, name, width_m, depth_m, zones, _walls(width_m, depth_m, aisles), (), (),
        _crossings(width_m, depth_m, aisles),
    )  # fmt: skip
    places = gateways or tuple(_middle(zone, bare) for zone in zones)
    hung = tuple(_station(bare, key, x, y, 3.0, "ble") for key, x, y in places)
    uwb = (
        tuple(_station(bare, *place, "uwb") for place in _anchor_places(width_m, depth_m))
        if anchors
        else ()
    )
    return Site(
        site_id, name, width_m, depth_m, zones, bare.walls, hung, uwb, bare.crossings_m
    )  # fmt: skip


def _anchor_places(width_m: float, depth_m: float) -> list[tuple[str, float, float, float]]:
    """Return key and place of six anchors along the walls, at two heights."""
    edge: list[Point] = [(1.0, 1.0), (width_m / 2, 1.0), (width_m - 1, 1.0)]
    edge += [(x, depth_m - 1) for x, _ in edge]
    return [(f"anchor-{n + 1}", x, y, 2.5 + 1.5 * (n % 2)) for n, (x, y) in enumerate(edge)]


def _middle(zone: Zone, site: Site) -> tuple[str, float, float]:
    xs = [min(max(x, 0.0), site.width_m) for x, _ in zone.outline_m]
    ys = [y for _, y in zone.outline_m]
    key = zone.zone_id.removeprefix(f"{site.site_id}-")
    return key, (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2


def _station(site: Site, key: str, x: float, y: float, z: float, kind: str) -> Station:
    zone_id = site.zone_id_at(x, y)
    if zone_id is None:
        raise ValueError(f"station {key!r} at ({x}, {y}) m hangs in no zone of {site.site_id}")
    return Station(key, float(x), float(y), z, zone_id, kind)
