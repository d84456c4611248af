"""Where an asset is, from the tags that are or were on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

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


def seen(tag: str, zone: str | None, site: str | None = None) -> TagZoneChanged:
    return TagZoneChanged(tag_id=tag, zone_id=zone, site_id=site)


def departed(*assets: str) -> ShipmentDeparted:
    return ShipmentDeparted(shipment_id="s", asset_ids=assets or ("a",))


LOADED = ((0.0, on("t")), (1.0, seen("t", "dock", "h")), (2.0, departed()))
"""On a truck that left the dock of site h at minute 2."""


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
    assert await place(desk, *start, (60, seen("t", "inbound"))) == Place("inbound", "here")


@pytest.mark.parametrize("minute", [2.5, 6.98])
async def test_a_tag_that_flaps_while_the_truck_drives_off_brings_nothing_back(
    desk: Any, minute: float
) -> None:
    flap = ((2.2, seen("t", None)), (minute, seen("t", "dock", "h")))

    assert await place(desk, *LOADED, *flap) == Place(None, "in_transit")
    proved = PodRecorded(shipment_id="s")
    assert await place(desk, *LOADED, (2.3, proved), *flap) == Place(None, "delivered")
    assert await place(desk, (2.5, seen("t", "dock", "h")), *LOADED) == Place(None, "in_transit")


async def test_what_is_seen_five_minutes_after_departure_or_delivery_is_back(desk: Any) -> None:
    back = (7.0, seen("t", "dock", "h"))
    proved = (2.01, PodRecorded(shipment_id="s"))

    assert await place(desk, *LOADED, back) == Place("dock", "here")
    assert await place(desk, *LOADED, proved, back) == Place(None, "delivered")
    assert await place(desk, *LOADED, proved, (7.01, back[1])) == Place("dock", "here")
    assert await place(desk, *LOADED, back, (8, seen("t", None))) == Place(None, "in_transit")


async def test_what_arrives_at_another_site_is_there_at_once(desk: Any) -> None:
    arrival = (3.0, seen("t", "dock-i", "i"))
    proved = (4.0, PodRecorded(shipment_id="s"))
    stored = (4.5, seen("t", "shelf-i", "i"))

    assert await place(desk, *LOADED, arrival) == Place("dock-i", "here")
    assert await place(desk, *LOADED, arrival, proved) == Place(None, "delivered")
    assert await place(desk, *LOADED, arrival, proved, stored) == Place("shelf-i", "here")
    unnamed = (4.0, PodRecorded(asset_ids=("a",)))
    assert await place(desk, *LOADED, arrival, unnamed, stored) == Place(None, "delivered")


async def test_who_puts_a_tag_on_what_left_holds_it_and_brings_it_back(desk: Any) -> None:
    found = await place(desk, *LOADED, (2, seen("u", "office", "h")), (3, on("u")))

    assert found == Place("office", "here")
    assert await place(desk, *LOADED, (3, on("t"))) == Place("dock", "here")


async def test_a_flap_recorded_before_its_departure_counts_until_the_departure_is_known(
    desk: Any, at: Callable[[float], datetime]
) -> None:
    """Both clocks: what was known then stays as it was, what is known now is right for then."""
    log_id = desk.next_log()
    facts = (*LOADED[:2], (3.0, seen("t", "dock2", "h")), LOADED[2])
    await desk.say(*facts, log_id=log_id, together=False)
    await desk.fold(log_id)

    async def asked(minute: float, position: int) -> Place:
        async with desk.database.connection() as c:
            row = await c.fetchrow(
                f"with {PLACES} select zone_id, custody from place",
                log_id,
                at(minute),
                position,
                ["a"],
            )
        return Place(row["zone_id"], row["custody"])

    assert await asked(3.5, 3) == Place("dock2", "here")
    assert await asked(3.5, 4) == Place(None, "in_transit")
    assert await asked(1.5, 4) == Place("dock", "here")
