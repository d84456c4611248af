"""Ways through the doors: shortest paths that cross no wall."""

from __future__ import annotations

import heapq
import math

from tagtrail.simulator.layout import Point, Site, Wall


def _side(a: Point, b: Point, p: Point) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def crosses(wall: Wall, a: Point, b: Point) -> bool:
    """Tell whether the straight way from a to b goes through a wall."""
    return (
        _side(wall.a_m, wall.b_m, a) * _side(wall.a_m, wall.b_m, b) < 0
        and _side(a, b, wall.a_m) * _side(a, b, wall.b_m) < 0
    )


class Router:
    """Finds ways on one site; remembers which of its doors and rack ends see each other."""

    def __init__(self, site: Site) -> None:
        self._walls = site.walls
        self._nodes = site.crossings_m
        self._edges = [
            [(m, math.dist(a, b)) for m, b in enumerate(self._nodes) if a != b and self._sees(a, b)]
            for a in self._nodes
        ]

    def _sees(self, a: Point, b: Point) -> bool:
        return not any(crosses(wall, a, b) for wall in self._walls)

    def route(self, start: Point, goal: Point) -> list[Point]:
        """Return the corners of the shortest way, start and goal included.

        Args:
            start: Where it begins, metres.
            goal: Where it ends, metres.

        Raises:
            ValueError: no way leads there without crossing a wall.
        """
        if self._sees(start, goal):
            return [start, goal]
        ends = {n: math.dist(p, goal) for n, p in enumerate(self._nodes) if self._sees(p, goal)}
        heap: list[tuple[float, int, tuple[int, ...]]] = [
            (math.dist(start, p), n, (n,))
            for n, p in enumerate(self._nodes)
            if self._sees(start, p)
        ]
        heapq.heapify(heap)
        return [start, *self._through(heap, ends, start, goal), goal]

    def _through(
        self,
        heap: list[tuple[float, int, tuple[int, ...]]],
        ends: dict[int, float],
        start: Point,
        goal: Point,
    ) -> list[Point]:
        done: set[int] = set()
        while heap:
            length_m, node, path = heapq.heappop(heap)
            if node < 0:
                return [self._nodes[n] for n in path]
            if node in done:
                continue
            done.add(node)
            if node in ends:
                heapq.heappush(heap, (length_m + ends[node], -1, path))
            for to, step_m in self._edges[node]:
                if to not in done:
                    heapq.heappush(heap, (length_m + step_m, to, (*path, to)))
        raise ValueError(f"no way from {start} to {goal}: is one of them inside a wall?")
