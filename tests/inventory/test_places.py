"""Where an asset is, from the tags that are or were on it."""

from __future__ import annotations

from typing import Any

from tagtrail_inventory.core.asof import Place, as_of
from tagtrail_inventory.places import PLACES
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import TagBound, TagUnbound
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned


async def place(desk: Any, *facts: tuple[float, Event]) -> Place:
    """Fold facts about asset `a` and return where it is; tables and plain fold agree."""
    log_id = desk.next_log()
    await desk.say(*facts, log_id=log_id)
    await desk.fold(log_id)
    async with desk.database.connection() as c:
        row = await c.fetchrow(
            f"with {PLACES} select zone_id, custody from place", log_id, None, None, ["a"]
        )
        now = await c.fetchrow(
            "select zone_id, custody from place_now where log_id = $1 and asset_id = 'a'", log_id
        )
    page = await desk.deps.log.read(log_id, after=0)
    found = Place(row["zone_id"], row["custody"])
    assert found == Place(now["zone_id"], now["custody"])
    assert found == as_of(page.events, None, None).places["a"]
    return found


def on(tag: str, asset: str = "a") -> TagBound:
    return TagBound(tag_id=tag, asset_id=asset)


def off(tag: str, asset: str = "a") -> TagUnbound:
    return TagUnbound(tag_id=tag, asset_id=asset)


def seen(tag: str, zone: str | None) -> TagZoneChanged:
    return TagZoneChanged(tag_id=tag, zone_id=zone)


async def test_an_asset_is_where_its_tag_is_also_if_the_tag_was_bound_later(desk: Any) -> None:
    assert await place(desk, (0, seen("t", "z1")), (1, on("t"))) == Place("z1", "here")
    assert await place(desk, (0, on("t")), (1, seen("t", "z1"))) == Place("z1", "here")
    assert await place(desk, (0, on("t"))) == Place(None, "here")


async def test_a_tag_that_fell_off_leaves_the_asset_where_it_was(desk: Any) -> None:
    found = await place(
        desk, (0, on("t")), (1, seen("t", "z1")), (2, off("t")), (3, seen("t", "z2"))
    )

    assert found == Place("z1", "here")


async def test_a_binding_that_was_taken_back_says_nothing(desk: Any) -> None:
    wrong = ((0.0, seen("t", "z2")), (5.0, on("t")), (5.0, off("t")))
    right = ((0.0, on("u")), (1.0, seen("u", "z1")))

    assert await place(desk, *right, *wrong) == Place("z1", "here")
    assert await place(desk, *right, (2, off("u")), *wrong) == Place("z1", "here")


async def test_of_two_tags_the_one_in_a_zone_is_the_better_witness(desk: Any) -> None:
    found = await place(
        desk,
        (0, on("t")),
        (0, on("u")),
        (1, seen("t", "z1")),
        (2, seen("u", "z2")),
        (3, seen("u", None)),
    )

    assert found == Place("z1", "here")


async def test_a_tag_on_the_asset_that_left_outweighs_one_that_was_taken_off(desk: Any) -> None:
    found = await place(
        desk, (0, on("t")), (1, seen("t", "z1")), (2, off("t")), (3, on("u")), (4, seen("u", None))
    )

    assert found == Place(None, "here")


async def test_a_new_tag_that_was_never_heard_changes_nothing(desk: Any) -> None:
    found = await place(desk, (0, on("t")), (1, seen("t", "z1")), (2, off("t")), (3, on("u")))

    assert found == Place("z1", "here")


async def test_a_departure_takes_assets_away_until_they_are_seen_again(desk: Any) -> None:
    start = (
        (0.0, on("t")), (1.0, seen("t", "dock")), (2.0, ShipmentPlanned(shipment_id="s", asset_ids=("a",))),
        (3.0, ShipmentDeparted(shipment_id="s")),
    )  # fmt: skip

    assert await place(desk, *start) == Place(None, "in_transit")
    assert await place(desk, *start, (4, seen("t", None))) == Place(None, "in_transit")
    assert await place(desk, *start, (4, PodRecorded(shipment_id="s"))) == Place(None, "delivered")
    assert await place(desk, *start, (4, seen("t", "dock2"))) == Place("dock2", "here")
