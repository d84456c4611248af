"""Registering, binding and retiring over HTTP."""

from __future__ import annotations

from typing import Any

MAC = "58:B1:29:44:94:D3"


async def furnish(client: Any) -> None:
    """Register one site with two zones, a gateway, two crates and a SKU."""
    await client.post("/v1/sites", {"site_id": "hall", "name": "Hall"})
    for zone in ("inbound", "rack"):
        await client.post("/v1/zones", {"zone_id": zone, "site_id": "hall", "name": zone.title()})
    for asset in ("crate-a", "crate-b"):
        await client.post("/v1/assets", {"asset_id": asset})
    await client.post("/v1/skus", {"sku": "screw", "name": "Screw", "unit": "EA"})


async def test_what_is_registered_can_be_read_at_once(client: Any) -> None:
    await furnish(client)
    made = await client.post(
        "/v1/gateways",
        {"gateway_id": "gw1", "site_id": "hall", "zone_id": "rack", "x_m": 1, "y_m": 2.5},
        expect=201,
    )

    zones = await client.get("/v1/zones", site_id="hall")
    gateway = await client.get("/v1/gateways/gw1")
    assert [z["zone_id"] for z in zones["items"]] == ["inbound", "rack"]
    assert zones["as_of_position"] == made["position"]
    assert gateway["x_m"] == 1
    assert gateway["position"] == made["position"]
    assert made["applied"] is True
    assert made["status"] == "created"


async def test_the_same_registration_again_writes_nothing(client: Any) -> None:
    body = {"site_id": "hall", "name": "Hall", "outline_m": [[0, 0], [10, 0], [10, 5]]}
    first = await client.post("/v1/sites", body, expect=201)
    second = await client.post("/v1/sites", body, expect=200)
    third = await client.post("/v1/sites", body | {"name": "Big hall"}, expect=200)

    assert second["status"] == "unchanged"
    assert second["event_id"] == first["event_id"]
    assert third["status"] == "updated"
    assert third["position"] == first["position"] + 1


async def test_a_tag_gets_a_random_id_and_normal_identities(client: Any) -> None:
    made = await client.post("/v1/tags", {"identities": [MAC, "mac:58b1294494d3", "epc:30140f"]})

    tag = await client.get(f"/v1/tags/{made['id']}")
    assert tag["identities"] == ["mac:58b1294494d3", "epc:30140F"]
    assert len(made["id"]) == 36


async def test_an_identity_of_another_active_tag_is_refused_by_name(client: Any) -> None:
    await client.post("/v1/tags", {"tag_id": "t1", "identities": [MAC]})
    problem = await client.post("/v1/tags", {"tag_id": "t2", "identities": [MAC]}, expect=409)
    await client.post("/v1/tags/t1/retire", {"reason": "broken"})
    await client.post("/v1/tags", {"tag_id": "t2", "identities": [MAC]}, expect=201)

    assert "'t1'" in problem["detail"]
    assert problem["errors"][0]["code"] == "identity_taken"
    assert "58b1" not in problem["detail"]


async def test_unknown_references_are_refused_with_the_next_step(client: Any) -> None:
    zone = await client.post(
        "/v1/zones", {"zone_id": "z", "site_id": "nowhere", "name": "Z"}, expect=422
    )
    await client.post("/v1/sites", {"site_id": "hall", "name": "Hall"})
    await client.post("/v1/sites", {"site_id": "yard", "name": "Yard"})
    await client.post("/v1/zones", {"zone_id": "z", "site_id": "hall", "name": "Z"})
    wrong = await client.post(
        "/v1/gateways", {"gateway_id": "g", "site_id": "yard", "zone_id": "z"}, expect=422
    )
    tag = await client.post("/v1/tags/none/bind", {"asset_id": "crate"}, expect=422)

    assert "POST /v1/sites" in zone["detail"]
    assert wrong["errors"][0]["code"] == "wrong_site"
    assert [e["pointer"] for e in tag["errors"]] == ["#/tag_id", "#/asset_id"]


