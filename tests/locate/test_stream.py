"""The live stream of places, over a real socket, with the projection following the log."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from tests.support.locate_desk import LocateDesk
from tests.support.locate_scene import sighting, two_zones


async def _told(desk: LocateDesk, count: int, **query: Any) -> list[tuple[int, dict[str, Any]]]:
    """Follow the stream until it has told some places: (id, place)."""
    found: list[tuple[int, dict[str, Any]]] = []
    place: dict[str, Any] | None = None
    async with (
        asyncio.timeout(20),
        desk.http.stream("GET", "/v1/places/stream", params=query) as reply,
    ):
        assert reply.headers["content-type"].startswith("text/event-stream")
        async for line in reply.aiter_lines():
            name, _, value = line.partition(":")
            if name == "data":
                place = orjson.loads(value)
            elif name == "id" and place is not None:
                found.append((int(value), place))
                place = None
            elif name == "id":
                number = int(value)
            elif not line and place is not None:
                found.append((number, place))
                place = None
            if len(found) == count:
                break
    return found


async def test_the_stream_tells_places_and_resumes(live: LocateDesk) -> None:
    await live.append([*two_zones(), sighting(1.0, "gw-a", -60.0)])

    first = await _told(live, 1, after=0, site_id="hall")
    await live.append([sighting(2.0, "gw-b", -60.0, tag="tag-2")])
    second = await _told(live, 1, after=first[-1][0], site_id="hall")

    assert first[0][1]["tag_id"] == "tag-1"
    assert first[0][1]["zone_id"] == "a"
    assert second[0][1]["tag_id"] == "tag-2"
    assert second[0][0] > first[0][0]


async def test_a_leader_explains_from_its_own_memory(live: LocateDesk) -> None:
    await live.append([*two_zones(), sighting(1.0, "gw-a", -60.0)])
    await _told(live, 1, after=0)

    told = await live.get("/v1/tags/tag-1/explain")

    assert told["zone_id"] == "a"
    assert told["as_of_position"] == 6
    ready = await live.http.get("/readyz")
    assert ready.json() == {"status": "ready", "failing": {}}
