"""Contents and stock over HTTP: S37, S14, S35 and the two clocks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import TagBound, TagUnbound
from tagtrail_kernel.events.shipments import ShipmentDeparted
from tagtrail_kernel.events.stock import CratePacked, CrateUnpacked, Line

MAC = "58:B1:29:44:94:D3"


async def furnish(client: Any) -> None:
    """Register a hall with zones A and B, two tagged crates, two SKUs; crate-1 is in B."""
    await client.post("/v1/sites", {"site_id": "hall", "name": "Hall"})
    for zone in ("A", "B"):
        await client.post("/v1/zones", {"zone_id": zone, "site_id": "hall", "name": f"Zone {zone}"})
    for sku in ("screw", "nut"):
        await client.post("/v1/skus", {"sku": sku, "name": sku.title()})
    for n in ("1", "2"):
        await client.post("/v1/assets", {"asset_id": f"crate-{n}"})
        await client.post("/v1/tags", {"tag_id": f"t{n}", "identities": [f"mac:00000000000{n}"]})
        await client.post(f"/v1/tags/t{n}/bind", {"asset_id": f"crate-{n}"})
    await client.say((0, TagZoneChanged(tag_id="t1", zone_id="B", site_id="hall")))


def lines(**quantities: int) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "quantity": n} for sku, n in quantities.items()]}


async def cells(client: Any, **params: Any) -> dict[tuple[str | None, str], tuple[int, int, int]]:
    body = await client.get("/v1/stock", **params)
    return {
        (c["zone_id"], c["sku"]): (c["quantity"], c["inferred"], c["verified"])
        for c in body["items"]
    }


async def test_s37_pack_40_pick_3_shows_37_inferred_in_zone_b_with_the_facts(client: Any) -> None:
    await furnish(client)
    packed = await client.post("/v1/assets/crate-1/pack", lines(screw=40))
    picked = await client.post("/v1/assets/crate-1/unpack", lines(screw=3))

    assert await cells(client) == {("B", "screw"): (37, 37, 0)}
    told = await client.get("/v1/stock/explain", zone_id="B", sku="screw")
    assert (told["quantity"], told["folds_to"]) == (37, 37)
    assert [e["event_id"] for e in told["lines"][0]["contents"]] == [
        packed["event_id"], picked["event_id"],
    ]  # fmt: skip
    assert len(told["lines"][0]["placed_by"]) == 2
    asset = await client.get("/v1/assets/crate-1")
    assert asset["contents"][0]["event_ids"] == [packed["event_id"], picked["event_id"]]
    assert asset["contents"][0]["standing"] == "inferred"
    assert asset["place"]["zone_id"] == "B"


async def test_s37_split_and_merge_conserve_the_quantity(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=40, nut=5))
    await client.post(
        "/v1/assets/crate-1/move-contents", {"to_asset_id": "crate-2", **lines(screw=15)}
    )
    split = await cells(client)
    await client.say((1, TagZoneChanged(tag_id="t2", zone_id="A", site_id="hall")))
    apart = await cells(client, sku="screw")
    await client.post(
        "/v1/assets/crate-2/move-contents", {"to_asset_id": "crate-1", **lines(screw=15)}
    )

    assert split == {
        ("B", "screw"): (25, 25, 0),
        ("B", "nut"): (5, 5, 0),
        (None, "screw"): (15, 15, 0),
    }
    assert apart == {("A", "screw"): (15, 15, 0), ("B", "screw"): (25, 25, 0)}
    assert await cells(client, sku="screw") == {("B", "screw"): (40, 40, 0)}


async def test_s37_a_blind_count_verifies_and_tells_the_difference(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=40, nut=5))
    counted = await client.post(
        "/v1/assets/crate-1/count",
        {"lines": [{"sku": "screw", "quantity": 38}], "counted_by": "p7"},
    )

    assert counted["lines"] == [
        {"sku": "nut", "lot": None, "expected": 5, "found": 0, "difference": -5},
        {"sku": "screw", "lot": None, "expected": 40, "found": 38, "difference": -2},
    ]
    assert await cells(client) == {("B", "screw"): (38, 0, 38)}
    await client.post("/v1/assets/crate-1/pack", lines(screw=2))
    assert await cells(client) == {("B", "screw"): (40, 2, 38)}


async def test_s37_contents_stay_where_the_crate_was_when_the_tag_fell_off(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=40))
    client.desk.deps.clock.forward(60)
    await client.post("/v1/tags/t1/unbind", {})

    asset = await client.get("/v1/assets/crate-1")
    assert await cells(client) == {("B", "screw"): (40, 40, 0)}
    assert asset["place"]["on_asset"] is False


async def test_more_than_is_held_cannot_be_taken_and_the_answer_says_what_is(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=4))
    problem = await client.post("/v1/assets/crate-1/unpack", lines(screw=5, nut=1), expect=409)
    unknown = await client.post("/v1/assets/crate-1/pack", lines(bolt=1), expect=422)
    same = await client.post(
        "/v1/assets/crate-1/move-contents", {"to_asset_id": "crate-1", **lines(screw=1)}, expect=422
    )

    assert "screw without a lot: 5 wanted, 4 held" in problem["detail"]
    assert "nut without a lot: 1 wanted, 0 held" in problem["detail"]
    assert "POST /v1/skus" in unknown["detail"]
    assert same["status"] == 422
    assert await cells(client) == {("B", "screw"): (4, 4, 0)}


async def test_many_pickers_at_once_never_take_more_than_there_is(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=10))
    answers = await asyncio.gather(
        *(client.http.post("/v1/assets/crate-1/unpack", json=lines(screw=3)) for _ in range(8))
    )

    assert sorted(a.status_code for a in answers) == [201] * 3 + [409] * 5
    assert await cells(client) == {("B", "screw"): (1, 1, 0)}


async def test_what_another_writer_takes_too_much_is_a_discrepancy_and_never_negative(
    client: Any,
) -> None:
    await furnish(client)
    line = (Line(sku="screw", quantity=3),)
    await client.say(
        (1, CratePacked(asset_id="crate-1", lines=line)),
        (2, CrateUnpacked(asset_id="crate-1", lines=line)),
        (3, CrateUnpacked(asset_id="crate-1", lines=line)),
    )

    assert await cells(client) == {}
    assert (await client.get("/v1/summary"))["discrepancies"] == 1
    await client.say((0.5, CratePacked(asset_id="crate-1", lines=(Line(sku="screw", quantity=4),))))
    assert await cells(client) == {("B", "screw"): (1, 1, 0)}


async def test_s14_a_tag_moved_at_ten_was_on_the_first_crate_before_and_the_second_after(
    client: Any, at: Any
) -> None:
    await furnish(client)
    ten = 120.0
    await client.post("/v1/assets/crate-1/pack", lines(screw=7))
    await client.say(
        (0.5, TagBound(tag_id="t9", asset_id="crate-1")),
        (ten, TagUnbound(tag_id="t9", asset_id="crate-1")),
        (ten, TagBound(tag_id="t9", asset_id="crate-2")),
    )

    async def on(minute: float, position: int | None = None) -> str | None:
        params = {"at": at(minute).isoformat()} | ({"position": position} if position else {})
        found: str | None = (await client.get("/v1/tags/t9", **params))["asset_id"]
        return found

    assert (await on(ten - 1), await on(ten + 1)) == ("crate-1", "crate-2")
    known = (await client.get("/v1/summary"))["as_of_position"]
    # A late correction: from 9:00 to 9:30 the tag was on neither crate.
    await client.say(
        (60, TagUnbound(tag_id="t9", asset_id="crate-1")),
        (90, TagBound(tag_id="t9", asset_id="crate-1")),
    )
    assert [await on(m) for m in (59, 61, 89, 91, 119, 121)] == [
        "crate-1", None, None, "crate-1", "crate-1", "crate-2",
    ]  # fmt: skip
    assert [await on(m, known) for m in (61, 89)] == ["crate-1", "crate-1"]


async def test_s14_contradicting_bindings_are_put_aside_for_people(client: Any) -> None:
    await furnish(client)
    await client.say(
        (1, TagUnbound(tag_id="t1", asset_id="crate-2")),
        (2, TagBound(tag_id="t2", asset_id="crate-1")),
    )

    listed = (await client.get("/v1/worklists/double-mapped"))["items"]
    assert [(k["kind"], k["tag_id"], k["held_by"]) for k in listed] == [
        ("bound_twice", "t2", "crate-2"), ("not_bound_there", "t1", "crate-1"),
    ]  # fmt: skip
    assert (await client.get("/v1/tags/t1"))["asset_id"] == "crate-1"
    client.desk.deps.clock.forward(600)
    await client.post("/v1/tags/t2/bind", {"asset_id": "crate-1", "move": True})
    listed = (await client.get("/v1/worklists/double-mapped"))["items"]
    assert [k["kind"] for k in listed] == ["not_bound_there"]


async def test_stock_at_an_earlier_time_and_as_it_was_known_then(client: Any, at: Any) -> None:
    await furnish(client)
    await client.say((1, CratePacked(asset_id="crate-1", lines=(Line(sku="nut", quantity=6),))))
    before = (await client.get("/v1/summary"))["as_of_position"]
    await client.say(
        (30, TagZoneChanged(tag_id="t1", zone_id="A", from_zone_id="B", site_id="hall"))
    )
    await client.say((2, CrateUnpacked(asset_id="crate-1", lines=(Line(sku="nut", quantity=2),))))

    early = at(10).isoformat()
    assert await cells(client) == {("A", "nut"): (4, 4, 0)}
    assert await cells(client, at=early) == {("B", "nut"): (4, 4, 0)}
    assert await cells(client, at=early, position=before) == {("B", "nut"): (6, 6, 0)}
    assert await cells(client, position=before) == {("B", "nut"): (6, 6, 0)}
    body = await client.get("/v1/stock", at=early, position=before)
    assert body["as_of"]["position"] == before
    future = await client.get("/v1/stock", position=99_999, expect=409)
    assert "ask again" in future["detail"]


async def test_a_shipment_takes_its_assets_out_of_stock_when_it_is_delivered(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=40))
    await client.post("/v1/shipments", {"shipment_id": "s1", "asset_ids": ["none"]}, expect=422)
    await client.post("/v1/shipments/s1/depart", expect=422)
    await client.post("/v1/shipments", {"shipment_id": "s1", "asset_ids": ["crate-1"]})
    await client.post("/v1/shipments/s1/depart")
    away = (await client.get("/v1/stock"))["items"][0]
    await client.post("/v1/pods", {"shipment_id": "s1", "document": "CMR 1"})

    assert (away["zone_id"], away["custody"], away["quantity"]) == (None, "in_transit", 40)
    assert await cells(client) == {}
    assert await cells(client, delivered="true") == {(None, "screw"): (40, 40, 0)}
    assert (await client.get("/v1/shipments/s1"))["state"] == "delivered"
    await client.get("/v1/shipments/s2", expect=404)


async def test_stock_names_freshness_names_and_carriers_and_comes_in_pages(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=1, nut=2))
    await client.post("/v1/assets/crate-2/pack", lines(screw=3))
    client.desk.deps.clock.forward(90)
    first = await client.get("/v1/stock", limit=2)
    second = await client.get("/v1/stock", limit=2, after=first["next"])

    assert [(c["zone_id"], c["sku"]) for c in first["items"] + second["items"]] == [
        (None, "screw"), ("B", "nut"), ("B", "screw"),
    ]  # fmt: skip
    assert second["next"] is None
    cell = second["items"][0]
    assert (cell["zone_name"], cell["sku_name"], cell["asset_ids"]) == (
        "Zone B",
        "Screw",
        ["crate-1"],
    )
    assert cell["last_seen_age_s"] == 90
    assert first["items"][0]["last_seen_age_s"] is None
    assert len((await client.get("/v1/stock", placed="false"))["items"]) == 1
    assert len((await client.get("/v1/stock", site_id="hall"))["items"]) == 2


async def test_a_timeline_tells_everything_about_an_asset_newest_first(client: Any) -> None:
    await furnish(client)
    client.desk.deps.clock.forward(60)
    await client.post("/v1/assets/crate-1/pack", lines(screw=1, nut=2))
    client.desk.deps.clock.forward(60)
    await client.post("/v1/tags/t1/bind", {"asset_id": "crate-2", "move": True})
    whole = await client.get("/v1/assets/crate-1/timeline")
    newest = await client.get("/v1/assets/crate-1/timeline", limit=1)
    rest = await client.get("/v1/assets/crate-1/timeline", after=newest["next"])

    told = [(i["what"], i["zone_id"] or i["sku"] or i["other_asset_id"]) for i in whole["items"]]
    assert told[0] == ("tag_unbound", "crate-2") or told[0] == ("tag_unbound", None)
    assert set(told[1:3]) == {("added", "screw"), ("added", "nut")}
    assert set(told[3:]) == {("zone_entered", "B"), ("tag_bound", None)}
    assert newest["items"] + rest["items"] == whole["items"]


async def test_a_timeline_shows_a_flap_after_departure_and_names_the_return(
    client: Any, at: Any
) -> None:
    await furnish(client)
    dock = TagZoneChanged(tag_id="t1", zone_id="B", site_id="hall")
    await client.say(
        (2, ShipmentDeparted(shipment_id="s", asset_ids=("crate-1",))),
        (3, dock),
        (9, dock),
        (10, TagZoneChanged(tag_id="t1", zone_id="A", site_id="hall")),
    )
    early = await client.get("/v1/assets/crate-1", at=at(4).isoformat())
    asset = await client.get("/v1/assets/crate-1")
    told = (await client.get("/v1/assets/crate-1/timeline"))["items"]

    reasons = [(i["what"], i["zone_id"], i["reason"]) for i in told]
    assert reasons[:4] == [
        ("zone_entered", "A", None),
        ("zone_entered", "B", "returned"),
        ("zone_entered", "B", "within_return_grace"),
        ("in_transit", None, None),
    ]
    assert {i[2] for i in reasons[4:]} == {None}
    assert (early["place"]["custody"], early["place"]["returned"]) == ("in_transit", False)
    assert (asset["place"]["custody"], asset["place"]["returned"]) == ("here", True)


async def test_a_time_in_the_future_is_refused(client: Any, at: Any) -> None:
    await furnish(client)
    late = at(0) + timedelta(hours=3)
    problem = await client.post(
        "/v1/assets/crate-1/pack", {**lines(screw=1), "at": late.isoformat()}, expect=422
    )

    assert "future" in problem["detail"]


async def test_a_command_repeated_after_a_lost_answer_has_one_effect(client: Any) -> None:
    """The answer is lost between the append and its storing: the key finds what was written."""
    await furnish(client)
    await client.post("/v1/assets/crate-1/pack", lines(screw=5))
    headers = {"Idempotency-Key": "once"}
    first = await client.post("/v1/assets/crate-1/unpack", lines(screw=5), headers=headers)
    async with client.desk.deps.database_of("access").connection() as c:
        await c.execute("update access.idempotency set status = null, body = null")
    second = await client.post("/v1/assets/crate-1/unpack", lines(screw=5), headers=headers)

    assert (second["event_id"], second["position"]) == (first["event_id"], first["position"])
    assert await cells(client) == {}


async def test_tags_and_assets_of_a_site_are_those_that_are_there(client: Any) -> None:
    await furnish(client)

    tags = await client.get("/v1/tags", site_id="hall")
    assets = await client.get("/v1/assets", site_id="hall")
    assert [t["tag_id"] for t in tags["items"]] == ["t1"]
    assert [(a["asset_id"], a["zone_id"]) for a in assets["items"]] == [("crate-1", "B")]
    assert (await client.get("/v1/assets", zone_id="A"))["items"] == []


async def test_the_longest_names_that_events_allow_do_not_stop_the_books(client: Any) -> None:
    """With four bytes a character the three names would not fit one index entry."""
    wide = "\U00010348"
    line = Line(sku=wide * 200, quantity=2, lot=wide * 512)
    other = Line(sku=wide * 200, quantity=3, lot=wide * 511 + "x")
    await client.say((0, CratePacked(asset_id=wide * 200, lines=(line, other))))

    assert [c["quantity"] for c in (await client.get("/v1/stock"))["items"]] in ([2, 3], [3, 2])