async def test_a_tag_on_another_asset_moves_only_on_demand(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/tags", {"tag_id": "t1", "identities": [MAC]})
    await client.post("/v1/tags/t1/bind", {"asset_id": "crate-a"})
    problem = await client.post("/v1/tags/t1/bind", {"asset_id": "crate-b"}, expect=409)
    moved = await client.post("/v1/tags/t1/bind", {"asset_id": "crate-b", "move": True})
    again = await client.post("/v1/tags/t1/bind", {"asset_id": "crate-b"})

    assert "crate-a" in problem["detail"]
    assert "move" in problem["detail"]
    assert len(moved["event_ids"]) == 2
    assert again["status"] == "unchanged"
    assert (await client.get("/v1/tags/t1"))["asset_id"] == "crate-b"
    assert (await client.get("/v1/assets/crate-a"))["tags"] == []


async def test_unbinding_ends_the_binding_and_cannot_be_done_twice(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/tags", {"tag_id": "t1", "identities": [MAC]})
    await client.post("/v1/tags/t1/bind", {"asset_id": "crate-a"})
    await client.post("/v1/tags/t1/unbind", {"asset_id": "crate-b"}, expect=409)
    await client.post("/v1/tags/t1/unbind", {})
    await client.post("/v1/tags/t1/unbind", {}, expect=409)

    unmapped = await client.get("/v1/worklists/unmapped-tags")
    assert [t["tag_id"] for t in unmapped["items"]] == ["t1"]
    assert [a["asset_id"] for a in unmapped["assets_without_tag"]] == ["crate-a", "crate-b"]


async def test_retiring_a_tag_takes_it_off_and_an_asset_must_be_empty(client: Any) -> None:
    await furnish(client)
    await client.post("/v1/tags", {"tag_id": "t1", "identities": [MAC]})
    await client.post("/v1/tags/t1/bind", {"asset_id": "crate-a"})
    await client.post("/v1/assets/crate-a/pack", {"lines": [{"sku": "screw", "quantity": 5}]})
    full = await client.post("/v1/assets/crate-a/retire", {}, expect=409)
    await client.post("/v1/assets/crate-a/unpack", {"lines": [{"sku": "screw", "quantity": 5}]})
    done = await client.post("/v1/assets/crate-a/retire", {})

    assert full["held"] == 5
    assert len(done["event_ids"]) == 2
    assert [a["asset_id"] for a in (await client.get("/v1/assets"))["items"]] == ["crate-b"]
    assert (await client.get("/v1/tags/t1"))["asset_id"] is None


async def test_an_idempotency_key_has_one_effect_and_one_answer(client: Any) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await client.post("/v1/assets", {"kind": "crate"}, headers=headers)
    second = await client.post("/v1/assets", {"kind": "crate"}, headers=headers)
    other = await client.post("/v1/assets", {"kind": "pallet"}, headers=headers, expect=409)

    assert first == second
    assert "Idempotency-Key" in other["detail"]
    assert len((await client.get("/v1/assets"))["items"]) == 1


async def test_lists_come_in_pages_with_a_link(client: Any) -> None:
    for n in range(5):
        await client.post("/v1/assets", {"asset_id": f"crate-{n}"})
    seen: list[str] = []
    after: str | None = None
    links = 0
    while True:
        params = {"limit": "2"} | ({"after": after} if after else {})
        answer = await client.http.get("/v1/assets", params=params)
        body = answer.json()
        seen += [a["asset_id"] for a in body["items"]]
        links += 'rel="next"' in answer.headers.get("link", "")
        after = body["next"]
        if after is None:
            break

    assert seen == [f"crate-{n}" for n in range(5)]
    assert links == 2
    await client.get("/v1/assets", after="nonsense", expect=422)


async def test_a_single_resource_has_an_etag(client: Any) -> None:
    await client.post("/v1/sites", {"site_id": "hall", "name": "Hall"})
    first = await client.http.get("/v1/sites/hall")
    again = await client.http.get(
        "/v1/sites/hall", headers={"If-None-Match": first.headers["etag"]}
    )
    await client.post("/v1/sites", {"site_id": "hall", "name": "Other"})
    changed = await client.http.get(
        "/v1/sites/hall", headers={"If-None-Match": first.headers["etag"]}
    )

    assert (again.status_code, changed.status_code) == (304, 200)


async def test_settings_and_retention_are_facts(client: Any) -> None:
    await client.post("/v1/config/enrolment", {"values": {"mode": "open"}})
    await client.post(
        "/v1/retention", {"event_class": "radio", "keep_days": 30, "basis": "finding goods"}
    )
    await client.post(
        "/v1/retention", {"event_class": "radio", "keep_days": 0, "basis": ""}, expect=422
    )

    assert (await client.get("/v1/config/enrolment"))["values"] == {"mode": "open"}
    assert (await client.get("/v1/retention"))["items"][0]["keep_days"] == 30


async def test_unknown_members_and_wrong_types_are_refused(client: Any) -> None:
    wrong = await client.post("/v1/sites", {"site_id": "h", "name": "H", "color": 1}, expect=422)
    typed = await client.post("/v1/skus", {"sku": "s", "gtin": 12345678}, expect=422)

    assert wrong["errors"][0]["pointer"] == "#/color"
    assert typed["errors"][0]["pointer"] == "#/gtin"


async def test_without_a_key_or_scope_nothing_is_told(client: Any) -> None:
    answer = await client.http.get("/v1/stock", headers={"Authorization": "Bearer tt_x_y"})

    assert answer.status_code == 401
